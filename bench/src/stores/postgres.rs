//! `pgbench` with the two statements of a first run, as the gateway sends them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::backend::Postgres;
use crate::candidate::{Candidate, StoreKind};
use crate::fleet::Fleet;
use crate::machine;
use crate::measure::{self, Figures, Setting};

/// As many as a gateway has connections by default.
const CLIENTS: u32 = 16;

/// A record id as it is logged: `\x` and two digits for each of 32 bytes.
const ID_LEN: usize = 2 + 2 * 32;

/// An id of one's own for each pair of statements.
const RANDOM_ID: &str = "sha256(int8send(:pair))";

/// A script, and the values of its variables.
#[derive(Debug)]
pub(super) struct Pgbench {
    script: PathBuf,
    variables: Vec<String>,
}

/// Has the server log what a gateway sends for one first run, and makes a script of it: the same
/// statements with the same parameters, but each time with another id.
pub(super) fn learn(fleet: &mut Fleet, server: &Postgres, home: &Path) -> io::Result<Pgbench> {
    let kind = StoreKind::Postgres;
    server.ask("ALTER ROLE postgres SET log_statement = 'all'")?;
    fleet.start_shared(kind, &server.url(), "bench_raw")?;
    let first = Candidate::First(kind);
    fleet.fill(first, first.path(), 1)?;
    fleet.end(kind);
    server.ask("ALTER ROLE postgres RESET log_statement")?;
    let log = server.log()?;
    let claim = Logged::last(&log, ".claim(")?;
    let settle = Logged::last(&log, ".settle(")?;
    let id = claim.values.iter().flatten().find(|value| {
        value.len() == ID_LEN && settle.values.iter().flatten().any(|other| other == *value)
    });
    let id = id.ok_or_else(|| io::Error::other("the log names no record that was settled"))?;
    let mut text = "\\set pair random(1, 9223372036854775806)\n".to_owned();
    let mut variables = Vec::new();
    for (logged, name) in [(&claim, "claim"), (&settle, "settle")] {
        let (line, mut more) = logged.script(id, name);
        text.push_str(&format!("{line};\n"));
        variables.append(&mut more);
    }
    let script = home.join("pair.sql");
    fs::write(&script, text)?;
    Ok(Pgbench { script, variables })
}

impl Pgbench {
    /// Pairs of statements per second, and the server's processor time for each.
    pub(super) fn measure(&self, server: &Postgres, setting: Setting) -> io::Result<Figures> {
        let clients = CLIENTS.to_string();
        let mut arguments: Vec<String> =
            ["-n", "-M", "prepared", "-c", &clients, "-j"].map(str::to_owned).into();
        arguments.push(machine::cores().min(CLIENTS as usize).to_string());
        // It counts whole seconds.
        let seconds = setting.measured.as_secs_f64().round().max(1.0);
        arguments.extend(["-T".to_owned(), seconds.to_string(), "-f".to_owned()]);
        arguments.push(self.script.display().to_string());
        for variable in &self.variables {
            arguments.extend(["-D".to_owned(), variable.clone()]);
        }
        let (before, start) = (measure::sum(&[server.pid()])?, Instant::now());
        let told = server.pgbench(&arguments)?;
        let after = measure::sum(&[server.pid()])?;
        let number = |after: &str| {
            let rest = told.split(after).nth(1)?;
            rest.trim_start_matches([' ', ':', '=']).split([' ', '\n', '/']).next()?.parse().ok()
        };
        let (Some(pairs), Some(rate)) = (number("actually processed"), number("tps")) else {
            return Err(io::Error::other(format!("pgbench told no rate: {told}")));
        };
        let pairs: f64 = pairs;
        if pairs < 1.0 {
            return Err(io::Error::other(format!("pgbench did nothing in {:?}", start.elapsed())));
        }
        Ok(Figures {
            requests_per_second: rate,
            p50: Duration::ZERO,
            p99: Duration::ZERO,
            longest: Duration::ZERO,
            processor_us: None,
            store_us: Some(after.saturating_sub(before).as_secs_f64() * 1e6 / pairs),
            upstream_calls: 0.0,
            errors: 0,
            first_error: None,
        })
    }
}

/// A statement of the log and its parameters.
#[derive(Debug, PartialEq, Eq)]
struct Logged {
    statement: String,
    values: Vec<Option<String>>,
}

impl Logged {
    /// The last one that was executed and contains `what`.
    fn last(log: &str, what: &str) -> io::Result<Self> {
        let lines: Vec<&str> = log.lines().collect();
        let found = lines.windows(2).rev().find_map(|two| {
            let (_, rest) = two[0].split_once("LOG:  execute ")?;
            let (_, statement) = rest.split_once(": ")?;
            let (_, values) = two[1].split_once("arameters: ")?;
            let values = values_of(values)?;
            statement.contains(what).then(|| Self { statement: statement.to_owned(), values })
        });
        found.ok_or_else(|| io::Error::other(format!("the log holds no call of `{what}`")))
    }

    /// The statement with variables in the place of its parameters, and their values; `id` is put
    /// in another way.
    fn script(&self, id: &str, name: &str) -> (String, Vec<String>) {
        let (mut text, mut variables) = (self.statement.clone(), Vec::new());
        // From the last one on, so that `$1` is not found in `$10`.
        for (at, value) in self.values.iter().enumerate().rev() {
            let place = format!("${}", at + 1);
            let with = match value {
                None => "NULL".to_owned(),
                Some(value) if value == id => RANDOM_ID.to_owned(),
                Some(value) => {
                    variables.push(format!("{name}{at}={value}"));
                    format!(":{name}{at}")
                }
            };
            text = text.replace(&place, &with);
        }
        (text, variables)
    }
}

/// Reads `$1 = 'a', $2 = NULL`.
fn values_of(text: &str) -> Option<Vec<Option<String>>> {
    let (mut values, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let (_, value) = rest.split_once(" = ")?;
        if let Some(after) = value.strip_prefix("NULL") {
            values.push(None);
            rest = after.trim_start_matches(", ");
            continue;
        }
        let quoted = value.strip_prefix('\'')?;
        let (mut value, mut end) = (String::new(), 0);
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, char)) = chars.next() {
            if char != '\'' {
                value.push(char);
            } else if chars.next_if(|(_, next)| *next == '\'').is_some() {
                value.push('\'');
            } else {
                end = at + 1;
                break;
            }
        }
        values.push(Some(value));
        rest = quoted.get(end..)?.trim_start_matches(", ");
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
1 LOG:  execute s_1: SELECT f.x FROM \"h\".claim($1, $2, $10) AS f
1 DETAIL:  parameters: $1 = '\\x01', $2 = NULL, $3 = 'it''s'
1 LOG:  statement: SELECT 1";

    #[test]
    fn a_call_is_read_from_the_log() {
        let logged = Logged::last(LOG, ".claim(").unwrap();
        let values = vec![Some("\\x01".to_owned()), None, Some("it's".to_owned())];
        assert_eq!(logged.values, values);
        assert!(Logged::last(LOG, ".settle(").is_err());
    }

    #[test]
    fn parameters_become_variables_and_the_id_a_random_one() {
        let statement = "SELECT claim($1, $2, $3)".to_owned();
        let values = vec![Some("id".to_owned()), None, Some("7".to_owned())];
        let (text, variables) = Logged { statement, values }.script("id", "claim");
        assert_eq!(text, format!("SELECT claim({RANDOM_ID}, NULL, :claim2)"));
        assert_eq!(variables, ["claim2=7"]);
    }
}

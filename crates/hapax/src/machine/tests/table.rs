//! Every cell of the transition table, printed as Markdown from what the machine does, and compared
//! with the table in `docs/model.md`. `HAPAX_BLESS=1` writes it there instead.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::decide::{Decision, decide};

const TERM: Duration = Duration::from_secs(10);
const CAP: Duration = Duration::from_secs(60);
const RETENTION: Duration = Duration::from_secs(3_600);
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

const BEGIN: &str = "<!-- The tests print this table; HAPAX_BLESS=1 rewrites it. -->\n";
const END: &str = "<!-- End of the table. -->";

/// The attempt that holds the record or held it last; and one that was there before it.
const MINE: u8 = 1;
const EARLIER: u8 = 9;

/// A record and the moment at which an operation meets it.
struct Standing {
    name: &'static str,
    record: Option<Record>,
    now: Timestamp,
}

fn wish(attempt: u8, fingerprint: u8, on_lapse: OnLapse) -> Claim {
    Claim {
        attempt: super::attempt(attempt),
        fingerprint: super::fingerprint(fingerprint),
        id: id(),
        on_lapse,
        route: "/".into(),
        term: TERM,
        transactional: None,
        unknown_retention: None,
    }
}

fn claimed(on_lapse: OnLapse, unknown_retention: Option<Duration>) -> Record {
    let wish = Claim { unknown_retention, ..wish(MINE, 1, on_lapse) };
    claim(None, &wish, START).put.expect("a first claim is granted")
}

fn ended(record: &Record, with: &Settlement) -> Record {
    let step = settle(Some(record), &lease(MINE), with, Settler::Owner, START);
    step.put.expect("an owner may settle what it runs")
}

fn complete(status: u16) -> Settlement {
    Settlement::Complete { kept: answer(status), retention: Retention::For(RETENTION) }
}

fn release() -> Settlement {
    Settlement::Release { retention: Retention::For(RETENTION), status: Some(503) }
}

fn doubt() -> Settlement {
    Settlement::Doubt { cause: Cause::TimedOut }
}

fn reclaim(attempts_max: u32) -> OnLapse {
    OnLapse::Reclaim { after: CAP, attempts_max }
}

/// Every way a record can stand, each at a boundary where there is one.
fn standings() -> Vec<Standing> {
    let running = claimed(OnLapse::Doubt, None);
    let after = |by| START.plus(by);
    let at = |name, record: &Record, now| Standing { name, record: Some(record.clone()), now };
    let completed = ended(&running, &complete(201));
    let released = ended(&running, &release());
    let mut all = vec![
        Standing { name: "absent", record: None, now: START },
        at("completed, expired", &completed, after(RETENTION)),
        at("released, expired", &released, after(RETENTION)),
        at(
            "in doubt, past `unknown_retention`",
            &ended(&claimed(OnLapse::Doubt, Some(RETENTION)), &doubt()),
            after(RETENTION),
        ),
        at(
            "lapsed, past `unknown_retention`",
            &claimed(OnLapse::Doubt, Some(RETENTION)),
            after(RETENTION + TERM),
        ),
        at("released", &released, after(RETENTION - Duration::from_micros(1))),
        at("running", &running, after(TERM - Duration::from_micros(1))),
    ];
    let (rerun, spent) = (claimed(reclaim(2), None), claimed(reclaim(1), None));
    let early = after(CAP - Duration::from_micros(1));
    for (name, record, now) in [
        ("lapsed, rule doubt", &running, after(TERM)),
        ("lapsed, rule reclaim", &rerun, after(CAP)),
        ("lapsed, rule reclaim, before the late-answer cap", &rerun, early),
        ("lapsed, rule reclaim, attempts spent", &spent, after(CAP)),
    ] {
        all.push(at(name, record, now));
    }
    for (name, record, now) in [
        ("in doubt, rule doubt", &running, after(TERM)),
        ("in doubt, rule reclaim", &rerun, after(CAP)),
        ("in doubt, rule reclaim, before the late-answer cap", &rerun, early),
        ("in doubt, rule reclaim, attempts spent", &spent, after(CAP)),
    ] {
        all.push(at(name, &ended(record, &doubt()), now));
    }
    all.push(at("completed", &completed, after(RETENTION - Duration::from_micros(1))));
    all
}

/// What a claim comes to, and what the caller is told.
fn claim_cell(standing: &Standing, attempt: u8, fingerprint: u8) -> String {
    let wish = wish(attempt, fingerprint, OnLapse::Doubt);
    let before = standing.record.as_ref();
    let Step { put, reply } = claim(before, &wish, standing.now);
    let text = match (&reply, &put) {
        (Claimed::Granted(lease), Some(record)) => {
            assert_eq!(lease, &record.lease(), "{}", standing.name);
            assert!(before.is_none_or(|before| before.fence < lease.fence), "{}", standing.name);
            if lease.number == 1 { "**granted**" } else { "**granted**, next attempt" }.to_owned()
        }
        (Claimed::Granted(lease), None) => {
            assert_eq!(Some(lease), before.map(Record::lease).as_ref(), "{}", standing.name);
            "**granted**, the same lease".to_owned()
        }
        (Claimed::Held(seen), None) => {
            assert_eq!(Some(&seen.record), before, "{}", standing.name);
            String::new()
        }
        (Claimed::Held(_), Some(_)) => panic!("a held claim changes a record: {}", standing.name),
    };
    let told = match decide(reply, &wish.fingerprint) {
        Decision::Busy { .. } => "busy",
        Decision::Execute(_) => return text,
        Decision::Free => "free",
        Decision::InDoubt(_) => "in doubt",
        Decision::Mismatch => "mismatch",
        Decision::Replay(_) => "replay",
    };
    format!("held: {told}")
}

fn renew_cell(standing: &Standing, by: u8) -> String {
    let step = renew(standing.record.as_ref(), &lease(by), TERM, None, standing.now);
    match (step.reply, step.put) {
        (Ok(lease), Some(record)) => {
            assert_eq!(lease, record.lease(), "{}", standing.name);
            assert_eq!(lease.until, standing.now.plus(TERM), "{}", standing.name);
            "longer lease".to_owned()
        }
        (Err(lost), None) => lost_cell(lost),
        (reply, put) => panic!("renewing {} gives {reply:?} and {put:?}", standing.name),
    }
}

fn settle_cell(standing: &Standing, mine: u8, with: &Settlement, by: Settler) -> String {
    let step = settle(standing.record.as_ref(), &lease(mine), with, by, standing.now);
    match (step.reply, step.put) {
        (Ok(()), Some(record)) => match record.status(standing.now) {
            Status::Completed => "becomes **completed**",
            Status::InDoubt => "becomes **in doubt**",
            Status::Released => "becomes **released**",
            other => panic!("settling {} leaves it {other:?}", standing.name),
        }
        .to_owned(),
        (Ok(()), None) => "yes, the first one stands".to_owned(),
        (Err(lost), None) => lost_cell(lost),
        (Err(lost), Some(_)) => panic!("{lost} changes a record: {}", standing.name),
    }
}

fn lost_cell(lost: LeaseLost) -> String {
    match lost {
        LeaseLost::Expired => "lost: expired",
        LeaseLost::Running => "refused: running",
        LeaseLost::Settled => "lost: settled",
        LeaseLost::Superseded { .. } => "lost: superseded",
    }
    .to_owned()
}

fn row(table: &mut String, name: &str, cells: &[String]) {
    writeln!(table, "| {name} | {} |", cells.join(" | ")).expect("strings grow");
}

fn head(table: &mut String, title: &str, columns: &[&str]) {
    writeln!(table, "\n{title}\n\n| record | {} |", columns.join(" | ")).expect("strings grow");
    writeln!(table, "|---|{}", "---|".repeat(columns.len())).expect("strings grow");
}

fn print() -> String {
    let mut table = String::new();
    let standings = standings();
    head(
        &mut table,
        "`claim`, and what the caller is told:",
        &["same request", "same request, same attempt", "another request"],
    );
    for standing in &standings {
        let other = claim_cell(standing, 2, 2);
        // Whose attempt it is makes no difference to a request that is another one.
        assert_eq!(claim_cell(standing, MINE, 2), other, "{}", standing.name);
        let cells = [claim_cell(standing, 2, 1), claim_cell(standing, MINE, 1), other];
        row(&mut table, standing.name, &cells);
    }
    for (title, by) in [
        ("`renew` and `settle` by the owner:", Settler::Owner),
        ("`settle` by an operator, or by a probe:", Settler::Operator),
    ] {
        let renews: &[&str] = if by == Settler::Owner { &["renew"] } else { &[] };
        head(&mut table, title, &[renews, &["complete", "release", "doubt"]].concat());
        let cells = |standing: &Standing, mine| {
            let renewed = renews.iter().map(|_| renew_cell(standing, mine));
            let ends = [complete(202), release(), doubt()];
            let settled = ends.map(|with| settle_cell(standing, mine, &with, by));
            renewed.chain(settled).collect::<Vec<String>>()
        };
        for standing in &standings {
            row(&mut table, standing.name, &cells(standing, MINE));
        }
        // Whatever the record is, a lease of an earlier attempt says the same of all living ones.
        let alive = |standing: &&Standing| {
            standing.record.as_ref().is_some_and(|r| r.status(standing.now) != Status::Expired)
        };
        let mut others = standings.iter().filter(alive).map(|each| cells(each, EARLIER));
        let first = others.next().expect("some record is alive");
        assert!(others.all(|each| each == first), "an earlier attempt is told apart by phases");
        row(&mut table, "any of these, held by another attempt", &first);
    }
    table
}

#[test]
fn the_table_in_the_documentation_is_what_the_machine_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/model.md");
    let text = std::fs::read_to_string(&path).expect("docs/model.md is there");
    let (before, rest) = text.split_once(BEGIN).expect("docs/model.md marks the table's begin");
    let (found, after) = rest.split_once(END).expect("docs/model.md marks the table's end");
    let expected = format!("{}\n", print());
    if found == expected {
        return;
    }
    assert!(
        std::env::var_os("HAPAX_BLESS").is_some(),
        "the table in docs/model.md is stale (HAPAX_BLESS=1 rewrites it); the machine does:\n{expected}"
    );
    std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}"))
        .expect("docs/model.md can be written");
}

//! A PostgreSQL of our own.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::find;
use crate::child::{self, Ask, Server};

/// Where packages put what is not on the search path.
const HOMES: [&str; 3] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"];

/// What differs from the settings a new server has: all of it on loopback, room for a few gateways,
/// and more memory than the default, which is meant for small machines. `fsync`,
/// `synchronous_commit`, `full_page_writes` and the vacuum stay as they come.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "lc_messages=C",
    "log_destination=stderr",
    "logging_collector=off",
    "max_connections=200",
    "shared_buffers=512MB",
];

const READY_QUESTION: &str = "SELECT 1";

/// How often a server is asked whether it answers before that is given up, a tenth of a second each.
const READY_QUESTIONS_MAX: u32 = 300;

/// The folder with the server's programs.
pub(super) fn programs() -> Option<PathBuf> {
    let mut homes: Vec<PathBuf> = HOMES
        .iter()
        .filter_map(|home| fs::read_dir(home).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path().join("bin")))
        .collect();
    homes.sort();
    homes.reverse();
    let initdb = fs::canonicalize(find("initdb", &homes)?).ok()?;
    initdb.parent().filter(|folder| folder.join("postgres").is_file()).map(Path::to_owned)
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    log: PathBuf,
    programs: PathBuf,
    server: Server,
}

impl Postgres {
    /// Makes a database in `folder` and starts its server.
    pub(super) fn start(programs: &Path, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let user = unprivileged()?;
        if let Some((uid, gid)) = user {
            chown(folder, Some(uid), Some(gid))?;
        }
        let data = folder.join("data");
        let mut initdb = as_user(user, &programs.join("initdb"));
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres", "-D"]);
        told(initdb.arg(&data)).map_err(|error| {
            let folder = folder.display();
            io::Error::other(format!(
                "{error} (PostgreSQL's own user needs a way to {folder}: choose another by --dir)"
            ))
        })?;
        let address = child::free_address()?;
        let mut postgres = as_user(user, &programs.join("postgres"));
        postgres.arg("-D").arg(&data).args(["-p", &address.port().to_string()]);
        for setting in SETTINGS {
            postgres.args(["-c", setting]);
        }
        let log = folder.join("log");
        let server = Server::command(postgres.current_dir(folder), address, &log, Ask::Quit)?;
        let postgres = Self { log, programs: programs.to_owned(), server };
        // It accepts connections a little before it serves them.
        for _ in 0..READY_QUESTIONS_MAX {
            if postgres.ask(READY_QUESTION).is_ok() {
                return Ok(postgres);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        postgres.ask(READY_QUESTION).map(|_one| postgres)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    pub(crate) fn version(&self) -> String {
        self.ask("SHOW server_version").map_or_else(
            |error| format!("PostgreSQL of an unknown version ({error})"),
            |version| format!("PostgreSQL {version}"),
        )
    }

    /// Runs statements, and returns the rows with `|` between columns.
    pub(crate) fn ask(&self, sql: &str) -> io::Result<String> {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", sql]);
        told(&mut psql)
    }

    /// A number that one statement gives.
    pub(crate) fn number(&self, sql: &str) -> io::Result<f64> {
        let text = self.ask(sql)?;
        text.parse().map_err(|_| io::Error::other(format!("`{sql}` gave `{text}`, no number")))
    }

    /// Runs `pgbench` with these arguments, and returns what it prints.
    pub(crate) fn pgbench(&self, arguments: &[String]) -> io::Result<String> {
        told(self.program("pgbench").args(arguments).arg("postgres"))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        let port = self.address().port().to_string();
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port]);
        command
    }
}

/// What a command that must succeed prints, trimmed.
fn told(command: &mut Command) -> io::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{name}: {}", told.trim())))
}

/// The user the server runs as when this program is run by root, whom it refuses.
fn unprivileged() -> io::Result<Option<(u32, u32)>> {
    let id = |arguments: &[&str]| told(Command::new("id").args(arguments));
    if id(&["-u"])? != "0" {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let (Ok(uid), Ok(gid)) = (id(&["-u", name]), id(&["-g", name]))
            && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
        {
            return Ok(Some((uid, gid)));
        }
    }
    Err(io::Error::other("there is no user other than root to run PostgreSQL as"))
}

/// A command that becomes `program`, so that its process is the server's.
fn as_user(user: Option<(u32, u32)>, program: &Path) -> Command {
    let Some((uid, gid)) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
    command.args(["--clear-groups", "--"]).arg(program);
    command
}

//! Where the servers' programs are, and whom they run as.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where packages put the programs of PostgreSQL that are not on the search path.
const POSTGRES_HOMES: [&str; 3] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"];

/// The folder with `initdb`, `postgres` and `psql`.
///
/// # Panics
/// When PostgreSQL is not installed.
pub(super) fn postgres() -> PathBuf {
    let linked = ["initdb", "pg_ctl"]
        .iter()
        .filter_map(|program| fs::canonicalize(on_path(program)?).ok())
        .filter_map(|program| program.parent().map(Path::to_owned));
    let mut homes: Vec<_> = POSTGRES_HOMES
        .iter()
        .filter_map(|home| fs::read_dir(home).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path().join("bin")))
        .collect();
    // The newest version first; their names are numbers of the same length, or nearly so.
    homes.sort_by_key(|home| std::cmp::Reverse((home.as_os_str().len(), home.clone())));
    let complete =
        |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("psql").is_file();
    let found = linked.chain(homes).find(complete);
    found.expect("PostgreSQL is on this machine: install the package `postgresql`")
}

/// What `HAPAX_TEST_REDIS_PROGRAM` names, or `redis-server`, or `valkey-server`.
///
/// # Panics
/// When neither is installed.
pub(super) fn redis() -> PathBuf {
    let named = std::env::var_os("HAPAX_TEST_REDIS_PROGRAM").filter(|program| !program.is_empty());
    if let Some(program) = named {
        return program.into();
    }
    let found = on_path("redis-server").or_else(|| on_path("valkey-server"));
    found.expect("Redis is on this machine: install the package `redis-server`")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The user that PostgreSQL runs as when the tests are run by root, whom it refuses.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    gid: u32,
    uid: u32,
}

impl User {
    /// Nobody but the tests' own user, unless that is root.
    ///
    /// # Panics
    /// When there is no other user.
    pub(super) fn for_postgres() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let users = fs::read_to_string("/etc/passwd").expect("the users are listed");
        let find = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut numbers = line.split(':').skip(2).map_while(|number| number.parse().ok());
            Some(Self { uid: numbers.next()?, gid: numbers.next()? })
        };
        let found = find("postgres").or_else(|| find("nobody"));
        Some(found.expect("there is a user other than root to run PostgreSQL as"))
    }

    pub(super) fn hand_over(self, folder: &Path) {
        chown(folder, Some(self.uid), Some(self.gid)).expect("a folder can be handed over");
    }

    pub(super) fn run(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

//! A PostgreSQL of a test's own, and a standby of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::find::{self, User};
use crate::{Port, eventually};

const READY: [&str; 2] = [
    "database system is ready to accept connections",
    "database system is ready to accept read-only connections",
];

/// A running server, on its defaults: it syncs every commit.
#[derive(Debug)]
pub struct Postgres {
    daemon: Daemon,
    folder: TempDir,
    port: Port,
}

impl Postgres {
    /// An empty one.
    ///
    /// # Panics
    /// When it does not come up; with what it said.
    #[must_use]
    pub fn start() -> Self {
        let folder = folder();
        let mut initdb = as_user("initdb", folder.path());
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.args(["--username=postgres", "-D"]).arg(data(&folder));
        run(&mut initdb);
        Self::run(folder)
    }

    /// A standby that follows this one, under a name by which it may be waited for. It answers reads.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        let folder = folder();
        let mut copy = as_user("pg_basebackup", folder.path());
        let port = self.port.number();
        copy.args([
            "-d",
            &format!("postgres://postgres@127.0.0.1:{port}/?application_name={name}"),
        ]);
        copy.args(["-R", "-X", "stream", "--checkpoint=fast", "--no-sync", "-D"])
            .arg(data(&folder));
        run(&mut copy);
        Self::run(folder)
    }

    fn run(folder: TempDir) -> Self {
        let port = Port::take();
        let mut command = as_user("postgres", folder.path());
        command.arg("-D").arg(data(&folder)).args(["-p", &port.number().to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "lc_messages=C",
            "log_destination=stderr",
            "logging_collector=off",
        ] {
            command.args(["-c", setting]);
        }
        if cfg!(target_os = "linux") {
            // After a crash it syncs its files at once instead of one by one: as safe, and much sooner.
            command.args(["-c", "recovery_init_sync_method=syncfs"]);
        }
        let daemon = Daemon::start(command, folder.path(), &READY);
        Self { daemon, folder, port }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        Self::url_at(self.address())
    }

    /// The URL of such a server at another address, as that of a relay.
    #[must_use]
    pub fn url_at(address: SocketAddr) -> String {
        format!("postgres://postgres@{address}/postgres")
    }

    /// Runs SQL and returns what it gives, a line for each row.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ask(&self, sql: &str) -> String {
        Self::ask_at(&self.url(), sql)
    }

    /// Runs SQL for what it does.
    ///
    /// # Panics
    /// When it fails.
    pub fn tell(&self, sql: &str) {
        let _nothing = self.ask(sql);
    }

    /// As [`ask`](Self::ask), on any server.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ask_at(url: &str, sql: &str) -> String {
        Self::try_at(url, sql).unwrap_or_else(|told| panic!("{sql}: {told}"))
    }

    /// As [`ask_at`](Self::ask_at), where it may fail.
    ///
    /// # Errors
    /// What it told.
    ///
    /// # Panics
    /// When PostgreSQL's client is not there.
    pub fn try_at(url: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(find::postgres().join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
        try_run(&mut command)
    }

    /// Makes every commit wait until the standby of this name has it on its disk, from now on.
    ///
    /// # Panics
    /// When the standby does not keep up.
    pub fn wait_for_standby(&self, name: &str) {
        self.tell(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
        self.tell("SELECT pg_reload_conf()");
        eventually("the standby is waited for", || {
            self.ask("SELECT sync_state FROM pg_stat_replication") == "sync"
        });
    }

    /// Makes a standby a primary.
    ///
    /// # Panics
    /// When it does not become one.
    pub fn promote(&self) {
        assert_eq!(self.ask("SELECT pg_promote(true, 20)"), "t", "it was promoted");
    }

    /// kill -9, with its children.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Ends it in good order: it sends its clients away and writes everything.
    pub fn stop(&mut self) {
        self.daemon.end(Signal::INT);
    }

    /// Starts it again on its folder and its port.
    pub fn start_again(&mut self) {
        self.daemon.start_again();
    }

    /// Stops it as if its machine were suspended.
    pub fn pause(&self) {
        self.daemon.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.daemon.resume();
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    if let Some(user) = User::for_postgres() {
        user.hand_over(folder.path());
    }
    folder
}

fn data(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

/// A program of PostgreSQL in `folder`, which belongs to whom it runs as.
fn as_user(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(find::postgres().join(program));
    command.current_dir(folder).env("HOME", folder);
    if let Some(user) = User::for_postgres() {
        user.run(&mut command);
    }
    command
}

/// What a command that must succeed prints.
fn run(command: &mut Command) -> String {
    let told = try_run(command);
    told.unwrap_or_else(|told| panic!("{} failed: {told}", command.get_program().display()))
}

/// What a command prints, or what it told when it failed.
fn try_run(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("the command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

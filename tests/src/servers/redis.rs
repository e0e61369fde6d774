//! A Redis (or Valkey) of a test's own, and a replica of it.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::{Reply, find};
use crate::{Port, STUCK, eventually};

const READY: [&str; 1] = ["Ready to accept connections"];

/// A running server that syncs every write to its disk and throws nothing out.
#[derive(Debug)]
pub struct Redis {
    daemon: Daemon,
    _folder: TempDir,
    port: Port,
}

impl Redis {
    /// An empty one.
    ///
    /// # Panics
    /// When it does not come up; with what it said.
    #[must_use]
    pub fn start() -> Self {
        Self::run(Port::take(), &[])
    }

    /// A replica that follows this one, and has everything that is there now.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn replica(&self) -> Self {
        let master = self.port().to_string();
        let replica = Self::run(Port::take(), &["--replicaof", "127.0.0.1", &master]);
        // Something to follow, which leaves no key behind; once it has confirmed that, it can be waited
        // for.
        self.tell(&["PUBLISH", "follow", ""]);
        let written = self.written();
        eventually("the replica follows", || {
            self.confirmed_by(replica.port()).is_some_and(|confirmed| confirmed >= written)
        });
        replica
    }

    /// How much of the writes a replica has confirmed.
    fn confirmed_by(&self, port: u16) -> Option<u64> {
        let (info, replica) =
            (self.info("replication"), format!("port={port},state=online,offset="));
        let (_, offset) = info.split_once(&replica)?;
        offset.split(',').next()?.parse().ok()
    }

    pub(super) fn run(port: Port, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new(find::redis());
        command.current_dir(folder.path()).arg("--dir").arg(folder.path());
        command.args([
            "--port",
            &port.number().to_string(),
            "--bind",
            "127.0.0.1",
            "--daemonize",
            "no",
        ]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        command.args(["--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"]);
        command.args(more);
        Self { daemon: Daemon::start(command, folder.path(), &READY), _folder: folder, port }
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
        format!("redis://{address}")
    }

    /// Sends one command and returns the answer, an error of the server's too.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn ask(&self, words: &[&str]) -> Reply {
        Self::ask_at(self.address(), words)
    }

    /// As [`ask`](Self::ask), on any server.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn ask_at(address: SocketAddr, words: &[&str]) -> Reply {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(STUCK)).expect("a socket takes a limit");
        stream.write_all(request.as_bytes()).expect("the server takes a command");
        Reply::read(&mut BufReader::new(stream)).expect("the server answers")
    }

    /// Sends one command that has to succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn tell(&self, words: &[&str]) {
        let reply = self.ask(words);
        assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
    }

    /// A part of what it says of itself.
    ///
    /// # Panics
    /// When it says nothing.
    #[must_use]
    pub fn info(&self, section: &str) -> String {
        self.ask(&["INFO", section]).text()
    }

    /// How much of a master's writes it has: its own, or those that it follows.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn written(&self) -> u64 {
        Self::written_at(self.address())
    }

    /// As [`written`](Self::written), of any server.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn written_at(address: SocketAddr) -> u64 {
        let info = Self::ask_at(address, &["INFO", "replication"]).text();
        let line = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
        line.and_then(|number| number.parse().ok()).expect("it says how much was written")
    }

    /// Makes a replica a master.
    ///
    /// # Panics
    /// When it does not become one.
    pub fn promote(&self) {
        self.tell(&["REPLICAOF", "NO", "ONE"]);
        eventually("it is a master", || self.info("replication").contains("role:master"));
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.daemon.end(Signal::TERM);
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

    pub(super) fn port(&self) -> u16 {
        self.port.number()
    }
}

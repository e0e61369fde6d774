//! A Redis (or Valkey) of our own.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::find;
use super::resp::Wire;
use crate::child::{self, Ask, Server};

/// When what was written must be on the disk: `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before it is answered.
    Always,
    /// Once a second.
    Everysec,
}

/// `redis-server`, or `valkey-server`.
pub(super) fn program() -> Option<PathBuf> {
    find("redis-server", &[]).or_else(|| find("valkey-server", &[]))
}

/// A running server with an append-only file.
#[derive(Debug)]
pub(crate) struct Redis {
    server: Server,
}

impl Redis {
    pub(super) fn start(program: &Path, folder: &Path, sync: Sync) -> io::Result<Self> {
        Self::start_at(program, folder, sync, child::free_address()?, &[])
    }

    pub(super) fn start_at(
        program: &Path,
        folder: &Path,
        sync: Sync,
        address: SocketAddr,
        more: &[&str],
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--dir"]);
        command.arg(folder).args(["--daemonize", "no", "--save", "", "--appendonly", "yes"]);
        command.args(["--maxmemory-policy", "noeviction", "--appendfsync"]);
        command.arg(match sync {
            Sync::Always => "always",
            Sync::Everysec => "everysec",
        });
        let log = folder.join("log");
        let server =
            Server::command(command.args(more).current_dir(folder), address, &log, Ask::Terminate)?;
        Ok(Self { server })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub(crate) fn wire(&self) -> io::Result<Wire> {
        Wire::connect(self.address())
    }

    pub(crate) fn version(&self) -> io::Result<String> {
        let info = self.info("server")?;
        Ok(format!("Redis {}", field(&info, "redis_version").unwrap_or("of an unknown version")))
    }

    /// A section of what the server says of itself.
    pub(crate) fn info(&self, section: &str) -> io::Result<String> {
        self.wire()?.text(&["INFO", section])
    }

    /// A number that it says of itself.
    pub(crate) fn number(&self, section: &str, name: &str) -> io::Result<f64> {
        let info = self.info(section)?;
        let number = field(&info, name).and_then(|text| text.parse().ok());
        number.ok_or_else(|| io::Error::other(format!("Redis does not tell `{name}`")))
    }

    /// How often a command was called, by clients and by scripts.
    pub(crate) fn calls(&self, commands: &[&str]) -> io::Result<u64> {
        let info = self.info("commandstats")?;
        let calls = |command: &&str| -> u64 {
            let stats = field(&info, &format!("cmdstat_{command}")).unwrap_or("");
            let calls = stats.split(',').find_map(|pair| pair.strip_prefix("calls="));
            calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
        };
        Ok(commands.iter().map(calls).sum())
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "# Memory\r\nused_memory_rss:7\r\nused_memory:3\r\n";
        assert_eq!(field(info, "used_memory"), Some("3"));
        assert_eq!(field(info, "used"), None);
    }
}

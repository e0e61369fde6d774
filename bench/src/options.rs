//! The command line.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

const MILLION: u64 = 1_000_000;

/// Measures `hapax serve` beside the bare upstream, nginx and a textbook proxy.
#[derive(Debug, Parser)]
#[command(name = "hapax-bench", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// The gateway's binary [default: `hapax` beside this program]
    #[arg(long, value_name = "FILE")]
    hapax: Option<PathBuf>,
    /// Measure only what is not Hapax
    #[arg(long)]
    baselines: bool,
    /// A smoke run of about half a minute; its figures say little
    #[arg(long)]
    quick: bool,
    /// Also with ten million live keys
    #[arg(long, conflicts_with = "quick")]
    long: bool,
    /// Measure only these parts [default: both; quick: proxy]
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Numbers of connections [default: 1,64,256; quick: 64]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    connections: Vec<usize>,
    /// How often each candidate is measured, in turn with the others [default: 3; quick: 1]
    #[arg(long, value_name = "N")]
    repetitions: Option<usize>,
    /// How long one measurement takes [default: 4; quick: 1.5]
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Numbers of live keys to fill the stores with before further tables [default: 1000000]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    keys: Vec<u64>,
    /// How many keys expire in the measurement of expiry; 0 leaves it out [default: 1000000]
    #[arg(long, value_name = "N")]
    expiring: Option<u64>,
    /// Where the stores live during the run; its disk is what is measured [default: beside this
    /// program]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Also write all figures to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The gateway on memory and on files beside other proxies
    Proxy,
    /// The gateway on PostgreSQL and Redis, servers of its own
    Stores,
}

/// What this program is when it starts itself.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Role {
    /// Be the plain proxy that is compared with
    #[command(hide = true)]
    Textbook {
        /// Where it forwards to
        upstream: SocketAddr,
    },
    /// Be the upstream
    #[command(hide = true)]
    Upstream,
}

impl Options {
    /// The gateway's binary; `None` when only the baselines are wanted.
    pub(crate) fn gateway(&self) -> io::Result<Option<PathBuf>> {
        if self.baselines {
            return Ok(None);
        }
        let file = match &self.hapax {
            Some(file) => file.clone(),
            None => beside_this_program()?.join("hapax"),
        };
        if file.is_file() {
            Ok(Some(file))
        } else {
            let message = format!("{} is no file: name the gateway by --hapax", file.display());
            Err(io::Error::other(message))
        }
    }

    /// Whether a part is wanted.
    pub(crate) fn wants(&self, part: Part) -> bool {
        match (self.only.is_empty(), part) {
            (false, part) => self.only.contains(&part),
            (true, Part::Proxy) => true,
            (true, Part::Stores) => !self.quick && !self.baselines,
        }
    }

    pub(crate) fn folder(&self) -> io::Result<PathBuf> {
        self.dir.clone().map_or_else(beside_this_program, Ok)
    }

    pub(crate) fn connections(&self) -> Vec<usize> {
        match (self.connections.is_empty(), self.quick) {
            (false, _) => self.connections.clone(),
            (true, true) => vec![64],
            (true, false) => vec![1, 64, 256],
        }
    }

    /// How many keys a store holds before the tables by connections.
    pub(crate) fn live_keys(&self) -> u64 {
        if self.quick { 1_000 } else { 10_000 }
    }

    /// How many records a shared store is filled with, which expire in the end; none when that
    /// measurement is left out.
    pub(crate) fn stored_records(&self) -> Option<u64> {
        let usual = if self.long { 10 * MILLION } else { MILLION };
        let records = self.expiring.unwrap_or(if self.quick { 0 } else { usual });
        (records > 0).then_some(records)
    }

    /// How long one measurement on a shared store takes; there are more of them.
    pub(crate) fn measured_on_stores(&self) -> Duration {
        if self.seconds.is_some() || self.quick {
            return self.measured();
        }
        Duration::from_millis(1_500)
    }

    /// How many keys a store holds before further tables.
    pub(crate) fn many_keys(&self) -> Vec<u64> {
        if !self.keys.is_empty() {
            return self.keys.clone();
        }
        match (self.quick, self.long) {
            (true, _) => Vec::new(),
            (false, true) => vec![MILLION, 10 * MILLION],
            (false, false) => vec![MILLION],
        }
    }

    pub(crate) fn expiring_keys(&self) -> Option<u64> {
        let keys = self.expiring.unwrap_or(if self.quick { 0 } else { MILLION });
        (keys > 0).then_some(keys)
    }

    pub(crate) fn repetitions(&self) -> usize {
        self.repetitions.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    pub(crate) fn measured(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 1.5 } else { 4.0 });
        Duration::from_secs_f64(seconds.clamp(0.1, 3600.0))
    }

    /// Connections are opened and pools filled before anything is counted.
    pub(crate) fn warm_up(&self) -> Duration {
        if self.quick { Duration::from_millis(300) } else { Duration::from_secs(1) }
    }
}

fn beside_this_program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().unwrap_or_else(|| Path::new(".")).to_owned())
}

//! First runs while a great many keys expire: does dropping them disturb the traffic?

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::candidate::{Candidate, StoreKind};
use crate::fleet::Fleet;
use crate::load::{self, Load, Second, Seen};

const CONNECTIONS: usize = 64;

/// Keys with which the pace of filling is found out first.
const SAMPLE_KEYS: u64 = 20_000;

/// The pace may drop by this factor while the store grows, and the keys still expire afterwards.
const PACE_RESERVE: f64 = 1.5;

/// Traffic before the first key expires: what the rest is compared with.
const BEFORE: Duration = Duration::from_secs(12);

/// Traffic after the last key has expired: the store may sweep with some delay.
const AFTER: Duration = Duration::from_secs(30);

const WARM_UP: Duration = Duration::from_secs(2);

/// The route whose keys expire.
const SHORT_PATH: &str = "/short/orders";

pub(crate) const SWEPT: &str = "hapax_swept_total";

/// What was seen.
#[derive(Debug)]
pub(crate) struct Expiry {
    pub(crate) kind: StoreKind,
    pub(crate) keys: u64,
    /// From the expiry of the first key to that of the last.
    pub(crate) spread: Duration,
    /// First runs per second before any key expired.
    pub(crate) before: f64,
    /// The same from the first expiry on.
    pub(crate) during: f64,
    /// The slowest whole second of that.
    pub(crate) slowest: f64,
    pub(crate) longest_before: Duration,
    pub(crate) longest_during: Duration,
    /// How many were removed by the end, as gateway or store say; `None` when they do not.
    pub(crate) swept: Option<u64>,
    /// How fast, where that was looked at.
    pub(crate) swept_per_second: Option<f64>,
    pub(crate) errors: u64,
}

impl Expiry {
    /// What a load has seen whose second number `edge` was the first in which keys expired.
    pub(crate) fn of(
        kind: StoreKind,
        keys: u64,
        spread: Duration,
        seen: &Seen,
        edge: usize,
        swept: Option<u64>,
        swept_per_second: Option<f64>,
    ) -> Self {
        // The last second is not a whole one.
        let whole = &seen.seconds[..seen.seconds.len().saturating_sub(1)];
        let (before, during) = whole.split_at(edge.min(whole.len()));
        Self {
            kind,
            keys,
            spread,
            before: mean(before),
            during: mean(during),
            slowest: during.iter().map(|second| second.answers).min().unwrap_or(0) as f64,
            longest_before: longest(before),
            longest_during: longest(during),
            swept,
            swept_per_second,
            errors: seen.errors,
        }
    }

    /// Throughput while keys expire, as a share of that before.
    pub(crate) fn ratio(&self) -> f64 {
        self.during / self.before
    }
}

/// Fills a store with keys of a short life, then measures first runs until they are gone.
pub(crate) fn run(gateway: &Path, folder: &Path, keys: u64) -> io::Result<Expiry> {
    let file = Candidate::First(StoreKind::File);
    let sample = Fleet::start(&[file], Some(gateway), &folder.join("sample"))?;
    let took = sample.fill(file, file.path(), SAMPLE_KEYS.min(keys))?.took;
    drop(sample);
    let filling = took.mul_f64(PACE_RESERVE * keys as f64 / SAMPLE_KEYS.min(keys) as f64);
    let retention = Duration::from_secs((filling + BEFORE + WARM_UP).as_secs() + 1);
    eprintln!("filling the store with {keys} keys that expire after {retention:?}");
    let fleet = Fleet::with_short_route(gateway, &folder.join("expiry"), retention)?;
    let first_expiry = Instant::now() + retention;
    fleet.fill(file, SHORT_PATH, keys)?;
    let last_expiry = Instant::now() + retention;
    let Some(server) = fleet.server(file) else {
        return Err(io::Error::other("the gateway on a file store is not there"));
    };
    let from = (Instant::now() + WARM_UP).max(first_expiry - BEFORE);
    let load = Load {
        address: server.address,
        path: file.path(),
        connections: CONNECTIONS,
        keys: Fleet::keys(file, keys, 1),
        from,
        until: last_expiry + AFTER,
    };
    crate::measure::wait_until(from - WARM_UP);
    eprintln!("measuring first runs while the keys expire, {:?}", load.until - from);
    let seen = load::start(&load).finish()?;
    let edge = first_expiry.saturating_duration_since(from).as_secs() as usize;
    let spread = last_expiry.saturating_duration_since(first_expiry);
    let swept = fleet.admin(StoreKind::File).and_then(|admin| metric(admin, SWEPT).ok());
    Ok(Expiry::of(StoreKind::File, keys, spread, &seen, edge, swept, None))
}

fn mean(seconds: &[Second]) -> f64 {
    seconds.iter().map(|second| second.answers).sum::<u64>() as f64 / seconds.len().max(1) as f64
}

fn longest(seconds: &[Second]) -> Duration {
    seconds.iter().map(|second| second.longest).max().unwrap_or_default()
}

/// The sum of a metric over its labels, from the gateway's admin listener.
pub(crate) fn metric(admin: SocketAddr, name: &str) -> io::Result<u64> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let values: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect();
    if values.is_empty() {
        return Err(io::Error::other(format!("no metric {name}")));
    }
    Ok(values.iter().sum::<f64>() as u64)
}

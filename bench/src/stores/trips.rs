//! How often a request asks its store, as the store itself counts it.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use crate::backend::Backends;
use crate::candidate::{Candidate, StoreKind};
use crate::fleet::Fleet;
use crate::load::{self, Keys, Load};

use super::USUAL_CONNECTIONS;

/// First runs that are counted.
const FIRST_RUNS: u64 = 20_000;

const SENT_FOR: Duration = Duration::from_secs(1);

/// The steps that a request may wait for; `wake` is none of them.
const STEPS: [&str; 5] = ["claim", "peek", "purge", "renew", "settle"];

const SCRIPTS: &str = "scripts";
const HINTS: &str = "hints";
const TRANSACTIONS: &str = "transactions";

/// How long the server's processes may take to end, and to tell what they have counted.
const COUNTS_LIMIT: Duration = Duration::from_secs(30);

/// The counts of one store.
#[derive(Debug)]
pub(crate) struct Trips {
    pub(crate) first: Counted,
    pub(crate) kind: StoreKind,
    pub(crate) replay: Counted,
}

/// What so many requests have cost.
#[derive(Debug)]
pub(crate) struct Counted {
    /// By name: PostgreSQL's functions and transactions, or Redis's scripts and hints.
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) requests: u64,
}

impl Counted {
    /// Round trips that a request waits for.
    pub(crate) fn trips(&self) -> f64 {
        let waited = |name: &String| STEPS.contains(&name.as_str()) || name == SCRIPTS;
        let calls = self.calls.iter().filter(|(name, _)| waited(name)).map(|(_, calls)| calls);
        calls.sum::<u64>() as f64 / self.requests.max(1) as f64
    }

    /// Hints to other gateways; PostgreSQL's are batches, and nobody waits for them.
    pub(crate) fn hints(&self) -> f64 {
        let hints = ["wake", HINTS].iter().filter_map(|name| self.calls.get(*name)).sum::<u64>();
        hints as f64 / self.requests.max(1) as f64
    }
}

/// Counts on a gateway of its own: what opening it costs is not a request's, so it is counted and
/// taken away.
pub(super) fn count(kind: StoreKind, fleet: &mut Fleet, backends: &Backends) -> io::Result<Trips> {
    let (first, replay) = (Candidate::First(kind), Candidate::Replay(kind));
    track(backends, kind, true)?;
    // Redis learns the scripts from the first that are called.
    counted(kind, fleet, backends, |fleet| send(fleet, first, 1, Keys::New { seed: 0 }))?;
    let opening = counted(kind, fleet, backends, |_| Ok(0))?;
    let mut first = counted(kind, fleet, backends, |fleet| {
        fleet.fill(first, first.path(), FIRST_RUNS).map(|_filled| FIRST_RUNS)
    })?;
    let known = Fleet::keys(replay, FIRST_RUNS, 0);
    let mut replay =
        counted(kind, fleet, backends, |fleet| send(fleet, replay, USUAL_CONNECTIONS, known))?;
    track(backends, kind, false)?;
    for counted in [&mut first, &mut replay] {
        for (name, calls) in &mut counted.calls {
            *calls = calls.saturating_sub(opening.calls.get(name).copied().unwrap_or(0));
        }
    }
    Ok(Trips { first, kind, replay })
}

/// Sends for a while, and says how many requests that were.
fn send(fleet: &Fleet, candidate: Candidate, connections: usize, keys: Keys) -> io::Result<u64> {
    let Some(server) = fleet.server(candidate) else { return Ok(0) };
    let from = Instant::now();
    let until = from + SENT_FOR;
    let load =
        Load { address: server.address, path: candidate.path(), connections, keys, from, until };
    let seen = load::start(&load).finish()?;
    match seen.first_error {
        None => Ok(seen.answered),
        Some(error) => Err(io::Error::other(format!("counting round trips: {error}"))),
    }
}

/// Starts a gateway, lets `run` send requests to it, ends it, and says what the store has counted.
fn counted(
    kind: StoreKind,
    fleet: &mut Fleet,
    backends: &Backends,
    run: impl FnOnce(&Fleet) -> io::Result<u64>,
) -> io::Result<Counted> {
    let Some(url) = backends.url(kind) else {
        return Err(io::Error::other(format!("{} is not there", kind.name())));
    };
    let before = counts(backends, kind)?;
    fleet.start_shared(kind, &url, "bench_trips")?;
    let requests = run(fleet)?;
    fleet.end(kind);
    let mut calls = counts(backends, kind)?;
    for (name, calls) in &mut calls {
        *calls -= before.get(name).copied().unwrap_or(0);
    }
    Ok(Counted { calls, requests })
}

/// Lets PostgreSQL count calls of functions in sessions that begin from now on. Redis always does.
fn track(backends: &Backends, kind: StoreKind, on: bool) -> io::Result<()> {
    if let (StoreKind::Postgres, Some(server)) = (kind, &backends.postgres) {
        let word = if on { "pl" } else { "none" };
        server.ask(&format!("ALTER ROLE postgres SET track_functions = '{word}'"))?;
    }
    Ok(())
}

fn counts(backends: &Backends, kind: StoreKind) -> io::Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    if kind == StoreKind::Postgres {
        let Some(server) = &backends.postgres else { return Ok(counts) };
        // A process tells its counts when it ends, at the latest.
        let clients = "SELECT count(*) FROM pg_stat_activity \
                       WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let start = Instant::now();
        while server.number(clients)? > 0.0 && start.elapsed() < COUNTS_LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let rows = server.ask(&format!(
            "SELECT funcname, calls FROM pg_stat_user_functions \
             WHERE schemaname = 'bench_trips' \
             UNION ALL SELECT '{TRANSACTIONS}', xact_commit FROM pg_stat_database \
             WHERE datname = 'postgres'"
        ))?;
        for row in rows.lines() {
            if let Some((name, calls)) = row.split_once('|')
                && let Ok(calls) = calls.parse()
                && (STEPS.contains(&name) || name == "wake" || name == TRANSACTIONS)
            {
                counts.insert(name.to_owned(), calls);
            }
        }
        return Ok(counts);
    }
    for node in backends.nodes(kind) {
        *counts.entry(SCRIPTS.to_owned()).or_default() += node.calls(&["evalsha", "eval"])?;
        *counts.entry(HINTS.to_owned()).or_default() += node.calls(&["publish", "spublish"])?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_and_transactions_are_no_round_trips_of_a_request() {
        let calls = [("claim", 10), ("settle", 10), ("wake", 2), (TRANSACTIONS, 23)];
        let calls = calls.map(|(name, calls)| (name.to_owned(), calls)).into();
        let counted = Counted { calls, requests: 10 };
        assert_eq!((counted.trips(), counted.hints()), (2.0, 0.2));
    }
}

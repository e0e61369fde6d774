//! What happens, counted: the observer of all routes and the numbers that it keeps (OBS-01, OBS-02).
//!
//! On the way of a request an event costs a few additions to memory that its thread has nearly to
//! itself (`shard.rs`). Sums are made when somebody asks for them (`snapshot.rs`, `expose.rs`). The
//! sizes of the store are looked up in the background (`refresh.rs`), never by a scrape. No number
//! carries a key or a caller (SEC-04).

mod expose;
mod feed;
mod histogram;
mod refresh;
mod routes;
mod shard;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hapax::{Cause, Event, Observer, RecordId, Stats};

pub use expose::TextFormat;
pub use feed::{FEED_EVENTS_MAX, FeedEvent, FeedReader};
pub use refresh::{REFRESH_PAUSE, refresh};
pub use snapshot::{Distribution, RouteCounts, Snapshot};

use feed::Feed;
use routes::Routes;
use shard::Shards;

/// The means by which an unknown outcome becomes known, and a place for any other.
const MEANS: [&str; 4] = ["late-answer", "operator", "probe", "other"];

/// Counts everything that the guard and the gateway tell, and passes it on to who listens.
#[derive(Debug)]
pub struct Metrics {
    feed: Feed,
    in_flight: AtomicU64,
    leases_lost: AtomicU64,
    reruns: Mutex<BTreeMap<(usize, u16), u64>>,
    resolved: [AtomicU64; MEANS.len()],
    routes: Routes,
    settle_failures: AtomicU64,
    shards: Shards,
    sizes: Sizes,
    swept: AtomicU64,
    unknown: [AtomicU64; Cause::ALL.len()],
}

/// The store as it was when last looked at.
#[derive(Debug, Default)]
struct Sizes {
    bytes: AtomicU64,
    in_doubt: AtomicU64,
    in_doubt_oldest_micros: AtomicU64,
    is_up: AtomicBool,
    records: AtomicU64,
}

impl Metrics {
    /// Counters for these routes, all at zero. Requests of any other route count as `(other)`.
    ///
    /// Handing in the same `Arc`s that events carry makes the look-up a comparison of addresses.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = Arc<str>>) -> Self {
        let routes = Routes::new(routes);
        Self {
            feed: Feed::default(),
            in_flight: AtomicU64::new(0),
            leases_lost: AtomicU64::new(0),
            reruns: Mutex::default(),
            resolved: Default::default(),
            settle_failures: AtomicU64::new(0),
            shards: Shards::new(routes.len()),
            routes,
            sizes: Sizes::default(),
            swept: AtomicU64::new(0),
            unknown: Default::default(),
        }
    }

    /// Takes note of what the store holds.
    pub fn sized(&self, stats: &Stats) {
        let oldest = stats.in_doubt_since.map_or(Duration::ZERO, |since| stats.now.since(since));
        self.sizes.bytes.store(stats.bytes, Ordering::Relaxed);
        self.sizes.in_doubt.store(stats.in_doubt, Ordering::Relaxed);
        self.sizes.in_doubt_oldest_micros.store(histogram::micros(oldest), Ordering::Relaxed);
        self.sizes.records.store(stats.records, Ordering::Relaxed);
        self.sizes.is_up.store(true, Ordering::Relaxed);
    }

    /// Takes note that the store did not say what it holds; the sizes stay as they were.
    pub fn unsized_store(&self) {
        self.sizes.is_up.store(false, Ordering::Relaxed);
    }

    /// Takes note of how many keyed operations run.
    pub fn flying(&self, operations: usize) {
        self.in_flight.store(operations as u64, Ordering::Relaxed);
    }

    /// Takes note of one sweep: how many records it removed and how long it took.
    pub fn swept(&self, records: u32, time: Duration) {
        self.swept.fetch_add(u64::from(records), Ordering::Relaxed);
        self.shards.mine().sweep.observe(time);
    }

    /// Follows events as they happen; a reader that falls behind loses the oldest and is told.
    #[must_use]
    pub fn follow(&self) -> FeedReader {
        self.feed.follow()
    }

    /// All numbers as they stand. Counters that move meanwhile may be one event apart.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self)
    }

    /// All numbers as a scraper reads them.
    #[must_use]
    pub fn render(&self, format: TextFormat) -> String {
        expose::render(self.snapshot(), format)
    }

    fn reran(&self, route: &Arc<str>, status: u16) {
        let mut reruns = self.reruns.lock().unwrap_or_else(PoisonError::into_inner);
        *reruns.entry((self.routes.index(route), status)).or_default() += 1;
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event<'_>) {
        let shard = self.shards.mine();
        match event {
            Event::Answered { answer, id, route } => {
                shard.answered(self.routes.index(route), *answer);
                log_answered(id.as_ref(), route, answer.as_str());
            }
            Event::LeaseLost { .. } => add(&self.leases_lost),
            Event::ReplayAge(age) => shard.replay_age.observe(*age),
            Event::Rerun { route, status } => self.reran(route, *status),
            Event::SettleFailed { .. } => add(&self.settle_failures),
            Event::StoreTime { operation, time } => shard.store_took(operation, *time),
            Event::Unknown { cause, .. } => {
                if let Some(index) = Cause::ALL.iter().position(|one| one == cause) {
                    add(&self.unknown[index]);
                }
            }
            Event::Resolved { by, .. } => {
                let index = MEANS.iter().position(|means| means == by);
                add(&self.resolved[index.unwrap_or(MEANS.len() - 1)]);
            }
            Event::UpstreamTime(time) => shard.upstream.observe(*time),
            Event::AddedTime(time) => shard.added.observe(*time),
            Event::WaitTime(time) => shard.wait.observe(*time),
            // A kind of event that is younger than this file is not counted.
            _ => {}
        }
        self.feed.tell(event);
    }
}

/// The line of each protected request (OBS-03); the id is a keyed hash of caller and key.
fn log_answered(id: Option<&RecordId>, route: &str, outcome: &str) {
    match id {
        Some(id) => {
            let scope = tracing::field::debug(ScopeOf(id));
            tracing::debug!(record = %id, scope, route, outcome, "answered");
        }
        None => tracing::debug!(route, outcome, "answered"),
    }
}

/// Writes the scope of a record, and only if a line is written at all.
struct ScopeOf<'a>(&'a RecordId);

impl std::fmt::Debug for ScopeOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.scope_short())
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;

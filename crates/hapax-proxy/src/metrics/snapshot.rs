//! All numbers at one moment, as plain data.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hapax::Cause;
use hapax::event::Answer;

pub use super::histogram::Distribution;

use super::shard::{OPERATIONS, Shard};
use super::{MEANS, Metrics};

/// What [`Metrics::snapshot`] answers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Time that the layer added to first runs.
    pub added: Distribution,
    /// Requests by route and answer; the last route is for names that nobody announced.
    pub answers: Vec<RouteCounts>,
    /// Records in doubt, when the store was last looked at.
    pub in_doubt: u64,
    /// How long the oldest of them had been.
    pub in_doubt_oldest: Duration,
    /// Keyed operations that run.
    pub in_flight: u64,
    /// Owners that found their lease gone.
    pub leases_lost: u64,
    /// Records in the store, when it was last looked at.
    pub records: u64,
    /// How old replayed answers were.
    pub replay_age: Distribution,
    /// Runs of a key that an answer of the status had freed.
    pub reruns: Vec<(Arc<str>, u16, u64)>,
    /// Unknown outcomes that became known, by means.
    pub resolved: Vec<(&'static str, u64)>,
    /// Settlements that failed at first.
    pub settle_failures: u64,
    /// Times of the store, by operation.
    pub store: Vec<(&'static str, Distribution)>,
    /// Bytes of the store, when it was last looked at.
    pub store_bytes: u64,
    /// Whether the store answered when it was last looked at.
    pub store_is_up: bool,
    /// Times of sweeps.
    pub sweep: Distribution,
    /// Records that sweeps removed.
    pub swept: u64,
    /// Outcomes that became unknown, by cause.
    pub unknown: Vec<(&'static str, u64)>,
    /// Times of effects.
    pub upstream: Distribution,
    /// Times that duplicates waited.
    pub wait: Distribution,
}

/// The requests of one route.
#[derive(Clone, Debug)]
pub struct RouteCounts {
    /// By answer, in the order of [`Answer::ALL`].
    pub counts: [u64; Answer::ALL.len()],
    /// Its name.
    pub route: Arc<str>,
}

impl Snapshot {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let sum = |of: &dyn Fn(&Shard) -> &super::histogram::Histogram| {
            let mut sum = Distribution::default();
            metrics.shards.iter().for_each(|shard| of(shard).add_to(&mut sum));
            sum
        };
        let sizes = &metrics.sizes;
        let oldest = Duration::from_micros(read(&sizes.in_doubt_oldest_micros));
        let store = OPERATIONS.iter().enumerate();
        Self {
            added: sum(&|shard| &shard.added),
            answers: answers(metrics),
            in_doubt: read(&sizes.in_doubt),
            in_doubt_oldest: oldest,
            in_flight: read(&metrics.in_flight),
            leases_lost: read(&metrics.leases_lost),
            records: read(&sizes.records),
            replay_age: sum(&|shard| &shard.replay_age),
            reruns: reruns(metrics),
            resolved: MEANS.into_iter().zip(metrics.resolved.iter().map(read)).collect(),
            settle_failures: read(&metrics.settle_failures),
            store: store.map(|(at, name)| (*name, sum(&|shard| &shard.store[at]))).collect(),
            store_bytes: read(&sizes.bytes),
            store_is_up: sizes.is_up.load(Ordering::Relaxed),
            sweep: sum(&|shard| &shard.sweep),
            swept: read(&metrics.swept),
            unknown: Cause::ALL
                .into_iter()
                .map(Cause::as_str)
                .zip(metrics.unknown.iter().map(read))
                .collect(),
            upstream: sum(&|shard| &shard.upstream),
            wait: sum(&|shard| &shard.wait),
        }
    }
}

impl RouteCounts {
    /// Requests of this route that were answered so.
    #[must_use]
    pub const fn of(&self, answer: Answer) -> u64 {
        self.counts[answer as usize]
    }
}

fn answers(metrics: &Metrics) -> Vec<RouteCounts> {
    let names = metrics.routes.names().iter().enumerate();
    let count = |route: usize, answer: usize| {
        metrics.shards.iter().map(|shard| read(&shard.answers[route][answer])).sum()
    };
    names
        .map(|(route, name)| RouteCounts {
            counts: std::array::from_fn(|answer| count(route, answer)),
            route: Arc::clone(name),
        })
        .collect()
}

fn reruns(metrics: &Metrics) -> Vec<(Arc<str>, u16, u64)> {
    let reruns = metrics.reruns.lock().unwrap_or_else(PoisonError::into_inner);
    let names = metrics.routes.names();
    reruns
        .iter()
        .map(|((route, status), count)| (Arc::clone(&names[*route]), *status, *count))
        .collect()
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

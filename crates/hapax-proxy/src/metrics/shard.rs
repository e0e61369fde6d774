//! The counters that every request touches, once for each of a few threads: two cores that add to
//! the same word would hand its cache line to and fro.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hapax::event::Answer;

use super::histogram::{AGE_BOUNDS_MICROS, Histogram, LATENCY_BOUNDS_MICROS};

/// Threads beyond so many share.
const SHARDS: usize = 16;

/// The operations of a store that are told apart, and a place for any other.
pub(super) const OPERATIONS: [&str; 6] = ["claim", "renew", "settle", "peek", "sweep", "other"];

/// All of them.
#[derive(Debug)]
pub(super) struct Shards(Box<[Shard]>);

/// One thread's counters.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Shard {
    pub(super) added: Histogram,
    pub(super) answers: Box<[[AtomicU64; Answer::ALL.len()]]>,
    pub(super) replay_age: Histogram,
    pub(super) store: [Histogram; OPERATIONS.len()],
    pub(super) sweep: Histogram,
    pub(super) upstream: Histogram,
    pub(super) wait: Histogram,
}

impl Shards {
    pub(super) fn new(routes: usize) -> Self {
        Self((0..SHARDS).map(|_| Shard::new(routes)).collect())
    }

    /// The shard of the thread that asks.
    pub(super) fn mine(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            // Threads get their place when they first count something, so that those that do lie apart.
            static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        &self.0[PLACE.with(|place| *place)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.0.iter()
    }
}

impl Shard {
    fn new(routes: usize) -> Self {
        let latency = || Histogram::new(LATENCY_BOUNDS_MICROS);
        Self {
            added: latency(),
            answers: (0..routes).map(|_| Default::default()).collect(),
            replay_age: Histogram::new(AGE_BOUNDS_MICROS),
            store: std::array::from_fn(|_| latency()),
            sweep: latency(),
            upstream: latency(),
            wait: latency(),
        }
    }

    pub(super) fn answered(&self, route: usize, answer: Answer) {
        self.answers[route][answer as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn store_took(&self, operation: &str, time: Duration) {
        let index = OPERATIONS.iter().position(|one| *one == operation);
        self.store[index.unwrap_or(OPERATIONS.len() - 1)].observe(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_at_the_place_that_its_label_has() {
        for (place, answer) in Answer::ALL.into_iter().enumerate() {
            assert_eq!(answer as usize, place, "{answer:?}");
        }
    }
}

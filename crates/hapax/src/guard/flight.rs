//! Flights: the operations of this process, so that duplicates wait for their owner, not for the
//! store. A follower holds nothing but its place.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::{Intent, Ran, Verdict};
use crate::fingerprint::Fingerprint;
use crate::record::Cause;
use crate::scope::{RecordId, SCOPE_BYTES};

/// Enough that threads rarely meet, few enough to walk.
const SHARDS: usize = 32;

/// Every operation of this process that is being asked for or run.
pub(super) struct Flights(Arc<Shared>);

struct Shared {
    count: AtomicUsize,
    idle: Notify,
    in_flight_max: usize,
    per_scope_max: usize,
    random: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// Sharded by scope, so that a scope's share is counted where its flights are.
#[derive(Default)]
struct Shard {
    by_intent: HashMap<(RecordId, Fingerprint), Arc<Flight>>,
    by_scope: HashMap<[u8; SCOPE_BYTES], usize>,
}

/// One operation, as its followers see it.
#[derive(Debug)]
pub(super) struct Flight {
    followers: AtomicU32,
    stage: watch::Sender<Stage>,
}

/// How far a flight is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Its leader asks the store.
    Asking,
    /// It is over.
    Done(Verdict),
    /// Its leader's patience with another node is over; that of its followers may not be.
    GaveUp(Verdict),
    /// Its effect runs.
    Running,
    /// Its first caller has been told that the outcome is unknown; a late answer may still come.
    Told(Verdict),
}

/// How a caller got in.
pub(super) enum Boarding {
    /// Somebody leads already.
    Follower(Arc<Flight>),
    /// There are too many flights.
    Full,
    /// The caller leads.
    Leader(Seat),
}

/// The leader's seat. Leaving it, on whatever way, ends the flight and tells everybody.
pub(super) struct Seat {
    end: Option<Stage>,
    flight: Arc<Flight>,
    flights: Arc<Shared>,
    intent: (RecordId, Fingerprint),
}

impl Flights {
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self(Arc::new(Shared {
            count: AtomicUsize::new(0),
            idle: Notify::new(),
            in_flight_max,
            per_scope_max: in_flight_max - in_flight_max / 10,
            random: RandomState::new(),
            shards: Default::default(),
        }))
    }

    pub(super) fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    pub(super) fn board(&self, intent: &Intent) -> Boarding {
        let key = (intent.id, intent.fingerprint);
        let mut shard = self.0.shard(&intent.id);
        if let Some(flight) = shard.by_intent.get(&key) {
            return Boarding::Follower(Arc::clone(flight));
        }
        let scope = intent.id.scope_head();
        let of_scope = shard.by_scope.get(&scope).copied().unwrap_or(0);
        if self.count() >= self.0.in_flight_max || of_scope >= self.0.per_scope_max {
            return Boarding::Full;
        }
        let flight = Arc::new(Flight {
            followers: AtomicU32::new(0),
            stage: watch::Sender::new(Stage::Asking),
        });
        shard.by_intent.insert(key, Arc::clone(&flight));
        shard.by_scope.insert(scope, of_scope + 1);
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Boarding::Leader(Seat { end: None, flight, flights: Arc::clone(&self.0), intent: key })
    }

    /// Waits until no flight is left.
    pub(super) async fn idle(&self) {
        loop {
            let landed = self.0.idle.notified();
            if self.count() == 0 {
                return;
            }
            landed.await;
        }
    }
}

#[cfg(test)]
impl Flights {
    /// Whether the registry remembers nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.shards.iter().all(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.by_intent.is_empty() && shard.by_scope.is_empty()
        })
    }
}

impl Shared {
    fn shard(&self, id: &RecordId) -> MutexGuard<'_, Shard> {
        let hash = self.random.hash_one(id.scope_head());
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    pub(super) fn subscribe(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// How the flight ends when its leader leaves without a word: it panicked, or the runtime is
    /// being shut down.
    fn abandoned(&self) -> Stage {
        Stage::Done(match &*self.stage.borrow() {
            Stage::Asking => Verdict::StoreFailed { full: false },
            Stage::Done(verdict) | Stage::GaveUp(verdict) | Stage::Told(verdict) => verdict.clone(),
            Stage::Running => Verdict::Ran(Ran::unknown(Cause::Drained)),
        })
    }

    /// A place among at most `waiters_max` followers, given back when dropped.
    pub(super) fn wait_place(self: &Arc<Self>, waiters_max: u32) -> Option<Place> {
        let place = Place(Arc::clone(self));
        let before = self.followers.fetch_add(1, Ordering::Relaxed);
        (before < waiters_max).then_some(place)
    }
}

/// A follower's place.
pub(super) struct Place(Arc<Flight>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seat {
    pub(super) fn subscribe(&self) -> watch::Receiver<Stage> {
        self.flight.subscribe()
    }

    /// The effect is about to run.
    pub(super) fn running(&self) {
        self.flight.stage.send_replace(Stage::Running);
    }

    /// The first caller is told, and the flight goes on. Unless `listed`, later callers ask the
    /// store: its record says all they may know, and an operator may settle it meanwhile.
    pub(super) fn tell(&self, verdict: Verdict, listed: bool) {
        if !listed {
            self.unlist(&mut self.flights.shard(&self.intent.0));
        }
        self.flight.stage.send_replace(Stage::Told(verdict));
    }

    /// The flight is over.
    pub(super) fn done(mut self, verdict: Verdict) {
        self.end = Some(Stage::Done(verdict));
    }

    /// The leader's patience is over.
    pub(super) fn give_up(mut self, verdict: Verdict) {
        self.end = Some(Stage::GaveUp(verdict));
    }

    fn unlist(&self, shard: &mut Shard) {
        let leads = |flight: &Arc<Flight>| Arc::ptr_eq(flight, &self.flight);
        if shard.by_intent.get(&self.intent).is_some_and(leads) {
            shard.by_intent.remove(&self.intent);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // It leaves the registry first, so that nobody boards it any more.
        let mut shard = self.flights.shard(&self.intent.0);
        self.unlist(&mut shard);
        let scope = self.intent.0.scope_head();
        if let Some(count) = shard.by_scope.get_mut(&scope) {
            *count -= 1;
            if *count == 0 {
                shard.by_scope.remove(&scope);
            }
        }
        drop(shard);
        let end = self.end.take().unwrap_or_else(|| self.flight.abandoned());
        self.flight.stage.send_replace(end);
        if self.flights.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.flights.idle.notify_waiters();
        }
    }
}

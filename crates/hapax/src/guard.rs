//! The flow: claim, run, renew, settle, replay; once, for everything that uses Hapax.
//!
//! [`Guard::run`] takes an [`Intent`] and an effect and answers with a [`Verdict`]. The life of one
//! intent:
//!
//! 1. In this process the first caller *leads* and simultaneous duplicates *follow* it: they wait
//!    for its verdict without asking the store (`flight.rs`).
//! 2. The leader claims the record (`ask.rs`). Unless it is granted, what stands is the verdict; if
//!    somebody runs it on another node, the leader waits, woken by a hint.
//! 3. Granted, it owns the record (`own.rs`): it runs the effect beside the renewal of its lease,
//!    turns the outcome into a settlement, and settles before anybody hears of it.
//!
//! From the claim on, all of it runs in a task of its own: a caller that goes away cancels nothing.

mod ask;
mod attempt;
mod flight;
mod once;
mod own;
mod settle;
mod wakeups;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::event::{Event, Observer, Silent};
use crate::fingerprint::Fingerprint;
use crate::policy::{Concurrent, Disposition, Outcome, Policy};
use crate::record::Cause;
use crate::response::{Kept, RecordedResponse};
use crate::scope::RecordId;
use crate::store::{Store, StoreError};
use crate::time::{Clock, SystemClock, Timestamp};

pub use attempt::Attempt;
pub use once::{Once, OnceError};

use flight::{Boarding, Flight, Flights, Seat, Stage};
use wakeups::Wakeups;

/// Runs effects once per key. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    cut: watch::Sender<bool>,
    flights: Flights,
    observer: Arc<dyn Observer>,
    /// Claims of nobody that wait to be freed.
    releases: watch::Sender<usize>,
    /// Outcomes that wait to be recorded; their callers have been answered.
    settlements: watch::Sender<usize>,
    store: Arc<dyn Store>,
    store_timeout: Duration,
    wakeups: Wakeups,
}

/// What a caller wants done once.
#[derive(Clone, Debug)]
pub struct Intent {
    /// What the request is.
    pub fingerprint: Fingerprint,
    /// Whose key, and which.
    pub id: RecordId,
    /// What the route promises.
    pub policy: Arc<Policy>,
    /// How to find out what became of an unknown outcome, on routes that probe.
    pub probe: Option<Arc<dyn Probe>>,
    /// The route, for people.
    pub route: Arc<str>,
}

/// What becomes of a caller's wish.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is running, here or elsewhere, and the wait is over.
    Busy {
        /// When asking again is worth it.
        retry_after: Duration,
    },
    /// An earlier attempt's outcome is unknown; nothing ran.
    Held,
    /// The key belongs to another request; nothing ran.
    Mismatch,
    /// Too many operations are running; nothing ran.
    Overloaded,
    /// This caller's effect ran.
    Ran(Ran),
    /// The answer was there.
    Replayed(Replay),
    /// The store said no; nothing ran.
    StoreFailed {
        /// Whether it said that it is full.
        full: bool,
    },
    /// Somebody else's effect ran while this caller waited: its outcome, kept or not (ruling 1).
    Waited(Ran),
}

/// An effect that ran.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What it means for the key: whether retries get this answer, run, or are held.
    pub disposition: Disposition,
    /// When the kept answer expires at the earliest; `None` if it is not kept, or kept for ever.
    pub expires_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Arc<Outcome>,
    /// Whether a claim protected it; not on routes that stay open during a store outage.
    pub protected: bool,
}

/// A kept answer.
#[derive(Clone, Debug)]
pub struct Replay {
    /// How long ago it was given.
    pub age: Duration,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// The answer, or what is known of it.
    pub kept: Arc<Kept>,
    /// Whether the caller waited for it.
    pub waited: bool,
}

/// Finds out what became of an operation whose outcome is unknown (DBT-05).
#[async_trait]
pub trait Probe: fmt::Debug + Send + Sync {
    /// Asks once. A plain "not found" is `Unknown`: a negative read may be stale.
    async fn ask(&self) -> Probed;
}

/// What a probe found out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probed {
    /// It took effect, and this is its answer.
    Executed(RecordedResponse),
    /// It did not and will not take effect.
    NotExecuted,
    /// Nobody can say.
    Unknown,
}

/// What a [`Guard`] is made of.
#[derive(Debug)]
pub struct Builder {
    clock: Arc<dyn Clock>,
    in_flight_max: usize,
    observer: Arc<dyn Observer>,
    store: Arc<dyn Store>,
    store_timeout: Duration,
}

impl Builder {
    /// The clock that the owner judges its own lease by; the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Operations at once; 10,000 by default. No scope gets the last tenth of them (SEC-07).
    #[must_use]
    pub fn in_flight_max(mut self, operations: usize) -> Self {
        self.in_flight_max = operations;
        self
    }

    /// Who hears of everything; nobody by default.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// How long a store operation may take; 5 s by default.
    #[must_use]
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
        self
    }

    /// The guard.
    #[must_use]
    pub fn build(self) -> Guard {
        Guard(Arc::new(Inner {
            clock: self.clock,
            cut: watch::Sender::new(false),
            flights: Flights::new(self.in_flight_max),
            observer: self.observer,
            releases: watch::Sender::new(0),
            settlements: watch::Sender::new(0),
            wakeups: Wakeups::default(),
            store: self.store,
            store_timeout: self.store_timeout,
        }))
    }
}

impl Guard {
    /// A guard over `store` with default limits.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::builder(store).build()
    }

    /// A guard over `store` with limits of the caller's.
    #[must_use]
    pub fn builder(store: Arc<dyn Store>) -> Builder {
        Builder {
            clock: Arc::new(SystemClock),
            in_flight_max: 10_000,
            observer: Arc::new(Silent),
            store,
            store_timeout: Duration::from_secs(5),
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// The observer.
    #[must_use]
    pub fn observer(&self) -> &Arc<dyn Observer> {
        &self.0.observer
    }

    /// Operations running now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.flights.count()
    }

    /// Runs `effect` unless the intent has been carried out, is being carried out, or is another's.
    ///
    /// Must be called within a tokio runtime. Cancel-safe: dropping the future leaves a granted
    /// effect running to its settlement in a task of its own.
    pub async fn run<F, Fut>(&self, intent: Intent, effect: F) -> Verdict
    where
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let deadline = match intent.policy.concurrent {
            Concurrent::Reject => None,
            Concurrent::Wait(wait) => {
                let now = Instant::now();
                Some(now.checked_add(wait).unwrap_or_else(|| now + WAIT_MAX))
            }
        };
        let mut has_waited = false;
        loop {
            match self.0.flights.board(&intent) {
                Boarding::Full => return Verdict::Overloaded,
                Boarding::Follower(flight) => {
                    let verdict = self.0.follow(&flight, &intent, deadline, has_waited).await;
                    if let Some(verdict) = verdict {
                        return verdict;
                    }
                    has_waited = true;
                }
                Boarding::Leader(seat) => {
                    let stage = seat.subscribe();
                    let inner = Arc::clone(&self.0);
                    tokio::spawn(inner.lead(intent, effect, seat, deadline, has_waited));
                    return told(stage).await;
                }
            }
        }
    }

    /// Waits until nothing runs, at most until `deadline`; then settles what still runs as unknown
    /// and waits for that, at most a store time-out (ruling 18). New intents are not refused here.
    ///
    /// Cancel-safe.
    pub async fn drain(&self, deadline: Instant) {
        let idle = self.0.idle();
        let mut idle = pin!(idle);
        if tokio::time::timeout_at(deadline, &mut idle).await.is_err() {
            self.0.cut.send_replace(true);
            let _timed_out = tokio::time::timeout(self.0.store_timeout, idle).await;
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("store", &self.0.store).finish_non_exhaustive()
    }
}

/// Waits for what the leader's own caller is told.
async fn told(mut stage: watch::Receiver<Stage>) -> Verdict {
    let is_told = |stage: &Stage| !matches!(stage, Stage::Asking | Stage::Running);
    match stage.wait_for(is_told).await.as_deref() {
        Ok(Stage::Done(verdict) | Stage::GaveUp(verdict) | Stage::Told(verdict)) => verdict.clone(),
        // Its seat would have told.
        Ok(Stage::Asking | Stage::Running) | Err(_) => Verdict::Ran(Ran::unknown(Cause::Drained)),
    }
}

impl Ran {
    fn unknown(cause: Cause) -> Self {
        Self {
            disposition: Disposition::Unknown,
            expires_at: None,
            outcome: Arc::new(Outcome::Unknown(cause)),
            protected: true,
        }
    }
}

impl Inner {
    async fn lead<F, Fut>(
        self: Arc<Self>,
        intent: Intent,
        effect: F,
        seat: Seat,
        deadline: Option<Instant>,
        has_waited: bool,
    ) where
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        match self.ask(&intent, deadline, has_waited).await {
            ask::Asked::GaveUp(verdict) => seat.give_up(verdict),
            ask::Asked::Granted { asked_at, lease } => {
                let attempt = Attempt::new(&self, &intent, lease, asked_at);
                self.own(&intent, attempt, effect, seat).await;
            }
            ask::Asked::Open { unheard } => {
                let outcome = self.run_unprotected(&intent, effect, &seat).await;
                // A claim that did happen gets what happened, so that no retry repeats it.
                if let (Some(lease), Some(with)) = (unheard, intent.policy.settlement(&outcome)) {
                    self.settle_later(lease, with);
                }
                let outcome = Arc::new(outcome);
                let ran = Ran {
                    disposition: Disposition::Free,
                    expires_at: None,
                    outcome,
                    protected: false,
                };
                seat.done(Verdict::Ran(ran));
            }
            ask::Asked::Verdict(verdict) => seat.done(verdict),
        }
    }

    /// Waits for the leader's verdict; `None`: ask yourself. Its patience was over first, or it asked
    /// the store before this caller came, unless this caller `has_waited`: then its flight is a later
    /// one.
    async fn follow(
        &self,
        flight: &Arc<Flight>,
        intent: &Intent,
        deadline: Option<Instant>,
        has_waited: bool,
    ) -> Option<Verdict> {
        let Some(_place) = flight.wait_place(intent.policy.waiters_max) else {
            return Some(Verdict::Busy { retry_after: SOON });
        };
        let started = self.clock.elapsed();
        let mut stage = flight.subscribe();
        let holds = !intent.policy.doubts_late();
        let over = |stage: &Stage| match stage {
            Stage::Asking => false,
            Stage::Running => deadline.is_none(),
            // Until the late-answer cap is over, an operation that may run again is busy.
            Stage::Told(_) => holds || deadline.is_none(),
            Stage::Done(_) | Stage::GaveUp(_) => true,
        };
        let waited = async { stage.wait_for(over).await.map(|stage| stage.clone()) };
        let reached = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, waited).await,
            None => Ok(waited.await),
        };
        self.observer.observe(&Event::WaitTime(self.clock.elapsed().saturating_sub(started)));
        match reached {
            Ok(Ok(Stage::Done(verdict))) if verdict.can_be_over() && !has_waited => None,
            Ok(Ok(Stage::Done(verdict))) => Some(verdict.for_follower()),
            Ok(Ok(Stage::GaveUp(verdict))) => {
                let is_over = deadline.is_none_or(|deadline| deadline <= Instant::now());
                is_over.then_some(verdict)
            }
            Ok(Ok(Stage::Told(_))) if holds => Some(Verdict::Held),
            Ok(Ok(Stage::Asking | Stage::Running | Stage::Told(_))) | Err(_) => {
                Some(Verdict::Busy { retry_after: SOON })
            }
            Ok(Err(_closed)) => None,
        }
    }

    async fn run_unprotected<F, Fut>(&self, intent: &Intent, effect: F, seat: &Seat) -> Outcome
    where
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        seat.running();
        let attempt = Attempt::unprotected(intent);
        let running = own::caught(async move { effect(attempt).await });
        let outcome = tokio::time::timeout(intent.policy.upstream_timeout, running).await;
        outcome.unwrap_or(Outcome::Unknown(Cause::TimedOut))
    }

    async fn idle(&self) {
        self.flights.idle().await;
        let none = |waiting: &usize| *waiting == 0;
        let mut settlements = self.settlements.subscribe();
        // What the wait hands back holds up whoever counts, so it must not be kept.
        drop(settlements.wait_for(none).await);
        // Nothing ran behind a release, and without one its record lapses: worth a moment, no more.
        let mut releases = self.releases.subscribe();
        drop(tokio::time::timeout(RELEASES_TIMEOUT, releases.wait_for(none)).await);
    }

    /// A store operation within its time-out, observed.
    async fn timed<T, E>(
        &self,
        operation: &'static str,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        let started = self.clock.elapsed();
        let result = match tokio::time::timeout(self.store_timeout, step).await {
            Ok(result) => result,
            Err(_elapsed) => {
                Err(StoreError::unknown(format!("no answer within {:?}", self.store_timeout))
                    .into())
            }
        };
        let time = self.clock.elapsed().saturating_sub(started);
        self.observer.observe(&Event::StoreTime { operation, time });
        result
    }
}

impl Verdict {
    /// Whether it says what stood in the store, which an answer that was kept since has ended: a
    /// caller who has seen that answer must not be told so any more.
    fn can_be_over(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Held | Self::Mismatch => true,
            Self::Overloaded
            | Self::Ran(_)
            | Self::Replayed(_)
            | Self::StoreFailed { .. }
            | Self::Waited(_) => false,
        }
    }

    /// The leader's verdict as its followers get it.
    fn for_follower(self) -> Self {
        match self {
            Self::Ran(ran) | Self::Waited(ran) => Self::Waited(ran),
            Self::Replayed(replay) => Self::Replayed(Replay { waited: true, ..replay }),
            Self::Busy { .. }
            | Self::Held
            | Self::Mismatch
            | Self::Overloaded
            | Self::StoreFailed { .. } => self,
        }
    }
}

/// What a wait comes to that is too long to add up.
const WAIT_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// How long a drain waits for releases that the store does not answer.
const RELEASES_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client is told to wait when the owner may be done at any moment.
const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;

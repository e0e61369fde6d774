//! The flow on the memory store, in paused time.

mod lease;
mod limits;
mod nodes;
mod once;
mod outage;
mod owner;
mod rerun;
mod share;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::*;
use crate::key::Key;
use crate::scope::{Principal, Secret};
use crate::store::{Fault, Faulty, MemoryStore, Operation};

/// Goes with the runtime's paused time, so that leases and time-outs share one time.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_767_225_600_000_000).plus(self.0.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Writes down what happened, but for times taken.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn observe(&self, event: &Event<'_>) {
        let line = match event {
            Event::LeaseLost { .. } => "lease-lost".to_owned(),
            Event::Rerun { status, .. } => format!("rerun {status}"),
            Event::Resolved { by, .. } => format!("resolved by {by}"),
            Event::SettleFailed { .. } => "settle-failed".to_owned(),
            Event::Unknown { cause, .. } => format!("unknown {}", cause.as_str()),
            Event::AddedTime(_)
            | Event::Answered { .. }
            | Event::ReplayAge(_)
            | Event::StoreTime { .. }
            | Event::UpstreamTime(_)
            | Event::WaitTime(_) => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Heard {
    fn count(&self, line: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|heard| *heard == line).count()
    }
}

/// One node on a memory store that can be made to fail.
struct Scene {
    faulty: Arc<Faulty>,
    guard: Guard,
    heard: Arc<Heard>,
    policy: Policy,
    runs: Arc<AtomicU32>,
    started: Instant,
    store: Arc<MemoryStore>,
}

impl Scene {
    fn new() -> Self {
        Self::with(Policy::default())
    }

    fn with(policy: Policy) -> Self {
        let clock = Arc::new(RuntimeClock(Instant::now()));
        Self::by_clocks(policy, Arc::clone(&clock) as Arc<dyn Clock>, clock)
    }

    /// A scene whose store and guard have clocks of the test's.
    fn by_clocks(policy: Policy, of_store: Arc<dyn Clock>, of_guard: Arc<dyn Clock>) -> Self {
        let store = Arc::new(MemoryStore::with_clock(1_000_000, of_store));
        let runs = Arc::new(AtomicU32::new(0));
        Self::on(store, policy, runs, of_guard)
    }

    fn on(
        store: Arc<MemoryStore>,
        policy: Policy,
        runs: Arc<AtomicU32>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let faulty = Arc::new(Faulty::new(Arc::clone(&store) as Arc<dyn Store>));
        let heard = Arc::new(Heard::default());
        let guard = Guard::builder(Arc::clone(&faulty) as Arc<dyn Store>)
            .clock(clock)
            .observer(Arc::clone(&heard) as Arc<dyn Observer>)
            .build();
        Self { faulty, guard, heard, policy, runs, started: Instant::now(), store }
    }

    /// Another node on the same store, counting the same runs.
    fn other_node(&self) -> Self {
        let clock = Arc::new(RuntimeClock(Instant::now()));
        Self::on(Arc::clone(&self.store), self.policy.clone(), Arc::clone(&self.runs), clock)
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    fn plan(&self, operation: Operation, fault: Fault) {
        self.faulty.plan(operation, fault);
    }

    fn after(&self) -> Duration {
        self.started.elapsed()
    }

    /// An effect that counts its run, takes a while, and ends with `outcome`.
    fn effect(
        &self,
        takes: Duration,
        outcome: Outcome,
    ) -> impl FnOnce(Attempt) -> BoxFuture<'static, Outcome> + Send + use<> {
        let runs = Arc::clone(&self.runs);
        move |_attempt| {
            Box::pin(async move {
                runs.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(takes).await;
                outcome
            })
        }
    }

    /// Runs an effect under a key and says what became of it, in words.
    async fn run(&self, key: &str, takes: Duration, outcome: Outcome) -> String {
        let effect = self.effect(takes, outcome);
        words(&self.guard.run(intent(key, &self.policy), effect).await)
    }

    /// The same, meanwhile. The call has begun when this returns.
    async fn start(&self, key: &str, takes: Duration, outcome: Outcome) -> JoinHandle<String> {
        let (guard, effect) = (self.guard.clone(), self.effect(takes, outcome));
        let intent = intent(key, &self.policy);
        let running = tokio::spawn(async move { words(&guard.run(intent, effect).await) });
        settle_down().await;
        running
    }

    async fn status(&self, key: &str) -> crate::record::Status {
        let id = intent(key, &self.policy).id;
        let observed = self.store.peek(&id).await.unwrap().unwrap();
        observed.record.status(observed.now)
    }

    fn lease_of(&self, observed: Option<crate::machine::Observed>) -> crate::lease::Lease {
        observed.unwrap().record.lease()
    }
}

/// Lets everything run that can, without moving time.
async fn settle_down() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Moves the paused time; nothing sleeps in earnest.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    settle_down().await;
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn answer(status: u16) -> Outcome {
    let response = RecordedResponse { status, ..RecordedResponse::value("answer") };
    Outcome::Answered { directive: None, response }
}

fn lost() -> Outcome {
    Outcome::Unknown(Cause::Lost)
}

fn intent(key: &str, policy: &Policy) -> Intent {
    intent_of("caller", key, policy)
}

fn intent_of(caller: &str, key: &str, policy: &Policy) -> Intent {
    let secret = Secret::new(b"secret of the tests");
    let caller = Principal::Named { source: "test", value: caller.as_bytes() };
    Intent {
        fingerprint: Fingerprint::of(b"payload"),
        id: secret.record_id(&secret.scope(caller, ""), &Key::from_text(key).unwrap()),
        policy: Arc::new(policy.clone()),
        probe: None,
        route: "route".into(),
    }
}

fn another_payload(intent: Intent) -> Intent {
    Intent { fingerprint: Fingerprint::of(b"another"), ..intent }
}

/// A verdict in words: `ran 200 kept`, `waited 500`, `replayed 201`, `busy`.
fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Busy { .. } => "busy".to_owned(),
        Verdict::Held => "held".to_owned(),
        Verdict::Mismatch => "mismatch".to_owned(),
        Verdict::Overloaded => "overloaded".to_owned(),
        Verdict::Ran(ran) => format!("ran {}", ran_words(ran)),
        Verdict::Replayed(replay) => {
            let waited = if replay.waited { " after waiting" } else { "" };
            format!("replayed {}{waited}", replay.kept.status())
        }
        Verdict::StoreFailed { full: false } => "store-failed".to_owned(),
        Verdict::StoreFailed { full: true } => "store-full".to_owned(),
        Verdict::Waited(ran) => format!("waited {}", ran_words(ran)),
    }
}

fn ran_words(ran: &Ran) -> String {
    let mut words = match &*ran.outcome {
        Outcome::Answered { response, .. } => response.status.to_string(),
        Outcome::AnsweredLarge { status, .. } => format!("large {status}"),
        Outcome::NotSent => "not-sent".to_owned(),
        Outcome::Settled { response } => format!("settled {}", response.status),
        Outcome::Unknown(cause) => format!("unknown {}", cause.as_str()),
    };
    for (holds, word) in
        [(ran.disposition == Disposition::Keep, "kept"), (!ran.protected, "unprotected")]
    {
        if holds {
            let _infallible = write!(words, " {word}");
        }
    }
    words
}

async fn all(calls: Vec<JoinHandle<String>>) -> Vec<String> {
    let ended = futures_util::future::join_all(calls).await;
    let mut ended: Vec<String> = ended.into_iter().map(Result::unwrap).collect();
    ended.sort();
    ended
}

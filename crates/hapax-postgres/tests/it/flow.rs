//! The flow over a store that its upstream commits through.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hapax::{
    Concurrent, Event, Guard, Intent, Lease, Observer, OnUnknown, Outcome, Policy,
    RecordedResponse, Status, Store as _, Verdict,
};
use hapax_postgres::PgStore;

use crate::application::{Application, stage};
use crate::scene::{TERM, grant, transactional};
use crate::support::{Place, server_url};

/// Counts what the flow asks the store, and what went wrong.
#[derive(Debug, Default)]
struct Counts {
    asked: AtomicUsize,
    failed: AtomicUsize,
}

impl Observer for Counts {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::StoreTime { .. } => self.asked.fetch_add(1, Ordering::SeqCst),
            Event::SettleFailed { .. } => self.failed.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

fn guard(node: &Arc<PgStore>) -> (Guard, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    // As the store has, for the sake of slow machines.
    let builder = Guard::builder(node.clone()).store_timeout(Duration::from_secs(30));
    (builder.observer(counts.clone()).build(), counts)
}

/// A request for the record that [`transactional`] claims.
fn intent(n: u16) -> Intent {
    let claim = transactional(n, 0);
    let policy = Policy {
        concurrent: Concurrent::Wait(Duration::from_secs(600)),
        lease: TERM,
        unknown: OnUnknown::Transactional,
        ..Policy::default()
    };
    Intent {
        fingerprint: claim.fingerprint,
        id: claim.id,
        policy: Arc::new(policy),
        probe: None,
        route: claim.route,
    }
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never happens");
}

/// The gateway died, the application lives on, and a retry waits for it at another gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_a_retry_waits_for_an_open_transaction_and_gets_what_it_committed() {
    let Some((place, node, mut application)) = stage().await else { return };
    let lease = grant(&node, &transactional(1, 1)).await;
    application.begin("READ COMMITTED").await;
    application.work(&lease).await;
    assert_eq!(application.commit(&lease, "201, '{}', 'done'").await, Ok(()));
    place.clock.advance(TERM);
    let (guard, counts) = guard(&node);
    let began = Instant::now();
    let retry = tokio::spawn(async move {
        guard.run(intent(1), async |_attempt| panic!("the retry must not run")).await
    });
    until(async || counts.asked.load(Ordering::SeqCst) >= 3).await;
    assert_eq!(application.end().await, Ok(()));
    let verdict = retry.await.unwrap();
    let Verdict::Replayed(replay) = &verdict else { panic!("{verdict:?}") };
    assert_eq!(replay.kept.status(), 201);
    // It looked now and then, as for any owner elsewhere.
    let (asked, took) = (counts.asked.load(Ordering::SeqCst), began.elapsed());
    assert!(asked as u64 <= 10 + 2 * took.as_secs(), "asked {asked} times in {took:?}");
    assert_eq!(application.effects(lease.id).await.len(), 1);
}

/// A service that answers first and commits later: the client has the answer long before the store may
/// keep it (ruling 12).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_an_answer_that_comes_before_its_commit_is_settled_after_it() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let application = Application::start(&server, &place.schema).await;
    let application = Arc::new(tokio::sync::Mutex::new(application));
    let held = Arc::<Mutex<Option<Lease>>>::default();
    let (guard, counts) = guard(&node);
    let (its, lease) = (application.clone(), held.clone());
    let verdict = guard
        .run(intent(1), async move |attempt| {
            let granted = attempt.lease().cloned().expect("a lease");
            let mut its = its.lock().await;
            its.begin("READ COMMITTED").await;
            its.work(&granted).await;
            assert_eq!(its.commit(&granted, "").await, Ok(()));
            *lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(granted);
            Outcome::Answered { directive: None, response: RecordedResponse::value("early") }
        })
        .await;
    assert!(matches!(verdict, Verdict::Ran(_)), "{verdict:?}");
    assert_eq!(counts.failed.load(Ordering::SeqCst), 1);
    let lease = held.lock().unwrap_or_else(PoisonError::into_inner).take().expect("it ran");
    let seen = node.peek(&lease.id).await.unwrap().expect("a record");
    assert!(matches!(seen.record.status(seen.now), Status::Running { .. }));
    assert_eq!(application.lock().await.end().await, Ok(()));
    until(async || {
        let seen = node.peek(&lease.id).await.unwrap().expect("a record");
        seen.record.status(seen.now) == Status::Completed
    })
    .await;
    assert_eq!(application.lock().await.seats().await, 0);
}

//! Two nodes on one store.

use std::num::NonZeroU32;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use super::*;
use crate::lease::Lease;
use crate::machine::{Claim, Claimed, Observed, Retention, Settlement};
use crate::record::Settler;
use crate::store::{Guarantees, LeaseError, ListQuery, Page, Purged, Stats};

#[tokio::test(start_paused = true)]
async fn con_03_a_waiter_gets_the_replay_from_the_other_node() {
    let one = Scene::new();
    let two = one.other_node();
    let owner = one.start("k", secs(3), answer(201)).await;
    let mut waiters = Vec::new();
    for _ in 0..20 {
        waiters.push(two.start("k", secs(0), answer(500)).await);
    }
    let ended = all(waiters).await;
    assert!(ended.iter().all(|words| words == "replayed 201 after waiting"), "{ended:?}");
    assert!(two.after() <= millis(3_200), "{:?}", two.after());
    assert_eq!(owner.await.unwrap(), "ran 201 kept");
    assert_eq!(one.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn ruling_1_waiters_of_a_key_that_the_other_node_freed_are_busy_and_do_not_run() {
    let one = Scene::new();
    let two = one.other_node();
    let owner = one.start("k", secs(3), answer(500)).await;
    let mut waiters = Vec::new();
    for _ in 0..20 {
        waiters.push(two.start("k", secs(0), answer(200)).await);
    }
    let ended = all(waiters).await;
    assert!(ended.iter().all(|words| words == "busy"), "{ended:?}");
    assert_eq!(owner.await.unwrap(), "ran 500");
    assert_eq!(one.runs(), 1);
    assert_eq!(two.run("k", secs(0), answer(200)).await, "ran 200 kept");
}

#[tokio::test(start_paused = true)]
async fn con_03_a_waiter_with_more_patience_goes_on_waiting() {
    let one = Scene::new();
    let two = one.other_node();
    let owner = one.start("k", secs(12), answer(201)).await;
    let first = two.start("k", secs(0), answer(500)).await;
    pass(secs(5)).await;
    let second = two.start("k", secs(0), answer(500)).await;
    assert_eq!(first.await.unwrap(), "busy");
    assert_eq!(two.after(), secs(10));
    assert_eq!(second.await.unwrap(), "replayed 201 after waiting");
    assert_eq!(owner.await.unwrap(), "ran 201 kept");
    assert_eq!(one.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn ruling_1_a_waiter_that_takes_over_the_waiting_does_not_run_a_key_freed_meanwhile() {
    let mut one = Scene::new();
    one.policy.concurrent = Concurrent::Wait(millis(10_050));
    let two = one.other_node();
    let owner = one.start("k", millis(10_020), answer(500)).await;
    let first = two.start("k", secs(0), answer(200)).await;
    pass(secs(5)).await;
    let second = two.start("k", secs(0), answer(200)).await;
    assert_eq!(all(vec![first, second]).await, ["busy", "busy"]);
    assert_eq!(owner.await.unwrap(), "ran 500");
    assert_eq!(one.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_02_a_waiter_hears_of_the_other_nodes_doubt() {
    let one = Scene::new();
    let two = one.other_node();
    let owner = one.start("k", secs(3), lost()).await;
    assert_eq!(two.run("k", secs(0), answer(200)).await, "held");
    assert_eq!(owner.await.unwrap(), "ran unknown lost");
}

#[tokio::test(start_paused = true)]
async fn dbt_02_a_doubt_that_was_over_before_the_request_began_is_not_told() {
    let told = after_the_answer(Policy::default(), secs(11)).await;
    assert_eq!(told, ["held", "replayed 201 after waiting"]);
}

#[tokio::test(start_paused = true)]
async fn con_02_an_operation_that_was_over_before_the_request_began_is_not_told_to_run() {
    let policy = Policy { concurrent: Concurrent::Reject, ..Policy::default() };
    let told = after_the_answer(policy, secs(1)).await;
    assert_eq!(told, ["busy", "replayed 201"]);
}

/// What two callers on another node are told: one asked the store before the owner's answer was kept,
/// `into_the_lease`, and hears late; the other came when that had been kept.
async fn after_the_answer(policy: Policy, into_the_lease: Duration) -> [String; 2] {
    let one = Scene::with(policy);
    let two = one.other_node();
    let claim = intent("k", &one.policy).claim();
    let Claimed::Granted(lease) = one.store.claim(&claim).await.unwrap() else {
        panic!("not granted");
    };
    pass(into_the_lease).await;
    two.plan(Operation::Claim, Fault::Late(Box::pin(tokio::time::sleep(millis(100)))));
    let before = two.start("k", secs(0), answer(500)).await;
    let response = RecordedResponse { status: 201, ..RecordedResponse::value("answer") };
    let kept = Kept::Response(response);
    let with = Settlement::Complete { kept, retention: Retention::Never };
    one.store.settle(&lease, &with, Settler::Owner).await.unwrap();
    let after = two.start("k", secs(0), answer(500)).await;
    assert_eq!(two.guard.in_flight(), 1, "the second follows the first");
    [before.await.unwrap(), after.await.unwrap()]
}

#[tokio::test(start_paused = true)]
async fn fpr_03_another_payload_is_a_mismatch_on_the_other_node_too() {
    let one = Scene::new();
    let two = one.other_node();
    let _owner = one.start("k", secs(3), answer(200)).await;
    let other = another_payload(intent("k", &two.policy));
    let effect = two.effect(secs(0), answer(200));
    assert_eq!(words(&two.guard.run(other, effect).await), "mismatch");
    assert_eq!(two.after(), secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_purged_under_a_waiter_is_not_run_by_it() {
    let one = Scene::new();
    let two = one.other_node();
    let _owner = one.start("k", secs(3), answer(200)).await;
    let waiter = two.start("k", secs(0), answer(200)).await;
    one.store.purge(&intent("k", &one.policy).id, true).await.unwrap();
    assert_eq!(waiter.await.unwrap(), "busy");
    assert_eq!(one.runs(), 1);
}

struct Meanwhile(BoxFuture<'static, ()>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

/// A store that hears of other nodes: the hints are the test's.
#[derive(Debug)]
struct Hinting {
    /// What happens between the next look and its answer.
    after_peek: Mutex<Option<Meanwhile>>,
    hints: Mutex<Option<mpsc::UnboundedReceiver<RecordId>>>,
    inner: Arc<Faulty>,
}

#[async_trait]
impl Store for Hinting {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.inner.claim(claim).await
    }

    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError> {
        self.inner.renew(lease, term, progress).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<(), LeaseError> {
        self.inner.settle(lease, with, by).await
    }

    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        let seen = self.inner.peek(id).await;
        let meanwhile = self.after_peek.lock().unwrap().take();
        if let Some(Meanwhile(meanwhile)) = meanwhile {
            meanwhile.await;
        }
        seen
    }

    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        self.inner.purge(id, force).await
    }

    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        self.inner.sweep(limit).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.inner.stats().await
    }

    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>> {
        let mut hints = self.hints.lock().unwrap().take()?;
        Some(futures_util::stream::poll_fn(move |cx| hints.poll_recv(cx)).boxed())
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}

fn hinting(one: &Scene) -> (Scene, Arc<Hinting>, mpsc::UnboundedSender<RecordId>) {
    let (hint, hints) = mpsc::unbounded_channel();
    let mut two = one.other_node();
    let inner = Arc::clone(&two.faulty);
    let store =
        Arc::new(Hinting { after_peek: Mutex::default(), hints: Mutex::new(Some(hints)), inner });
    let clock = Arc::new(RuntimeClock(Instant::now()));
    two.guard = Guard::builder(Arc::clone(&store) as Arc<dyn Store>).clock(clock).build();
    (two, store, hint)
}

#[tokio::test(start_paused = true)]
async fn con_03_a_hint_wakes_the_waiter_at_once() {
    let one = Scene::new();
    let (two, _store, hint) = hinting(&one);
    let owner = one.start("k", millis(3_350), answer(201)).await;
    let waiter = two.start("k", secs(0), answer(500)).await;
    assert_eq!(owner.await.unwrap(), "ran 201 kept");
    hint.send(intent("k", &one.policy).id).unwrap();
    assert_eq!(waiter.await.unwrap(), "replayed 201 after waiting");
    assert_eq!(two.after(), millis(3_350));
    assert!(two.guard.0.wakeups.is_empty());
}

#[tokio::test(start_paused = true)]
async fn con_03_a_hint_during_the_look_is_not_lost() {
    let one = Scene::new();
    let (two, hinting, hint) = hinting(&one);
    let id = intent("k", &one.policy).id;
    let claim = intent("k", &one.policy).claim();
    let Claimed::Granted(lease) = one.store.claim(&claim).await.unwrap() else {
        panic!("not granted");
    };
    // The record is settled, and the hint comes, after the waiter has read the record and before
    // its reader is back.
    let (store, hint_now) = (Arc::clone(&one.store), hint.clone());
    let meanwhile = Box::pin(async move {
        let with = Settlement::Release { retention: Retention::Never, status: None };
        tokio::time::sleep(millis(100)).await;
        store.settle(&lease, &with, Settler::Owner).await.unwrap();
        hint_now.send(id).unwrap();
        settle_down().await;
    });
    *hinting.after_peek.lock().unwrap() = Some(Meanwhile(meanwhile));
    assert_eq!(two.run("k", secs(0), answer(500)).await, "busy");
    assert_eq!(two.after(), millis(100));
}

//! Many callers at once: shared syncs, cancelled calls, several threads.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use hapax::{
    Claim, Claimed, ListQuery, ManualClock, Settler, State, Status, Store as _, StoreError,
};
use hapax_fjall::{FileOptions, FileStore};

use crate::support::{DAY, claim, complete, completed_body, granted, id, options};

/// Longer than anything here takes on the slowest machine; only a lost wake-up takes as long.
const LOST: Duration = Duration::from_secs(60);

#[tokio::test]
async fn simultaneous_claims_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), FileOptions::default()).unwrap();
    let claims: Vec<_> = (0..64).map(claim).collect();
    let granted = join_all(claims.iter().map(|claim| store.claim(claim))).await;
    assert!(granted.iter().all(|reply| matches!(reply, Ok(Claimed::Granted(_)))));
    let work = store.work();
    assert_eq!(work.operations, 64);
    // The first may be alone in its turn; those that come meanwhile share the next.
    assert!((1..=16).contains(&work.syncs), "{work:?}");
}

#[tokio::test]
async fn con_01_of_simultaneous_claims_on_one_key_one_is_granted() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), FileOptions::default()).unwrap();
    let claims: Vec<_> = (0..50).map(|_| claim(7)).collect();
    let replies = join_all(claims.iter().map(|claim| store.claim(claim))).await;
    let granted = replies.iter().filter(|reply| matches!(reply, Ok(Claimed::Granted(_)))).count();
    let busy = replies.iter().filter(|reply| match reply {
        Ok(Claimed::Held(observed)) => {
            matches!(observed.record.status(observed.now), Status::Running { .. })
        }
        Ok(Claimed::Granted(_)) | Err(_) => false,
    });
    assert_eq!((granted, busy.count()), (1, 49));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancelled_calls_hold_up_nobody_and_leave_their_step_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(dir.path(), FileOptions::default()).unwrap());
    let task = |n: u64| {
        let store = store.clone();
        tokio::spawn(async move {
            // Its lease must not be over when the records are judged.
            let claim = Claim { term: DAY, ..claim(n) };
            // A third of the calls is dropped after some polls, at all stages of its turn.
            let patience =
                Duration::from_micros(if n.is_multiple_of(3) { n % 700 } else { 1 << 30 });
            match tokio::time::timeout(patience, store.claim(&claim)).await {
                Err(_elapsed) => None,
                Ok(Ok(Claimed::Granted(lease))) => {
                    let with = complete(&n.to_string(), DAY);
                    store.settle(&lease, &with, Settler::Owner).await.unwrap();
                    Some(n)
                }
                Ok(other) => panic!("{other:?}"),
            }
        })
    };
    let tasks = join_all((0..900).map(task));
    let ended = tokio::time::timeout(LOST, tasks).await.expect("a wake-up was lost");
    let done: Vec<u64> = ended.into_iter().filter_map(Result::unwrap).collect();
    assert!(done.len() >= 600);
    for n in 0..900 {
        let body = completed_body(&*store, n).await;
        match store.peek(&id(n)).await.unwrap() {
            Some(observed) if !done.contains(&n) => {
                assert_eq!(State::of(&observed.record, observed.now), Some(State::InProgress));
            }
            Some(_) => assert_eq!(body, Some(n.to_string().into_bytes())),
            None => assert!(!done.contains(&n)),
        }
    }
}

#[test]
fn calls_from_many_runtimes_all_get_their_own_answers() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::open(dir.path(), FileOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                let run = async |n: u64| {
                    let lease = granted(store, &claim(n)).await;
                    assert_eq!(lease.id, id(n));
                    let with = complete(&n.to_string(), DAY);
                    store.settle(&lease, &with, Settler::Owner).await.unwrap();
                    assert_eq!(completed_body(store, n).await, Some(n.to_string().into_bytes()));
                };
                let all = join_all((thread * 100..thread * 100 + 100).map(run));
                runtime.block_on(async {
                    tokio::time::timeout(LOST, all).await.expect("a wake-up was lost");
                });
            });
        }
    });
    assert!(store.work().syncs < 400, "{:?}", store.work());
}

#[tokio::test]
async fn what_has_been_handed_over_is_done_before_the_store_closes() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let claims: Vec<_> = (0..32).map(claim).collect();
    let mut calls: Vec<_> = claims.iter().map(|claim| store.claim(claim)).collect();
    for call in &mut calls {
        // Polled once: handed over, its answer not waited for.
        let polled = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending()));
        assert!(polled.await);
    }
    drop(calls);
    store.close().unwrap();
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let page = store.list(&ListQuery { limit: 100, ..ListQuery::default() }).await.unwrap();
    assert_eq!(page.records.len(), 32);
    let refused = store.claim(&claims[0]).await;
    assert!(!matches!(refused, Err(StoreError::Full)));
}

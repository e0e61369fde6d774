//! Steps, reopening, expiry and listing on a store of one's own.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{DAY, claim, complete, completed_body, granted, id, options, release};
use hapax::{
    Cause, Claimed, LeaseError, LeaseLost, ListQuery, ManualClock, OnLapse, Purged, Settlement,
    Settler, State, Status, Store as _, StoreError, Timestamp,
};
use hapax_fjall::{Durability, FileOptions, FileStore};

const LIMIT: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

#[tokio::test]
async fn everything_answered_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    for n in 0..20 {
        let lease = granted(&store, &claim(n)).await;
        match n % 4 {
            0 => store.settle(&lease, &complete("done", DAY), Settler::Owner).await.unwrap(),
            1 => store.settle(&lease, &release(DAY), Settler::Owner).await.unwrap(),
            2 => {
                let doubt = Settlement::Doubt { cause: Cause::Lost };
                store.settle(&lease, &doubt, Settler::Owner).await.unwrap();
            }
            _ => {}
        }
    }
    let before = store.list(&ListQuery { limit: 100, ..ListQuery::default() }).await.unwrap();
    store.close().unwrap();

    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let after = store.list(&ListQuery { limit: 100, ..ListQuery::default() }).await.unwrap();
    assert_eq!(before.records.len(), 20);
    for (before, after) in before.records.iter().zip(&after.records) {
        match before.status(before.claimed_at) {
            // Ruling 9: the claims of an earlier process have lapsed, nothing else has changed.
            Status::Running { .. } => {
                assert_eq!(after.status(store.stats().await.unwrap().now), Status::Lapsed);
                assert_eq!((before.attempt, before.fence), (after.attempt, after.fence));
            }
            _ => assert_eq!(before, after),
        }
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.records, stats.in_doubt), (20, 10));
    assert!(stats.in_doubt_since.is_some());
    assert!(stats.bytes > 0);
    assert_eq!(completed_body(&store, 0).await.as_deref(), Some(b"done".as_slice()));
}

#[tokio::test]
async fn ruling_9_a_claim_of_an_earlier_process_is_in_doubt_at_once_and_its_owner_may_settle_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let lease = granted(&store, &claim(1)).await;
    drop(store);
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let Claimed::Held(held) = store.claim(&claim(1)).await.unwrap() else {
        panic!("the claim must be held");
    };
    assert_eq!(State::of(&held.record, held.now), Some(State::InDoubt));
    store.settle(&lease, &complete("late", DAY), Settler::Operator).await.unwrap();
    assert_eq!(completed_body(&store, 1).await.as_deref(), Some(b"late".as_slice()));
}

#[tokio::test]
async fn a_record_is_in_one_place_whatever_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    for round in 0..6 {
        // Released, claimed again, completed, expired, claimed again.
        let lease = granted(&store, &claim(1)).await;
        store.settle(&lease, &release(DAY), Settler::Owner).await.unwrap();
        let lease = granted(&store, &claim(1)).await;
        assert_eq!(lease.number, 2, "round {round}");
        store.settle(&lease, &complete("x", DAY), Settler::Owner).await.unwrap();
        assert_eq!(store.stats().await.unwrap().records, 1);
        let page = store.list(&ListQuery { limit: 9, ..ListQuery::default() }).await.unwrap();
        assert_eq!(page.records.len(), 1);
        clock.advance(DAY + Duration::from_secs(round * 3_000));
    }
    drop(store);
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    assert_eq!(store.stats().await.unwrap().records, 1, "counts are as exact after reopening");
}

#[tokio::test]
async fn ttl_01_an_expired_key_runs_again_with_any_payload_before_and_after_the_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    for sweep in [false, true] {
        let lease = granted(&store, &claim(1)).await;
        store.settle(&lease, &complete("x", DAY), Settler::Owner).await.unwrap();
        clock.advance(DAY - Duration::from_secs(1));
        assert!(completed_body(&store, 1).await.is_some());
        clock.advance(Duration::from_secs(1));
        if sweep {
            clock.advance(DAY);
            assert_eq!(store.sweep(LIMIT).await.unwrap(), 1);
            assert!(store.peek(&id(1)).await.unwrap().is_none());
            assert_eq!(store.stats().await.unwrap().records, 0);
        }
        let mut other = claim(1);
        other.fingerprint = hapax::Fingerprint::from_parts(1, [9; 32]);
        let lease = granted(&store, &other).await;
        store.settle(&lease, &release(DAY), Settler::Owner).await.unwrap();
        clock.advance(DAY);
    }
}

#[tokio::test]
async fn ttl_03_the_sweep_drops_ended_buckets_and_nothing_that_lives() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let run = async |n: u64| {
        let lease = granted(&store, &claim(n)).await;
        let retention = if n.is_multiple_of(3) { DAY * 30 } else { DAY };
        if !n.is_multiple_of(100) {
            store.settle(&lease, &complete("x", retention), Settler::Owner).await.unwrap();
        }
    };
    futures_util::future::join_all((0..3_000).map(run)).await;
    assert_eq!(store.sweep(LIMIT).await.unwrap(), 0);
    clock.advance(DAY * 2);
    let mut swept = Vec::new();
    loop {
        let count = store.sweep(NonZeroU32::new(900).unwrap()).await.unwrap();
        if count == 0 {
            break;
        }
        swept.push(count);
    }
    assert_eq!(swept, [900, 900, 180], "every record once, never more than asked for");
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.records, stats.in_doubt), (1_020, 30));
    drop(store);
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    assert_eq!(store.stats().await.unwrap().records, 1_020);
    assert!(completed_body(&store, 3).await.is_some());
    assert!(completed_body(&store, 1).await.is_none());
}

#[tokio::test]
async fn ttl_03_few_expired_records_are_swept_before_their_bucket_ends() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let run = async |n: u64| {
        let lease = granted(&store, &claim(n)).await;
        store.settle(&lease, &complete("x", DAY), Settler::Owner).await.unwrap();
    };
    futures_util::future::join_all((0..700).map(run)).await;
    clock.advance(DAY);
    let mut swept = 0;
    // A sweep looks at a few hundred records only and goes on where the last one stopped.
    for _ in 0..8 {
        swept += store.sweep(LIMIT).await.unwrap();
    }
    assert_eq!(swept, 700);
    assert_eq!(store.stats().await.unwrap().records, 0);
}

#[tokio::test]
async fn dbt_11_in_doubt_records_are_swept_only_after_their_own_retention() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    for n in 0..4 {
        let mut claim = claim(n);
        claim.unknown_retention = (n < 2).then_some(DAY);
        let lease = granted(&store, &claim).await;
        if n % 2 == 0 {
            let doubt = Settlement::Doubt { cause: Cause::TimedOut };
            store.settle(&lease, &doubt, Settler::Owner).await.unwrap();
        }
    }
    clock.advance(DAY * 2);
    assert_eq!(store.sweep(LIMIT).await.unwrap(), 2);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.records, stats.in_doubt), (2, 2));
    assert!(store.peek(&id(0)).await.unwrap().is_none());
    assert!(store.peek(&id(3)).await.unwrap().is_some());
}

#[tokio::test]
async fn ttl_07_a_full_store_refuses_new_keys_and_serves_the_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let options = FileOptions { records_max: 2, ..options(&clock) };
    let store = FileStore::open(dir.path(), options.clone()).unwrap();
    let lease = granted(&store, &claim(1)).await;
    granted(&store, &claim(2)).await;
    assert!(matches!(store.claim(&claim(3)).await, Err(StoreError::Full)));
    store.settle(&lease, &complete("x", DAY), Settler::Owner).await.unwrap();
    assert!(matches!(store.claim(&claim(3)).await, Err(StoreError::Full)));
    assert!(completed_body(&store, 1).await.is_some());
    drop(store);
    let store = FileStore::open(dir.path(), options).unwrap();
    assert!(matches!(store.claim(&claim(3)).await, Err(StoreError::Full)));
    assert_eq!(store.purge(&id(1), false).await.unwrap(), Purged::Removed);
    granted(&store, &claim(3)).await;
}

#[tokio::test]
async fn purge_refuses_what_runs_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    assert_eq!(store.purge(&id(1), false).await.unwrap(), Purged::Absent);
    let lease = granted(&store, &claim(1)).await;
    assert_eq!(store.purge(&id(1), false).await.unwrap(), Purged::Refused);
    assert_eq!(store.purge(&id(1), true).await.unwrap(), Purged::Removed);
    let lost = store.settle(&lease, &complete("x", DAY), Settler::Owner).await;
    assert!(matches!(lost, Err(LeaseError::Lost(LeaseLost::Expired))));
    assert_eq!(store.stats().await.unwrap().records, 0);
}

#[tokio::test]
async fn listing_goes_by_id_over_all_keyspaces_and_filters() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    for n in 0..60_u64 {
        let lease = granted(&store, &claim(n)).await;
        let retention = [DAY, DAY * 30, DAY / 24][(n % 3) as usize];
        if n % 5 != 0 {
            store.settle(&lease, &complete("x", retention), Settler::Owner).await.unwrap();
        }
    }
    let mut query = ListQuery { limit: 7, ..ListQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.list(&query).await.unwrap();
        assert!(page.records.len() <= 7);
        seen.extend(page.records.iter().map(|record| record.id));
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    assert_eq!(seen.len(), 60);
    assert!(seen.is_sorted());
    let state = Some(State::InProgress);
    let query = ListQuery { limit: 100, state, ..ListQuery::default() };
    assert_eq!(store.list(&query).await.unwrap().records.len(), 12);
    let head = id(7).scope_head();
    let query = ListQuery { limit: 100, scope: Some(head), ..ListQuery::default() };
    let page = store.list(&query).await.unwrap();
    assert_eq!(page.records.iter().map(|record| record.id).collect::<Vec<_>>(), [id(7)]);
    let query = ListQuery { after: Some(id(7)), ..query };
    assert_eq!(store.list(&query).await.unwrap().records, []);
}

#[tokio::test]
async fn dbt_04_a_lapsed_claim_that_may_be_reclaimed_is_granted_with_a_higher_fence() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let mut first = claim(1);
    first.on_lapse = OnLapse::Reclaim { after: Duration::ZERO, attempts_max: 2 };
    let lease = granted(&store, &first).await;
    let renewed = store.renew(&lease, DAY, Some("step one".into())).await.unwrap();
    assert_eq!(renewed.progress.as_deref(), Some(b"step one".as_slice()));
    drop(store);
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let second = crate::support::another_attempt(&first);
    let taken = granted(&store, &second).await;
    assert!(taken.fence > lease.fence);
    assert_eq!(taken.progress.as_deref(), Some(b"step one".as_slice()), "progress is kept");
    let late = store.settle(&lease, &complete("late", DAY), Settler::Owner).await;
    assert!(matches!(late, Err(LeaseError::Lost(LeaseLost::Superseded { .. }))));
}

#[tokio::test]
async fn ruling_19_time_goes_on_from_the_disk_when_the_wall_clock_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    clock.advance(DAY * 3);
    let lease = granted(&store, &claim(1)).await;
    store.settle(&lease, &complete("x", DAY), Settler::Owner).await.unwrap();
    let last = store.stats().await.unwrap().now;
    drop(store);
    let behind = Arc::new(ManualClock::new(Timestamp::from_micros(86_400_000_000)));
    let store = FileStore::open(dir.path(), options(&behind)).unwrap();
    assert!(store.stats().await.unwrap().now > last);
    assert!(completed_body(&store, 1).await.is_some());
    behind.advance(DAY);
    assert!(completed_body(&store, 1).await.is_none(), "and expires on time by it");
}

#[tokio::test]
async fn with_claim_durability_settlements_alone_are_not_synced_and_claims_are() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let options = FileOptions { durability: Durability::Claim, ..options(&clock) };
    let store = FileStore::open(dir.path(), options).unwrap();
    let lease = granted(&store, &claim(1)).await;
    let before = store.work();
    store.settle(&lease, &complete("x", DAY), Settler::Owner).await.unwrap();
    assert_eq!(store.work().syncs, before.syncs);
    assert_eq!(store.work().turns, before.turns + 1);
    granted(&store, &claim(2)).await;
    assert_eq!(store.work().syncs, before.syncs + 1);
    assert!(completed_body(&store, 1).await.is_some());
}

#[tokio::test]
async fn a_replay_needs_no_writer() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = FileStore::open(dir.path(), options(&clock)).unwrap();
    let lease = granted(&store, &claim(1)).await;
    store.settle(&lease, &complete("x", DAY), Settler::Owner).await.unwrap();
    let before = store.work();
    for _ in 0..10 {
        assert!(completed_body(&store, 1).await.is_some());
    }
    assert_eq!(store.work(), before);
}

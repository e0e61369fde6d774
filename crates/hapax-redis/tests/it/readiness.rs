//! Whether the store takes steps, asked as a gateway's `/readyz` asks: by renewing a lease on a record
//! that never is (OBS-04). Where claims are refused, so is that.

use std::time::Duration;

use hapax::{
    AttemptId, Fence, Lease, LeaseError, LeaseLost, RecordId, Store as _, StoreError, Timestamp,
};
use hapax_redis::RedisStore;

use crate::cluster::Own;
use crate::scene::{TERM, claim, grant, standalone};
use crate::server::Server;
use crate::support::Place;

/// What a step says that changes nothing.
async fn step(store: &RedisStore) -> Result<Lease, LeaseError> {
    let nobody = Lease {
        attempt: AttemptId::from_bytes([0; 16]),
        claimed_at: Timestamp::EPOCH,
        fence: Fence::default(),
        id: RecordId::from_bytes([0; 32]),
        number: 0,
        progress: None,
        rerun_of: None,
        until: Timestamp::EPOCH,
    };
    store.renew(&nobody, TERM, None).await
}

/// Whether the store takes steps; the error if it does not.
pub(crate) async fn ready(store: &RedisStore) -> Result<(), StoreError> {
    match step(store).await {
        Err(LeaseError::Lost(LeaseLost::Expired)) => Ok(()),
        Err(LeaseError::Store(error)) => Err(error),
        other => panic!("nobody's lease is {other:?}"),
    }
}

/// Asks until the store is ready again.
async fn recovered(store: &RedisStore) {
    for _ in 0..1_000 {
        if ready(store).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is not ready any more");
}

/// Both are refused, each in the server's word.
async fn both_are_refused(store: &RedisStore, word: &str) {
    let refused = store.claim(&claim(1, 1)).await.expect_err("a claim is refused");
    assert!(refused.to_string().contains(word), "{refused}");
    let unready = ready(store).await.expect_err("it is not ready");
    assert!(unready.to_string().contains(word), "{unready}");
    assert_eq!(unready.effect(), refused.effect());
}

#[tokio::test]
async fn obs_04_a_store_whose_records_are_gone_is_not_ready() {
    let Some(_) = standalone() else { return };
    for own in Own::both(&[]).await {
        let store = own.place.open(own.place.options()).await;
        let lease = grant(&store, &claim(1, 1)).await;
        ready(&store).await.expect("it is ready");
        let _: String = own.server.tell("FLUSHALL").await;
        let mut told = None;
        for n in 100..1_100 {
            // What is granted before it is noticed is another matter.
            if let Err(error) = store.claim(&claim(n, 1)).await {
                told = Some(error);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(matches!(told, Some(StoreError::Refused(_))), "{told:?}");
        let unready = ready(&store).await;
        assert!(
            matches!(&unready, Err(StoreError::Refused(why)) if why.contains("flushed")),
            "{unready:?}"
        );
        // A server that may be another one is no witness that a lease is lost.
        let renewed = store.renew(&lease, TERM, None).await;
        assert!(matches!(renewed, Err(LeaseError::Store(StoreError::Refused(_)))), "{renewed:?}");
        // Somebody says that it is the right one.
        drop(own.place.open(own.place.options()).await);
        recovered(&store).await;
        let renewed = store.renew(&lease, TERM, None).await;
        assert!(matches!(renewed, Err(LeaseError::Lost(LeaseLost::Expired))), "{renewed:?}");
    }
}

#[tokio::test]
async fn obs_04_a_server_that_became_a_replica_is_not_ready() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&[]).await;
    let place = Place::take(&server.address());
    let store = place.open(place.options()).await;
    ready(&store).await.expect("it is ready");
    // Nobody is there, so that what it holds stays.
    let _: String = server.tell("REPLICAOF 127.0.0.1 1").await;
    both_are_refused(&store, "READONLY").await;
    let _: String = server.tell("REPLICAOF NO ONE").await;
    recovered(&store).await;
}

#[tokio::test]
async fn obs_04_a_server_that_cannot_save_is_not_ready() {
    let Some(_) = standalone() else { return };
    for own in Own::both(&["save 3600 1"]).await {
        let store = own.place.open(own.place.options()).await;
        ready(&store).await.expect("it is ready");
        // A folder where its file belongs is in the way of everybody, whatever their rights.
        let folder: Vec<String> = own.server.tell("CONFIG GET dir").await;
        let in_the_way = std::path::Path::new(&folder[1]).join("dump.rdb");
        std::fs::create_dir(&in_the_way).expect("a folder");
        saved(&own.server, "err").await;
        both_are_refused(&store, "MISCONF").await;
        std::fs::remove_dir(&in_the_way).expect("it is gone");
        saved(&own.server, "ok").await;
        recovered(&store).await;
    }
}

/// Saves until that ends so.
async fn saved(server: &Server, how: &str) {
    let _: String = server.tell("BGSAVE").await;
    for _ in 0..2_000 {
        let info: String = server.tell("INFO persistence").await;
        if info.contains("rdb_bgsave_in_progress:0") {
            assert!(info.contains(&format!("rdb_last_bgsave_status:{how}")), "{info}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("saving does not end");
}

#[tokio::test]
async fn obs_04_a_server_without_the_replicas_that_it_wants_is_not_ready() {
    let Some(_) = standalone() else { return };
    for own in Own::both(&[]).await {
        let store = own.place.open(own.place.options()).await;
        ready(&store).await.expect("it is ready");
        let _: String = own.server.tell("CONFIG SET min-replicas-to-write 1").await;
        both_are_refused(&store, "NOREPLICAS").await;
        let _: String = own.server.tell("CONFIG SET min-replicas-to-write 0").await;
        recovered(&store).await;
    }
}

/// Orchestrators ask every few seconds, for ever.
#[tokio::test]
async fn a_question_whether_it_is_ready_changes_nothing() {
    let Some(_) = standalone() else { return };
    for own in Own::both(&[]).await {
        let store = own.place.open(own.place.options()).await;
        let before: String = own.server.tell("INFO persistence").await;
        let changes = |info: &str| {
            let line = info.lines().find(|line| line.starts_with("rdb_changes_since_last_save"));
            line.map(str::to_owned).expect("it counts changes")
        };
        ready(&store).await.expect("it is ready");
        let after: String = own.server.tell("INFO persistence").await;
        assert_eq!(changes(&before), changes(&after));
        let keys: i64 = own.server.tell("DBSIZE").await;
        assert_eq!(keys, 1, "the identity");
    }
}

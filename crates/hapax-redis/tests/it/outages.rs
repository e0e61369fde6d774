//! What an operation answers when the server or the way to it fails, and that the store heals.

use std::sync::Arc;
use std::time::Duration;

use hapax::{Claim, Claimed, Effect, RecordId, Settler, Status, Store};
use hapax_redis::{OpenError, RedisOptions, RedisStore};
use hapax_store_tests::Relay;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::scene::{claim, complete, effect, grant, settle, settle_effect, standalone};
use crate::server::{Server, tell};
use crate::support::Place;
use crate::waiting::open_hasty;

#[tokio::test]
async fn a_server_that_is_not_there_did_nothing() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let (relay, url) = Relay::before(&server);
    let options = RedisOptions { connections: 1, ..place.options() };
    let open = async || match RedisStore::connect(&url, options.clone()).await {
        Ok(store) => Some(Arc::new(store) as Arc<dyn Store>),
        Err(OpenError::Unavailable { .. }) => None,
        Err(error) => panic!("another objection: {error}"),
    };
    hapax_store_tests::a_server_that_is_not_there_did_nothing(relay, open).await;
}

/// Servers end connections that idle; nobody is to notice.
#[tokio::test]
async fn a_connection_that_was_ended_is_made_anew() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let (relay, url) = Relay::before(&server);
    let store = RedisStore::connect(&url, place.options()).await.expect("a store");
    let lease = grant(&store, &claim(1, 1)).await;
    for n in 2..10 {
        relay.cut();
        relay.mend();
        grant(&store, &claim(n, 1)).await;
    }
    settle(&store, &lease, &complete()).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unknown_in_time() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let (relay, url) = Relay::before(&server);
    let store_timeout = Duration::from_secs(1);
    let options = RedisOptions { connections: 1, store_timeout, ..place.options() };
    let store = open_hasty(&url, options).await;
    let patient = place.open(place.options()).await;
    hapax_store_tests::a_server_that_says_nothing_is_unknown_in_time(
        &relay,
        &store,
        &*patient,
        store_timeout,
    )
    .await;
}

#[tokio::test]
async fn an_operation_is_one_round_trip() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let (relay, url) = Relay::before(&server);
    let options = RedisOptions { connections: 1, ..place.options() };
    let store = RedisStore::connect(&url, options).await.expect("a store");
    hapax_store_tests::an_operation_is_one_round_trip(&relay, &store).await;
    // The hint for who waits goes along with the settlement.
    let mut fewest = u64::MAX;
    for n in 100..110 {
        let lease = grant(&store, &claim(n, 1)).await;
        assert!(matches!(store.claim(&claim(n, 2)).await.unwrap(), Claimed::Held(_)));
        let before = relay.trips();
        settle(&store, &lease, &complete()).await;
        fewest = fewest.min(relay.trips() - before);
    }
    assert_eq!(fewest, 1);
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_is_told_again() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&[]).await;
    let place = Place::take(&server.address());
    let store = place.open(place.options()).await;
    let lease = grant(&store, &claim(1, 1)).await;
    let _: String = server.tell("SCRIPT FLUSH").await;
    settle(&store, &lease, &complete()).await;
    let _: String = server.tell("SCRIPT FLUSH").await;
    assert!(matches!(store.claim(&claim(1, 2)).await.unwrap(), Claimed::Held(_)));
}

/// How many answers there are before the server is killed.
const SETTLED_MIN: u32 = 100;

/// What one caller was told until the server was gone.
#[derive(Default)]
struct Told {
    /// Claims that are certain not to have happened.
    denied: Vec<RecordId>,
    granted: Vec<RecordId>,
    settled: Vec<RecordId>,
}

/// Adds a permit for each settlement.
async fn run_until_outage(
    store: &RedisStore,
    round: u16,
    worker: u16,
    settled: &Semaphore,
) -> Told {
    let mut told = Told::default();
    for n in 0..10_000 {
        let by = u8::try_from(10 * round + worker).expect("few of both");
        let claim = Claim { id: id(round, worker, n), ..claim(n, by) };
        match store.claim(&claim).await {
            Ok(Claimed::Granted(lease)) => {
                told.granted.push(claim.id);
                if store.settle(&lease, &complete(), Settler::Owner).await.is_err() {
                    break;
                }
                told.settled.push(claim.id);
                settled.add_permits(1);
            }
            Ok(Claimed::Held(seen)) => panic!("held by nobody: {seen:?}"),
            Err(error) if error.effect() == Effect::None => {
                told.denied.push(claim.id);
                break;
            }
            // The next claim meets a server that is gone.
            Err(_) => {}
        }
    }
    told
}

/// Whatever was answered before the server was killed is there afterwards, with `appendfsync always`;
/// and what was told not to have happened has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exe_02_a_killed_server_loses_no_answer_and_keeps_no_denied_claim() {
    let Some(_) = standalone() else { return };
    let mut server = Server::start(&["appendonly yes", "appendfsync always"]).await;
    let place = Place::take(&server.address());
    let store = place.open(place.options()).await;
    assert!(store.guarantees().durable);
    for round in 0..3_u16 {
        let settled = Arc::new(Semaphore::new(0));
        let running: Vec<_> = (0..8_u16)
            .map(|worker| {
                let (store, settled) = (store.clone(), Arc::clone(&settled));
                tokio::spawn(async move { run_until_outage(&store, round, worker, &settled).await })
            })
            .collect();
        // In the middle of it.
        let enough = timeout(Duration::from_secs(60), settled.acquire_many(SETTLED_MIN)).await;
        enough.expect("answers").expect("a semaphore").forget();
        server.kill();
        let mut all = Told::default();
        for worker in running {
            let Told { denied, granted, settled } = worker.await.unwrap();
            all.denied.extend(denied);
            all.granted.extend(granted);
            all.settled.extend(settled);
        }
        server.run().await;
        assert!(all.settled.len() >= SETTLED_MIN as usize);
        for id in all.granted {
            assert!(store.peek(&id).await.unwrap().is_some(), "a claim is lost");
        }
        for id in all.settled {
            let seen = store.peek(&id).await.unwrap().expect("a record");
            assert_eq!(seen.record.status(seen.now), Status::Completed);
        }
        for id in all.denied {
            assert_eq!(store.peek(&id).await.unwrap(), None, "a denied claim happened");
        }
    }
}

fn id(round: u16, worker: u16, n: u16) -> RecordId {
    let mut bytes = [7; 32];
    for (at, number) in [round, worker, n].into_iter().enumerate() {
        bytes[2 * at..2 * at + 2].copy_from_slice(&number.to_be_bytes());
    }
    RecordId::from_bytes(bytes)
}

/// The server is made a replica and back, as a failover does behind one name.
#[tokio::test]
async fn a_server_that_became_a_replica_refuses_without_effect() {
    let Some(_) = standalone() else { return };
    let (server, other) = (Server::start(&[]).await, Server::start(&[]).await);
    let place = Place::take(&server.address());
    let store = place.open(place.options()).await;
    let lease = grant(&store, &claim(1, 1)).await;
    // It does not take over the other's records: the link is never up.
    let _: String = tell(&other.address(), "CONFIG SET requirepass x").await;
    let _: String = server.tell(&format!("REPLICAOF 127.0.0.1 {}", other.port)).await;
    assert_eq!(settle_effect(&store, &lease).await, Effect::None);
    assert_eq!(effect(store.claim(&claim(2, 1)).await), Effect::None);
    let _: String = server.tell("REPLICAOF NO ONE").await;
    settle(&store, &lease, &complete()).await;
}

/// A gateway's core ends its runtime when it drains; the others go on with the same connections.
#[test]
fn a_store_outlives_the_runtime_that_opened_it() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let store = first.block_on(place.open(place.options()));
    let lease = first.block_on(grant(&store, &claim(1, 1)));
    let second = runtime();
    second.block_on(store.peek(&lease.id)).unwrap();
    drop(first);
    second.block_on(settle(&store, &lease, &complete()));
    drop(second);
    let held = runtime().block_on(store.claim(&claim(1, 2))).unwrap();
    assert!(matches!(held, Claimed::Held(_)));
}

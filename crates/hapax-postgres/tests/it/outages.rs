//! What an operation answers when the server or the way to it fails, and that the store heals.

use std::time::Duration;

use hapax::{Claimed, Effect, Lease, LeaseError, Settler, Store as _, StoreError};
use hapax_postgres::{OpenError, PgOptions, PgStore};

use crate::relay::Relay;
use crate::scene::{Onlooker, claim, complete, grant, release, settle};
use crate::support::{Place, server_url};

fn effect<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> Effect {
    let error = answer.expect_err("the operation must fail");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    error.effect()
}

async fn settle_effect(store: &PgStore, lease: &Lease) -> Effect {
    match store.settle(lease, &complete(), Settler::Owner).await {
        Err(LeaseError::Store(error)) => error.effect(),
        other => panic!("the settlement must fail: {other:?}"),
    }
}

/// The session is ended while its claim waits to take a row over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exe_04_a_claim_whose_session_is_ended_is_unknown_and_its_retry_decides() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let lease = grant(&node, &claim(1, 1)).await;
    settle(&node, &lease, &release()).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.hold_row(lease.id).await;
    let under_way = tokio::spawn({
        let node = node.clone();
        async move { node.claim(&claim(1, 2)).await }
    });
    onlooker.see_waiting(1).await;
    assert_eq!(onlooker.end_waiting().await, 1);
    assert_eq!(effect(under_way.await.unwrap()), Effect::Unknown);
    onlooker.run("COMMIT").await;
    // It did not happen, as its retry finds; and who comes then is held.
    assert_eq!(grant(&node, &claim(1, 2)).await.number, 2);
    assert!(matches!(node.claim(&claim(1, 3)).await.unwrap(), Claimed::Held(_)));
}

/// The same for a first claim, which waits for another insertion of the key that never commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exe_04_a_first_claim_whose_session_is_ended_leaves_nothing_behind() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    grant(&node, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    let id = claim(2, 1).id;
    onlooker
        .run(&format!(
            "BEGIN; INSERT INTO hapax.record (fence, attempts, created_at, claimed_at, moment, phase, \
             id, attempt, fingerprint, route, history) SELECT fence, attempts, created_at, \
             claimed_at, moment, phase, '\\x{id}', attempt, fingerprint, route, history FROM \
             hapax.record"
        ))
        .await;
    let under_way = tokio::spawn({
        let node = node.clone();
        async move { node.claim(&claim(2, 2)).await }
    });
    onlooker.see_waiting(1).await;
    assert_eq!(onlooker.end_waiting().await, 1);
    assert_eq!(effect(under_way.await.unwrap()), Effect::Unknown);
    onlooker.run("ROLLBACK").await;
    assert_eq!(node.peek(&id).await.unwrap(), None);
    assert_eq!(grant(&node, &claim(2, 3)).await.number, 1);
}

/// The server gives up before the store does, and says that nothing happened.
#[tokio::test]
async fn an_operation_that_the_server_gave_up_did_not_happen() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let options = PgOptions { store_timeout: Duration::from_secs(2), ..place.options() };
    let node = place.open(options).await;
    let lease = grant(&node, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.hold_row(lease.id).await;
    assert_eq!(settle_effect(&node, &lease).await, Effect::None);
    onlooker.run("ROLLBACK").await;
    settle(&node, &lease, &complete()).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_did_nothing() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let relay = Relay::start(&server).await;
    let store = PgStore::connect(&relay.url, place.options()).await.expect("a store");
    let lease = grant(&store, &claim(1, 1)).await;
    relay.cut().await;
    // What was connected a moment ago may have carried the claim away.
    assert_eq!(effect(store.claim(&claim(2, 1)).await), Effect::Unknown);
    // Now there is nobody to connect to, and nothing was sent.
    assert_eq!(effect(store.claim(&claim(2, 1)).await), Effect::None);
    assert_eq!(settle_effect(&store, &lease).await, Effect::None);
    let again = PgStore::connect(&relay.url, place.options()).await;
    assert!(matches!(again, Err(OpenError::Unavailable { .. })), "{again:?}");
    // It is back, and nobody had to restart anything.
    relay.mend().await;
    settle(&store, &lease, &complete()).await;
    assert_eq!(grant(&store, &claim(2, 1)).await.number, 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unknown_in_time() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    drop(place.open(place.options()).await);
    let relay = Relay::start(&server).await;
    let store_timeout = Duration::from_millis(400);
    let options = PgOptions { store_timeout, ..place.options() };
    let store = PgStore::connect(&relay.url, options).await.expect("a store");
    let lease = grant(&store, &claim(1, 1)).await;
    relay.pause(true);
    let began = std::time::Instant::now();
    assert_eq!(settle_effect(&store, &lease).await, Effect::Unknown);
    // The next one cannot even connect, which is as long but certain.
    assert_eq!(effect(store.claim(&claim(2, 1)).await), Effect::None);
    let took = began.elapsed();
    assert!(took >= 2 * store_timeout && took < 2 * store_timeout + Duration::from_secs(2));
    relay.pause(false);
    settle(&store, &lease, &complete()).await;
}

/// The one connection is busy. Its statement is given up by the server, which says so; the second is
/// sent late, so that the store gives it up first; for the third there is no time left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_gets_no_connection_in_time_did_not_happen() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let options =
        PgOptions { connections_max: 1, store_timeout: Duration::from_secs(2), ..place.options() };
    let node = place.open(options).await;
    let lease = grant(&node, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.hold_row(lease.id).await;
    let under_way = (0..3).map(|_| {
        let (node, lease) = (node.clone(), lease.clone());
        tokio::spawn(async move { settle_effect(&node, &lease).await })
    });
    let mut effects = Vec::new();
    for each in under_way.collect::<Vec<_>>() {
        effects.push(each.await.unwrap());
    }
    let unknown = effects.iter().filter(|effect| **effect == Effect::Unknown).count();
    assert_eq!(unknown, 1, "{effects:?}");
    onlooker.run("ROLLBACK").await;
    settle(&node, &lease, &complete()).await;
}

/// Once its statements are prepared, an operation is one question and one answer.
#[tokio::test]
async fn an_operation_is_one_round_trip() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    for pooled in [false, true] {
        let relay = Relay::start(&server).await;
        let options = PgOptions { connections_max: 1, pooled, ..place.options() };
        let store = PgStore::connect(&relay.url, options).await.expect("a store");
        let first = 10 * u16::from(pooled);
        for warm_up in [first, first + 1] {
            let before = relay.answers();
            let lease = grant(&store, &claim(warm_up, 1)).await;
            store.claim(&claim(warm_up, 2)).await.unwrap();
            store.renew(&lease, Duration::from_secs(10), None).await.unwrap();
            store.peek(&lease.id).await.unwrap();
            let trips = relay.answers() - before;
            if pooled || warm_up > first {
                assert_eq!(trips, 4, "pooled: {pooled}");
            }
        }
    }
}

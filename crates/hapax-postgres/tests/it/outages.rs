//! What an operation answers when the server or the way to it fails, and that the store heals.

use std::sync::Arc;
use std::time::Duration;

use hapax::{Claimed, Effect, Store};
use hapax_postgres::{OpenError, PgOptions, PgStore};
use hapax_store_tests::{Relay, effect, settle_effect};

use crate::scene::{Onlooker, claim, complete, grant, release, settle};
use crate::support::{Place, server_url};

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
    assert_eq!(settle_effect(&*node, &lease).await, Effect::None);
    onlooker.run("ROLLBACK").await;
    settle(&node, &lease, &complete()).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_did_nothing() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let (relay, url) = Relay::before(&server);
    let open = async || match PgStore::connect(&url, place.options()).await {
        Ok(store) => Some(Arc::new(store) as Arc<dyn Store>),
        Err(OpenError::Unavailable { .. }) => None,
        Err(error) => panic!("another objection: {error}"),
    };
    hapax_store_tests::a_server_that_is_not_there_did_nothing(relay, open).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unknown_in_time() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    drop(place.open(place.options()).await);
    let (relay, url) = Relay::before(&server);
    let store_timeout = Duration::from_secs(1);
    let options = PgOptions { store_timeout, ..place.options() };
    let store = PgStore::connect(&url, options).await.expect("a store");
    hapax_store_tests::a_server_that_says_nothing_is_unknown_in_time(&relay, &store, store_timeout)
        .await;
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
        tokio::spawn(async move { settle_effect(&*node, &lease).await })
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

/// As soon as its statements are prepared, which behind a pooler they never are.
#[tokio::test]
async fn an_operation_is_one_round_trip() {
    let Some(server) = server_url() else { return };
    for pooled in [false, true] {
        let place = Place::take(&server).await;
        let (relay, url) = Relay::before(&server);
        let options = PgOptions { connections_max: 1, pooled, ..place.options() };
        let store = PgStore::connect(&url, options).await.expect("a store");
        hapax_store_tests::an_operation_is_one_round_trip(&relay, &store).await;
    }
}

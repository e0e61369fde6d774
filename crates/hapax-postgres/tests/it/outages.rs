//! What an operation answers when the server or the way to it fails, and that the store heals.

use std::sync::Arc;
use std::time::Duration;

use hapax::{Claimed, Effect, LeaseError, Settler, Status, Store};
use hapax_postgres::{OpenError, PgOptions, PgStore};
use hapax_store_tests::{Relay, effect, settle_effect};

use crate::scene::{Onlooker, claim, complete, grant, release, settle};
use crate::support::{Place, server_url};

/// How often a scene is set that a slow machine may miss.
const SCENES_MAX: u16 = 20;

/// A store that has little time for each operation. Opening it may take several tries, as the machine may
/// stand still for longer.
async fn open_hasty(url: &str, options: PgOptions) -> PgStore {
    for _ in 0..SCENES_MAX {
        match PgStore::connect(url, options.clone()).await {
            Ok(store) => return store,
            Err(OpenError::Unavailable { .. }) => {}
            Err(error) => panic!("another objection: {error}"),
        }
    }
    panic!("a store is never opened in time");
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

/// The server gives up before the store does, and says that nothing happened. Where the machine stands
/// still between the two, the store is the first, and does not know.
#[tokio::test]
async fn an_operation_that_the_server_gave_up_did_not_happen() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let patient = place.open(place.options()).await;
    let options = PgOptions { store_timeout: Duration::from_secs(2), ..place.options() };
    let node = open_hasty(&place.url, options).await;
    let lease = grant(&patient, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.hold_row(lease.id).await;
    for n in 0.. {
        assert!(n < SCENES_MAX, "the server never gives up before the store");
        let Err(LeaseError::Store(error)) = node.settle(&lease, &complete(), Settler::Owner).await
        else {
            panic!("the row is not held");
        };
        if error.to_string().contains("the server refused the statement") {
            assert_eq!(error.effect(), Effect::None, "{error}");
            break;
        }
    }
    onlooker.run("ROLLBACK").await;
    settle(&patient, &lease, &complete()).await;
}

/// The server works on it when its time is over, and nobody has told it to give up.
#[tokio::test]
async fn an_operation_that_was_sent_and_not_answered_is_unknown_and_may_happen_yet() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let patient = place.open(place.options()).await;
    let store_timeout = Duration::from_secs(1);
    let options = PgOptions { pooled: true, store_timeout, ..place.options() };
    let node = open_hasty(&place.url, options).await;
    let lease = grant(&patient, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.hold_row(lease.id).await;
    let mut effect = Effect::None;
    for _ in 0..SCENES_MAX {
        effect = settle_effect(&node, &lease).await;
        if effect == Effect::Unknown {
            break;
        }
    }
    assert_eq!(effect, Effect::Unknown, "nothing is ever sent");
    onlooker.see_waiting(1).await;
    onlooker.run("ROLLBACK").await;
    for _ in 0..10_000 {
        let seen = patient.peek(&lease.id).await.unwrap().expect("a record");
        if seen.record.status(seen.now) == Status::Completed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the server has forgotten what it was told");
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
    let patient = place.open(place.options()).await;
    let (relay, url) = Relay::before(&server);
    let store_timeout = Duration::from_secs(1);
    let options = PgOptions { connections_max: 1, store_timeout, ..place.options() };
    let store = open_hasty(&url, options).await;
    hapax_store_tests::a_server_that_says_nothing_is_unknown_in_time(
        &relay,
        &store,
        &*patient,
        store_timeout,
    )
    .await;
}

/// The one connection is lent to an operation that nobody answers, and no other can be made: whoever comes
/// at the same time waits for either in vain.
#[tokio::test]
async fn an_operation_that_gets_no_connection_in_time_did_not_happen() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let patient = place.open(place.options()).await;
    let (relay, url) = Relay::before(&server);
    let store_timeout = Duration::from_secs(1);
    let options = PgOptions { connections_max: 1, store_timeout, ..place.options() };
    let node = Arc::new(open_hasty(&url, options).await);
    for scene in 0.. {
        assert!(scene < SCENES_MAX, "nobody is ever lent the connection");
        // Then it is there, and trusted for a while; unless the machine stands still.
        let _hasty = node.claim(&claim(scene, 1)).await;
        relay.pause(true);
        let under_way = (0..3).map(|n| {
            let (node, claim) = (node.clone(), claim(1_000 + 3 * scene + n, 1));
            tokio::spawn(async move { (claim.id, effect(node.claim(&claim).await)) })
        });
        let mut unknown = 0;
        for each in under_way.collect::<Vec<_>>() {
            match each.await.unwrap() {
                (id, Effect::None) => assert_eq!(patient.peek(&id).await.unwrap(), None),
                (_, Effect::Unknown) => unknown += 1,
            }
        }
        relay.pause(false);
        assert!(unknown <= 1, "{unknown} operations were sent over one connection");
        if unknown == 1 {
            return;
        }
    }
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

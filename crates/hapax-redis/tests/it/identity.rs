//! Whose records these are (ruling 8).

use std::time::Duration;

use hapax::{Key, Principal, Store as _, StoreError};
use hapax_redis::{OpenError, RedisOptions, RedisStore};
use hapax_store_tests::Relay;

use crate::scene::{TERM, both, claim, complete, grant, settle, standalone};
use crate::server::{Server, connect, tell};
use crate::support::Place;

#[tokio::test]
async fn a_node_with_another_secret_or_other_scope_rules_is_refused() {
    for server in both() {
        let place = Place::take(&server);
        let rules = place.options();
        drop(RedisStore::connect(&server, rules.clone()).await.expect("the first node"));
        drop(RedisStore::connect(&server, rules.clone()).await.expect("a node like it"));
        let others = [
            RedisOptions { secret: Some(b"another".to_vec()), ..rules.clone() },
            RedisOptions { secret: None, ..rules.clone() },
            RedisOptions { scope_rules: "principal = shared".to_owned(), ..rules.clone() },
        ];
        for options in others {
            let refused = RedisStore::connect(&server, options).await;
            assert!(matches!(refused, Err(OpenError::Refused { .. })), "{refused:?}");
        }
        // Under another prefix it is another store.
        let prefix = format!("{}.other", rules.prefix);
        let other = RedisOptions { prefix, secret: Some(b"another".to_vec()), ..rules };
        drop(RedisStore::connect(&server, other).await.expect("another store"));
    }
}

/// Eight nodes start at once on an empty server, and agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_without_a_secret_share_the_one_that_the_first_made() {
    for server in both() {
        let place = Place::take(&server);
        let options = RedisOptions { secret: None, ..place.options() };
        let starting: Vec<_> = (0..8)
            .map(|_| {
                let (server, options) = (server.clone(), options.clone());
                tokio::spawn(
                    async move { RedisStore::connect(&server, options).await.expect("a node") },
                )
            })
            .collect();
        let key = Key::from_text("k-1").unwrap();
        let mut ids = Vec::new();
        for node in starting {
            let node = node.await.unwrap();
            let scope = node.secret().scope(Principal::Shared, "api.example");
            ids.push(node.secret().record_id(&scope, &key));
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        let configured = RedisStore::connect(&server, place.options()).await;
        assert!(matches!(configured, Err(OpenError::Refused { .. })), "{configured:?}");
    }
}

/// Claims until one is refused, and says why; a running node notices within seconds.
async fn refusal(node: &RedisStore, from: u16) -> String {
    for n in from..from + 1_000 {
        match node.claim(&claim(n, 1)).await {
            Err(StoreError::Refused(why)) => return why,
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("neither refused nor granted: {error}"),
        }
    }
    panic!("nothing was refused")
}

#[tokio::test]
async fn a_running_node_is_refused_once_the_records_are_not_its_own() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let node = place.open(place.options()).await;
    let lease = grant(&node, &claim(1, 1)).await;
    let identity = format!("{}:identity", place.prefix);
    let digest: Vec<u8> = tell(&server, &format!("HGET {identity} digest")).await;
    let _: i64 = tell(&server, &format!("HSET {identity} digest another")).await;
    let why = refusal(&node, 100).await;
    assert!(why.contains("another `secret`"), "{why}");
    // What was granted here may still be renewed and settled here.
    node.renew(&lease, TERM, None).await.expect("a renewal");
    settle(&node, &lease, &complete()).await;

    // It is mended, and nobody had to restart anything.
    let mut connection = connect(&server).await.unwrap();
    let mended = redis::cmd("HSET").arg(&identity).arg("digest").arg(digest).to_owned();
    let _: i64 = mended.query_async(&mut connection).await.unwrap();
    for _ in 0..1_000 {
        if node.claim(&claim(2, 1)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("claims are refused for ever");
}

#[tokio::test]
async fn a_running_node_is_refused_by_a_server_that_was_flushed() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&[]).await;
    let place = Place::take(&server.address());
    let node = place.open(place.options()).await;
    grant(&node, &claim(1, 1)).await;
    let _: String = server.tell("FLUSHALL").await;
    let why = refusal(&node, 100).await;
    assert!(why.contains("flushed"), "{why}");
}

/// The name leads to another server by now. Not one claim gets through.
#[tokio::test]
async fn a_reconnection_to_a_server_of_somebody_else_is_refused_at_once() {
    let Some(_) = standalone() else { return };
    let (own, mut foreign) = (Server::start(&[]).await, Server::start(&[]).await);
    let place = Place::take(&own.address());
    let theirs = RedisOptions { secret: Some(b"theirs".to_vec()), ..place.options() };
    drop(RedisStore::connect(&foreign.address(), theirs).await.expect("another store"));
    let (relay, url) = Relay::before(&own.address());
    let node = RedisStore::connect(&url, place.options()).await.expect("a store");
    let lease = grant(&node, &claim(1, 1)).await;
    relay.lead(Some(([127, 0, 0, 1], foreign.port).into()));
    for n in 1..20 {
        let refused = node.claim(&claim(n, 1)).await;
        assert!(!matches!(refused, Ok(_) | Err(StoreError::Full)), "{refused:?}");
    }
    let refused = node.claim(&claim(1, 1)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    // Nor anything else.
    assert!(node.peek(&lease.id).await.is_err());
    let keys: i64 = tell(&foreign.address(), "DBSIZE").await;
    assert_eq!(keys, 1, "only their identity");
    foreign.kill();
}

//! Waiting for replicas, where it is asked for.

use std::time::Duration;

use hapax::{Claimed, Effect, Store as _};
use hapax_redis::{OpenError, RedisOptions, RedisStore};

use crate::scene::{claim, complete, effect, grant, settle, settle_effect, standalone};
use crate::server::Server;
use crate::support::Place;

#[tokio::test]
async fn a_step_that_too_few_replicas_have_is_unknown() {
    let Some(_) = standalone() else { return };
    let master = Server::start(&[]).await;
    let mut replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", master.port)]).await;
    let place = Place::take(&master.address());
    let options = RedisOptions { wait_replicas: 1, ..place.options() };
    // Opening waits for the replica to be there.
    let store = place.open(options.clone()).await;
    assert!(store.guarantees().summary.contains("each step waits for a replica"));
    let lease = grant(&store, &claim(1, 1)).await;
    settle(&store, &lease, &complete()).await;
    let record: i64 = replica.tell(&format!("EXISTS {}:{{{}}}", place.prefix, lease.id)).await;
    assert_eq!(record, 1);
    drop(store);

    let hasty = RedisOptions { store_timeout: Duration::from_millis(500), ..options };
    let store = RedisStore::connect(&master.address(), hasty).await.expect("a store");
    let lease = grant(&store, &claim(2, 1)).await;
    replica.kill();
    assert_eq!(settle_effect(&store, &lease).await, Effect::Unknown);
    assert_eq!(effect(store.claim(&claim(3, 1)).await), Effect::Unknown);
    // A reading step waits for nobody, and shows that both happened all the same.
    assert!(store.peek(&claim(3, 1).id).await.unwrap().is_some());
    replica.run().await;
    let healed = async {
        while store.claim(&claim(3, 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), healed).await.expect("the replica is back");
    // The repeated claim was granted, as it was the first time.
    assert!(matches!(store.claim(&claim(3, 1)).await.unwrap(), Claimed::Granted(_)));
}

/// A server that has WAITAOF is waited for; an older one is refused, and says so.
#[tokio::test]
async fn a_step_waits_for_the_disk_where_the_server_can() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&["appendonly yes", "appendfsync everysec"]).await;
    let place = Place::take(&server.address());
    let options = RedisOptions { wait_fsync: true, ..place.options() };
    let commands: Vec<redis::Value> = server.tell("COMMAND INFO WAITAOF").await;
    let opened = RedisStore::connect(&server.address(), options).await;
    if commands == [redis::Value::Nil] {
        assert!(matches!(opened, Err(OpenError::NoFsync { .. })), "{opened:?}");
        return;
    }
    let store = opened.expect("a store");
    assert!(store.guarantees().durable, "{}", store.guarantees().summary);
    let lease = grant(&store, &claim(1, 1)).await;
    settle(&store, &lease, &complete()).await;
}

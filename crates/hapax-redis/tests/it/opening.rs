//! What opening finds out, and says.

use std::time::Duration;

use hapax::Store as _;
use hapax_redis::{OpenError, RedisOptions, RedisStore};
use hapax_store_tests::Relay;

use crate::cluster::Own;
use crate::scene::{claim, cluster, complete, grant, settle, standalone};
use crate::server::{Server, tell};
use crate::support::Place;

async fn open(address: &str, options: RedisOptions) -> Result<RedisStore, OpenError> {
    RedisStore::connect(address, options).await
}

#[tokio::test]
async fn what_the_server_promises_is_asked() {
    let Some(_) = standalone() else { return };
    for (settings, durable, part) in [
        (&["appendonly yes", "appendfsync always"][..], true, "every answer survives a crash"),
        (
            &["appendonly yes", "appendfsync always", "no-appendfsync-on-rewrite yes"],
            false,
            "`no-appendfsync-on-rewrite` is yes",
        ),
        (&["appendonly yes"], false, "`appendfsync` is everysec"),
        (&[], false, "nothing is kept on disk"),
    ] {
        let server = Server::start(settings).await;
        let place = Place::take(&server.address());
        let promised = place.open(place.options()).await.guarantees();
        assert_eq!(promised.durable, durable, "{}", promised.summary);
        assert!(promised.shared);
        assert!(promised.summary.contains(part), "{}", promised.summary);
        assert!(promised.summary.contains("replication is asynchronous"), "{}", promised.summary);
    }
}

/// Keys that carry a time are what `volatile-*` evicts: settled ones do.
#[tokio::test]
async fn a_server_that_evicts_is_refused_unless_allowed() {
    let Some(_) = standalone() else { return };
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = Server::start(&[&format!("maxmemory-policy {policy}"), "maxmemory 1gb"]).await;
        let place = Place::take(&server.address());
        let refused = open(&server.address(), place.options()).await;
        let Err(error @ OpenError::Evicting { .. }) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains(&format!("is {policy}")), "{error}");
        assert!(error.to_string().contains("`[redis] allow_eviction = true`"), "{error}");
        let keys: i64 = server.tell("DBSIZE").await;
        assert_eq!(keys, 0, "a server that is refused is left as it was");
        let allowed = RedisOptions { allow_eviction: true, ..place.options() };
        let store = open(&server.address(), allowed).await.expect("a store");
        let summary = store.guarantees().summary;
        assert!(summary.contains("what is evicted runs again"), "{summary}");
    }
}

#[tokio::test]
async fn a_replica_is_refused() {
    let Some(_) = standalone() else { return };
    let master = Server::start(&[]).await;
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", master.port)]).await;
    let place = Place::take(&replica.address());
    let refused = open(&replica.address(), place.options()).await;
    assert!(matches!(refused, Err(OpenError::Replica { .. })), "{refused:?}");
}

/// A single server may take as long: nobody else could be asked meanwhile.
#[tokio::test]
async fn a_cluster_may_take_its_time_to_say_who_holds_what() {
    let Some(_) = standalone() else { return };
    let [_, own] = Own::both(&[]).await;
    let (relay, url) = Relay::before(&own.place.address);
    relay.pause(true);
    let options = own.place.options();
    let opening = tokio::spawn(async move { open(&url, options).await });
    // Longer than each of several would be given.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    relay.pause(false);
    opening.await.unwrap().expect("a store");
}

#[tokio::test]
async fn a_cluster_and_a_single_server_are_not_taken_for_each_other() {
    let (Some(server), Some(cluster)) = (standalone(), cluster()) else { return };
    let place = Place::take(&server);
    let node = cluster.strip_prefix("redis-cluster://").and_then(|nodes| nodes.split(',').next());
    let node = format!("redis://{}", node.expect("a node"));
    let refused = open(&node, place.options()).await;
    assert!(matches!(refused, Err(OpenError::Cluster { .. })), "{refused:?}");
    let single = server.replacen("redis://", "redis-cluster://", 1);
    let refused = open(&single, place.options()).await;
    assert!(matches!(refused, Err(OpenError::Cluster { .. })), "{refused:?}");
}

/// They are wrong until somebody changes them: trying again is no use.
#[tokio::test]
async fn a_password_that_is_wrong_or_missing_is_told_without_it() {
    let Some(_) = standalone() else { return };
    for own in Own::both(&[]).await {
        let _: String = own.server.tell("CONFIG SET requirepass geheim").await;
        let _: String = as_user(&own, ":geheim", "ACL SETUSER known on >richtig ~* +@all").await;
        for (user, part) in [
            ("", "asks for a password, and `store` names none"),
            (":falsch@", "refuses the user or the password"),
            ("known:falsch@", "refuses the user or the password"),
            ("unknown:falsch@", "refuses the user or the password"),
        ] {
            let address = own.place.address.replacen("://", &format!("://{user}"), 1);
            let refused = open(&address, own.place.options()).await;
            let Err(error @ OpenError::Credentials { .. }) = refused else { panic!("{refused:?}") };
            let text = error.to_string();
            assert!(text.contains(part) && text.contains("`store`"), "{text}");
            assert!(!text.contains("falsch") && !text.contains("geheim"), "{text}");
            assert!(text.contains(&own.server.port.to_string()), "{text}");
        }
    }
}

async fn as_user(own: &Own, user: &str, words: &str) -> String {
    let address = own.server.address().replacen("://", &format!("://{user}@"), 1);
    tell(&address, words).await
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_with_the_rule_that_gives_it() {
    let Some(_) = standalone() else { return };
    for own in Own::both(&[]).await {
        let prefix = &own.place.prefix;
        let (keys, all) = (format!("~{prefix}:* &{prefix}:*"), "+@all");
        let user = |rights: &str| {
            let rights = format!("ACL SETUSER gateway reset on >pw {rights}");
            let own = &own;
            async move { own.server.tell::<String>(&rights).await }
        };
        let address = own.place.address.replacen("://", "://gateway:pw@", 1);
        for rights in [
            format!("{keys} {all} -info"),
            format!("{keys} {all} -evalsha"),
            format!("{keys} {all} -exists"),
            format!("~other:* &{prefix}:* {all}"),
        ] {
            user(&rights).await;
            let refused = open(&address, own.place.options()).await;
            let Err(error @ OpenError::Permission { .. }) = refused else {
                panic!("{rights}: {refused:?}")
            };
            let text = error.to_string();
            assert!(text.contains(&format!("ACL SETUSER USER ~{prefix}:* ")), "{text}");
            let keys: i64 = own.server.tell("DBSIZE").await;
            assert_eq!(keys, 0, "a server that refuses is left as it was");
        }
        // The rule that is named suffices.
        user(&format!("{keys} {all} -@admin -@dangerous +info +config|get")).await;
        drop(open(&address, own.place.options()).await.expect("a store"));
    }
}

#[tokio::test]
async fn a_database_that_the_server_does_not_have_is_told() {
    let Some(_) = standalone() else { return };
    let [alone, cluster] = Own::both(&["databases 3"]).await;
    drop(open(&format!("{}/2", alone.server.address()), alone.place.options()).await.expect("one"));
    let refused = open(&format!("{}/3", alone.server.address()), alone.place.options()).await;
    let Err(error @ OpenError::Database { .. }) = refused else { panic!("{refused:?}") };
    let text = error.to_string();
    assert!(text.contains("out of range") && text.contains("`databases`"), "{text}");
    // What has but one says so in other words.
    let refused = open(&format!("{}/1", cluster.server.address()), cluster.place.options()).await;
    let Err(error @ OpenError::Cluster { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("redis-cluster://"), "{error}");
    // It is a right that is missing, not a database.
    let rights = "ACL SETUSER gateway on >pw ~* &* +@all -select";
    let _: String = alone.server.tell(rights).await;
    let address = alone.server.address().replacen("://", "://gateway:pw@", 1);
    let refused = open(&format!("{address}/1"), alone.place.options()).await;
    assert!(matches!(refused, Err(OpenError::Permission { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_without_credentials() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&[]).await;
    let _: String = server.tell("CONFIG SET requirepass geheim").await;
    let place = Place::take(&server.address());
    let with = |user: &str| server.address().replacen("redis://", &format!("redis://{user}@"), 1);
    let store = open(&with(":geheim"), place.options()).await.expect("a store");
    assert!(!store.guarantees().summary.contains("geheim"));

    let prefix = RedisOptions { prefix: "a*".to_owned(), ..place.options() };
    let refused = open(&with(":geheim"), prefix).await;
    assert!(matches!(refused, Err(OpenError::Prefix { .. })), "{refused:?}");
    let waits = RedisOptions { wait_fsync: true, ..place.options() };
    let refused = open(&with(":geheim"), waits).await;
    assert!(matches!(refused, Err(OpenError::NoFsync { .. })), "{refused:?}");
}

/// The user may do what the steps do, to the store's keys, and nothing else; CONFIG is another's.
#[tokio::test]
async fn few_rights_suffice() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&["appendonly yes"]).await;
    let place = Place::take(&server.address());
    let prefix = &place.prefix;
    let rights = format!(
        "ACL SETUSER gateway on >pw resetkeys ~{prefix}:* resetchannels &{prefix}:* -@all \
         +@connection +@read +@hash +@scripting +@pubsub +info +time +del +persist +pexpireat +scan \
         +dbsize +wait"
    );
    let _: String = server.tell(&rights).await;
    let address = server.address().replacen("redis://", "redis://gateway:pw@", 1);
    let store = open(&address, place.options()).await.expect("a store");
    let summary = store.guarantees().summary;
    assert!(summary.contains("`appendfsync` could not be asked"), "{summary}");
    let lease = grant(&store, &claim(1, 1)).await;
    store.renew(&lease, Duration::from_secs(5), None).await.expect("a renewal");
    store.claim(&claim(1, 2)).await.expect("an answer");
    settle(&store, &lease, &complete()).await;
    store.stats().await.expect("sizes");
    store.list(&hapax::ListQuery { limit: 9, ..Default::default() }).await.expect("a list");
    store.sweep(std::num::NonZeroU32::MIN).await.expect("a sweep");
    store.purge(&lease.id, false).await.expect("a purge");
}

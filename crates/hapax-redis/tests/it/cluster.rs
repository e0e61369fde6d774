//! What only a cluster does: slots that move, masters that change.

use std::time::Duration;

use hapax::{Claimed, LeaseError, Settler, Status, Store as _, StoreError};
use hapax_redis::{OpenError, RedisOptions, RedisStore};

use crate::scene::{claim, complete, grant, release, settle, standalone};
use crate::server::{Server, try_tell};
use crate::support::Place;
use crate::waiting::Waits;

/// Nodes are not to take each other for dead because the machine stands still.
const SETTINGS: [&str; 2] = ["cluster-enabled yes", "cluster-node-timeout 15000"];

/// How often somebody looks, every ten milliseconds, for what must come.
const LOOKS_MAX: u32 = 8_000;

/// Servers that know each other; the first one holds all slots.
pub(crate) struct Cluster {
    ids: Vec<String>,
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    async fn start(count: usize) -> Self {
        Self::with(count, &[]).await
    }

    /// The same with more settings.
    pub(crate) async fn with(count: usize, more: &[&str]) -> Self {
        let settings = [&SETTINGS[..], more].concat();
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(Server::start(&settings).await);
        }
        Self::of(servers).await
    }

    async fn of(servers: Vec<Server>) -> Self {
        let mut ids = Vec::new();
        for (n, server) in servers.iter().enumerate() {
            ids.push(server.tell("CLUSTER MYID").await);
            let _: String = server.tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1)).await;
        }
        let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
        let _: String = servers[0].tell(&format!("CLUSTER ADDSLOTS {}", slots.join(" "))).await;
        for server in &servers[1..] {
            let meet = format!("CLUSTER MEET 127.0.0.1 {}", server.port);
            let _: String = servers[0].tell(&meet).await;
        }
        let cluster = Self { ids, servers };
        cluster.whole().await;
        cluster
    }

    /// Waits until every server knows every other one, and all slots are held.
    async fn whole(&self) {
        for server in &self.servers {
            let mut seen = String::new();
            for look in 0.. {
                assert!(look < LOOKS_MAX, "the cluster is not whole: {seen}");
                seen = server.tell("CLUSTER NODES").await;
                let info: String = server.tell("CLUSTER INFO").await;
                if self.ids.iter().all(|id| seen.contains(id.as_str()))
                    && !seen.contains("handshake")
                    && info.contains("cluster_state:ok")
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place::take(&self.servers[0].address().replacen("redis://", "redis-cluster://", 1))
    }

    async fn tell(&self, server: usize, words: &str) {
        let _: String = self.servers[server].tell(words).await;
    }
}

/// Servers of a test's own: one alone, and one that is a whole cluster.
pub(crate) struct Own {
    pub(crate) place: Place,
    pub(crate) server: Server,
}

impl Own {
    pub(crate) async fn both(settings: &[&str]) -> [Self; 2] {
        let server = Server::start(settings).await;
        let alone = Self { place: Place::take(&server.address()), server };
        let cluster = Cluster::with(1, settings).await;
        let place = cluster.place();
        let server = cluster.servers.into_iter().next().expect("its server");
        [alone, Self { place, server }]
    }
}

/// A slot moves to a server that held none: first some of its keys, then all, then the slot.
#[tokio::test]
async fn a_step_finds_its_record_while_the_slot_moves() {
    let Some(_) = standalone() else { return };
    let cluster = Cluster::start(2).await;
    let place = cluster.place();
    let store = place.open(place.options()).await;
    let (there, moved) = (claim(1, 1), claim(1, 1).id);
    let key = format!("{}:{{{moved}}}", place.prefix);
    let slot: i64 = cluster.servers[0].tell(&format!("CLUSTER KEYSLOT {key}")).await;
    let lease = grant(&store, &there).await;

    let [from, to] = [&cluster.ids[0], &cluster.ids[1]];
    cluster.tell(1, &format!("CLUSTER SETSLOT {slot} IMPORTING {from}")).await;
    cluster.tell(0, &format!("CLUSTER SETSLOT {slot} MIGRATING {to}")).await;
    // It is still where it was.
    store.renew(&lease, Duration::from_secs(30), None).await.expect("a renewal");
    let port = cluster.servers[1].port;
    cluster.tell(0, &format!("MIGRATE 127.0.0.1 {port} {key} 0 60000")).await;
    // It is asked for at the other one, each time anew.
    let held = store.claim(&claim(1, 2)).await.expect("an answer");
    assert!(matches!(held, Claimed::Held(_)), "{held:?}");
    settle(&store, &lease, &release()).await;
    let second = grant(&store, &claim(1, 3)).await;
    assert_eq!(second.number, 2);
    assert!(second.fence > lease.fence);
    cluster.tell(1, &format!("CLUSTER SETSLOT {slot} NODE {to}")).await;
    cluster.tell(0, &format!("CLUSTER SETSLOT {slot} NODE {to}")).await;
    // It has moved.
    settle(&store, &second, &complete()).await;
    let held = store.claim(&claim(1, 4)).await.expect("an answer");
    assert!(matches!(held, Claimed::Held(_)), "{held:?}");
    // A list walks over both.
    grant(&store, &claim(2, 1)).await;
    let page = store.list(&hapax::ListQuery { limit: 9, ..Default::default() }).await;
    assert_eq!(page.expect("a list").records.len(), 2);
    assert_eq!(store.stats().await.expect("sizes").records, 2);
}

/// A replica takes over; then its master dies.
#[tokio::test]
async fn a_step_finds_the_new_master() {
    let Some(_) = standalone() else { return };
    let mut cluster = Cluster::start(2).await;
    let place = cluster.place();
    let options = RedisOptions {
        // Steps wait until the replica has them, so that this failover forgets nothing.
        wait_replicas: 1,
        ..place.options()
    };
    cluster.tell(1, &format!("CLUSTER REPLICATE {}", cluster.ids[0])).await;
    let store = place.open(options).await;
    let lease = grant(&store, &claim(1, 1)).await;
    promote(&cluster.servers[1], "FAILOVER").await;
    // The old master says where the slot is, or that it may not write.
    settle(&store, &lease, &release()).await;
    let second = grant(&store, &claim(1, 2)).await;
    assert_eq!(second.number, 2);

    // Now a master dies while a store that waits for nobody uses it, and its replica takes over.
    let alone = place.open(place.options()).await;
    alone.renew(&second, Duration::from_secs(30), None).await.expect("a renewal");
    store.renew(&second, Duration::from_secs(30), None).await.expect("one that both have");
    cluster.servers[1].kill();
    let lost = alone.renew(&second, Duration::from_secs(30), None).await;
    let Err(LeaseError::Store(error)) = lost else { panic!("{lost:?}") };
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    promote(&cluster.servers[0], "FAILOVER TAKEOVER").await;
    for look in 0.. {
        match alone.settle(&second, &complete(), Settler::Owner).await {
            Ok(()) => break,
            // Who was asked a moment ago is not asked again at once.
            Err(LeaseError::Store(error)) => assert!(look < LOOKS_MAX, "{error}"),
            Err(LeaseError::Lost(lost)) => panic!("the lease is lost: {lost}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let held = alone.claim(&claim(1, 3)).await.expect("an answer");
    assert!(matches!(held, Claimed::Held(_)), "{held:?}");
}

/// Tells a replica to take over until it has.
async fn promote(replica: &Server, how: &str) {
    for turn in 0..LOOKS_MAX {
        let role: Vec<redis::Value> = replica.tell("ROLE").await;
        if role.first() == Some(&redis::Value::BulkString(b"master".into())) {
            return;
        }
        // It may refuse while it does not know enough, and gives up after five seconds.
        if turn % 600 == 0 {
            let _refused: redis::RedisResult<String> =
                try_tell(&replica.address(), &format!("CLUSTER {how}")).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the replica does not take over");
}

/// Another cluster is where this one was. Not one claim gets through.
#[tokio::test]
async fn a_cluster_of_somebody_else_is_refused_at_once() {
    let Some(_) = standalone() else { return };
    let mut cluster = Cluster::start(1).await;
    let place = cluster.place();
    let store = place.open(place.options()).await;
    grant(&store, &claim(1, 1)).await;
    let port = cluster.servers[0].port;
    cluster.servers[0].kill();
    let other = Cluster::of(vec![Server::start_at(port, &SETTINGS).await]).await;
    // Somebody's, or nobody's: both are not this store's.
    for theirs in [false, true] {
        if theirs {
            let secret = Some(b"theirs".to_vec());
            let options = RedisOptions { secret, ..place.options() };
            drop(place.open(options).await);
        }
        for n in 1..20 {
            let refused = store.claim(&claim(n, 1)).await;
            assert!(
                matches!(refused, Err(StoreError::Refused(_) | StoreError::Unavailable { .. })),
                "{refused:?}"
            );
        }
        // It is known at the latest when somebody has looked.
        for look in 0.. {
            match store.claim(&claim(1, 1)).await {
                Err(StoreError::Refused(_)) => break,
                Err(error @ StoreError::Unavailable { .. }) => assert!(look < LOOKS_MAX, "{error}"),
                other => panic!("neither refused nor unavailable: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let keys: i64 = other.servers[0].tell("DBSIZE").await;
        assert_eq!(keys, i64::from(theirs), "at most their identity");
    }
}

/// Whoever holds the record puts it on its disk, also while the slot moves; one server whose word does
/// not hold is enough to be refused.
#[tokio::test]
async fn each_server_of_a_cluster_is_waited_for() {
    let Some(_) = standalone() else { return };
    let settings = [&SETTINGS[..], &["appendonly yes", "appendfsync always"]].concat();
    let servers = vec![Server::start(&settings).await, Server::start(&settings).await];
    let mut cluster = Cluster::of(servers).await;
    let place = cluster.place();
    let waits = RedisOptions { wait_fsync: true, ..place.options() };
    if Waits::of(&cluster.servers[0]).await == Waits::Never {
        let refused = RedisStore::connect(&place.address, waits).await;
        assert!(matches!(refused, Err(OpenError::NoFsync { .. })), "{refused:?}");
        return;
    }
    let store = place.open(waits.clone()).await;
    let lease = grant(&store, &claim(1, 1)).await;
    let key = format!("{}:{{{}}}", place.prefix, lease.id);
    let slot: i64 = cluster.servers[0].tell(&format!("CLUSTER KEYSLOT {key}")).await;
    let [from, to] = [&cluster.ids[0], &cluster.ids[1]];
    cluster.tell(1, &format!("CLUSTER SETSLOT {slot} IMPORTING {from}")).await;
    cluster.tell(0, &format!("CLUSTER SETSLOT {slot} MIGRATING {to}")).await;
    let port = cluster.servers[1].port;
    cluster.tell(0, &format!("MIGRATE 127.0.0.1 {port} {key} 0 60000")).await;
    settle(&store, &lease, &complete()).await;
    for server in [1, 0] {
        cluster.tell(server, &format!("CLUSTER SETSLOT {slot} NODE {to}")).await;
    }
    cluster.servers[1].kill();
    cluster.servers[1].run().await;
    cluster.whole().await;
    let held = store.claim(&claim(1, 2)).await.expect("an answer");
    assert!(
        matches!(held, Claimed::Held(seen) if seen.record.status(seen.now) == Status::Completed)
    );

    cluster.tell(1, "CONFIG SET appendfsync no").await;
    let refused = RedisStore::connect(&place.address, waits).await;
    let Err(error @ OpenError::NoFsync { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains(&format!("127.0.0.1:{port} ")), "{error}");
}

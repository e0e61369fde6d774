//! Waiting for replicas and for the disk, where it is asked for.

use std::time::{Duration, Instant};

use hapax::{Claimed, Effect, Lease, Status, Store as _};
use hapax_redis::{OpenError, RedisOptions, RedisStore};

use crate::scene::{
    RETENTION, TERM, claim, complete, effect, grant, settle, settle_effect, standalone,
};
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
    let store = open_hasty(&master.address(), hasty).await;
    let patient = place.open(place.options()).await;
    let lease = grant(&patient, &claim(2, 1)).await;
    replica.kill();
    is_unknown(async || settle_effect(&store, &lease).await).await;
    is_unknown(async || effect(store.claim(&claim(3, 1)).await)).await;
    // A reading step waits for nobody, and shows that both happened all the same; soon, where the answer
    // was missed rather than the replica.
    for look in 0.. {
        let settled = patient.peek(&lease.id).await.unwrap().expect("a record");
        if settled.record.status(settled.now) == Status::Completed
            && patient.peek(&claim(3, 1).id).await.unwrap().is_some()
        {
            break;
        }
        assert!(look < LOOKS_MAX, "what was sent never happens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    replica.run().await;
    for look in 0.. {
        match store.claim(&claim(3, 1)).await {
            // As the first time.
            Ok(Claimed::Granted(_)) => break,
            Ok(Claimed::Held(seen)) => panic!("held by itself: {seen:?}"),
            Err(error) => assert!(look < LOOKS_MAX, "the replica does not come back: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How often somebody looks, every ten milliseconds, for what must come.
const LOOKS_MAX: u32 = 4_000;

/// How often a scene is set that a slow machine may miss.
const SCENES_MAX: u16 = 20;

/// A store that has little time for each operation. Opening it may take several tries, as the machine may
/// stand still for longer.
pub(crate) async fn open_hasty(address: &str, options: RedisOptions) -> RedisStore {
    for _ in 0..SCENES_MAX {
        match RedisStore::connect(address, options.clone()).await {
            Ok(store) => return store,
            Err(OpenError::Unavailable { .. }) => {}
            Err(error) => panic!("another objection: {error}"),
        }
    }
    panic!("a store is never opened in time");
}

/// That nobody knows whether a step of a hasty store happened. Where the machine stands still before it is
/// sent, it did not, and is tried again.
async fn is_unknown(step: impl AsyncFn() -> Effect) {
    for _ in 0..SCENES_MAX {
        if step().await == Effect::Unknown {
            return;
        }
    }
    panic!("the step is never sent");
}

/// Since version 7.2, a server waits for what the connection itself has written last, and not for what
/// another one wrote.
#[tokio::test]
async fn who_is_shown_what_another_node_wrote_waits_for_that_too() {
    let Some(_) = standalone() else { return };
    let master = Server::start(&[]).await;
    let replica = Server::start(&[&format!("replicaof 127.0.0.1 {}", master.port)]).await;
    let place = Place::take(&master.address());
    let patient = RedisOptions { wait_replicas: 1, ..place.options() };
    // Opening waits for the replica to be there.
    drop(place.open(patient.clone()).await);
    let hasty = RedisOptions { store_timeout: Duration::from_millis(500), ..patient };
    let waits = open_hasty(&place.address, hasty).await;
    let writer = place.open(place.options()).await;
    replica.pause();
    let [settled, running, repeated] = [1, 2, 3].map(|n| claim(n, 1));
    settle(&writer, &grant(&writer, &settled).await, &complete()).await;
    grant(&writer, &running).await;
    let lease = grant(&writer, &repeated).await;
    settle(&writer, &lease, &complete()).await;
    nothing_is_shown(&waits, &lease).await;
    // Waiting has left everything as it was: what is settled expires, what runs does not.
    for (claim, expires) in [(settled, true), (running, false), (repeated, true)] {
        let key = format!("{}:{{{}}}", place.prefix, claim.id);
        let left: i64 = master.tell(&format!("PTTL {key}")).await;
        let hour = i64::try_from(RETENTION.as_millis()).unwrap() + 1_000;
        assert!(if expires { (hour / 2..=hour).contains(&left) } else { left == -1 }, "{left}");
    }
}

/// Records 1 (settled) and 2 (running) are claimed, and record 3 settled as it was: all of that happened
/// on another node, and whether it lasts is unknown.
async fn nothing_is_shown(waits: &RedisStore, lease: &Lease) {
    for (n, by) in [(1, 2), (2, 1), (2, 2)] {
        is_unknown(async || effect(waits.claim(&claim(n, by)).await)).await;
    }
    is_unknown(async || settle_effect(waits, lease).await).await;
}

/// What a server does for those who ask it to wait for its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waits {
    /// It cannot: it is older than 7.2.
    Never,
    /// Truly where it syncs always; where it syncs once a second, it confirms before it has.
    Always,
    /// Truly where it syncs always or once a second.
    EverySecond,
}

impl Waits {
    pub(crate) async fn of(server: &Server) -> Self {
        let commands: Vec<redis::Value> = server.tell("COMMAND INFO WAITAOF").await;
        let info: String = server.tell("INFO server").await;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let version = version.and_then(|version| version.split('.').next()).expect("a version");
        if commands == [redis::Value::Nil] {
            Self::Never
        } else if info.contains("valkey_version:") || version.parse::<u32>().expect("a number") < 8
        {
            Self::Always
        } else {
            Self::EverySecond
        }
    }

    /// With which settings waiting is worth something.
    const fn settings(self) -> [&'static str; 2] {
        match self {
            Self::Never | Self::Always => ["appendonly yes", "appendfsync always"],
            Self::EverySecond => ["appendonly yes", "appendfsync everysec"],
        }
    }
}

/// A store that waits for the disk, or why none is opened.
async fn try_wait(server: &Server, place: &Place) -> Result<RedisStore, String> {
    let options = RedisOptions { wait_fsync: true, ..place.options() };
    match RedisStore::connect(&server.address(), options).await {
        Ok(store) => Ok(store),
        Err(error @ OpenError::NoFsync { .. }) => Err(error.to_string()),
        Err(other) => panic!("{other:?}"),
    }
}

/// A server that cannot wait for its disk, or says so before it has, is refused, and why.
#[tokio::test]
async fn only_a_server_whose_word_holds_is_waited_for() {
    let Some(_) = standalone() else { return };
    for sync in ["always", "everysec", "no"] {
        let sync_setting = format!("appendfsync {sync}");
        let server = Server::start(&["appendonly yes", &sync_setting]).await;
        let opened = try_wait(&server, &Place::take(&server.address())).await;
        match (Waits::of(&server).await, sync, opened) {
            (Waits::EverySecond, "always" | "everysec", Ok(store))
            | (Waits::Always, "always", Ok(store)) => {
                assert!(store.guarantees().durable, "{}", store.guarantees().summary);
            }
            (Waits::Never, _, Err(why)) => assert!(why.contains("older than Redis 7.2"), "{why}"),
            (Waits::Always, "everysec", Err(why)) => {
                assert!(why.contains("`appendfsync` is everysec"), "{why}");
            }
            (Waits::Always | Waits::EverySecond, "no", Err(why)) => {
                assert!(why.contains("`appendfsync` is no"), "{why}");
            }
            (waits, _, opened) => panic!("{waits:?} with {sync}: {opened:?}"),
        }
    }
    let forgetful = Server::start(&[]).await;
    let why = try_wait(&forgetful, &Place::take(&forgetful.address())).await.unwrap_err();
    let reason = match Waits::of(&forgetful).await {
        Waits::Never => "older than Redis 7.2",
        Waits::Always | Waits::EverySecond => "`appendonly` is no",
    };
    assert!(why.contains(reason), "{why}");
}

/// kill -9, right after the answers.
#[tokio::test]
async fn what_was_waited_for_is_there_after_a_crash() {
    let Some(_) = standalone() else { return };
    let waits = Waits::of(&Server::start(&[]).await).await;
    let mut server = Server::start(&waits.settings()).await;
    let place = Place::take(&server.address());
    let store = match try_wait(&server, &place).await {
        Ok(store) => store,
        Err(why) => return assert_eq!(waits, Waits::Never, "{why}"),
    };
    let lease = grant(&store, &claim(1, 1)).await;
    let lease = store.renew(&lease, 2 * TERM, None).await.expect("a renewal");
    settle(&store, &lease, &complete()).await;
    let running = grant(&store, &claim(2, 1)).await;
    server.kill();
    server.run().await;
    let Claimed::Held(seen) = store.claim(&claim(1, 2)).await.expect("an answer") else {
        panic!("a settled key runs again");
    };
    assert_eq!(seen.record.status(seen.now), Status::Completed);
    // Its owner goes on where it was.
    let again = grant(&store, &claim(2, 1)).await;
    assert_eq!((again.fence, again.claimed_at), (running.fence, running.claimed_at));
    settle(&store, &running, &complete()).await;
}

/// A server that syncs once a second cannot say more often that something new is on its disk.
#[tokio::test]
async fn waiting_takes_as_long_as_the_disk_does() {
    let Some(_) = standalone() else { return };
    let waits = Waits::of(&Server::start(&[]).await).await;
    if waits != Waits::EverySecond {
        return;
    }
    let server = Server::start(&waits.settings()).await;
    let store = try_wait(&server, &Place::take(&server.address())).await.expect("a store");
    let began = Instant::now();
    for n in 1..=3 {
        grant(&store, &claim(n, 1)).await;
    }
    // The first may meet the end of a second.
    assert!(began.elapsed() > Duration::from_millis(1_900), "{:?}", began.elapsed());
}

/// What is not on the disk in time, or can no longer be asked, is unknown: also to who is shown it.
#[tokio::test]
async fn what_is_not_on_the_disk_in_time_is_unknown() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&["appendonly yes", "appendfsync always"]).await;
    let place = Place::take(&server.address());
    if let Err(why) = try_wait(&server, &place).await {
        return assert_eq!(Waits::of(&server).await, Waits::Never, "{why}");
    }
    let hasty = Duration::from_millis(500);
    let hasty = RedisOptions { store_timeout: hasty, wait_fsync: true, ..place.options() };
    let waits = open_hasty(&place.address, hasty).await;
    let writer = place.open(place.options()).await;
    let late = grant(&writer, &claim(4, 1)).await;
    for setting in ["appendfsync no", "appendonly no"] {
        let _: String = server.tell(&format!("CONFIG SET {setting}")).await;
        is_unknown(async || settle_effect(&waits, &late).await).await;
    }
    let _: String = server.tell("CONFIG SET appendonly yes").await;
    settle(&writer, &grant(&writer, &claim(1, 1)).await, &complete()).await;
    grant(&writer, &claim(2, 1)).await;
    let lease = grant(&writer, &claim(3, 1)).await;
    settle(&writer, &lease, &complete()).await;
    nothing_is_shown(&waits, &lease).await;
}

/// Whoever waits for the disk and for replicas waits for their disks.
#[tokio::test]
async fn replicas_are_waited_for_with_their_disks() {
    let Some(_) = standalone() else { return };
    let disk = ["appendonly yes", "appendfsync always"];
    let master = Server::start(&disk).await;
    if Waits::of(&master).await == Waits::Never {
        return;
    }
    let follow = format!("replicaof 127.0.0.1 {}", master.port);
    let place = Place::take(&master.address());
    let both = RedisOptions { wait_fsync: true, wait_replicas: 1, ..place.options() };
    let forgetful = Server::start(&[&follow]).await;
    // The server knows the scripts from then on, and the time is for waiting alone.
    drop(place.open(place.options()).await);
    let hasty = RedisOptions { store_timeout: Duration::from_secs(3), ..both.clone() };
    for scene in 0.. {
        let refused = RedisStore::connect(&master.address(), hasty.clone()).await;
        let Err(error @ OpenError::Unavailable { .. }) = refused else { panic!("{refused:?}") };
        if error.to_string().contains("0 of 1 replicas have it on their disks") {
            break;
        }
        // The machine stood still.
        assert!(scene < SCENES_MAX, "{error}");
    }

    let _keeps = Server::start(&[disk[0], disk[1], &follow]).await;
    let store = place.open(both).await;
    settle(&store, &grant(&store, &claim(1, 1)).await, &complete()).await;
    drop(forgetful);
}

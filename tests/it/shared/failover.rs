//! The store fails over to another server: what one that was waited for keeps, what another may forget.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{
    Chance, Gateway, Place, Postgres, Redis, Relay, Request, Settings, Shared, Upstream,
    eventually, respond,
};

use crate::campaign::effect::effect;
use crate::campaign::history::judge;
use crate::campaign::traffic::Traffic;
use crate::shared::outage::paid;

const CLIENTS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(20);
const CONFIG: &str = "store_timeout = \"3s\"\n[defaults]\nlease = \"2s\"";

/// Where no owner dies.
const LONG_LEASE: &str = "store_timeout = \"3s\"\n[defaults]\nlease = \"10s\"";

/// Both ways in which the first server is succeeded.
struct Succession<'a> {
    /// What happens to the first.
    fall: &'a mut dyn FnMut(),
    /// Waits until the second has all that the first has now.
    hear: &'a dyn Fn(),
    /// Leads to the second, which answers reads alone until it has risen.
    lead: &'a dyn Fn(),
    /// Makes the second the first.
    rise: &'a dyn Fn(),
}

/// A synchronous standby has every step that anybody was told of: under traffic, nothing runs twice and
/// nothing is lost.
#[test]
fn postgres_that_fails_over_to_a_synchronous_standby_forgets_nothing() {
    let mut primary = Postgres::start();
    let standby = primary.standby("second");
    primary.wait_for_standby("second");
    let relay = Relay::start(primary.address());
    let place = Place::at(Shared::Postgres, Postgres::url_at(relay.address()));
    let url = primary.url();
    let succession = Succession {
        fall: &mut || primary.kill(),
        hear: &|| {
            let lies_at = Postgres::ask_at(&url, "SELECT pg_current_wal_flush_lsn()");
            let has_it = format!("SELECT pg_last_wal_receive_lsn() >= '{lies_at}'");
            eventually("the standby has heard it", || standby.ask(&has_it) == "t");
        },
        lead: &|| relay.lead(Some(standby.address())),
        rise: &|| standby.promote(),
    };
    forgets_nothing(&place, "", "keeps every answer", succession);
}

/// The same with a replica that every step waits for. There is no other replica that could be promoted
/// in its place, so it has every claim that anybody was granted.
#[test]
fn redis_that_fails_over_to_the_replica_it_waited_for_forgets_nothing() {
    let mut master = Redis::start();
    let replica = master.replica();
    let relay = Relay::start(master.address());
    let place = Place::at(Shared::Redis, Redis::url_at(relay.address()));
    let (next, address) = (OnceCell::new(), master.address());
    let succession = Succession {
        fall: &mut || master.kill(),
        hear: &|| {
            let written = Redis::written_at(address);
            eventually("the replica has heard it", || replica.written() >= written);
        },
        lead: &|| relay.lead(Some(replica.address())),
        rise: &|| {
            replica.promote();
            // It waits for a replica now, as the first did.
            let _first = next.set(replica.replica());
        },
    };
    forgets_nothing(&place, "wait_replicas = 1\n", "each step waits for a replica", succession);
}

/// Traffic before, while, and after: judged as a campaign is.
fn forgets_nothing(place: &Place, table: &str, promise: &str, succession: Succession<'_>) {
    let Succession { fall, hear, lead, rise } = succession;
    let seed = Chance::seed();
    let upstream = Upstream::counting(move |arrival, stream| effect(seed, arrival, stream));
    let settings = place.settings(&upstream.url()).config(CONFIG).table(table);
    let gateways = [settings.start(), settings.start()];
    assert_promise(&gateways[0], promise);
    let traffic = Traffic::new(gateways.len());
    for (number, gateway) in gateways.iter().enumerate() {
        traffic.point(number, Some(gateway.address()));
    }
    let ((outage, took), events) = traffic.during(CLIENTS, seed, || {
        thread::sleep(Duration::from_millis(1_500));
        eventually("there was traffic", || traffic.is_enough(20));
        let gone = traffic.now();
        // A replay may be of an answer that is still on its way to the replica.
        hear();
        let began = Instant::now();
        fall();
        lead();
        is_closed(&gateways, &upstream);
        rise();
        eventually("the gateways are ready", || gateways.iter().all(Gateway::is_ready));
        let (outage, took) = (gone..=traffic.now(), began.elapsed());
        thread::sleep(Duration::from_millis(1_000));
        (outage, took)
    });
    let last = traffic.ask_for_every_key(&events, PATIENCE);
    let verdict = judge(&events, &upstream.counts(), &last, &[outage]);
    let kind = place.kind();
    println!("failover of {kind:?}, HAPAX_SEED={seed}, {took:.1?} away: {verdict}");
    assert!(verdict.wrong.is_empty(), "HAPAX_SEED={seed}: {:#?}", verdict.wrong);
    assert!(verdict.answered > 20 && verdict.replayed > 0);
}

/// A server that is not promoted yet answers reads alone: nothing runs.
fn is_closed(gateways: &[Gateway], upstream: &Upstream) {
    for (number, gateway) in gateways.iter().enumerate() {
        eventually("it is not ready", || !gateway.is_ready());
        let key = format!("read-only-{number}");
        let refused = Request::payment(&key).answer(gateway.address());
        assert_eq!(refused.problem().as_deref(), Some("store-unavailable"), "{}", refused.text());
        assert_eq!(upstream.arrivals(&key), 0, "nothing ran");
    }
}

/// What `docs/guarantees.md` warns of: a standby that is not waited for has not heard of the last
/// claims, and a key that it has never seen runs again.
#[test]
fn postgres_that_fails_over_to_a_standby_that_is_behind_forgets_what_that_has_not_heard() {
    let mut primary = Postgres::start();
    let standby = primary.standby("second");
    let relay = Relay::start(primary.address());
    let place = Place::at(Shared::Postgres, Postgres::url_at(relay.address()));
    forgets_the_unheard(&place, |unheard| {
        let lies_at = primary.ask("SELECT pg_current_wal_flush_lsn()");
        let has_it = format!("SELECT pg_last_wal_replay_lsn() >= '{lies_at}'");
        eventually("the standby has heard it", || standby.ask(&has_it) == "t");
        standby.tell("ALTER SYSTEM SET primary_conninfo = ''");
        standby.tell("SELECT pg_reload_conf()");
        let followers = "SELECT count(*) FROM pg_stat_replication";
        eventually("the standby hears nothing", || primary.ask(followers) == "0");
        unheard();
        primary.kill();
        standby.promote();
        relay.lead(Some(standby.address()));
    });
}

/// The same with a replica.
#[test]
fn redis_that_fails_over_to_a_replica_that_is_behind_forgets_what_that_has_not_heard() {
    let mut master = Redis::start();
    let replica = master.replica();
    let relay = Relay::start(master.address());
    let place = Place::at(Shared::Redis, Redis::url_at(relay.address()));
    forgets_the_unheard(&place, |unheard| {
        let written = master.written();
        eventually("the replica has heard it", || replica.written() >= written);
        cut_off(&replica);
        unheard();
        master.kill();
        replica.promote();
        relay.lead(Some(replica.address()));
    });
}

/// One key before the second server stops listening, one after; then the second takes over.
fn forgets_the_unheard(place: &Place, fail_over: impl FnOnce(&mut dyn FnMut())) {
    let upstream = Upstream::start(|arrival, stream| {
        respond(stream, 201, &[], format!("run {}", arrival.number).as_bytes())
    });
    let gateway = place.settings(&upstream.url()).config(LONG_LEASE).start();
    assert_promise(&gateway, "may forget the last steps");
    let pay = |key: &str| paid(&gateway, key);
    assert_eq!(pay("heard").text(), "run 1");
    fail_over(&mut || {
        assert_eq!(pay("unheard").text(), "run 1");
        assert!(pay("unheard").replayed());
    });
    eventually("the gateway is ready", || gateway.is_ready());
    assert!(pay("heard").replayed());
    let forgotten = pay("unheard");
    assert_eq!((forgotten.text().as_str(), forgotten.replayed()), ("run 2", false));
    let runs = BTreeMap::from([("heard".to_owned(), 1), ("unheard".to_owned(), 2)]);
    assert_eq!(upstream.counts(), runs);
}

/// Where a replica has to confirm each step and none does, nothing runs; once one does again, all is
/// well.
#[test]
fn redis_without_the_replica_it_waits_for_runs_nothing() {
    let upstream = Upstream::creating();
    let master = Redis::start();
    let replica = master.replica();
    let place = Place::at(Shared::Redis, master.url());
    let settings: Settings = place.settings(&upstream.url()).config(LONG_LEASE);
    let gateway = settings.table("wait_replicas = 1\n").start();
    let before = paid(&gateway, "confirmed");
    cut_off(&replica);
    let refused = Request::payment("unconfirmed").answer(gateway.address());
    assert_eq!(refused.problem().as_deref(), Some("store-unavailable"), "{}", refused.text());
    assert_eq!(upstream.arrivals("unconfirmed"), 0, "nothing ran");
    let [host, port] = ["127.0.0.1", &master.address().port().to_string()];
    replica.tell(&["REPLICAOF", host, port]);
    assert_eq!(paid(&gateway, "unconfirmed").status, 201);
    let replay = paid(&gateway, "confirmed");
    assert_eq!((replay.replayed(), replay.body), (true, before.body));
    assert_eq!(upstream.arrivals("unconfirmed"), 1);
}

/// The replica stays one, and follows nobody.
fn cut_off(replica: &Redis) {
    replica.tell(&["REPLICAOF", "127.0.0.1", "1"]);
}

/// What is promised at the start is what this test then sees.
fn assert_promise(gateway: &Gateway, promise: &str) {
    eventually("the store is told", || gateway.output().contains("\nstore "));
    assert!(gateway.output().contains(promise), "{}", gateway.output());
}

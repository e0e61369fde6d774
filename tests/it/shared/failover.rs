//! The database fails over to a standby: what a synchronous one keeps, what another may forget.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{
    Chance, Gateway, Place, Postgres, Relay, Request, Shared, Upstream, eventually, respond,
};

use crate::campaign::effect::effect;
use crate::campaign::history::judge;
use crate::campaign::traffic::Traffic;

const CLIENTS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(20);
const CONFIG: &str = "store_timeout = \"1s\"\n[defaults]\nlease = \"2s\"";

/// A synchronous standby has every step that anybody was told of: under traffic, nothing runs twice and
/// nothing is lost. Until it is promoted it is read-only, and the gateways say 503.
#[test]
fn a_failover_to_a_synchronous_standby_forgets_nothing() {
    let seed = Chance::seed();
    let upstream = Upstream::counting(move |arrival, stream| effect(seed, arrival, stream));
    let mut primary = Postgres::start();
    let standby = primary.standby("second");
    primary.wait_for_standby("second");
    let relay = Relay::start(primary.address());
    let place = Place::at(Shared::Postgres, Postgres::url_at(relay.address()));
    let settings = place.settings(&upstream.url()).config(CONFIG);
    let gateways = [settings.start(), settings.start()];
    assert_promise(&gateways[0], "keeps every answer");
    let traffic = Traffic::new(gateways.len());
    for (number, gateway) in gateways.iter().enumerate() {
        traffic.point(number, Some(gateway.address()));
    }
    let (events, outage, took) = thread::scope(|scope| {
        let flow = traffic.flow();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (traffic, chance) = (&traffic, Chance::new(seed ^ (number as u64 + 1)));
                scope.spawn(move || traffic.client(number, chance))
            })
            .collect();
        thread::sleep(Duration::from_millis(1_500));
        let gone = traffic.now();
        let began = Instant::now();
        primary.kill();
        relay.lead(Some(standby.address()));
        is_closed(&gateways, &upstream);
        standby.promote();
        eventually("the gateways are ready", || gateways.iter().all(Gateway::is_ready));
        let (outage, took) = (gone..=traffic.now(), began.elapsed());
        thread::sleep(Duration::from_millis(1_000));
        drop(flow);
        let events = clients.into_iter().flat_map(|client| client.join().unwrap());
        (events.collect::<Vec<_>>(), outage, took)
    });
    let last = traffic.ask_for_every_key(&events, PATIENCE);
    let verdict = judge(&events, &upstream.counts(), &last, &[outage]);
    println!("failover to a synchronous standby, HAPAX_SEED={seed}, {took:.1?} away: {verdict}");
    assert!(verdict.wrong.is_empty(), "HAPAX_SEED={seed}: {:#?}", verdict.wrong);
    assert!(verdict.answered > 20 && verdict.replayed > 0);
}

/// A standby that is not promoted yet answers reads alone: nothing runs.
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
fn a_failover_to_a_standby_that_is_behind_forgets_what_it_has_not_heard() {
    let upstream = Upstream::start(|arrival, stream| {
        respond(stream, 201, &[], format!("run {}", arrival.number).as_bytes())
    });
    let mut primary = Postgres::start();
    let standby = primary.standby("second");
    let relay = Relay::start(primary.address());
    let place = Place::at(Shared::Postgres, Postgres::url_at(relay.address()));
    let gateway = place.settings(&upstream.url()).config(CONFIG).start();
    assert_promise(&gateway, "may forget the last steps");
    let pay = |key: &str| Request::payment(key).answer(gateway.address());
    assert_eq!(pay("heard").text(), "run 1");
    let lies_at = primary.ask("SELECT pg_current_wal_flush_lsn()");
    let has_it = format!("SELECT pg_last_wal_replay_lsn() >= '{lies_at}'");
    eventually("the standby has heard it", || standby.ask(&has_it) == "t");

    standby.tell("ALTER SYSTEM SET primary_conninfo = ''");
    standby.tell("SELECT pg_reload_conf()");
    eventually("the standby hears nothing", || {
        primary.ask("SELECT count(*) FROM pg_stat_replication") == "0"
    });
    assert_eq!((pay("unheard").text(), pay("unheard").replayed()), ("run 1".to_owned(), true));
    primary.kill();
    standby.promote();
    relay.lead(Some(standby.address()));
    eventually("the gateway is ready", || gateway.is_ready());

    assert!(pay("heard").replayed());
    let forgotten = pay("unheard");
    assert_eq!((forgotten.text().as_str(), forgotten.replayed()), ("run 2", false));
    let runs = BTreeMap::from([("heard".to_owned(), 1), ("unheard".to_owned(), 2)]);
    assert_eq!(upstream.counts(), runs);
}

/// What is promised at the start is what this test then sees.
fn assert_promise(gateway: &Gateway, promise: &str) {
    eventually("the store is told", || gateway.output().contains("store postgres:"));
    assert!(gateway.output().contains(promise), "{}", gateway.output());
}

//! Coming to a shared store: its tables, its absence, and whose records it holds.

use std::fs;
use std::net::SocketAddr;

use hapax_tests::{
    Ended, Gateway, Place, Postgres, Redis, Relay, Request, Server, Shared, Upstream, eventually,
};

on_each_store!(
    a_store_that_is_not_there_at_the_start_ends_with_69,
    another_secret_on_the_same_store_ends_with_78,
);

const OURS: &str = "the-secret-of-this-deployment-0123456789";
const THEIRS: &str = "the-secret-of-another-deployment-0123456789";

fn a_store_that_is_not_there_at_the_start_ends_with_69(kind: Shared) {
    let mut server = Server::start(kind);
    let place = server.place();
    server.stop();
    let ended = place.settings("http://127.0.0.1:1").config("store_timeout = \"1s\"").fail();
    assert_sentence(&ended, 69, &[&place.host().to_string()]);
}

/// Ruling 8 at the start: nobody would find their records.
fn another_secret_on_the_same_store_ends_with_78(kind: Shared) {
    let upstream = Upstream::creating();
    let place = Place::take(kind);
    let settings = || place.settings(&upstream.url());
    let gateway = settings().variable("HAPAX_SECRET", OURS).start();
    let answer = Request::payment("ours").answer(gateway.address());
    assert_eq!(answer.status, 201);
    for ended in [settings().variable("HAPAX_SECRET", THEIRS).fail(), settings().fail()] {
        assert_sentence(&ended, 78, &["`secret`"]);
    }
    let second = settings().variable("HAPAX_SECRET", OURS).start();
    assert!(Request::payment("ours").answer(second.address()).replayed());
    assert_eq!(upstream.arrivals("ours"), 1);
}

/// Ruling 8 while running: the name of the store leads to another deployment's, and back.
#[test]
fn postgres_of_another_deployment_behind_the_same_name_gets_nothing() {
    let (server, theirs) = (Postgres::start(), Place::take(Shared::Postgres));
    let relay = Relay::start(server.address());
    let ours = theirs.seen_at(Postgres::url_at(relay.address()));
    is_refused_while_foreign(&theirs, &ours, &relay, server.address());
}

/// The same on Redis.
#[test]
fn redis_of_another_deployment_behind_the_same_name_gets_nothing() {
    let (server, theirs) = (Redis::start(), Place::take(Shared::Redis));
    let relay = Relay::start(server.address());
    let ours = theirs.seen_at(Redis::url_at(relay.address()));
    is_refused_while_foreign(&theirs, &ours, &relay, server.address());
}

fn is_refused_while_foreign(theirs: &Place, ours: &Place, relay: &Relay, home: SocketAddr) {
    let upstream = Upstream::creating();
    let gateway = ours.settings(&upstream.url()).variable("HAPAX_SECRET", OURS).start();
    let before = Request::payment("before").answer(gateway.address());
    // The other store is first empty, then another deployment's.
    for key in ["into-nothing", "into-theirs"] {
        relay.lead(Some(theirs.host()));
        let pay = || Request::payment(key).answer(gateway.address());
        for answer in [pay(), pay(), pay()] {
            assert_eq!(answer.problem().as_deref(), Some("store-unavailable"), "{}", answer.text());
        }
        assert_eq!(upstream.arrivals(key), 0, "nothing ran");
        eventually("it is not ready", || !gateway.is_ready());
        let settings = theirs.settings(&upstream.url()).variable("HAPAX_SECRET", THEIRS);
        drop(settings.start());
        relay.lead(Some(home));
        eventually("it is ready", || gateway.is_ready());
        let replay = Request::payment("before");
        eventually("what was answered is there", || {
            let replay = replay.answer(gateway.address());
            (replay.replayed(), &replay.body) == (true, &before.body)
        });
        eventually("what was refused runs", || pay().status == 201);
        assert_eq!(upstream.arrivals(key), 1);
    }
    assert_eq!(upstream.arrivals("before"), 1);
}

/// `hapax migrate` says what it did; `migrate = false` says what to do.
#[test]
fn postgres_tables_are_made_when_they_may_be_and_asked_for_when_not() {
    let upstream = Upstream::creating();
    let place = Place::take(Shared::Postgres);
    let careful = || place.settings(&upstream.url()).config("migrate = false");
    assert_sentence(&careful().fail(), 78, &["hapax migrate", place.name()]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hapax.toml");
    fs::write(&file, place.table()).unwrap();
    let migrate = || {
        let config = file.to_str().unwrap();
        let ended = Gateway::command(&["migrate", "--store", place.url(), "--config", config]);
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        ended.output
    };
    let made = migrate();
    assert!(made.contains("made schema") && made.contains(place.name()), "{made}");
    let again = migrate();
    assert!(again.contains("already") && again.lines().count() == 1, "{again}");

    let gateway = careful().start();
    assert_eq!(Request::payment("after").answer(gateway.address()).status, 201);
}

/// One sentence with what it is about, and no backtrace.
fn assert_sentence(ended: &Ended, code: i32, about: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.errors);
    let errors = &ended.errors;
    assert!(errors.lines().any(|line| line.starts_with("hapax: ")), "no error is told: {errors}");
    for part in about {
        assert!(errors.contains(part), "{part} is not named: {errors}");
    }
    assert!(!errors.contains("panicked") && !errors.contains("backtrace"), "{errors}");
}

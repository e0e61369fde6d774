//! Coming to a shared store: its tables, its absence, and whose records it holds.

use std::fs;

use hapax_tests::{
    Ended, Gateway, Place, Postgres, Relay, Request, Server, Shared, Upstream, eventually,
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
    let host = place.url().rsplit(['@', '/', ',']).find(|part| part.contains(':')).unwrap();
    assert_sentence(&ended, 69, &[host]);
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
    let own = Server::start(Shared::Postgres);
    let Server::Postgres(server) = &own else { unreachable!("it is what was started") };
    let theirs = Place::take(Shared::Postgres);
    let foreign = theirs.url().rsplit('@').next().unwrap().split('/').next().unwrap();
    let foreign = foreign.parse().expect("the shared server is plain HOST:PORT");
    let relay = Relay::start(server.address());
    let ours = theirs.seen_at(Postgres::url_at(relay.address()));
    is_refused_while_foreign(&theirs, &ours, &relay, server.address(), foreign);
}

pub(super) fn is_refused_while_foreign(
    theirs: &Place,
    ours: &Place,
    relay: &Relay,
    home: std::net::SocketAddr,
    foreign: std::net::SocketAddr,
) {
    let upstream = Upstream::creating();
    let gateway = ours.settings(&upstream.url()).variable("HAPAX_SECRET", OURS).start();
    let before = Request::payment("before").answer(gateway.address());
    // The other store is first empty, then another deployment's.
    for key in ["into-nothing", "into-theirs"] {
        relay.lead(Some(foreign));
        let refused = || Request::payment(key).answer(gateway.address());
        for answer in [refused(), refused(), refused()] {
            assert_eq!(answer.problem().as_deref(), Some("store-unavailable"), "{}", answer.text());
        }
        assert_eq!(upstream.arrivals(key), 0, "nothing ran");
        if key == "into-nothing" {
            eventually("it is not ready", || !gateway.is_ready());
        }
        let settings = theirs.settings(&upstream.url()).variable("HAPAX_SECRET", THEIRS);
        drop(settings.start());
        relay.lead(Some(home));
        eventually("it is ready", || gateway.is_ready());
        let replay = Request::payment("before").answer(gateway.address());
        assert_eq!((replay.replayed(), &replay.body), (true, &before.body));
        assert_eq!(refused().status, 201);
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

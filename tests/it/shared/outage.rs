//! A store that is away for a while: nothing runs unprotected, nothing is forgotten, and nobody has to
//! start a gateway again.

use hapax_tests::{
    Answer, Connection, Cue, Gateway, Request, Server, Settings, Shared, Upstream, eventually,
    respond,
};

on_each_store!(
    a_store_that_is_paused_closes_the_door_in_time_and_heals,
    a_store_that_is_restarted_closes_the_door_and_heals,
    an_answer_during_an_outage_reaches_its_caller_and_is_kept_afterwards,
);

fn two_gateways(settings: &Settings) -> [Gateway; 2] {
    [settings.start(), settings.start()]
}

fn with_short_times(server: &Server, upstream: &Upstream) -> Settings {
    let config = "store_timeout = \"3s\"\n[defaults]\nlease = \"5s\"";
    server.place().settings(&upstream.url()).config(config)
}

/// The answer of one who is told that it runs, or that the store is away, and comes again.
pub(super) fn paid(gateway: &Gateway, key: &str) -> Answer {
    let mut paid = None;
    eventually("it is paid", || {
        let told = Request::payment(key).answer(gateway.address());
        paid = (told.status == 201).then_some(told);
        paid.is_some()
    });
    paid.unwrap()
}

/// SEC-06, OBS-04, ruling 11: claims that nobody answers are refused in time, and released once the
/// store hears them after all.
fn a_store_that_is_paused_closes_the_door_in_time_and_heals(kind: Shared) {
    let upstream = Upstream::creating();
    let server = Server::start(kind);
    let gateways = two_gateways(&with_short_times(&server, &upstream));
    let before = paid(&gateways[0], "before");
    server.pause();
    is_closed(&gateways, &upstream);
    server.resume();
    is_open(&gateways, &upstream, &before);
}

fn a_store_that_is_restarted_closes_the_door_and_heals(kind: Shared) {
    let upstream = Upstream::creating();
    let mut server = Server::start(kind);
    let gateways = two_gateways(&with_short_times(&server, &upstream));
    let before = paid(&gateways[0], "before");
    server.stop();
    is_closed(&gateways, &upstream);
    server.start_again();
    is_open(&gateways, &upstream, &before);
}

/// Nothing runs that has a key; what has none passes; and the gateways say how it is.
fn is_closed(gateways: &[Gateway; 2], upstream: &Upstream) {
    for (number, gateway) in gateways.iter().enumerate() {
        let key = format!("refused-{number}");
        // Who waited for the store would not be answered at all.
        let refused = Request::payment(&key).answer(gateway.address());
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.problem().as_deref(), Some("store-unavailable"));
        let retry_after = refused.fields.first("retry-after").map(str::parse::<u32>);
        assert!(matches!(retry_after, Some(Ok(1..))), "{retry_after:?}");
        assert_eq!(upstream.arrivals(&key), 0, "nothing ran");
        eventually("it is not ready", || !gateway.is_ready());
        let admin = gateway.admin().expect("the admin listener is told");
        assert_eq!(Request::new("GET", "/livez").answer(admin).status, 200);
        let plain = Request::payment("").without("Idempotency-Key").answer(gateway.address());
        assert_eq!(plain.status, 201, "what needs no key passes");
    }
}

/// What was answered is there on both, and what was refused runs, once. A claim that the store did only
/// after its release was answered is held instead: it has not run, and does not.
fn is_open(gateways: &[Gateway; 2], upstream: &Upstream, before: &Answer) {
    for (number, gateway) in gateways.iter().enumerate() {
        eventually("it is ready", || gateway.is_ready());
        let replay = paid(gateway, "before");
        assert_eq!((replay.replayed(), &replay.body), (true, &before.body));
        let key = format!("refused-{number}");
        let first = paid(gateway, &key);
        let other = paid(&gateways[1 - number], &key);
        assert_eq!((other.replayed(), other.body), (true, first.body));
        assert_eq!(upstream.arrivals(&key), 1);
    }
    assert_eq!(upstream.arrivals("before"), 1);
}

/// DBT-08, ruling 12: the store goes while the upstream works. The caller gets the answer; retries
/// hear that it runs, or that nobody knows; when the store is back, all get the answer.
fn an_answer_during_an_outage_reaches_its_caller_and_is_kept_afterwards(kind: Shared) {
    let away = Cue::default();
    let is_away = away.clone();
    let upstream = Upstream::start(move |_, stream| {
        is_away.wait_for(1);
        respond(stream, 201, &[], b"worked meanwhile")
    });
    let mut server = Server::start(kind);
    let gateways = two_gateways(&with_short_times(&server, &upstream));
    let mut client = Connection::open(gateways[0].address()).unwrap();
    client.write(&Request::payment("meanwhile").bytes()).unwrap();
    upstream.await_arrivals("meanwhile", 1);
    server.kill();
    away.give();
    let answer = client.read_answer("POST").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (201, "worked meanwhile"));
    for gateway in &gateways {
        let retry = Request::payment("meanwhile").answer(gateway.address());
        assert_eq!(retry.status, 503, "{}", retry.text());
    }
    server.start_again();
    for gateway in gateways.iter().rev() {
        eventually("the answer is kept", || {
            let retry = Request::payment("meanwhile").answer(gateway.address());
            assert!([201, 409, 503].contains(&retry.status), "{}", retry.text());
            (retry.status, retry.replayed(), retry.text().as_str())
                == (201, true, "worked meanwhile")
        });
    }
    assert_eq!(upstream.arrivals("meanwhile"), 1);
}

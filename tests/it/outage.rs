//! A store that cannot be written to, or that forgets.

use hapax_tests::{
    Answer, Connection, Cue, Gateway, Request, Settings, Upstream, eventually, respond,
};

fn admin(gateway: &Gateway, path: &str) -> Answer {
    let address = gateway.admin().expect("the admin listener is told");
    Request::new("GET", path).answer(address)
}

/// SEC-06, OBS-04, TTL-07: when the disk takes no more, nothing runs unprotected, readiness goes down
/// and liveness stays; what needs no key passes. With room again, everything answered is there.
#[test]
fn a_full_disk_closes_the_door_and_loses_nothing() {
    let upstream = Upstream::creating();
    let settings = Settings::new(&upstream.url()).disk_may_fill();
    let gateway = settings.start();
    let before = Request::payment("before").answer(gateway.address());
    assert_eq!((before.status, admin(&gateway, "/readyz").status), (201, 200));

    gateway.fill_disk();
    for number in 0..5 {
        let key = format!("refused-{number}");
        let refused = Request::payment(&key).answer(gateway.address());
        assert_eq!(refused.status, 503, "{}", refused.text());
        let code = refused.problem().unwrap();
        assert!(["store-unavailable", "store-full"].contains(&code.as_str()), "{code}");
        assert!(refused.fields.first("retry-after").is_some());
        assert_eq!(upstream.arrivals(&key), 0, "nothing ran");
    }
    eventually("it is not ready", || admin(&gateway, "/readyz").status == 503);
    assert_eq!(admin(&gateway, "/livez").status, 200);
    let plain = Request::payment("").without("Idempotency-Key").answer(gateway.address());
    assert_eq!(plain.status, 201, "what needs no key passes");
    eventually("it is said why", || gateway.errors().contains("disk"));
    gateway.terminate();
    assert_eq!(gateway.ended().code, Some(0));

    let gateway = settings.start();
    let replay = Request::payment("before").answer(gateway.address());
    assert_eq!((replay.replayed(), &replay.body), (true, &before.body));
    for number in 0..5 {
        let key = format!("refused-{number}");
        let answer = Request::payment(&key).answer(gateway.address());
        assert_eq!((answer.status, answer.replayed()), (201, false), "{}", answer.text());
        assert_eq!(upstream.arrivals(&key), 1);
    }
}

/// DBT-08: the disk fills while the upstream works: its caller gets the answer, which cannot be kept,
/// and no retry runs it again, before the restart or after.
#[test]
fn an_answer_that_cannot_be_kept_reaches_its_caller_and_never_runs_again() {
    let full = Cue::default();
    let is_full = full.clone();
    let upstream = Upstream::start(move |_, stream| {
        is_full.wait_for(1);
        respond(stream, 201, &[], b"not to be kept")
    });
    let settings = Settings::new(&upstream.url()).disk_may_fill();
    let gateway = settings.start();
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(&Request::payment("unkept").bytes()).unwrap();
    upstream.await_arrivals("unkept", 1);
    gateway.fill_disk();
    full.give();
    let answer = client.read_answer("POST").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (201, "not to be kept"));
    let retry = Request::payment("unkept").answer(gateway.address());
    assert!([409, 503].contains(&retry.status), "{} {}", retry.status, retry.text());
    gateway.kill();
    let gateway = settings.start();
    let held = Request::payment("unkept").answer(gateway.address());
    assert_eq!((held.status, held.problem().as_deref()), (409, Some("outcome-unknown")));
    assert_eq!(upstream.arrivals("unkept"), 1);
}

/// M09: the memory store forgets with its process, and says so at the start.
#[test]
fn a_memory_store_says_that_it_forgets() {
    let upstream = Upstream::creating();
    let settings = Settings::new(&upstream.url()).store("memory:");
    let gateway = settings.start();
    eventually("the store is told", || gateway.output().contains("store memory:"));
    let output = gateway.output();
    let line = output.lines().find(|line| line.starts_with("store memory:")).unwrap();
    assert!(line.contains("memory: ") && line.len() > "store memory: ".len() + 20, "{line}");
    assert_eq!(Request::payment("forgotten").answer(gateway.address()).status, 201);
    assert!(Request::payment("forgotten").answer(gateway.address()).replayed());
    gateway.kill();
    let gateway = settings.start();
    assert!(!Request::payment("forgotten").answer(gateway.address()).replayed());
    assert_eq!(upstream.arrivals("forgotten"), 2);
}

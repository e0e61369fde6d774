//! One execution per key, and its answer for every retry, through crashes of the gateway.

use std::io::Write as _;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hapax_tests::{Connection, Cue, Port, Request, Settings, Upstream, respond};

/// CON-03, ruling 1: the duplicates wait, and get what the first got.
#[test]
fn fifty_simultaneous_requests_with_one_key_run_once() {
    let upstream = Upstream::start(|_, stream| {
        thread::sleep(Duration::from_millis(300));
        respond(stream, 201, &[("Location", "/v1/payments/7")], b"{\"id\":7}")
    });
    let gateway = Settings::new(&upstream.url()).start();
    let (barrier, executed) = (Barrier::new(50), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let mut connection = Connection::open(gateway.address()).unwrap();
                barrier.wait();
                let answer = connection.call(&Request::payment("fifty")).unwrap();
                assert_eq!((answer.status, answer.text().as_str()), (201, "{\"id\":7}"));
                assert_eq!(answer.fields.first("location"), Some("/v1/payments/7"));
                if !answer.replayed() {
                    executed.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(upstream.arrivals("fifty"), 1);
    assert_eq!(executed.load(Ordering::SeqCst), 1, "one answer is the first, all others replays");
}

/// CON-01: under `reject` one runs and the others are told so at once: before it is done.
#[test]
fn fifty_simultaneous_requests_under_reject_run_once() {
    let told = Cue::default();
    let others_told = told.clone();
    let upstream = Upstream::start(move |_, stream| {
        others_told.wait_for(49);
        respond(stream, 201, &[], b"done")
    });
    let gateway =
        Settings::new(&upstream.url()).config("[defaults]\nconcurrent = \"reject\"").start();
    let barrier = Barrier::new(50);
    let answers: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let answer = Request::payment("rejected").answer(gateway.address());
                    told.give();
                    answer
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(upstream.arrivals("rejected"), 1);
    for answer in &answers {
        match answer.status {
            201 => assert_eq!(answer.text(), "done"),
            409 => {
                assert_eq!(answer.problem().as_deref(), Some("in-progress"));
                let after: u64 = answer.fields.first("retry-after").unwrap().parse().unwrap();
                assert!(after >= 1, "Retry-After is a positive number of seconds");
            }
            other => panic!("neither the answer nor a conflict: {other}"),
        }
    }
    assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 49);
    // CON-02: the conflict was not kept.
    let replay = Request::payment("rejected").answer(gateway.address());
    assert_eq!((replay.status, replay.replayed()), (201, true));
}

/// EXE-03, REP-01, REP-02: what a client has seen whole is what every retry gets, after kill -9 and
/// with the upstream gone.
#[test]
fn an_answer_survives_kill_right_after_its_last_byte() {
    let binary: Vec<u8> = (0..=255).collect();
    let upstream = {
        let binary = binary.clone();
        Upstream::start(move |_, stream| {
            let fields = [
                ("Content-Type", "application/octet-stream"),
                ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("ETag", "\"a,b\""),
                ("Link", "</a>; rel=next"),
                ("Link", "</b>; rel=prev"),
                ("Location", "/v1/payments/9"),
                ("Set-Cookie", "session=1"),
            ];
            respond(stream, 201, &fields, &binary)
        })
    };
    let settings = Settings::new(&upstream.url());
    for round in 0..3 {
        let key = format!("survives-{round}");
        let gateway = settings.start();
        let first = Request::payment(&key).answer(gateway.address());
        gateway.kill();
        assert_eq!((first.status, first.replayed()), (201, false));
        assert_eq!(first.body, binary);
        assert_eq!(first.fields.first("set-cookie"), Some("session=1"));
        assert!(first.fields.first("idempotency-expires").is_some());

        let gateway = settings.start();
        let replay = Request::payment(&key).answer(gateway.address());
        assert_eq!((replay.status, replay.replayed()), (201, true));
        assert_eq!(replay.body, first.body);
        for name in ["content-type", "content-length", "date", "etag", "link", "location"] {
            let of = |answer: &hapax_tests::Answer| {
                answer.fields.all(name).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(of(&replay), of(&first), "{name}");
            assert!(!of(&replay).is_empty(), "{name}");
        }
        assert!(replay.fields.first("age").is_some(), "REP-04");
        assert_eq!(replay.fields.first("set-cookie"), None, "REP-05");
        assert_eq!(upstream.arrivals(&key), 1);
    }
    let gateway = settings.start();
    drop(upstream);
    for round in 0..3 {
        let replay = Request::payment(&format!("survives-{round}")).answer(gateway.address());
        assert_eq!((replay.status, replay.body == binary), (201, true), "with the upstream gone");
    }
}

/// EXE-02, DBT-03, DBT-09: killed as soon as the upstream has the request, at either end of its
/// work: held after the restart, and never run again unasked.
#[test]
fn a_request_whose_gateway_was_killed_is_held_and_never_run_again() {
    let killed = Cue::default();
    let is_killed = killed.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        if arrival.key != "fresh" {
            is_killed.wait_for(3);
        }
        respond(stream, 201, &[], b"too late")
    });
    let settings = Settings::new(&upstream.url());
    for (key, wait) in [("at-once", 0), ("soon", 5), ("later", 50)] {
        let gateway = settings.start();
        let mut client = Connection::open(gateway.address()).unwrap();
        client.write(&Request::payment(key).bytes()).unwrap();
        upstream.await_arrivals(key, 1);
        thread::sleep(Duration::from_millis(wait));
        gateway.kill();
        killed.give();
        assert!(client.read_answer("POST").is_err(), "nobody answered {key}");
    }
    for _ in 0..2 {
        let gateway = settings.start();
        for key in ["at-once", "soon", "later"] {
            for _ in 0..3 {
                let held = Request::payment(key).answer(gateway.address());
                assert_eq!(held.status, 409, "{key}: {}", held.text());
                assert_eq!(held.problem().as_deref(), Some("outcome-unknown"), "{key}");
                assert_eq!(upstream.arrivals(key), 1, "{key}");
            }
            let other = Request::payment(key).body(b"other").answer(gateway.address());
            assert_eq!(other.problem().as_deref(), Some("key-reused"), "{key}");
        }
        // Others are not held up by it.
        assert_eq!(Request::payment("fresh").answer(gateway.address()).status, 201);
    }
    assert_eq!(upstream.arrivals("fresh"), 1);
}

/// DBT-09, the other order: the upstream answers, and the gateway dies before it could keep the
/// answer. Whatever became of it, the request does not run twice, and a seen answer stays.
#[test]
fn a_kill_around_the_upstreams_answer_never_runs_a_request_again() {
    let upstream =
        Upstream::start(|arrival, stream| respond(stream, 201, &[], arrival.key.as_bytes()));
    let settings = Settings::new(&upstream.url());
    for wait in [0, 100, 300, 1_000, 3_000] {
        let key = format!("around-{wait}");
        let gateway = settings.start();
        let mut client = Connection::open(gateway.address()).unwrap();
        client.write(&Request::payment(&key).bytes()).unwrap();
        upstream.await_arrivals(&key, 1);
        thread::sleep(Duration::from_micros(wait));
        gateway.kill();
        let seen = client.read_answer("POST").ok();
        let gateway = settings.start();
        let retry = Request::payment(&key).answer(gateway.address());
        match (seen, retry.status) {
            (Some(seen), _) => {
                assert_eq!((retry.status, &retry.body), (201, &seen.body), "a seen answer is kept");
            }
            (None, 201) => assert!(retry.replayed() && retry.text() == key),
            (None, _) => assert_eq!(retry.problem().as_deref(), Some("outcome-unknown")),
        }
        assert_eq!(upstream.arrivals(&key), 1);
    }
}

/// EXE-05: the operation goes on without its client, and its answer is kept.
#[test]
fn a_client_that_hangs_up_after_its_request_cancels_nothing() {
    let gone = Cue::default();
    let is_gone = gone.clone();
    let upstream = Upstream::start(move |_, stream| {
        is_gone.wait_for(1);
        // Time for the gateway to see it go; the outcome is the same without.
        thread::sleep(Duration::from_millis(300));
        respond(stream, 201, &[], b"for nobody")
    });
    let gateway = Settings::new(&upstream.url()).start();
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(&Request::payment("hung-up").bytes()).unwrap();
    upstream.await_arrivals("hung-up", 1);
    drop(client);
    gone.give();
    let retry = Request::payment("hung-up").answer(gateway.address());
    assert_eq!((retry.status, retry.text().as_str()), (201, "for nobody"));
    assert!(retry.replayed());
    assert_eq!(upstream.arrivals("hung-up"), 1);
}

/// EXE-06: the upstream sees no complete request, and the key stays free.
#[test]
fn a_client_that_hangs_up_inside_its_body_leaves_the_key_free() {
    let upstream = Upstream::creating();
    let gateway = Settings::new(&upstream.url()).start();
    let chunked =
        Request::payment("half").field("Transfer-Encoding", "chunked").body(b"5\r\n{\"am");
    let counted = Request::payment("half").field("Content-Length", "100");
    for half in [chunked, counted] {
        let client = Connection::open(gateway.address()).unwrap();
        client.stream().write_all(&half.bytes()).unwrap();
        // Time for the gateway to read it; the outcome is the same without.
        thread::sleep(Duration::from_millis(50));
        drop(client);
    }
    let full = Request::payment("half").answer(gateway.address());
    assert_eq!((full.status, full.replayed()), (201, false));
    assert_eq!(upstream.arrivals("half"), 1);
    assert_eq!(upstream.heads(), 1, "half a request never left");
}

/// CON-03: a waiter that goes away does not disturb the owner or the other waiters.
#[test]
fn a_waiter_that_hangs_up_disturbs_nobody() {
    let upstream = Upstream::start(|_, stream| {
        thread::sleep(Duration::from_millis(400));
        respond(stream, 201, &[], b"shared")
    });
    let gateway = Settings::new(&upstream.url()).start();
    thread::scope(|scope| {
        let owner = scope.spawn(|| Request::payment("waiters").answer(gateway.address()));
        upstream.await_arrivals("waiters", 1);
        for _ in 0..5 {
            let mut leaver = Connection::open(gateway.address()).unwrap();
            leaver.write(&Request::payment("waiters").bytes()).unwrap();
        }
        let waiter = Request::payment("waiters").answer(gateway.address());
        assert_eq!((waiter.status, waiter.text().as_str()), (201, "shared"));
        assert_eq!(owner.join().unwrap().text(), "shared");
    });
    assert_eq!(upstream.arrivals("waiters"), 1);
}

/// CON-07: a key that hangs does not hold up others, on one connection after the other.
#[test]
fn a_stuck_key_leaves_others_alone() {
    let served = Cue::default();
    let others_served = served.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        if arrival.key == "stuck" {
            others_served.wait_for(1);
        }
        respond(stream, 201, &[], b"")
    });
    let gateway = Settings::new(&upstream.url()).start();
    let mut stuck = Connection::open(gateway.address()).unwrap();
    stuck.write(&Request::payment("stuck").bytes()).unwrap();
    upstream.await_arrivals("stuck", 1);
    for number in 0..20 {
        let answer = Request::payment(&format!("free-{number}")).answer(gateway.address());
        assert_eq!(answer.status, 201);
    }
    served.give();
    assert_eq!(stuck.read_answer("POST").unwrap().status, 201);
}

/// Ruling 8: the secret that names records is kept with the store, so retries of either caller are
/// found after a restart; SCO-01: and only their own.
#[test]
fn scopes_survive_a_restart() {
    let upstream = Upstream::start(|arrival, stream| {
        let caller = arrival.fields.first("authorization").unwrap_or("nobody").to_owned();
        respond(stream, 201, &[], caller.as_bytes())
    });
    let settings = Settings::new(&upstream.url());
    let of = |caller: &str| {
        Request::payment("scoped").without("Authorization").field("Authorization", caller)
    };
    for round in 0..3 {
        let gateway = settings.start();
        for caller in ["Bearer alice", "Bearer bob"] {
            let answer = of(caller).answer(gateway.address());
            assert_eq!((answer.status, answer.text().as_str()), (201, caller));
            assert_eq!(answer.replayed(), round > 0);
        }
        gateway.kill();
    }
    assert_eq!(upstream.arrivals("scoped"), 2, "once for each caller");
}

/// FPR-01, FPR-02, SCO-02: another body, method or path under the same key is refused, before and
/// after a restart, and disturbs nothing.
#[test]
fn a_reused_key_is_refused_and_its_record_left_alone() {
    let upstream = Upstream::creating();
    let settings = Settings::new(&upstream.url());
    let gateway = settings.start();
    let first = Request::payment("reused").answer(gateway.address());
    gateway.kill();
    let gateway = settings.start();
    let mut elsewhere = Request::payment("reused");
    elsewhere.target = "/v1/refunds".into();
    let mut patched = Request::payment("reused");
    patched.method = "PATCH".into();
    for other in [Request::payment("reused").body(b"{\"amount\":1}"), elsewhere, patched] {
        let refused = other.answer(gateway.address());
        assert_eq!(refused.status, 422);
        assert_eq!(refused.problem().as_deref(), Some("key-reused"));
    }
    let replay = Request::payment("reused").answer(gateway.address());
    assert_eq!((replay.status, &replay.body), (201, &first.body));
    assert_eq!(upstream.log().len(), 1);
}

/// EXE-08, EXE-07: refused connections send nothing, so the key stays free.
#[test]
fn an_upstream_that_is_away_leaves_the_key_free() {
    let port = Port::take();
    let gateway = Settings::new(&format!("http://{}", port.address())).start();
    for _ in 0..2 {
        let refused = Request::payment("away").answer(gateway.address());
        assert_eq!(refused.status, 502, "{} {}", refused.text(), gateway.errors());
        assert_eq!(refused.problem().as_deref(), Some("upstream-unreachable"));
    }
    let upstream = Upstream::creating_at(port.address());
    let answer = Request::payment("away").answer(gateway.address());
    assert_eq!((answer.status, answer.replayed()), (201, false));
    assert_eq!(upstream.arrivals("away"), 1);
}

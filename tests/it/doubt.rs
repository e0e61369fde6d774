//! Outcomes that nobody knows: held, settled, run again where that was allowed, probed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hapax_tests::{
    Answer, Connection, Cue, Next, Request, Settings, Upstream, eventually, respond,
};

fn assert_unknown(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.problem().as_deref(), Some("outcome-unknown"));
}

/// EXE-07 on a fresh connection, DBT-02: read and closed without an answer is never sent again.
#[test]
fn an_upstream_that_drops_a_fresh_connection_after_reading_is_held() {
    let upstream = Upstream::start(|_, _| Next::Close);
    let gateway = Settings::new(&upstream.url()).start();
    assert_unknown(&Request::payment("fresh").answer(gateway.address()), 502);
    for _ in 0..5 {
        assert_unknown(&Request::payment("fresh").answer(gateway.address()), 409);
    }
    assert_eq!(upstream.arrivals("fresh"), 1);
}

/// EXE-07 on a pooled connection: that it was idle before does not make the request unsent.
#[test]
fn an_upstream_that_drops_a_pooled_connection_after_reading_is_held() {
    let upstream = Upstream::start(|arrival, stream| match arrival.key.starts_with("dropped") {
        true => Next::Close,
        false => respond(stream, 201, &[], b"fine"),
    });
    let gateway = Settings::new(&upstream.url()).flag("--threads", "1").start();
    let mut client = Connection::open(gateway.address()).unwrap();
    // Where the machine stands still between the two, the pool has let the connection go.
    let is_pooled = (0..10).any(|round| {
        let dropped = format!("dropped-{round}");
        let warm = Request::payment(&format!("warm-{round}"));
        assert_eq!(client.call(&warm).unwrap().status, 201);
        assert_unknown(&client.call(&Request::payment(&dropped)).unwrap(), 502);
        assert_unknown(&client.call(&Request::payment(&dropped)).unwrap(), 409);
        assert_eq!(upstream.arrivals(&dropped), 1);
        let log = upstream.log();
        log[log.len() - 2].connection == log[log.len() - 1].connection
    });
    assert!(is_pooled, "the connection was the pooled one");
}

/// EXE-07: a pooled connection that the upstream closed while idle is noticed before a byte is
/// written, so the request runs once on another.
#[test]
fn a_stale_pooled_connection_costs_nothing() {
    let upstream = Upstream::start(|arrival, stream| {
        let next = respond(stream, 201, &[], b"");
        if arrival.key.starts_with("closing") { Next::Close } else { next }
    });
    let gateway = Settings::new(&upstream.url()).flag("--threads", "1").start();
    for round in 0..10 {
        let closing = Request::payment(&format!("closing-{round}")).answer(gateway.address());
        assert_eq!(closing.status, 201);
        upstream.await_closed(round + 1);
        let after = Request::payment(&format!("after-{round}")).answer(gateway.address());
        assert_eq!(after.status, 201, "{}", after.text());
        assert_eq!(upstream.arrivals(&format!("after-{round}")), 1);
    }
}

/// REP-09: a truncated answer is broken for the first client as well, and never kept.
#[test]
fn a_truncated_answer_is_never_kept_or_passed_off_as_whole() {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 201 Crea",
    ];
    for (number, bytes) in answers.into_iter().enumerate() {
        let upstream = Upstream::start(move |_, stream| {
            let _gone = std::io::Write::write_all(stream, bytes);
            Next::Close
        });
        let gateway = Settings::new(&upstream.url()).start();
        let key = format!("cut-{number}");
        match Request::payment(&key).send(gateway.address()) {
            Ok(answer) => assert_unknown(&answer, 502),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
        }
        assert_unknown(&Request::payment(&key).answer(gateway.address()), 409);
        assert_eq!(upstream.arrivals(&key), 1);
    }
}

/// DBT-01, DBT-02, DBT-07: the first caller is told 504, duplicates 409, and the late answer settles
/// the record.
#[test]
fn a_late_answer_settles_what_timed_out() {
    let told = Cue::default();
    let both_told = told.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        both_told.wait_for(1);
        respond(stream, 201, &[], arrival.key.as_bytes())
    });
    let gateway =
        Settings::new(&upstream.url()).config("[defaults]\nupstream_timeout = \"300ms\"").start();
    assert_unknown(&Request::payment("late").answer(gateway.address()), 504);
    assert_unknown(&Request::payment("late").answer(gateway.address()), 409);
    told.give();
    eventually("the late answer is replayed", || {
        let retry = Request::payment("late").answer(gateway.address());
        if retry.status == 409 {
            assert_unknown(&retry, 409);
            return false;
        }
        assert_eq!((retry.status, retry.text().as_str()), (201, "late"));
        assert!(retry.replayed());
        true
    });
    assert_eq!(upstream.arrivals("late"), 1);
}

/// DBT-04: with the upstream's word that it honours the key, one retry is granted and the upstream
/// sees that it is one; then it is held.
#[test]
fn re_execute_grants_one_more_attempt_and_then_holds() {
    let upstream = Upstream::start(|_, _| Next::Close);
    let config = "[defaults]\nunknown = \"re-execute\"\nupstream_honours_key = true\n\
                  late_answer = \"200ms\"\nconcurrent = \"reject\"";
    let gateway = Settings::new(&upstream.url()).config(config).start();
    assert_unknown(&Request::payment("again").answer(gateway.address()), 502);
    eventually("the second attempt is granted", || {
        let retry = Request::payment("again").answer(gateway.address());
        assert!(upstream.arrivals("again") <= 2);
        assert!([409, 502].contains(&retry.status), "{}", retry.text());
        upstream.arrivals("again") == 2
    });
    eventually("it is held after the second", || {
        let retry = Request::payment("again").answer(gateway.address());
        assert_eq!(retry.status, 409, "{}", retry.text());
        retry.problem().as_deref() == Some("outcome-unknown")
    });
    thread::sleep(Duration::from_millis(400));
    assert_unknown(&Request::payment("again").answer(gateway.address()), 409);
    let attempts: Vec<_> = upstream
        .log()
        .iter()
        .map(|arrival| arrival.fields.first("hapax-attempt").unwrap_or("none").to_owned())
        .collect();
    assert_eq!(attempts, ["1", "2"]);
}

/// DBT-04 after a crash: ten clients ask for the killed request, and it runs twice in all.
#[test]
fn re_execute_after_a_kill_runs_once_more_for_ten_clients() {
    let done = Cue::default();
    let is_done = done.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        if arrival.number == 1 {
            // Whoever asked is dead by then.
            is_done.wait_for(1);
        }
        thread::sleep(Duration::from_millis(100));
        respond(stream, 201, &[], format!("run {}", arrival.number).as_bytes())
    });
    let config = "[defaults]\nunknown = \"re-execute\"\nupstream_honours_key = true\n\
                  late_answer = \"200ms\"";
    let settings = Settings::new(&upstream.url()).config(config);
    let gateway = settings.start();
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(&Request::payment("ten").bytes()).unwrap();
    upstream.await_arrivals("ten", 1);
    gateway.kill();
    let gateway = settings.start();
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let answer = Request::payment("ten").answer(gateway.address());
                assert_eq!((answer.status, answer.text().as_str()), (201, "run 2"));
            });
        }
    });
    assert_eq!(upstream.arrivals("ten"), 2);
    done.give();
}

/// DBT-04: without the upstream's word the setting is refused.
#[test]
fn re_execute_without_the_upstreams_word_is_refused() {
    let settings =
        Settings::new("http://127.0.0.1:1").config("[defaults]\nunknown = \"re-execute\"");
    let ended = settings.fail();
    assert_eq!(ended.code, Some(78), "{}", ended.errors);
    assert!(ended.errors.contains("upstream_honours_key"), "{}", ended.errors);
}

/// DBT-05: the probe's word finishes or frees the key; while it does not know, the key is held.
#[test]
fn a_probe_finishes_or_frees_what_is_unknown() {
    let answer = Arc::new(Mutex::new(String::from("{\"outcome\":\"unknown\"}")));
    let asked = Arc::new(AtomicUsize::new(0));
    let upstream = {
        let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
        Upstream::start(move |arrival, stream| {
            if arrival.start.starts_with("GET /probe") {
                asked.fetch_add(1, Ordering::SeqCst);
                let body = answer.lock().unwrap().clone();
                return respond(
                    stream,
                    200,
                    &[("Content-Type", "application/json")],
                    body.as_bytes(),
                );
            }
            // The first of each key is lost.
            match arrival.fields.first("hapax-attempt") {
                Some("1") => Next::Close,
                _ => respond(stream, 201, &[], b"second run"),
            }
        })
    };
    let config = format!(
        "[defaults]\nunknown = \"probe\"\nprobe_url = \"{}/probe\"\nlate_answer = \"100ms\"",
        upstream.url()
    );
    let gateway = Settings::new(&upstream.url()).config(&config).start();
    for key in ["executed", "not-executed"] {
        let first = Request::payment(key).answer(gateway.address());
        assert_unknown(&first, 502);
        assert_unknown(&Request::payment(key).answer(gateway.address()), 409);
    }
    eventually("the probe was asked", || {
        let held = Request::payment("executed").answer(gateway.address());
        assert_eq!(held.status, 409);
        asked.load(Ordering::SeqCst) > 0
    });
    "{\"outcome\":\"executed\",\"status\":201,\"headers\":[[\"location\",\"/p/1\"]],\
     \"body_base64\":\"cGFpZA==\"}"
        .clone_into(&mut answer.lock().unwrap());
    eventually("the probe's answer is replayed", || {
        let retry = Request::payment("executed").answer(gateway.address());
        retry.status == 201 && retry.text() == "paid" && retry.replayed()
    });
    "{\"outcome\":\"not-executed\"}".clone_into(&mut answer.lock().unwrap());
    eventually("the key is free again", || {
        let retry = Request::payment("not-executed").answer(gateway.address());
        retry.status == 201 && retry.text() == "second run"
    });
    let log = upstream.log();
    let posts = |key: &str| {
        log.iter().filter(|arrival| arrival.key == key && arrival.start.starts_with("POST")).count()
    };
    assert_eq!((posts("executed"), posts("not-executed")), (1, 2));
}

/// FAI-03 to FAI-06 and the presets: what frees a key, what keeps it, what holds it.
#[test]
fn presets_decide_what_a_failure_does_to_its_key() {
    let upstream = Upstream::start(|arrival, stream| {
        let wanted: u16 = arrival.key.split('-').nth(1).unwrap().parse().unwrap();
        let after = arrival.key.ends_with("after").then_some(("Retry-After", "1"));
        let said = arrival.key.split("says-").nth(1).map(|said| ("Hapax-Outcome", said));
        let fields: Vec<_> = after.into_iter().chain(said).collect();
        respond(stream, wanted, &fields, b"{}")
    });
    let strict = Settings::new(&upstream.url()).config("[defaults]\nfailures = \"strict\"").start();
    let standard = Settings::new(&upstream.url()).start();
    // Of the second answer: the first's again, run again, or held.
    let cases = [
        (&standard, "a-402", "kept"),
        (&standard, "a-302", "kept"),
        (&standard, "a-401", "freed"),
        (&standard, "a-429", "freed"),
        (&standard, "a-500", "freed"),
        (&standard, "a-503", "freed"),
        (&standard, "a-502", "held"),
        (&standard, "a-504", "held"),
        (&standard, "a-500-says-final", "kept"),
        (&standard, "a-201-says-release", "freed"),
        (&standard, "a-201-says-unknown", "held"),
        (&strict, "b-500", "kept"),
        (&strict, "b-503", "held"),
        (&strict, "b-503-after", "freed"),
        (&strict, "b-403", "freed"),
    ];
    for (gateway, key, becomes) in cases {
        let status: u16 = key.split('-').nth(1).unwrap().parse().unwrap();
        let first = Request::payment(key).answer(gateway.address());
        assert_eq!((first.status, first.text().as_str()), (status, "{}"), "{key}: as it came");
        assert_eq!(first.fields.first("hapax-outcome"), None);
        let second = Request::payment(key).answer(gateway.address());
        let (runs, seen) = (upstream.arrivals(key), second.status);
        match becomes {
            "kept" => assert_eq!((runs, seen, second.replayed()), (1, status, true), "{key}"),
            "freed" => assert_eq!((runs, seen, second.replayed()), (2, status, false), "{key}"),
            _ => {
                assert_eq!((runs, seen), (1, 409), "{key}");
                assert_eq!(second.problem().as_deref(), Some("outcome-unknown"));
            }
        }
    }
}

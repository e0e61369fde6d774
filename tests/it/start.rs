//! Starting, refusing to start, and stopping.

use std::io::Read as _;
use std::thread;

use hapax_tests::{Connection, Cue, Gateway, Request, Settings, Upstream, eventually, respond};

/// One process per folder: the second says so, in one sentence, and leaves the first alone.
#[test]
fn a_second_process_on_the_folder_ends_with_69_and_says_why() {
    let upstream = Upstream::creating();
    let settings = Settings::new(&upstream.url());
    let gateway = settings.start();
    let second = settings.fail();
    assert_eq!(second.code, Some(69), "{}", second.errors);
    assert_sentence(&second.errors, &[&settings.store_folder().display().to_string()]);
    assert_eq!(Request::payment("first").answer(gateway.address()).status, 201);
}

#[test]
fn a_taken_port_ends_with_69_and_names_it() {
    let upstream = Upstream::creating();
    let gateway = Settings::new(&upstream.url()).start();
    let taken = gateway.address().to_string();
    let second = Settings::new(&upstream.url()).listen(&taken).fail();
    assert_eq!(second.code, Some(69), "{}", second.errors);
    assert_sentence(&second.errors, &[&taken]);
}

#[test]
fn bad_settings_end_with_78_and_bad_usage_with_64() {
    let bad = Settings::new("http://127.0.0.1:1").config("[defaults]\nfailures = \"sometimes\"");
    let ended = bad.fail();
    assert_eq!(ended.code, Some(78), "{}", ended.errors);
    assert_sentence(&ended.errors, &["failures", "sometimes"]);

    let strange = Settings::new("http://127.0.0.1:1").config("colour = \"blue\"").fail();
    assert_eq!(strange.code, Some(78), "{}", strange.errors);
    assert_sentence(&strange.errors, &["colour"]);

    let usage = Settings::new("http://127.0.0.1:1").flag("--colour", "blue").fail();
    assert_eq!(usage.code, Some(64), "{}", usage.errors);
    assert!(usage.errors.contains("--colour"), "{}", usage.errors);
    assert_eq!(Gateway::command(&["frobnicate"]).code, Some(64));
}

/// A folder that is no store, and a store of another secret: refused, and nothing in them changed.
#[test]
fn a_foreign_folder_or_another_secret_ends_with_78() {
    let foreign = Settings::new("http://127.0.0.1:1");
    std::fs::create_dir(foreign.store_folder()).unwrap();
    std::fs::write(foreign.store_folder().join("holiday.txt"), "photos").unwrap();
    let ended = foreign.fail();
    assert_eq!(ended.code, Some(78), "{}", ended.errors);
    assert_sentence(&ended.errors, &["store"]);
    let left: Vec<_> = std::fs::read_dir(foreign.store_folder()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing was added to a foreign folder");

    let upstream = Upstream::creating();
    let settings = Settings::new(&upstream.url());
    let gateway = settings.start();
    assert_eq!(Request::payment("kept").answer(gateway.address()).status, 201);
    gateway.kill();
    let settings =
        settings.variable("HAPAX_SECRET", "another-secret-than-the-one-it-has-0123456789");
    let ended = settings.fail();
    assert_eq!(ended.code, Some(78), "{}", ended.errors);
    assert_sentence(&ended.errors, &["secret"]);
}

/// DBT-10: what runs is finished and answered, new work is refused, and the end is clean.
#[test]
fn a_drain_finishes_what_runs_and_refuses_what_comes() {
    let refused = Cue::default();
    let others_refused = refused.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        if ["running", "left"].contains(&arrival.key.as_str()) {
            others_refused.wait_for(1);
        }
        respond(stream, 201, &[], b"finished")
    });
    let settings = Settings::new(&upstream.url());
    let gateway = settings.start();
    let address = gateway.address();
    let mut idle = Connection::open(address).unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| Request::payment("running").answer(address));
        let mut left = Connection::open(address).unwrap();
        left.write(&Request::payment("left").bytes()).unwrap();
        upstream.await_arrivals("running", 1);
        upstream.await_arrivals("left", 1);
        drop(left);
        let admin = gateway.admin().expect("the admin listener is told");
        gateway.terminate();
        eventually("it stops being ready", || {
            Request::new("GET", "/readyz").send(admin).map_or(true, |answer| answer.status == 503)
        });
        let mut number = 0;
        // The gateway's threads hear of it one after the other, and in the end nobody listens.
        eventually("new work is refused", || {
            number += 1;
            let Ok(mut early) = Connection::open(address) else { return true };
            let told = early.call(&Request::payment(&format!("early-{number}")));
            assert!(told.map_or(true, |told| [201, 503].contains(&told.status)));
            false
        });
        // A connection from before the signal gets no work done either: it is ended.
        let mut rest = Vec::new();
        assert!(idle.reader().read_to_end(&mut rest).is_ok() && rest.is_empty(), "{rest:?}");
        assert!(idle.call(&Request::payment("on-idle")).is_err());
        assert!(!running.is_finished(), "refused while others run");
        refused.give();
        let answer = running.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (201, "finished"));
    });
    let ended = gateway.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(upstream.arrivals("on-idle"), 0);

    // EXE-05 within a drain: the operation whose client had left is kept as well.
    let gateway = settings.start();
    for key in ["running", "left"] {
        let replay = Request::payment(key).answer(gateway.address());
        assert_eq!((replay.status, replay.replayed()), (201, true), "{key}");
        assert_eq!(upstream.arrivals(key), 1);
    }
}

/// DBT-10: what is too slow for the drain is left in doubt, and the end is clean and in time: whoever
/// waited for what runs would not end.
#[test]
fn what_is_too_slow_for_the_drain_is_left_in_doubt() {
    let held = Cue::default();
    let is_held = held.clone();
    let upstream = Upstream::start(move |_, stream| {
        is_held.wait_for(1);
        respond(stream, 201, &[], b"too late")
    });
    let settings = Settings::new(&upstream.url()).flag("--drain", "500ms");
    let gateway = settings.start();
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(&Request::payment("slow").bytes()).unwrap();
    upstream.await_arrivals("slow", 1);
    gateway.terminate();
    let ended = gateway.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    if let Ok(told) = client.read_answer("POST") {
        assert!([502, 504].contains(&told.status), "{}", told.text());
        assert_eq!(told.problem().as_deref(), Some("outcome-unknown"));
    }
    let gateway = settings.start();
    let told = Request::payment("slow").answer(gateway.address());
    assert_eq!((told.status, told.problem().as_deref()), (409, Some("outcome-unknown")));
    held.give();
    assert_eq!(upstream.arrivals("slow"), 1);
}

/// What an operator reads is one sentence with what it is about, and no backtrace.
fn assert_sentence(errors: &str, about: &[&str]) {
    let line = errors.lines().find(|line| line.starts_with("hapax: "));
    let line = line.unwrap_or_else(|| panic!("no error is told: {errors}"));
    for part in about {
        assert!(errors.contains(part), "{part} is not named: {errors}");
    }
    assert!(line.len() > 20, "too short to help: {line}");
    assert!(!errors.contains("panicked") && !errors.contains("backtrace"), "{errors}");
}

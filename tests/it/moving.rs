//! Moving to another store without a gap (docs/scale.md): for one retention the new gateway stands in
//! front of the old one, which answers for what it has.

use std::sync::atomic::{AtomicBool, Ordering};

use hapax_tests::{Gateway, Next, Request, Settings, Upstream, respond};

/// What the new gateway keeps while the old one decides: nothing but successes.
const WHILE_MOVING: &str = "
[defaults]
failures = { preset = \"success-only\", \"502\" = \"free\", \"504\" = \"free\" }
upstream_timeout = \"60s\"
";

fn in_front_of(old: &Gateway) -> Settings {
    Settings::new(&format!("http://{}", old.address())).config(WHILE_MOVING)
}

#[test]
fn moving_replays_what_the_old_store_has_and_runs_nothing_again() {
    let upstream = Upstream::start(|_, stream| respond(stream, 201, &[], b"done"));
    let old = Settings::new(&upstream.url()).start();
    let before = Request::payment("before").answer(old.address());
    let new = in_front_of(&old).start();
    let after = Request::payment("before").answer(new.address());
    assert_eq!((after.status, &after.body), (201, &before.body));
    assert_eq!(upstream.arrivals("before"), 1);
    // Other payloads are refused, by whichever store has the key.
    let other = Request::payment("before").body(b"{}").answer(new.address());
    assert_eq!(other.problem().as_deref(), Some("key-reused"));
    let unseen = Request::payment("unseen");
    assert_eq!(unseen.answer(old.address()).status, 201);
    let other = unseen.clone().body(b"{}").answer(new.address());
    assert_eq!(other.problem().as_deref(), Some("key-reused"));
    // The new store has now seen the key with a payload that the old one refused, and keeps to it.
    assert_eq!(unseen.answer(new.address()).problem().as_deref(), Some("key-reused"));
    assert_eq!(upstream.arrivals("unseen"), 1);
}

#[test]
fn moving_leaves_an_unknown_outcome_to_the_old_store() {
    let works = AtomicBool::new(false);
    let upstream = Upstream::start(move |_, stream| match works.swap(true, Ordering::SeqCst) {
        false => Next::Close,
        true => respond(stream, 201, &[], b"done"),
    });
    let old = Settings::new(&upstream.url()).start();
    let new = in_front_of(&old).start();
    let first = Request::payment("doubt").answer(new.address());
    assert_eq!((first.status, first.problem().as_deref()), (502, Some("outcome-unknown")));
    for _ in 0..2 {
        let retry = Request::payment("doubt").answer(new.address());
        assert_eq!(retry.problem().as_deref(), Some("outcome-unknown"));
    }
    assert_eq!(upstream.arrivals("doubt"), 1);
    // Settled where it stands, it runs; the new store has held nothing of its own against it.
    let admin = old.admin().unwrap().to_string();
    let shown = Gateway::command(&["keys", "list", "--admin", &admin, "--format", "json"]);
    let (_, rest) = shown.output.split_once("\"id\"").unwrap_or_else(|| panic!("{shown:?}"));
    let id = rest.split('"').nth(1).unwrap();
    let settled =
        Gateway::command(&["keys", "settle", id, "--admin", &admin, "--outcome", "not-executed"]);
    assert_eq!(settled.code, Some(0), "{}", settled.errors);
    assert_eq!(Request::payment("doubt").answer(new.address()).status, 201);
    assert_eq!(upstream.arrivals("doubt"), 2);
}

#[test]
fn moved_gateway_answers_alone_for_what_it_has_run() {
    let upstream = Upstream::start(|_, stream| respond(stream, 201, &[], b"done"));
    let old = Settings::new(&upstream.url()).start();
    let moving = in_front_of(&old);
    let new = moving.start();
    assert_eq!(Request::payment("new").answer(new.address()).status, 201);
    drop(old);
    let replay = Request::payment("new").answer(new.address());
    assert!(replay.status == 201 && replay.replayed());
    assert_eq!(upstream.arrivals("new"), 1);
}

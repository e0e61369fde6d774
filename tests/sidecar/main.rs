//! Same transaction (`hapax.commit`), by the samples in Python and Node: applications and gateways
//! that are killed, and exactly one order per key.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod answers;
mod application;
mod campaign;
mod place;
mod rules;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use application::{Language, Sample};
use hapax_tests::{Answer, Gateway, Request, Settings, eventually};
use place::Place;

/// Long enough for a test to act within a step.
const PAUSE_MS: u32 = 400;

/// How often the machine may be too slow for a test to act within a step.
const ROUNDS_MAX: usize = 10;

/// What a client that does not give up waits for its order.
const PATIENCE: Duration = Duration::from_secs(60);

const ROUTES: &str = "
[[route]]
match = \"/orders\"
key = \"required\"
unknown = \"transactional\"
wait = \"5s\"
";

/// A gateway with a lease that lapses only if its owner dies.
fn gateway(place: &Place, sample: &Sample) -> Gateway {
    gateway_with_lease(place, sample, "10s")
}

fn gateway_with_lease(place: &Place, sample: &Sample, lease: &str) -> Gateway {
    let config = format!("{ROUTES}lease = \"{lease}\"");
    Settings::new(&sample.url()).store(&place.url()).config(&config).start()
}

fn order(key: &str) -> Request {
    Request::new("POST", "/orders")
        .field("Content-Type", "application/json")
        .field("Idempotency-Key", key)
        .body(br#"{"item": 17}"#)
}

/// Asks until it has the order, at each of these gateways in turn, as a client does that does not give
/// up.
fn ordered(key: &str, gateways: impl Fn(usize) -> SocketAddr) -> Answer {
    let begun = Instant::now();
    let mut last = String::new();
    for turn in 0.. {
        assert!(begun.elapsed() < PATIENCE, "no order for {key} in time; last: {last}");
        match order(key).send(gateways(turn)) {
            Ok(answer) if answer.status == 201 => return answer,
            Ok(answer) => last = format!("{} {}", answer.status, answer.text()),
            Err(error) => last = error.to_string(),
        }
        thread::sleep(Duration::from_millis(50));
    }
    unreachable!("the turns are endless")
}

/// The order is placed once, with this answer.
fn placed(place: &Place, key: &str, answer: &Answer) {
    let ids = place.orders().remove(key).unwrap_or_default();
    assert_eq!(ids.len(), 1, "one order per key");
    assert_eq!((answer.status, answer.text()), (201, format!("{{\"order\": {}}}", ids[0])));
}

/// As [`placed`], for the sample whose JSON has no spaces.
fn placed_by_node(place: &Place, key: &str, answer: &Answer) {
    let answer = Answer { body: answer.text().replace(':', ": ").into_bytes(), ..answer.clone() };
    placed(place, key, &answer);
}

/// What the caller is told whose application died.
fn unknown(answer: &Answer) {
    let told = (answer.status, answer.problem());
    assert_eq!(told, (502, Some("outcome-unknown".to_owned())), "{}", answer.text());
}

#[test]
fn orders_are_placed_once_and_replayed() {
    let place = Place::take();
    for language in [Language::Python, Language::Node] {
        let sample = Sample::new(language, place.url(), 0);
        let (gateway, _application) = (gateway(&place, &sample), sample.start());
        let key = format!("plain-{language:?}");
        let first = order(&key).answer(gateway.address());
        let again = order(&key).answer(gateway.address());
        assert!(!first.replayed() && again.replayed());
        assert_eq!(first.body, again.body);
        match language {
            Language::Node => placed_by_node(&place, &key, &again),
            Language::Python => placed(&place, &key, &again),
        }
    }
}

/// Whether the scene is met in one of some rounds: on a slow machine an application may be done before
/// it is killed.
fn is_met(scene: impl FnMut(usize) -> bool) -> bool {
    (0..ROUNDS_MAX).any(scene)
}

#[test]
fn application_killed_after_its_commit_leaves_its_answer_to_the_retry() {
    let place = Place::take();
    let sample = Sample::new(Language::Python, place.url(), PAUSE_MS);
    let gateway = gateway(&place, &sample);
    let address = gateway.address();
    let is_met = is_met(|round| {
        let (key, application) = (format!("after-{round}"), sample.start());
        let first = thread::scope(|scope| {
            let first = scope.spawn(|| order(&key).answer(address));
            eventually("the order is committed", || place.orders().contains_key(&key));
            application.kill();
            first.join().unwrap()
        });
        if first.status == 201 {
            return false;
        }
        unknown(&first);
        // Nobody is there to run it again, and nobody need be.
        let retry = order(&key).answer(address);
        assert!(retry.replayed(), "{}", retry.text());
        assert_eq!(retry.fields.first("content-type"), Some("application/json"));
        placed(&place, &key, &retry);
        true
    });
    assert!(is_met, "it is never killed in time");
}

#[test]
fn application_killed_before_its_commit_is_run_again() {
    let place = Place::take();
    let sample = Sample::new(Language::Python, place.url(), PAUSE_MS);
    let gateway = gateway(&place, &sample);
    let address = gateway.address();
    let is_met = is_met(|round| {
        let (key, application) = (format!("before-{round}"), sample.start());
        let first = thread::scope(|scope| {
            let first = scope.spawn(|| order(&key).answer(address));
            eventually("the order is placed", || place.is_in_transaction() || first.is_finished());
            application.kill();
            first.join().unwrap()
        });
        if first.status == 201 {
            return false;
        }
        unknown(&first);
        let _application = sample.start();
        let retry = order(&key).answer(address);
        placed(&place, &key, &retry);
        // It is one that had committed, if it was killed too late.
        !retry.replayed()
    });
    assert!(is_met, "it is never killed in time");
}

#[test]
fn gateway_killed_while_the_application_works_is_taken_over_by_another_that_waits_for_the_commit() {
    let place = Place::take();
    // Each step takes longer than the lease: the claim lapses while the application goes on.
    let sample = Sample::new(Language::Node, place.url(), 2_000);
    let other = gateway_with_lease(&place, &sample, "1s");
    let _application = sample.start();
    let is_met = is_met(|round| {
        let key = format!("lapsed-{round}");
        let one = gateway_with_lease(&place, &sample, "1s");
        let address = one.address();
        let is_killed = thread::scope(|scope| {
            let first = scope.spawn(|| order(&key).send(address));
            eventually("the order is placed", || place.is_in_transaction() || first.is_finished());
            one.kill();
            first.join().unwrap().is_err()
        });
        // Overtaken before it came to commit, the application's transaction is undone; overtaken later,
        // its answer is found. Either way there is one order.
        let retry = ordered(&key, |_| other.address());
        placed_by_node(&place, &key, &retry);
        is_killed
    });
    assert!(is_met, "it is never killed in time");
}

#[test]
fn repeatable_read_places_orders_once_in_python() {
    places_orders_once("repeatable read", Language::Python);
}

#[test]
fn repeatable_read_places_orders_once_in_node() {
    places_orders_once("repeatable read", Language::Node);
}

#[test]
fn serializable_places_orders_once_in_python() {
    places_orders_once("serializable", Language::Python);
}

#[test]
fn serializable_places_orders_once_in_node() {
    places_orders_once("serializable", Language::Node);
}

/// Ten at once, in another isolation level than the default.
fn places_orders_once(level: &'static str, language: Language) {
    let place = Place::take();
    let sample = Sample::new(language, place.url(), 0).isolation(level);
    let (gateway, _application) = (gateway(&place, &sample), sample.start());
    let keys: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| ordered(key, |_| gateway.address()));
        }
    });
    let orders = place.orders();
    assert!(keys.iter().all(|key| orders[key].len() == 1), "{orders:?}");
}

//! Same transaction (`hapax.commit`), by the samples in Python and Node: applications and gateways
//! that are killed, and exactly one order per key.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod answers;
mod application;
mod campaign;
mod place;
mod rules;

use std::time::Duration;

use application::{Language, Sample};
use hapax_tests::{Answer, Gateway, Request, Settings, eventually};
use place::Place;

/// Long enough for a test to act within a step.
const PAUSE_MS: u32 = 400;

const ROUTES: &str = "
[[route]]
match = \"/orders\"
key = \"required\"
unknown = \"transactional\"
lease = \"1s\"
wait = \"5s\"
";

fn gateway(place: &Place, sample: &Sample) -> Gateway {
    Settings::new(&sample.url()).store(&place.url()).config(ROUTES).start()
}

fn order(key: &str) -> Request {
    Request::new("POST", "/orders")
        .field("Content-Type", "application/json")
        .field("Idempotency-Key", key)
        .body(br#"{"item": 17}"#)
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

#[test]
fn application_killed_after_its_commit_leaves_its_answer_to_the_retry() {
    let place = Place::take();
    let sample = Sample::new(Language::Python, place.url(), PAUSE_MS);
    let (gateway, application) = (gateway(&place, &sample), sample.start());
    let address = gateway.address();
    let first = std::thread::spawn(move || order("after").answer(address));
    eventually("the order is committed", || place.orders().contains_key("after"));
    application.kill();
    unknown(&first.join().unwrap());
    // Nobody is there to run it again, and nobody need be.
    let retry = order("after").answer(gateway.address());
    assert!(retry.replayed(), "{}", retry.text());
    assert_eq!(retry.fields.first("content-type"), Some("application/json"));
    placed(&place, "after", &retry);
}

#[test]
fn application_killed_before_its_commit_is_run_again() {
    let place = Place::take();
    let sample = Sample::new(Language::Python, place.url(), PAUSE_MS);
    let (gateway, application) = (gateway(&place, &sample), sample.start());
    let address = gateway.address();
    let first = std::thread::spawn(move || order("before").answer(address));
    eventually("the order is placed", || place.is_in_transaction());
    application.kill();
    unknown(&first.join().unwrap());
    let _application = sample.start();
    let retry = order("before").answer(gateway.address());
    assert!(!retry.replayed(), "{}", retry.text());
    placed(&place, "before", &retry);
}

#[test]
fn gateway_killed_while_the_application_works_is_taken_over_by_another_that_waits_for_the_commit() {
    let place = Place::take();
    // Each step takes longer than the lease: the claim lapses while the application goes on.
    let sample = Sample::new(Language::Node, place.url(), 2_000);
    let (one, other) = (gateway(&place, &sample), gateway(&place, &sample));
    let _application = sample.start();
    let address = one.address();
    let first = std::thread::spawn(move || order("lapsed").send(address));
    eventually("the order is placed", || place.is_in_transaction());
    one.kill();
    assert!(first.join().unwrap().is_err());
    // Overtaken before it came to commit, the application's transaction is undone; overtaken later,
    // its answer is found. Either way there is one order.
    let mut retry = order("lapsed").answer(other.address());
    for _ in 0..10 {
        if retry.problem().is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        retry = order("lapsed").answer(other.address());
    }
    placed_by_node(&place, "lapsed", &retry);
}

#[test]
fn every_isolation_level_places_orders_once() {
    let place = Place::take();
    for level in ["repeatable read", "serializable"] {
        for language in [Language::Python, Language::Node] {
            let sample = Sample::new(language, place.url(), 0).isolation(level);
            let (gateway, _application) = (gateway(&place, &sample), sample.start());
            let prefix = format!("{}-{language:?}", level.replace(' ', "-"));
            let keys: Vec<_> = (0..10).map(|n| format!("{prefix}-{n}")).collect();
            std::thread::scope(|scope| {
                for key in &keys {
                    scope.spawn(|| {
                        assert_eq!(order(key).answer(gateway.address()).status, 201, "{level}");
                    });
                }
            });
            let orders = place.orders();
            assert!(keys.iter().all(|key| orders[key].len() == 1), "{orders:?}");
        }
    }
}

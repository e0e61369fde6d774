//! Applications and gateways killed at random points: exactly one order per key, and no key left
//! unknown.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use hapax_tests::{Chance, Gateway, Request};

use crate::application::{Language, Sample};
use crate::place::Place;
use crate::{gateway_with_lease, ordered};

/// Clients in each round, with a key each.
const CLIENTS: usize = 4;

/// So that the keys of a dead owner lapse within a round.
const LEASE: &str = "1s";

#[test]
fn campaign_of_kills_places_every_order_once_in_python() {
    campaign(Language::Python, 0x9a11);
}

#[test]
fn campaign_of_kills_places_every_order_once_in_node() {
    campaign(Language::Node, 0x40de);
}

fn rounds() -> usize {
    let rounds = std::env::var("HAPAX_CAMPAIGN_ROUNDS");
    rounds.map_or(8, |rounds| rounds.parse().expect("HAPAX_CAMPAIGN_ROUNDS is a number"))
}

fn campaign(language: Language, seed: u64) {
    let place = Place::take();
    let sample = Sample::new(language, place.url(), 20);
    let mut chance = Chance::new(seed);
    let gateway = || gateway_with_lease(&place, &sample, LEASE);
    let mut gateways = [gateway(), gateway()].map(Some);
    let mut application = Some(sample.start());
    let (mut applications_killed, mut gateways_killed, mut replayed) = (0, 0, 0);
    for round in 0..rounds() {
        let alive = Mutex::new(addresses(&gateways));
        let answers: Vec<_> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|n| {
                    let (alive, key) = (&alive, format!("{round}-{n}"));
                    scope.spawn(move || {
                        let answer = ordered(&key, |turn| {
                            let alive = alive.lock().unwrap();
                            alive[(n + turn) % alive.len()]
                        });
                        (key, answer)
                    })
                })
                .collect();
            thread::sleep(Duration::from_micros(chance.below(130_000)));
            if chance.one_in(2) {
                application.take().unwrap().kill();
                applications_killed += 1;
                thread::sleep(Duration::from_millis(chance.below(100)));
                application = Some(sample.start());
            } else {
                let victim = usize::from(chance.one_in(2));
                gateways[victim].take().unwrap().kill();
                gateways_killed += 1;
                *alive.lock().unwrap() = addresses(&gateways);
                gateways[victim] = Some(gateway());
                *alive.lock().unwrap() = addresses(&gateways);
            }
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let orders = place.orders();
        for (key, answer) in answers {
            let ids = orders.get(&key).cloned().unwrap_or_default();
            assert_eq!(ids.len(), 1, "orders of {key} in round {round}: {ids:?}");
            let told: String = answer.text().chars().filter(char::is_ascii_digit).collect();
            assert_eq!(told, ids[0].to_string(), "the answer tells of the order that there is");
            replayed += usize::from(answer.replayed());
        }
    }
    let orders = place.orders();
    assert_eq!(orders.len(), rounds() * CLIENTS);
    assert!(orders.values().all(|ids| ids.len() == 1));
    let unknown = open_records(gateways[0].as_ref().unwrap());
    assert_eq!(unknown, "[]", "records that are not settled");
    println!(
        "{language:?}: {} rounds, {applications_killed} applications and {gateways_killed} gateways \
         killed, {} keys, {} orders, 0 keys with another number of orders than one, {replayed} \
         answers found by take-over or replay, 0 keys unknown",
        rounds(),
        orders.len(),
        orders.values().flatten().count(),
    );
}

fn addresses(gateways: &[Option<Gateway>]) -> Vec<SocketAddr> {
    gateways.iter().flatten().map(Gateway::address).collect()
}

/// What is in doubt or in progress, by the admin API.
fn open_records(gateway: &Gateway) -> String {
    let admin = gateway.admin().expect("the gateway tells its admin address");
    let mut all = String::new();
    for state in ["in_doubt", "in_progress"] {
        let request = Request::new("GET", &format!("/api/records?state={state}"))
            .without("Host")
            .field("Host", &admin.to_string());
        let listed: serde_json::Value =
            serde_json::from_slice(&request.answer(admin).body).expect("a list of records");
        let records = listed["records"].as_array().expect("records");
        all.extend(records.iter().map(ToString::to_string));
    }
    format!("[{all}]")
}

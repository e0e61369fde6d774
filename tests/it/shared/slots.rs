//! A cluster's slots move from node to node while gateways use them.

use std::thread;
use std::time::Duration;

use hapax_tests::{Chance, Place, RedisCluster, Shared, Upstream, eventually};

use crate::campaign::effect::effect;
use crate::campaign::history::judge;
use crate::campaign::traffic::Traffic;

const CLIENTS: usize = 6;

/// How many move from each node; enough for some moves to meet a request.
const SLOTS: usize = 20;

/// A record moves whole or not at all, and who asks the wrong node is sent on: no request is refused
/// for it, nothing runs twice, and nothing is lost.
#[test]
fn slots_that_move_under_traffic_take_their_records_along() {
    let seed = Chance::seed();
    let upstream = Upstream::counting(move |arrival, stream| effect(seed, arrival, stream));
    let cluster = RedisCluster::start();
    let place = Place::at(Shared::RedisCluster, cluster.url());
    let settings = place.settings(&upstream.url());
    let gateways = [settings.start(), settings.start()];
    let traffic = Traffic::new(gateways.len());
    for (number, gateway) in gateways.iter().enumerate() {
        traffic.point(number, Some(gateway.address()));
    }
    let (moved, events) = traffic.during(CLIENTS, seed, || {
        let mut moved = 0;
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            let slots_of_it = || cluster.slots_of(from, place.name());
            eventually("it has something to move", || slots_of_it().len() >= SLOTS);
            for slot in slots_of_it().iter().take(SLOTS) {
                cluster.move_slot(slot, from, to);
                traffic.next_hot();
                moved += 1;
            }
        }
        thread::sleep(Duration::from_millis(300));
        eventually("there was traffic", || traffic.is_enough(20));
        moved
    });
    let last = traffic.ask_for_every_key(&events, Duration::ZERO);
    let verdict = judge(&events, &upstream.counts(), &last, &[]);
    println!("{moved} slots moved, HAPAX_SEED={seed}: {verdict}");
    assert!(verdict.wrong.is_empty(), "HAPAX_SEED={seed}: {:#?}", verdict.wrong);
    assert_eq!(verdict.refused, 0, "no request was refused");
    assert!(moved == 3 * SLOTS && verdict.answered > 20 && verdict.replayed > 0);
}

//! Who waits on another node is woken.

use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{Connection, Cue, Place, Request, Shared, Upstream, respond};

const ROUNDS: usize = 30;

/// Polling, the net below the hints, looks once a second.
const MEDIAN_MAX: Duration = Duration::from_millis(300);

on_each_store!(a_waiter_on_another_node_is_woken);

/// CON-03: how long after the owner's client a waiter on another node has the answer.
fn a_waiter_on_another_node_is_woken(kind: Shared) {
    let done = Cue::default();
    let is_done = done.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        let round = arrival.key.strip_prefix("round-").unwrap().parse().unwrap();
        is_done.wait_for(round);
        respond(stream, 201, &[], b"done")
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url());
    let (near, far) = (settings.start(), settings.start());
    let mut owner = Connection::open(near.address()).unwrap();
    let mut waiter = Connection::open(far.address()).unwrap();
    let mut took: Vec<_> = (1..=ROUNDS)
        .map(|round| {
            let request = Request::payment(&format!("round-{round}"));
            owner.write(&request.bytes()).unwrap();
            upstream.await_arrivals(&format!("round-{round}"), 1);
            waiter.write(&request.bytes()).unwrap();
            // Time enough to find that it runs, and to wait.
            thread::sleep(Duration::from_millis(100));
            let waited = thread::scope(|scope| {
                let waiting = scope.spawn(|| (waiter.read_answer("POST").unwrap(), Instant::now()));
                done.give();
                let first = (owner.read_answer("POST").unwrap(), Instant::now());
                let second = waiting.join().unwrap();
                assert!(!first.0.replayed() && second.0.replayed());
                second.1.saturating_duration_since(first.1)
            });
            assert_eq!(upstream.arrivals(&format!("round-{round}")), 1);
            waited
        })
        .collect();
    took.sort_unstable();
    let (median, max) = (took[took.len() / 2], took[took.len() - 1]);
    println!("woken on {kind:?}: median {median:.1?}, max {max:.1?} behind the owner's answer");
    assert!(median < MEDIAN_MAX, "{took:?}");
}

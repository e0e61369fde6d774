//! An owner on another node that dies or sleeps: what its key says meanwhile, and after.

use std::time::{Duration, Instant};

use hapax_tests::{Connection, Cue, Place, Request, Shared, Upstream, eventually, respond};

use crate::lease::outlives_its_lease;

on_each_store!(
    a_key_whose_owner_on_another_node_died_is_busy_and_then_in_doubt,
    an_owner_that_slept_past_its_lease_still_brings_its_answer_to_all_nodes,
    an_owner_slower_than_its_lease_keeps_its_key_on_all_nodes,
);

const CONFIG: &str = "[defaults]\nconcurrent = \"reject\"\nlease = \"3s\"";
const LEASE: Duration = Duration::from_secs(3);

/// How often the machine may stand still for longer than a test can bear.
const ROUNDS_MAX: usize = 10;

/// DBT-03 across nodes: the rest of the lease, and no longer.
fn a_key_whose_owner_on_another_node_died_is_busy_and_then_in_doubt(kind: Shared) {
    let over = Cue::default();
    let is_over = over.clone();
    let upstream = Upstream::start(move |_, stream| {
        is_over.wait_for(1);
        respond(stream, 201, &[], b"for nobody")
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url()).config(CONFIG);
    let other = settings.start();
    let is_seen = |round: usize| {
        let key = format!("orphan-{round}");
        let retry = || Request::payment(&key).answer(other.address());
        let dying = settings.start();
        let mut owner = Connection::open(dying.address()).unwrap();
        let asked = Instant::now();
        owner.write(&Request::payment(&key).bytes()).unwrap();
        upstream.await_arrivals(&key, 1);
        dying.kill();
        let busy = retry();
        let is_busy = busy.problem().as_deref() == Some("in-progress");
        if is_busy {
            let after = busy.fields.first("retry-after").and_then(|after| after.parse().ok());
            assert!(after.is_some_and(|after| (1..=LEASE.as_secs()).contains(&after)));
        } else {
            // Where the machine stands still, the lease is over before anybody can ask.
            assert!(asked.elapsed() >= LEASE, "{}", busy.text());
        }
        eventually("its lease is over", || retry().problem().as_deref() == Some("outcome-unknown"));
        assert_eq!(upstream.arrivals(&key), 1);
        is_busy
    };
    assert!((0..ROUNDS_MAX).any(is_seen), "the machine stands still all the time");
    over.give();
}

/// CON-05 across nodes: a sleeping owner loses its lease and, where nobody took the key over, not its
/// word.
fn an_owner_that_slept_past_its_lease_still_brings_its_answer_to_all_nodes(kind: Shared) {
    let asleep = Cue::default();
    let is_asleep = asleep.clone();
    let upstream = Upstream::start(move |_, stream| {
        is_asleep.wait_for(1);
        respond(stream, 201, &[], b"while asleep")
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url()).config(CONFIG);
    let (sleeping, other) = (settings.start(), settings.start());
    let mut owner = Connection::open(sleeping.address()).unwrap();
    owner.write(&Request::payment("asleep").bytes()).unwrap();
    upstream.await_arrivals("asleep", 1);
    sleeping.pause();
    asleep.give();
    let retry = || Request::payment("asleep").answer(other.address());
    eventually("its lease is over", || retry().problem().as_deref() == Some("outcome-unknown"));
    sleeping.resume();
    let answer = owner.read_answer("POST").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (201, "while asleep"));
    let replay = retry();
    assert_eq!((replay.replayed(), replay.text().as_str()), (true, "while asleep"));
    assert_eq!(upstream.arrivals("asleep"), 1);
}

/// CON-04 across nodes: it renews while it lives.
fn an_owner_slower_than_its_lease_keeps_its_key_on_all_nodes(kind: Shared) {
    let place = Place::take(kind);
    outlives_its_lease(LEASE, |upstream| {
        let settings = place.settings(upstream).config(CONFIG);
        let gateways = vec![settings.start(), settings.start()];
        let addresses = [gateways[0].address(), gateways[1].address()];
        (gateways, addresses)
    });
}

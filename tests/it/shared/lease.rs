//! An owner on another node that dies or sleeps: what its key says meanwhile, and after.

use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{Connection, Cue, Place, Request, Shared, Upstream, eventually, respond};

on_each_store!(
    a_key_whose_owner_on_another_node_died_is_busy_and_then_in_doubt,
    an_owner_that_slept_past_its_lease_still_brings_its_answer_to_all_nodes,
    an_owner_slower_than_its_lease_keeps_its_key_on_all_nodes,
);

const CONFIG: &str = "[defaults]\nconcurrent = \"reject\"\nlease = \"2s\"";
const LEASE: Duration = Duration::from_secs(2);

/// DBT-03 across nodes: the rest of the lease, and no longer.
fn a_key_whose_owner_on_another_node_died_is_busy_and_then_in_doubt(kind: Shared) {
    let upstream = Upstream::start(|_, stream| {
        thread::sleep(Duration::from_secs(8));
        respond(stream, 201, &[], b"for nobody")
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url()).config(CONFIG);
    let (dying, other) = (settings.start(), settings.start());
    let mut owner = Connection::open(dying.address()).unwrap();
    owner.write(&Request::payment("orphan").bytes()).unwrap();
    upstream.await_arrivals("orphan", 1);
    dying.kill();
    let died = Instant::now();
    let retry = || Request::payment("orphan").answer(other.address());
    let busy = retry();
    assert_eq!(busy.problem().as_deref(), Some("in-progress"), "{}", busy.text());
    let retry_after = busy.fields.first("retry-after").and_then(|after| after.parse::<u64>().ok());
    assert!(retry_after.is_some_and(|after| (1..=LEASE.as_secs()).contains(&after)));
    eventually("its lease is over", || retry().problem().as_deref() == Some("outcome-unknown"));
    assert!(died.elapsed() < LEASE + Duration::from_secs(8), "took {:?}", died.elapsed());
    assert_eq!(upstream.arrivals("orphan"), 1);
}

/// CON-05 across nodes: a sleeping owner loses its lease and, where nobody took the key over, not its
/// word.
fn an_owner_that_slept_past_its_lease_still_brings_its_answer_to_all_nodes(kind: Shared) {
    let upstream = Upstream::start(|_, stream| {
        thread::sleep(Duration::from_millis(300));
        respond(stream, 201, &[], b"while asleep")
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url()).config(CONFIG);
    let (sleeping, other) = (settings.start(), settings.start());
    let mut owner = Connection::open(sleeping.address()).unwrap();
    owner.write(&Request::payment("asleep").bytes()).unwrap();
    upstream.await_arrivals("asleep", 1);
    sleeping.pause();
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
    let told = Cue::default();
    let others_told = told.clone();
    let upstream = Upstream::start(move |_, stream| {
        others_told.wait_for(1);
        respond(stream, 201, &[], b"slow")
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url()).config(CONFIG);
    let (slow, other) = (settings.start(), settings.start());
    let mut owner = Connection::open(slow.address()).unwrap();
    owner.write(&Request::payment("slow").bytes()).unwrap();
    upstream.await_arrivals("slow", 1);
    for _ in 0..5 {
        let busy = Request::payment("slow").answer(other.address());
        assert_eq!(busy.problem().as_deref(), Some("in-progress"), "{}", busy.text());
        thread::sleep(LEASE / 4);
    }
    told.give();
    assert_eq!(owner.read_answer("POST").unwrap().text(), "slow");
    assert!(Request::payment("slow").answer(other.address()).replayed());
    assert_eq!(upstream.arrivals("slow"), 1);
}

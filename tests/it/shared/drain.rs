//! Draining while the store is slow.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use hapax_tests::{
    Cue, Place, Postgres, Redis, Relay, Request, Server, Shared, Upstream, eventually, respond,
};

/// Ruling 18: what is being settled when the time to drain is over is settled first, and its caller
/// hears no answer that is not kept.
#[test]
fn postgres_that_is_slow_to_settle_is_waited_for_past_the_drain() {
    let server = Server::start(Shared::Postgres);
    keeps_what_it_answers(&server.place(), Postgres::url_at);
}

/// The same on Redis.
#[test]
fn redis_that_is_slow_to_settle_is_waited_for_past_the_drain() {
    let server = Server::start(Shared::Redis);
    keeps_what_it_answers(&server.place(), Redis::url_at);
}

fn keeps_what_it_answers(place: &Place, url_at: fn(SocketAddr) -> String) {
    let answers = Cue::default();
    let upstream = {
        let answers = answers.clone();
        Upstream::start(move |_arrival, stream| {
            answers.wait_for(1);
            respond(stream, 201, &[], b"paid")
        })
    };
    let relay = Relay::start(place.host());
    let settings = place.seen_at(url_at(relay.address())).settings(&upstream.url());
    let settings = settings.config("store_timeout = \"60s\"").flag("--drain", "200ms");
    let gateway = settings.start();
    let (address, admin) = (gateway.address(), gateway.admin().expect("an admin address"));
    let caller = thread::spawn(move || Request::payment("slow").send(address));
    upstream.await_arrivals("slow", 1);
    relay.pause(true);
    answers.give();
    eventually("the answer is there", || {
        let metrics = Request::new("GET", "/metrics").answer(admin).text();
        metrics.lines().any(|line| line == "hapax_upstream_seconds_count 1")
    });
    gateway.terminate();
    // Well past the drain.
    thread::sleep(Duration::from_secs(2));
    relay.pause(false);
    let answer = caller.join().unwrap().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (201, "paid"));
    let ended = gateway.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let next = place.settings(&upstream.url()).start();
    let again = Request::payment("slow").answer(next.address());
    assert!(again.replayed(), "{} {}", again.status, again.text());
    assert_eq!(upstream.arrivals("slow"), 1);
}

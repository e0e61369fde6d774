//! Two gateways, one name, one key: one run.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use hapax_tests::{Answer, Connection, Cue, Gateway, Place, Request, Shared, Upstream, respond};

const REQUESTS: usize = 50;
const ROUNDS: usize = 4;

on_each_store!(
    fifty_duplicates_over_two_gateways_are_one_run,
    fifty_clicks_on_a_failing_service_over_two_gateways_are_one_run,
);

/// CON-03, CON-06 across nodes: whichever gateway runs it, all others give its answer.
fn fifty_duplicates_over_two_gateways_are_one_run(kind: Shared) {
    let upstream = Upstream::start(|arrival, stream| {
        thread::sleep(Duration::from_millis(150));
        let body = format!("run {} of {}", arrival.number, arrival.key);
        respond(stream, 201, &[("Content-Type", "text/plain")], body.as_bytes())
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url());
    let gateways = [settings.start(), settings.start()];
    for round in 0..ROUNDS {
        let key = format!("click-{round}");
        let answers = click(&gateways, &key, || {});
        let body = format!("run 1 of {key}");
        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (201, body.clone()), "{answer:?}");
        }
        let replays = answers.iter().filter(|answer| answer.replayed()).count();
        assert_eq!(replays, REQUESTS - 1, "all but one are marked");
        assert_eq!(upstream.arrivals(&key), 1);
    }
}

/// Ruling 1 across nodes: an answer that is not kept reaches who shares the owner's process; the
/// others hear that it ran just now; only who comes later runs it again.
fn fifty_clicks_on_a_failing_service_over_two_gateways_are_one_run(kind: Shared) {
    let sent = Cue::default();
    let all_sent = sent.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        all_sent.wait_for(REQUESTS);
        // Time for the gateways to read what is sent.
        thread::sleep(Duration::from_millis(800));
        let status = if arrival.number == 1 { 500 } else { 201 };
        respond(stream, status, &[], b"out of order")
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url());
    let gateways = [settings.start(), settings.start()];
    let answers = click(&gateways, "failing", || sent.give());
    assert_eq!(upstream.arrivals("failing"), 1, "nobody ran it again unasked");
    let failed = answers.iter().filter(|answer| answer.status == 500).count();
    let told = answers.iter().filter(|answer| answer.problem().as_deref() == Some("in-progress"));
    assert_eq!((failed, told.count()), (REQUESTS / 2, REQUESTS / 2));
    let later = Request::payment("failing").answer(gateways[1].address());
    assert_eq!((later.status, later.replayed()), (201, false));
}

/// All at once, over connections that are open already, half of them to each gateway.
fn click(gateways: &[Gateway; 2], key: &str, sent: impl Fn() + Sync) -> Vec<Answer> {
    let barrier = Barrier::new(REQUESTS);
    thread::scope(|scope| {
        let clicks: Vec<_> = (0..REQUESTS)
            .map(|number| {
                let address = gateways[number % 2].address();
                let (barrier, sent) = (&barrier, &sent);
                scope.spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    barrier.wait();
                    connection.write(&Request::payment(key).bytes()).unwrap();
                    sent();
                    connection.read_answer("POST").unwrap()
                })
            })
            .collect();
        clicks.into_iter().map(|click| click.join().unwrap()).collect()
    })
}

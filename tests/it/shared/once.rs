//! Two gateways, one name, one key: one run.

use std::fs;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use hapax_tests::{
    Answer, Connection, Cue, Gateway, Place, Request, Shared, Upstream, eventually, respond,
};

/// Nobody's patience ends before what they wait for does.
const PATIENT: &str = "[defaults]\nwait = \"60s\"";

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
    let settings = place.settings(&upstream.url()).config(PATIENT);
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
    let (sent, wait) = (Cue::default(), Cue::default());
    let all_wait = wait.clone();
    let upstream = Upstream::start(move |arrival, stream| {
        all_wait.wait_for(1);
        let status = if arrival.number == 1 { 500 } else { 201 };
        respond(stream, status, &[], b"out of order")
    });
    let place = Place::take(kind);
    let settings = place.settings(&upstream.url()).config(PATIENT);
    let gateways = [settings.start(), settings.start()];
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            sent.wait_for(REQUESTS);
            for gateway in &gateways {
                eventually("it has read all", || unread(gateway.address()) == 0);
            }
            let peeks = || gateways.iter().map(peeks).sum::<u64>();
            eventually("the one that does not run it waits for it", || peeks() > 0);
            // From reading a request to waiting for another is no way at all.
            thread::sleep(Duration::from_millis(200));
            wait.give();
        });
        click(&gateways, "failing", || sent.give())
    });
    assert_eq!(upstream.arrivals("failing"), 1, "nobody ran it again unasked");
    let failed = answers.iter().filter(|answer| answer.status == 500).count();
    let told = answers.iter().filter(|answer| answer.problem().as_deref() == Some("in-progress"));
    assert_eq!((failed, told.count()), (REQUESTS / 2, REQUESTS / 2));
    let later = Request::payment("failing").answer(gateways[1].address());
    assert_eq!((later.status, later.replayed()), (201, false));
}

/// How often a gateway has looked at a record, as it does who waits for another one.
fn peeks(gateway: &Gateway) -> u64 {
    let admin = gateway.admin().expect("the admin listener is told");
    let metrics = Request::new("GET", "/metrics").answer(admin).text();
    let count = "hapax_store_seconds_count{operation=\"peek\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(count));
    count.map_or(0, |count| count.parse().unwrap())
}

/// The bytes that lie unread in a server's connections, as the kernel counts them.
fn unread(server: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel lists its sockets");
    let port = format!(":{:04X}", server.port());
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = lines.filter(|columns| columns[1].ends_with(&port));
    let queues =
        ours.filter_map(|columns| columns[4].split_once(':').map(|(_, read)| read.to_owned()));
    queues.map(|read| u64::from_str_radix(&read, 16).unwrap()).sum()
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

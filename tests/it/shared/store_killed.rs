//! The campaign of the store: it is killed at random moments under traffic and started again on its
//! folder, while two gateways stay up.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{Chance, Gateway, Server, Shared, Upstream, eventually};

use crate::campaign::effect::effect;
use crate::campaign::history::{Event, Seen, Verdict, judge};
use crate::campaign::rounds;
use crate::campaign::traffic::Traffic;

const CLIENTS: usize = 10;

/// Past the longest pause between two tries of a settlement, which is five seconds.
const PATIENCE: Duration = Duration::from_secs(20);

on_each_store!(kill_campaign_of_the_store_executes_nothing_twice_and_loses_no_answer);

/// What a campaign brought.
struct Report {
    /// How long the gateways took to be ready after the store was.
    heals: Vec<Duration>,
    verdict: Verdict,
}

fn kill_campaign_of_the_store_executes_nothing_twice_and_loses_no_answer(kind: Shared) {
    // A cluster takes seconds to be whole again.
    let short = match kind {
        Shared::Postgres | Shared::Redis => 6,
        Shared::RedisCluster => 3,
    };
    let (kills, seed) = (rounds(short), Chance::seed());
    println!("campaign of the store {kind:?}: {kills} kills, HAPAX_SEED={seed}");
    let start = Instant::now();
    let Report { mut heals, verdict } = campaign(kind, kills, seed);
    heals.sort_unstable();
    println!(
        "campaign of the store {kind:?}: {kills} kills, {CLIENTS} clients, {:.1?}: {verdict}; \
         ready again after {:.1?} (median) and {:.1?} (max)",
        start.elapsed(),
        heals[heals.len() / 2],
        heals[heals.len() - 1],
    );
    let wrong: Vec<_> = verdict.wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "HAPAX_SEED={seed}: {wrong:#?}");
    assert!(verdict.answered > kills, "too little traffic to say anything");
    assert!(verdict.replayed > 0);
}

fn campaign(kind: Shared, kills: usize, seed: u64) -> Report {
    let upstream = Upstream::counting(move |arrival, stream| effect(seed, arrival, stream));
    let mut server = Server::start(kind);
    let place = server.place();
    // Longer than a machine may stand still: a step that is given up while the store is there would be
    // an outage that nobody notes.
    let config = "store_timeout = \"5s\"\n[defaults]\nlease = \"2s\"";
    let settings = place.settings(&upstream.url()).config(config);
    let gateways = [settings.start(), settings.start()];
    let traffic = Traffic::new(gateways.len());
    for (number, gateway) in gateways.iter().enumerate() {
        traffic.point(number, Some(gateway.address()));
    }
    let ((outages, heals), events) = traffic.during(CLIENTS, seed, || {
        let mut chance = Chance::new(seed);
        (0..4 * kills)
            .take_while(|round| *round < kills || !traffic.is_enough(kills))
            .map(|_| kill_once(&mut server, &gateways, &upstream, &traffic, &mut chance))
            .unzip::<_, _, Vec<_>, Vec<_>>()
    });
    let unprotected = ran_though_refused(&events, &upstream.counts());
    let last = traffic.ask_for_every_key(&events, PATIENCE);
    let mut verdict = judge(&events, &upstream.counts(), &last, &outages);
    verdict.wrong.extend(unprotected);
    Report { heals, verdict }
}

/// The span in which the store was away, and how long the gateways then took.
fn kill_once(
    server: &mut Server,
    gateways: &[Gateway],
    upstream: &Upstream,
    traffic: &Traffic,
    chance: &mut Chance,
) -> (RangeInclusive<u64>, Duration) {
    traffic.next_hot();
    thread::sleep(Duration::from_millis(100 + chance.below(500)));
    traffic.bear_fruit(chance);
    if chance.one_in(2) {
        // Right when an answer is about to be kept.
        upstream.await_heads(upstream.heads() + 1);
        thread::sleep(Duration::from_micros(chance.below(2_500)));
    }
    server.choose(chance.number());
    let gone = traffic.now();
    server.kill();
    if chance.one_in(2) {
        thread::sleep(Duration::from_millis(chance.below(1_500)));
    }
    server.start_again();
    let back = Instant::now();
    eventually("the gateways are ready", || gateways.iter().all(Gateway::is_ready));
    (gone..=traffic.now(), back.elapsed())
}

/// SEC-06, ruling 11: a key of which every request was told that nothing ran has not run.
fn ran_though_refused(events: &[Event], arrivals: &BTreeMap<String, usize>) -> Vec<String> {
    let mut refused: BTreeMap<&str, bool> = BTreeMap::new();
    for event in events {
        *refused.entry(&event.key).or_insert(true) &= event.seen == Seen::NotRun;
    }
    let ran = |key: &str| arrivals.get(key).is_some_and(|count| *count > 0);
    let wrong = refused.into_iter().filter(|(key, refused)| *refused && ran(key));
    wrong.map(|(key, _)| format!("{key} was refused and ran")).collect()
}

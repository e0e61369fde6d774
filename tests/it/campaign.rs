//! The kill -9 campaign: the gateway dies at random moments under traffic (or, one time in eight, is
//! asked to end), again and again on one folder; then every effect is counted and every answer
//! compared.
//!
//! `HAPAX_CAMPAIGN_ROUNDS` says how often (25 by default, 500 with `HAPAX_LONG=1`), `HAPAX_SEED`
//! repeats the choices of an earlier run (not its timing, which belongs to the machine).

pub(crate) mod effect;
pub(crate) mod history;
pub(crate) mod traffic;

use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{Chance, Settings, Upstream};

use effect::effect;
use history::{Verdict, judge};
use traffic::Traffic;

const CLIENTS: usize = 10;

/// How many short ones may find nothing where there is something to find.
pub(crate) const CAMPAIGNS_MAX: usize = 8;

/// A gateway reads its journal when it starts; this many crashes keep that short, so that a round is.
const ROUNDS_PER_FOLDER: usize = 50;

#[test]
fn kill_campaign_on_the_file_store_executes_nothing_twice_and_loses_no_answer() {
    let (rounds, seed) = (rounds(25), Chance::seed());
    println!("campaign: {rounds} rounds, HAPAX_SEED={seed}");
    let start = Instant::now();
    let (mut kills, mut done, mut verdict) = (0, 0, Verdict::default());
    while done < rounds {
        let part = ROUNDS_PER_FOLDER.min(rounds - done);
        let (killed, judged) = campaign(part, seed.wrapping_add(done as u64), None);
        kills += killed;
        verdict.add(judged);
        done += part;
    }
    println!(
        "campaign: {kills} kills in {rounds} rounds, {CLIENTS} clients, {:.1?}: {verdict}",
        start.elapsed(),
    );
    let wrong: Vec<_> = verdict.wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "HAPAX_SEED={seed}: {wrong:#?}");
    assert!(verdict.answered > rounds, "too little traffic to say anything");
    assert!(verdict.replayed > 0);
}

/// A campaign that has never failed proves nothing: on a store that forgets, it must.
#[test]
fn a_campaign_catches_a_store_that_forgets() {
    let is_caught = || {
        let (kills, verdict) = campaign(3, Chance::seed(), Some("memory:"));
        assert!(kills > 0 && verdict.answered > 0);
        verdict.wrong.iter().any(|wrong| wrong.ends_with("was executed 2 times"))
    };
    assert!((0..CAMPAIGNS_MAX).any(|_| is_caught()), "no campaign found anything");
}

/// So many rounds on one folder, or on another store.
fn campaign(rounds: usize, seed: u64, store: Option<&str>) -> (usize, Verdict) {
    let upstream = Upstream::counting(move |arrival, stream| effect(seed, arrival, stream));
    let mut settings = Settings::new(&upstream.url()).flag("--drain", "150ms");
    if let Some(store) = store {
        settings = settings.store(store);
    }
    let traffic = Traffic::new(1);
    let (kills, events) = traffic.during(CLIENTS, seed, || {
        kill_again_and_again(rounds, seed, &settings, &upstream, &traffic)
    });
    let gateway = settings.start();
    traffic.point(0, Some(gateway.address()));
    let last = traffic.ask_for_every_key(&events, Duration::ZERO);
    (kills, judge(&events, &upstream.counts(), &last, &[]))
}

/// How many rounds a campaign has: `short`, unless variables say otherwise.
pub(crate) fn rounds(short: usize) -> usize {
    let long = std::env::var("HAPAX_LONG").is_ok_and(|long| long == "1");
    match std::env::var("HAPAX_CAMPAIGN_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("HAPAX_CAMPAIGN_ROUNDS is a number"),
        Err(_) if long => 500,
        Err(_) => short,
    }
}

/// Starts and kills, or now and then drains; returns how many kills there were. Nothing runs when it returns.
fn kill_again_and_again(
    rounds: usize,
    seed: u64,
    settings: &Settings,
    upstream: &Upstream,
    traffic: &Traffic,
) -> usize {
    let mut chance = Chance::new(seed);
    let mut kills = 0;
    let goes_on = |round: &usize| *round < rounds || !traffic.is_enough(rounds);
    for _ in (0..4 * rounds).take_while(goes_on) {
        if chance.one_in(6) {
            // Dies while it opens its store, too.
            settings.start_and_kill(Duration::from_micros(chance.below(60_000)));
            kills += 1;
        }
        let gateway = settings.start();
        traffic.next_hot();
        traffic.point(0, Some(gateway.address()));
        thread::sleep(Duration::from_millis(20 + chance.below(280)));
        traffic.bear_fruit(&mut chance);
        if chance.one_in(2) {
            // Right when the upstream has got something.
            upstream.await_heads(upstream.heads() + 1);
            thread::sleep(Duration::from_micros(chance.below(2_500)));
        }
        if chance.one_in(8) {
            // An orderly end, with less time than some operations need.
            gateway.terminate();
            let ended = gateway.ended();
            assert_eq!(ended.code, Some(0), "{}", ended.errors);
        } else {
            gateway.kill();
            kills += 1;
        }
        traffic.point(0, None);
    }
    kills
}

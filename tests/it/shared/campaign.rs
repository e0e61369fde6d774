//! The campaign of several gateways on one store: each is killed, drained or paused past its lease at
//! random moments, while clients go from one to the other; then every effect is counted and every
//! answer compared.
//!
//! `HAPAX_CAMPAIGN_ROUNDS` says how many ends there are in all, `HAPAX_SEED` repeats the choices.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hapax_tests::{Chance, Gateway, Server, Settings, Shared, Upstream};

use crate::campaign::effect::effect;
use crate::campaign::history::{Verdict, judge};
use crate::campaign::traffic::Traffic;
use crate::campaign::{CAMPAIGNS_MAX, rounds};

const CLIENTS: usize = 10;
const GATEWAYS: usize = 3;

/// So that the keys of a dead owner lapse within the campaign, and a paused one loses them.
const LEASE: Duration = Duration::from_secs(1);

on_each_store!(kill_campaign_of_gateways_executes_nothing_twice_and_loses_no_answer);

/// What became of the gateways.
#[derive(Debug, Default)]
struct Fates {
    drained: AtomicUsize,
    ended: AtomicUsize,
    killed: AtomicUsize,
    paused: AtomicUsize,
}

fn kill_campaign_of_gateways_executes_nothing_twice_and_loses_no_answer(kind: Shared) {
    let (ends, seed) = (rounds(16), Chance::seed());
    println!("campaign of gateways on {kind:?}: {ends} ends, HAPAX_SEED={seed}");
    let start = Instant::now();
    // A server of its own: one that many tests have used is slow to connect to, and lives end too soon.
    let server = Server::start(kind);
    let place = server.place();
    let (fates, verdict) = campaign(|upstream| place.settings(upstream), ends, seed);
    println!(
        "campaign of gateways on {kind:?}: {GATEWAYS} gateways, {} kills, {} drains and {} pauses, \
         {CLIENTS} clients, {:.1?}: {verdict}",
        fates.killed.into_inner(),
        fates.drained.into_inner(),
        fates.paused.into_inner(),
        start.elapsed(),
    );
    let wrong: Vec<_> = verdict.wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "HAPAX_SEED={seed}: {wrong:#?}");
    assert!(verdict.answered > ends, "too little traffic to say anything");
    assert!(verdict.replayed > 0);
}

/// A campaign that has never failed proves nothing: on gateways that share nothing, it must.
#[test]
fn a_campaign_catches_gateways_that_share_nothing() {
    let alone = |upstream: &str| Settings::new(upstream).store("memory:");
    let is_caught = || {
        let (fates, verdict) = campaign(alone, 6, Chance::seed());
        assert!(fates.ended.into_inner() > 6 && verdict.answered > 0);
        verdict.twice > 0
    };
    assert!((0..CAMPAIGNS_MAX).any(|_| is_caught()), "no campaign found anything");
}

fn campaign(settings: impl FnOnce(&str) -> Settings, ends: usize, seed: u64) -> (Fates, Verdict) {
    let upstream = Upstream::counting(move |arrival, stream| effect(seed, arrival, stream));
    let settings = settings(&upstream.url()).config("[defaults]\nlease = \"1s\"");
    let settings = settings.flag("--drain", "150ms");
    let (traffic, fates) = (Traffic::new(GATEWAYS), Fates::default());
    let ((), events) = traffic.during(CLIENTS, seed, || {
        thread::scope(|scope| {
            for number in 0..GATEWAYS {
                let (settings, traffic, fates) = (&settings, &traffic, &fates);
                let chance = Chance::new(seed.rotate_left(32) ^ (number as u64 + 1));
                scope.spawn(move || {
                    start_again_and_again(number, ends, settings, traffic, chance, fates);
                });
            }
        });
    });
    let gateway = settings.start();
    traffic.point(0, Some(gateway.address()));
    let last = traffic.ask_for_every_key(&events, Duration::ZERO);
    (fates, judge(&events, &upstream.counts(), &last, &[]))
}

/// One of the gateways, from start to end, until there have been enough ends, and answers, if they come.
/// It runs no more when this returns.
fn start_again_and_again(
    number: usize,
    ends: usize,
    settings: &Settings,
    traffic: &Traffic,
    mut chance: Chance,
    fates: &Fates,
) {
    let goes_on = |ended| ended < ends || (ended < 4 * ends && !traffic.is_enough(ends));
    while goes_on(fates.ended.fetch_add(1, Ordering::SeqCst)) {
        if chance.one_in(8) {
            // Dies while it opens its store, too.
            settings.start_and_kill(Duration::from_micros(chance.below(80_000)));
            fates.killed.fetch_add(1, Ordering::SeqCst);
        }
        let gateway = settings.start();
        traffic.next_hot();
        traffic.point(number, Some(gateway.address()));
        thread::sleep(Duration::from_millis(20 + chance.below(600)));
        traffic.bear_fruit(&mut chance);
        if chance.one_in(5) {
            // Clients do not know that it sleeps.
            gateway.pause();
            thread::sleep(LEASE + Duration::from_millis(100 + chance.below(900)));
            gateway.resume();
            fates.paused.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(chance.below(300)));
        }
        end(gateway, &mut chance, fates);
        traffic.point(number, None);
    }
}

fn end(gateway: Gateway, chance: &mut Chance, fates: &Fates) {
    if chance.one_in(8) {
        // An orderly end, with less time than some operations need.
        gateway.terminate();
        let ended = gateway.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        fates.drained.fetch_add(1, Ordering::SeqCst);
    } else {
        gateway.kill();
        fates.killed.fetch_add(1, Ordering::SeqCst);
    }
}

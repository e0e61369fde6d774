//! Random commands against the store and the machine, replies compared one by one. The machine is
//! the oracle; this is what allows a store to have it written again in a language of its own.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;

use super::chance::Chance;
use super::harness::Harness;
use super::mirror::Mirror;
use super::scene::{
    LATE_ANSWER, RECLAIM, RETENTION, Scene, Stop, TERM, attempt, claim, complete, doubt, failed,
    id_of, release,
};
use super::{Case, Ending};
use crate::fingerprint::Fingerprint;
use crate::lease::Lease;
use crate::machine::{Claim, Claimed, Settlement};
use crate::record::{OnLapse, Settler};
use crate::store::State;

/// Sequences of each case, and commands of each sequence, unless the environment asks for more.
const SEEDS: u64 = 24;
const COMMANDS: usize = 60;

/// How often a failing sequence is run again to make it shorter.
const SHRINKS_MAX: usize = 200;

/// One seed, to have a failure again.
const SEED_VARIABLE: &str = "HAPAX_CONFORMANCE_SEED";

/// How many seeds, for long campaigns.
const SEEDS_VARIABLE: &str = "HAPAX_CONFORMANCE_SEEDS";

pub(super) const CASES: [Case; 3] = [
    Case::free("model_of_one_record", |h| Ending::of(one_record(h))),
    Case::free("model_of_three_records", |h| Ending::of(three_records(h))),
    Case::free("model_over_the_end_of_the_process", |h| Ending::of(over_the_end(h))),
];

/// Which commands are drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Mix {
    administers: bool,
    records: u8,
    reopens: bool,
}

#[derive(Clone, Debug)]
enum Command {
    Advance(Duration),
    Check,
    Claim(Box<Claim>),
    List(Option<State>),
    Purge { record: u8, force: bool },
    Renew { lease: u8, progress: Option<Bytes> },
    Reopen,
    Settle { lease: u8, with: Settlement, by: Settler },
    Sweep(NonZeroU32),
}

async fn one_record(harness: &dyn Harness) -> Result<(), Stop> {
    campaign(harness, Mix { administers: false, records: 1, reopens: false }).await
}

async fn three_records(harness: &dyn Harness) -> Result<(), Stop> {
    campaign(harness, Mix { administers: true, records: 3, reopens: false }).await
}

async fn over_the_end(harness: &dyn Harness) -> Result<(), Stop> {
    if !harness.fresh().await.store().guarantees().durable {
        return Err(Stop::Skipped("it does not say that it is durable".to_owned()));
    }
    campaign(harness, Mix { administers: true, records: 2, reopens: true }).await
}

async fn campaign(harness: &dyn Harness, mix: Mix) -> Result<(), Stop> {
    let asked = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match (asked(SEED_VARIABLE), asked(SEEDS_VARIABLE)) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, Some(seeds)) => 0..seeds,
        (None, None) => 0..SEEDS,
    };
    for seed in seeds {
        let commands = draw(seed, mix);
        let Err(Stop::Failed(message)) = play(harness, &commands).await else {
            continue;
        };
        let (shortest, message) = shrink(harness, commands, message).await;
        let lines: Vec<String> = shortest.iter().map(|command| format!("{command:?}")).collect();
        return failed(format_args!(
            "{message}\nafter these commands of {SEED_VARIABLE}={seed}:\n{}",
            lines.join("\n")
        ));
    }
    Ok(())
}

/// The commands of one seed.
fn draw(seed: u64, mix: Mix) -> Vec<Command> {
    let mut chance = Chance::new(seed);
    (0..COMMANDS).map(|_| draw_one(&mut chance, mix)).collect()
}

fn draw_one(chance: &mut Chance, mix: Mix) -> Command {
    match chance.below(20) {
        0..=6 => Command::Claim(Box::new(draw_claim(chance, mix))),
        7..=8 => Command::Renew {
            lease: chance.below(4),
            progress: chance
                .pick([None, None, Some(b"step 1".as_slice()), Some(b"")])
                .map(Bytes::from),
        },
        9..=13 => Command::Settle {
            lease: chance.below(4),
            with: draw_settlement(chance),
            by: chance.pick([Settler::Owner, Settler::Owner, Settler::Operator]),
        },
        14..=16 => Command::Advance(chance.pick([
            Duration::from_micros(1),
            Duration::from_secs(3),
            TERM,
            LATE_ANSWER,
            RETENTION,
        ])),
        17 if mix.administers => {
            Command::Purge { record: chance.below(mix.records), force: chance.once_in(3) }
        }
        18 if mix.administers => {
            let states = [State::Completed, State::InDoubt, State::InProgress, State::Released];
            Command::List(if chance.once_in(2) { None } else { Some(chance.pick(states)) })
        }
        19 if mix.reopens && chance.once_in(2) => Command::Reopen,
        17 | 18 => Command::Check,
        _ => Command::Sweep(NonZeroU32::MIN.saturating_add(u32::from(chance.below(4)))),
    }
}

fn draw_claim(chance: &mut Chance, mix: Mix) -> Claim {
    let eager = OnLapse::Reclaim { after: Duration::ZERO, attempts_max: u32::MAX };
    Claim {
        attempt: attempt(1 + chance.below(4)),
        fingerprint: Fingerprint::of(chance.pick([b"a", b"a", b"a", b"b"])),
        id: id_of(chance.below(mix.records)),
        on_lapse: chance.pick([OnLapse::Doubt, RECLAIM, eager]),
        unknown_retention: chance.pick([None, None, Some(RETENTION)]),
        ..claim(1)
    }
}

fn draw_settlement(chance: &mut Chance) -> Settlement {
    match chance.below(4) {
        0 | 1 => complete(u16::from(chance.below(3))),
        2 => release(),
        _ => doubt(),
    }
}

async fn play(harness: &dyn Harness, commands: &[Command]) -> Result<(), Stop> {
    let mut mirror = Mirror::new(Scene::new(harness).await);
    // Every lease ever granted, the latest first: most of them are stale, as in life.
    let mut leases: Vec<Lease> = Vec::new();
    for command in commands {
        match command {
            Command::Advance(by) => mirror.advance(*by).await,
            Command::Check => mirror.check_all().await?,
            Command::Claim(claim) => {
                if let Claimed::Granted(lease) = mirror.claim(claim).await? {
                    leases.insert(0, lease);
                }
            }
            Command::List(state) => mirror.list(*state).await?,
            Command::Purge { record, force } => mirror.purge(id_of(*record), *force).await?,
            Command::Renew { lease, progress } => {
                if let Some(lease) = leases.get(usize::from(*lease)) {
                    // Only the attempt and the record count; the rest of a stale lease may be old.
                    let _answer = mirror.renew(&lease.clone(), progress.clone()).await?;
                }
            }
            Command::Reopen => mirror = mirror.reopen().await?,
            Command::Settle { lease, with, by } => {
                if let Some(lease) = leases.get(usize::from(*lease)) {
                    let _answer = mirror.settle(&lease.clone(), with, *by).await?;
                }
            }
            Command::Sweep(limit) => mirror.sweep(*limit).await?,
        }
    }
    mirror.check_all().await
}

/// Leaves out commands, in ever smaller pieces, as long as the rest still fails.
async fn shrink(
    harness: &dyn Harness,
    mut commands: Vec<Command>,
    mut message: String,
) -> (Vec<Command>, String) {
    let mut piece = commands.len() / 2;
    let mut runs = 0;
    while piece > 0 && runs < SHRINKS_MAX {
        let (mut at, mut shorter_found) = (0, false);
        while at < commands.len() && runs < SHRINKS_MAX {
            let mut shorter = commands.clone();
            shorter.drain(at..(at + piece).min(commands.len()));
            runs += 1;
            if let Err(Stop::Failed(found)) = play(harness, &shorter).await {
                (commands, message, shorter_found) = (shorter, found, true);
            } else {
                at += piece;
            }
        }
        if !shorter_found || piece > 1 {
            piece /= 2;
        }
    }
    (commands, message)
}

//! Processes killed at any moment under load: what they had answered is there, and nothing is half
//! there. `HAPAX_LONG=1` makes it a campaign.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hapax::{
    AttemptId, Cause, Claim, Claimed, Kept, Lease, ListQuery, Phase, Record, Settlement, Settler,
    Store as _,
};
use hapax_fjall::{Durability, FileOptions, FileStore};

use crate::support::{DAY, claim, complete, id, release, rerun};

const FOLDER: &str = "HAPAX_TEST_CRASH";
const CALLERS: u64 = 24;
/// Keys per process; more than any gets to.
const KEYS: u64 = 100_000;

/// Processes that are killed on one folder, one after the other.
const ROUNDS_PER_FOLDER: u64 = 20;

/// What a process had been answered for one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answered {
    Claimed,
    Completed,
    Doubted,
    Released,
}

#[test]
fn killed_processes_lose_nothing_that_was_answered() {
    if std::env::var_os(FOLDER).is_some() {
        return work();
    }
    let rounds = if std::env::var_os("HAPAX_LONG").is_some() { 500 } else { 6 };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut chance = now.as_micros() as u64;
    println!("seed {chance}");
    let (mut dir, mut known, mut keys) = (tempfile::tempdir().unwrap(), BTreeMap::new(), 0);
    for round in 0..rounds {
        chance = chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let answers = 1 + (chance >> 33) % 1_500;
        let mut child = rerun("crash::killed_processes_lose_nothing_that_was_answered")
            .env(FOLDER, dir.path())
            .env("HAPAX_TEST_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        listen(&mut child, answers, &mut known);
        // What earlier rounds left is looked at in the end; then a new folder is begun.
        let is_end = round % ROUNDS_PER_FOLDER == ROUNDS_PER_FOLDER - 1 || round + 1 == rounds;
        check(dir.path(), &known, if is_end { 0 } else { round }..=round);
        if is_end {
            keys += known.len() as u64;
            println!("{} processes killed, {keys} keys answered for", round + 1);
            (dir, known) = (tempfile::tempdir().unwrap(), BTreeMap::new());
        }
    }
    assert!(keys > rounds, "the processes did too little");
}

/// Notes what the child is answered, and kills it after so many answers.
fn listen(child: &mut Child, answers: u64, known: &mut BTreeMap<u64, (AttemptId, Answered)>) {
    let mut heard = 0;
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        // The test harness talks too; a line that the kill cut short has no full stop.
        let Some(line) = line.strip_prefix("said ").and_then(|line| line.strip_suffix('.')) else {
            continue;
        };
        let words: Vec<&str> = line.split(' ').collect();
        let key: u64 = words[1].parse().unwrap();
        let attempt = AttemptId::from_bytes(words[2].parse::<u128>().unwrap().to_le_bytes());
        let answered = match words[0] {
            "claimed" => Answered::Claimed,
            "completed" => Answered::Completed,
            "doubted" => Answered::Doubted,
            "released" => Answered::Released,
            other => panic!("{other}"),
        };
        known.insert(key, (attempt, answered));
        heard += 1;
        if heard == answers {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

/// Opens what is left and compares it with what was answered in some rounds.
fn check(folder: &Path, known: &BTreeMap<u64, (AttemptId, Answered)>, rounds: RangeInclusive<u64>) {
    let round = *rounds.end();
    let store = FileStore::open(folder, FileOptions::default())
        .unwrap_or_else(|error| panic!("round {round}: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        if *rounds.start() == 0 {
            let counted = store.stats().await.unwrap().records;
            assert_eq!(counted, listed(&store).await, "round {round}: the count");
        }
        for (key, (attempt, answered)) in known.range(rounds.start() * KEYS..) {
            let seen = store.peek(&id(*key)).await.unwrap();
            let seen = seen.unwrap_or_else(|| panic!("round {round}: {key} is gone: {answered:?}"));
            let what = format!("round {round}: {key} was {answered:?}: {:?}", seen.record);
            assert!(fits(&seen.record, *key, *attempt, *answered), "{what}");
        }
    });
}

async fn listed(store: &FileStore) -> u64 {
    let mut listed = 0;
    let mut query = ListQuery { limit: 1_000, ..ListQuery::default() };
    loop {
        let page = store.list(&query).await.unwrap();
        listed += page.records.len() as u64;
        match page.next {
            Some(next) => query.after = Some(next),
            None => return listed,
        }
    }
}

/// Whether a record is what was answered, or one step further: a step may be whole on the disk and
/// its answer lost.
fn fits(record: &Record, key: u64, attempt: AttemptId, answered: Answered) -> bool {
    let is_same = record.attempt == attempt;
    let is_right = match &record.phase {
        Phase::Completed { kept: Kept::Response(response), .. } => {
            response.body == key.to_string().as_bytes()
        }
        Phase::Completed { .. } => false,
        Phase::InDoubt { .. } | Phase::InProgress { .. } | Phase::Released { .. } => true,
    };
    let is_expected = match (answered, &record.phase) {
        (Answered::Claimed, _) => is_same,
        (Answered::Completed, phase) => is_same && matches!(phase, Phase::Completed { .. }),
        (Answered::Doubted, phase) => is_same && matches!(phase, Phase::InDoubt { .. }),
        // A released key may have been claimed again, and that claim's answer lost; not more, for
        // its owner would have said so first.
        (Answered::Released, Phase::Released { .. }) => is_same,
        (Answered::Released, phase) => !is_same && matches!(phase, Phase::InProgress { .. }),
    };
    is_right && is_expected
}

/// The process that is killed: callers without end, who say what they are answered.
fn work() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let round: u64 = std::env::var("HAPAX_TEST_ROUND").unwrap().parse().unwrap();
    let durability = if round.is_multiple_of(2) { Durability::Full } else { Durability::Claim };
    let options = FileOptions { durability, ..FileOptions::default() };
    let store = Arc::new(FileStore::open(folder, options).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let callers = (0..CALLERS).map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in (caller..KEYS).step_by(CALLERS as usize) {
                    one_key(&store, round * KEYS + n).await;
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
}

async fn one_key(store: &FileStore, key: u64) {
    for try_number in 0.. {
        let claim = claim(key);
        let Claimed::Granted(lease) = store.claim(&claim).await.unwrap() else {
            panic!("nobody else has key {key}");
        };
        say("claimed", key, &claim);
        match (key + try_number) % 4 {
            0 => settle(store, &lease, &release(DAY)).await,
            1 => {
                settle(store, &lease, &Settlement::Doubt { cause: Cause::Lost }).await;
                return say("doubted", key, &claim);
            }
            _ => {
                settle(store, &lease, &complete(&key.to_string(), DAY)).await;
                return say("completed", key, &claim);
            }
        }
        say("released", key, &claim);
    }
}

async fn settle(store: &FileStore, lease: &Lease, with: &Settlement) {
    store.renew(lease, Duration::from_secs(30), None).await.unwrap();
    store.settle(lease, with, Settler::Owner).await.unwrap();
}

fn say(what: &str, key: u64, claim: &Claim) {
    let attempt = u128::from_le_bytes(*claim.attempt.as_bytes());
    let line = format!("\nsaid {what} {key} {attempt}.\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

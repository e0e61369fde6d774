//! Whoever comes at once, somebody comes first: every history must be one that the machine could
//! have had (EXE-04, CON-05, CON-06).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::future::join_all;
use tokio::sync::Barrier;
use tokio::task::JoinError;

use super::chance::Chance;
use super::harness::Harness;
use super::history::{Event, Move, Reply, linearizes};
use super::scene::{
    LATE_ANSWER, RECLAIM, RETENTION, Scene, Stop, TERM, attempt, claim, complete, doubt, ensure,
    failed, id_of, other, release, same,
};
use super::{Case, Ending};
use crate::lease::Lease;
use crate::machine::Claim;
use crate::record::Settler;
use crate::scope::RecordId;
use crate::store::{Purged, Store};

/// Races of each case, one record each.
const ROUNDS: u8 = 24;

/// Who comes at once where only one may win.
const CLAIMERS: u8 = 8;

/// More callers than most stores have connections.
const CROWD: u8 = 50;

pub(super) const CASES: [Case; 14] = [
    Case::free("race_of_first_claims_grants_one", |h| Ending::of(first_claims(h))),
    Case::free("race_of_claims_on_released_grants_one", |h| Ending::of(claims_on_released(h))),
    Case::free("race_of_claims_on_expired_grants_one", |h| Ending::of(claims_on_expired(h))),
    Case::free("race_of_takeovers_grants_one", |h| Ending::of(takeovers(h))),
    Case::free("race_of_a_crowd_grants_one", |h| Ending::of(crowd(h))),
    Case::free("race_of_repeated_claims_grants_one_lease", |h| Ending::of(repeated(h))),
    Case::free("race_of_settlements_has_one_outcome", |h| Ending::of(settlements(h))),
    Case::free("race_of_owner_and_operator_has_one_outcome", |h| Ending::of(operators(h))),
    Case::free("race_of_late_owner_and_takeover_has_one_outcome", |h| Ending::of(late_owner(h))),
    Case::free("race_of_release_and_claims_is_in_order", |h| Ending::of(release_and_claims(h))),
    Case::free("race_of_renewal_and_settlement_is_in_order", |h| Ending::of(renewal(h))),
    Case::free("race_of_sweep_and_claims_loses_nothing", |h| Ending::of(sweep_and_claims(h))),
    Case::free("race_of_purge_and_settlement_is_in_order", |h| Ending::of(purge(h))),
    Case::free("race_at_random_is_in_order", |h| Ending::of(at_random(h))),
];

/// Plays the moves at once and looks for an order.
async fn race(scene: &Scene, id: RecordId, moves: Vec<Move>) -> Result<Vec<Event>, Stop> {
    let before = scene.peek(id).await?.map(|seen| seen.record);
    let events = play(&scene.nodes().await, id, moves).await?;
    check_fences(before.as_ref().map(|record| record.lease()), &events)?;
    let end = scene.peek(id).await?.map(|seen| seen.record);
    let now = scene.now().await?;
    ensure(
        linearizes(before.as_ref(), &events, end.as_ref(), now),
        format_args!("no order explains\n{events:#?}\nfrom {before:?}\nto {end:?}"),
    )?;
    Ok(events)
}

/// Plays the moves at once, from one node after the other.
///
/// In one of two ways, by the record's number: on threads, where anything may meet anything, or in
/// turns on one thread, where every wait of one lets all others go first.
async fn play(
    nodes: &[Arc<dyn Store>],
    id: RecordId,
    moves: Vec<Move>,
) -> Result<Vec<Event>, Stop> {
    let counter = Arc::new(AtomicU64::new(0));
    let barrier = Arc::new(Barrier::new(moves.len()));
    let running = moves.into_iter().enumerate().map(|(n, each)| {
        let (node, counter) = (nodes[n % nodes.len()].clone(), counter.clone());
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            each.play(id, &node, &counter).await
        }
    });
    if id.as_bytes()[31].is_multiple_of(2) {
        let spawned = running.map(tokio::spawn).collect::<Vec<_>>();
        let ended = |end: Result<_, JoinError>| {
            end.unwrap_or_else(|error| failed(format_args!("an operation did not end: {error}")))
        };
        join_all(spawned).await.into_iter().map(ended).collect()
    } else {
        join_all(running).await.into_iter().collect()
    }
}

/// Fences grow with the number of the attempt, and one attempt has one.
fn check_fences(before: Option<Lease>, events: &[Event]) -> Result<(), Stop> {
    // Fences are promised to grow while the record survives; a clock may stand.
    if events.iter().any(|event| event.reply == Reply::Purged(Purged::Removed)) {
        return Ok(());
    }
    let mut leases: Vec<&Lease> = events.iter().filter_map(|event| event.lease.as_ref()).collect();
    leases.extend(before.as_ref());
    leases.sort_by_key(|lease| (lease.fence, lease.number));
    for pair in leases.windows(2) {
        let again = pair[0].fence == pair[1].fence && pair[0].attempt == pair[1].attempt;
        let newer = pair[0].fence < pair[1].fence;
        ensure(again || newer, format_args!("two owners have one fence: {pair:?}"))?;
    }
    Ok(())
}

fn claims(id: RecordId, attempts: impl Iterator<Item = u8>, like: &Claim) -> Vec<Move> {
    let wish = |n| Claim { attempt: attempt(n), id, ..like.clone() };
    attempts.map(|n| Move::Claim(Box::new(wish(n)))).collect()
}

/// The claims that ran; each attempt is counted once.
fn granted(events: &[Event]) -> usize {
    let mut attempts: Vec<_> = events
        .iter()
        .filter_map(|event| match event.reply {
            Reply::Granted { attempt, .. } => Some(attempt),
            _ => None,
        })
        .collect();
    attempts.sort_unstable();
    attempts.dedup();
    attempts.len()
}

async fn claim_at(scene: &Scene, id: RecordId, like: &Claim) -> Result<Lease, Stop> {
    scene.grant(&Claim { id, ..like.clone() }).await
}

async fn first_claims(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let events = race(&scene, id, claims(id, 1..=CLAIMERS, &claim(0))).await?;
        same("the number of grants", &granted(&events), &1)?;
    }
    Ok(())
}

async fn claims_on_released(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let lease = claim_at(&scene, id, &claim(100)).await?;
        scene.settled(&lease, &release()).await?;
        let mut moves = claims(id, 1..=CLAIMERS - 2, &claim(0));
        moves.extend(claims(id, 50..=51, &other(0)));
        let events = race(&scene, id, moves).await?;
        same("the number of grants", &granted(&events), &1)?;
    }
    Ok(())
}

async fn claims_on_expired(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let lease = claim_at(&scene, id, &claim(100)).await?;
        scene.settled(&lease, &complete(1)).await?;
    }
    scene.advance(RETENTION).await;
    for id in (0..ROUNDS).map(id_of) {
        let mut moves = claims(id, 1..=CLAIMERS / 2, &claim(0));
        moves.extend(claims(id, 50..50 + CLAIMERS / 2, &other(0)));
        let events = race(&scene, id, moves).await?;
        same("the number of grants", &granted(&events), &1)?;
    }
    Ok(())
}

/// Records whose owners let their leases lapse, under a rule that lets another attempt run.
async fn lapsed(scene: &Scene) -> Result<Vec<Lease>, Stop> {
    let like = Claim { on_lapse: RECLAIM, ..claim(100) };
    let mut leases = Vec::new();
    for id in (0..ROUNDS).map(id_of) {
        leases.push(claim_at(scene, id, &like).await?);
    }
    scene.advance(LATE_ANSWER).await;
    Ok(leases)
}

async fn takeovers(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for lease in lapsed(&scene).await? {
        let like = Claim { on_lapse: RECLAIM, ..claim(0) };
        let events = race(&scene, lease.id, claims(lease.id, 1..=CLAIMERS, &like)).await?;
        same("the number of grants", &granted(&events), &1)?;
    }
    Ok(())
}

/// Who has to wait for a connection must not act on what stood before. A crowd comes to a new key, to
/// one whose owner has vanished, and to one that was released.
async fn crowd(harness: &dyn Harness) -> Result<(), Stop> {
    const ENTRIES: [usize; 3] = [1, 2, 4];
    let scene = Scene::new(harness).await;
    let nodes = scene.nodes().await;
    let like = Claim { on_lapse: RECLAIM, ..claim(0) };
    for id in (0..ROUNDS / 2).map(id_of) {
        let mut fence = None;
        for (before, entries) in (0_u8..).zip(ENTRIES) {
            let attempts = before * CROWD..(before + 1) * CROWD;
            let events = play(&nodes, id, claims(id, attempts, &like)).await?;
            same("the number of grants", &granted(&events), &1)?;
            let Some(lease) = events.into_iter().find_map(|event| event.lease) else {
                return failed("a grant without a lease");
            };
            ensure(Some(lease.fence) > fence, "the new fence is not above the old one")?;
            fence = Some(lease.fence);
            let stands = scene.live(id).await?;
            let stands = stands.map(|record| (record.attempts, record.history.entries().len()));
            same("attempts and entries", &stands, &Some((u32::from(before) + 1, entries)))?;
            if before == 0 {
                scene.advance(LATE_ANSWER).await;
            } else {
                scene.settled(&lease, &release()).await?;
            }
        }
    }
    Ok(())
}

async fn repeated(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let moves = claims(id, [1, 1, 1, 1, 2, 2, 2].into_iter(), &claim(0));
        let events = race(&scene, id, moves).await?;
        same("the number of attempts granted", &granted(&events), &1)?;
    }
    Ok(())
}

fn by_owner(lease: &Lease, with: crate::machine::Settlement) -> Move {
    Move::Settle(lease.clone(), with, Settler::Owner)
}

fn by_operator(lease: &Lease, with: crate::machine::Settlement) -> Move {
    Move::Settle(lease.clone(), with, Settler::Operator)
}

async fn settlements(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let lease = claim_at(&scene, id, &claim(100)).await?;
        let ends = [complete(1), complete(2), release(), complete(3), release(), doubt()];
        race(&scene, id, ends.map(|with| by_owner(&lease, with)).to_vec()).await?;
    }
    Ok(())
}

async fn operators(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let mut leases = Vec::new();
    for id in (0..ROUNDS).map(id_of) {
        leases.push(claim_at(&scene, id, &claim(100)).await?);
    }
    scene.advance(TERM).await;
    for lease in leases {
        let moves = vec![
            by_owner(&lease, complete(1)),
            by_operator(&lease, release()),
            by_operator(&lease, complete(2)),
            Move::Renew(lease.clone()),
            Move::Claim(Box::new(Claim { id: lease.id, ..claim(2) })),
        ];
        race(&scene, lease.id, moves).await?;
    }
    Ok(())
}

async fn late_owner(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for lease in lapsed(&scene).await? {
        let like = Claim { on_lapse: RECLAIM, ..claim(0) };
        let mut moves = claims(lease.id, 1..=3, &like);
        moves.push(by_owner(&lease, complete(1)));
        moves.push(Move::Renew(lease.clone()));
        moves.push(by_owner(&lease, doubt()));
        race(&scene, lease.id, moves).await?;
    }
    Ok(())
}

async fn release_and_claims(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let lease = claim_at(&scene, id, &claim(100)).await?;
        let mut moves = claims(id, 1..=4, &claim(0));
        moves.insert(2, by_owner(&lease, release()));
        moves.push(by_owner(&lease, release()));
        race(&scene, id, moves).await?;
    }
    Ok(())
}

async fn renewal(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let lease = claim_at(&scene, id, &claim(100)).await?;
        let moves = vec![
            Move::Renew(lease.clone()),
            by_owner(&lease, complete(1)),
            Move::Renew(lease.clone()),
            by_owner(&lease, release()),
            Move::Renew(lease.clone()),
            Move::Claim(Box::new(Claim { id, ..claim(1) })),
        ];
        race(&scene, id, moves).await?;
    }
    Ok(())
}

/// A sweeper that looked before the claim and removes after it would lose the new owner's record.
async fn sweep_and_claims(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let lease = claim_at(&scene, id, &claim(100)).await?;
        scene.settled(&lease, &complete(1)).await?;
        scene.advance(RETENTION).await;
        let mut moves = vec![Move::Sweep];
        moves.extend(claims(id, 1..=3, &claim(0)));
        moves.push(Move::Sweep);
        let events = race(&scene, id, moves).await?;
        same("the number of grants", &granted(&events), &1)?;
    }
    Ok(())
}

async fn purge(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for id in (0..ROUNDS).map(id_of) {
        let lease = claim_at(&scene, id, &claim(100)).await?;
        let mut moves = claims(id, 1..=2, &claim(0));
        moves.push(by_owner(&lease, complete(1)));
        moves.push(Move::Purge { force: true });
        moves.push(Move::Purge { force: false });
        race(&scene, id, moves).await?;
    }
    Ok(())
}

async fn at_random(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for (seed, lease) in lapsed(&scene).await?.into_iter().enumerate() {
        let mut chance = Chance::new(seed as u64);
        let moves = (0..6).map(|_| draw(&mut chance, &lease)).collect();
        if let Err(Stop::Failed(message)) = race(&scene, lease.id, moves).await {
            return failed(format_args!("{message}\nby the moves of seed {seed}"));
        }
    }
    Ok(())
}

fn draw(chance: &mut Chance, lease: &Lease) -> Move {
    let with = [complete(1), complete(2), release(), doubt()];
    let with = with[usize::from(chance.below(4))].clone();
    match chance.below(8) {
        0..=2 => {
            let fingerprint = chance.pick([claim(0), other(0)].map(|each| each.fingerprint));
            let n = 1 + chance.below(3);
            Move::Claim(Box::new(Claim {
                attempt: attempt(n),
                fingerprint,
                id: lease.id,
                on_lapse: RECLAIM,
                ..claim(n)
            }))
        }
        3 => Move::Renew(lease.clone()),
        4..=5 => by_owner(lease, with),
        6 => by_operator(lease, with),
        _ => Move::Purge { force: chance.once_in(2) },
    }
}

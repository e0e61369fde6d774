//! What expires, and when (TTL-01 to TTL-03, DBT-11, rulings 9 and 10).

use std::time::Duration;

use super::harness::Harness;
use super::mirror::Mirror;
use super::scene::{
    MARGIN, RETENTION, Scene, Stop, TERM, answer, attempt, claim, complete, doubt, ensure, failed,
    id, id_of, other, release, same, word,
};
use super::{Case, Ending};
use crate::lease::Lease;
use crate::machine::{Claim, Retention, Settlement};
use crate::record::{Phase, Settler};
use crate::response::Kept;

/// Longer than anything is kept that is not kept for ever.
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(super) const CASES: [Case; 10] = [
    Case::free("ttl_01_answer_stays_until_just_before_expiry", |h| Ending::of(stays(h))),
    Case::free("ttl_01_expired_key_runs_as_if_new", |h| Ending::of(runs_as_new(h))),
    Case::free("ttl_02_sweeping_does_not_shorten", |h| Ending::of(not_shortened(h))),
    Case::free("ttl_02_expiry_needs_no_sweeping", |h| Ending::of(needs_no_sweeping(h))),
    Case::free("ttl_03_running_outlives_retention", |h| Ending::of(running_outlives(h))),
    Case::free("retention_counts_from_settling", |h| Ending::of(counts_from_settling(h))),
    Case::free("retention_without_end_does_not_end", |h| Ending::of(without_end(h))),
    Case::free("released_key_refuses_another_request_until_expiry", |h| Ending::of(tombstone(h))),
    Case::free("dbt_11_sweep_never_removes_doubt", |h| Ending::of(doubt_stays(h))),
    Case::free("dbt_11_doubt_ends_where_the_claim_said_so", |h| Ending::of(doubt_ends(h))),
];

async fn completed(scene: &Scene) -> Result<Lease, Stop> {
    let lease = scene.grant(&claim(1)).await?;
    scene.settled(&lease, &complete(1)).await?;
    Ok(lease)
}

/// A retry is held and shows the first answer.
async fn replays(scene: &Scene) -> Result<(), Stop> {
    let seen = scene.hold(&claim(2)).await?;
    same("the status shown", &word(seen.record.status(seen.now)), &"completed")?;
    match seen.record.phase {
        Phase::Completed { kept, .. } => same("the answer", &kept, &Kept::Response(answer(1))),
        phase => failed(format_args!("it shows {phase:?}")),
    }
}

async fn stays(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    completed(&scene).await?;
    replays(&scene).await?;
    // Much longer than the lease.
    scene.advance(TERM + MARGIN).await;
    replays(&scene).await?;
    scene.advance(RETENTION - TERM - 2 * MARGIN).await;
    replays(&scene).await?;
    scene.hold(&other(3)).await.map(|_| ())
}

async fn runs_as_new(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let first = completed(&scene).await?;
    scene.advance(RETENTION).await;
    let second = scene.grant(&other(2)).await?;
    same("the attempt's number", &second.number, &1)?;
    same("what freed the key", &second.rerun_of, &None)?;
    ensure(second.fence > first.fence, "the new fence is not above the old one")?;
    scene.settled(&second, &complete(2)).await?;
    // The first owner comes late, and finds another's record.
    let late = scene.settle(&first, &complete(3), Settler::Owner).await?;
    ensure(late.is_err(), "a settlement of the expired attempt was accepted")?;
    let kept = scene.live(id()).await?.map(|record| record.phase);
    let stands = matches!(&kept, Some(Phase::Completed { kept, .. }) if kept.status() == 202);
    ensure(stands, format_args!("the second answer became {kept:?}"))
}

async fn not_shortened(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    completed(&scene).await?;
    scene.advance(RETENTION - MARGIN).await;
    same("the number swept", &scene.sweep().await?, &0)?;
    replays(&scene).await
}

async fn needs_no_sweeping(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for n in 0..4 {
        let lease = scene.grant(&Claim { id: id_of(n), ..claim(n) }).await?;
        scene.settled(&lease, &if n % 2 == 0 { complete(1) } else { release() }).await?;
    }
    scene.advance(RETENTION).await;
    for n in 0..4 {
        let lease = scene.grant(&Claim { id: id_of(n), ..other(n + 10) }).await?;
        same("the attempt's number", &lease.number, &1)?;
    }
    // What was granted anew is not what a late sweep is for.
    scene.sweep().await?;
    for n in 0..4 {
        same("a swept key", &scene.status(id_of(n)).await?, &"running")?;
    }
    Ok(())
}

async fn running_outlives(harness: &dyn Harness) -> Result<(), Stop> {
    const ROUNDS: u32 = 5;
    let short = Settlement::Release { retention: Retention::For(MARGIN), status: Some(503) };
    let mut mirror = Mirror::new(Scene::new(harness).await);
    let first = mirror.grant(&claim(1)).await?;
    mirror.settled(&first, &short).await?;
    let lease = mirror.grant(&claim(2)).await?;
    for _ in 0..ROUNDS {
        mirror.advance(TERM - MARGIN).await;
        // The record was once to expire long ago; its owner lives.
        mirror.scene.sweep().await?;
        mirror.check(id()).await?;
        let renewed = mirror.renew(&lease, None).await?;
        ensure(renewed.is_ok(), format_args!("a living owner lost its lease: {renewed:?}"))?;
        mirror.scene.hold(&claim(3)).await?;
    }
    mirror.advance(YEARS).await;
    mirror.scene.sweep().await?;
    same("the status of a dead owner's record", &mirror.scene.status(id()).await?, &"lapsed")?;
    mirror.settled(&lease, &complete(1)).await
}

async fn counts_from_settling(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let lease = scene.grant(&claim(1)).await?;
    scene.advance(2 * RETENTION).await;
    scene.settled(&lease, &complete(1)).await?;
    scene.advance(RETENTION - MARGIN).await;
    replays(&scene).await
}

async fn without_end(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let lease = scene.grant(&claim(1)).await?;
    let kept = Kept::Response(answer(1));
    scene.settled(&lease, &Settlement::Complete { kept, retention: Retention::Never }).await?;
    scene.advance(YEARS).await;
    same("the number swept", &scene.sweep().await?, &0)?;
    replays(&scene).await
}

async fn tombstone(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let lease = scene.grant(&claim(1)).await?;
    scene.settled(&lease, &release()).await?;
    scene.advance(RETENTION - MARGIN).await;
    same("the number swept", &scene.sweep().await?, &0)?;
    let seen = scene.hold(&other(2)).await?;
    same("the status shown", &word(seen.record.status(seen.now)), &"released")?;
    scene.advance(MARGIN).await;
    scene.grant(&other(2)).await.map(|_| ())
}

async fn doubt_stays(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let in_doubt = scene.grant(&claim(1)).await?;
    scene.settled(&in_doubt, &doubt()).await?;
    let lapsed = scene.grant(&Claim { id: id_of(2), ..claim(2) }).await?;
    let before = (scene.live(id()).await?, scene.live(id_of(2)).await?);
    for _ in 0..3 {
        scene.advance(YEARS).await;
        same("the number swept", &scene.sweep().await?, &0)?;
        let after = (scene.live(id()).await?, scene.live(id_of(2)).await?);
        same("the records", &after, &before)?;
        scene.hold(&claim(3)).await?;
        scene.hold(&Claim { id: id_of(2), ..claim(3) }).await?;
    }
    scene.settled(&in_doubt, &complete(1)).await?;
    scene.settled(&lapsed, &complete(1)).await
}

async fn doubt_ends(harness: &dyn Harness) -> Result<(), Stop> {
    let mut mirror = Mirror::new(Scene::new(harness).await);
    let ending = |n: u8| Claim { id: id_of(n), unknown_retention: Some(RETENTION), ..claim(n) };
    let in_doubt = mirror.grant(&ending(1)).await?;
    mirror.settled(&in_doubt, &doubt()).await?;
    mirror.grant(&ending(2)).await?;
    let completed = mirror.grant(&ending(3)).await?;
    let forever =
        Settlement::Complete { kept: Kept::Response(answer(1)), retention: Retention::Never };
    mirror.settled(&completed, &forever).await?;
    mirror.advance(RETENTION - MARGIN).await;
    same("the number swept", &mirror.scene.sweep().await?, &0)?;
    mirror.check_all().await?;
    mirror.advance(TERM + MARGIN).await;
    for n in [1, 2] {
        same("what ended", &mirror.scene.status(id_of(n)).await?, &"absent")?;
        mirror.grant(&Claim { attempt: attempt(9), ..ending(n) }).await?;
    }
    same("what did not", &mirror.scene.status(id_of(3)).await?, &"completed")
}

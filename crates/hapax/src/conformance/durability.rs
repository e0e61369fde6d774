//! Everything replied to survives the end of the process (EXE-02, EXE-03, DBT-09).

use bytes::Bytes;

use super::harness::Harness;
use super::mirror::Mirror;
use super::scene::{
    MARGIN, RETENTION, Scene, Stop, TERM, attempt, claim, complete, doubt, ensure, id, id_of,
    other, release, same,
};
use super::{Case, Ending};
use crate::lease::Lease;
use crate::machine::Claim;
use crate::record::Settler;

pub(super) const CASES: [Case; 9] = [
    Case::free("claim_survives_the_end_of_the_process", |h| Ending::of(claim_survives(h))),
    Case::free("answer_survives_the_end_of_the_process", |h| Ending::of(answer_survives(h))),
    Case::free("release_survives_the_end_of_the_process", |h| Ending::of(release_survives(h))),
    Case::free("doubt_survives_the_end_of_the_process", |h| Ending::of(doubt_survives(h))),
    Case::free("progress_survives_the_end_of_the_process", |h| Ending::of(progress_survives(h))),
    Case::free("purge_survives_the_end_of_the_process", |h| Ending::of(purge_survives(h))),
    Case::free("expiry_survives_the_end_of_the_process", |h| Ending::of(expiry_survives(h))),
    Case::free("owner_settles_after_the_end_of_the_process", |h| Ending::of(owner_settles(h))),
    Case::free("fences_grow_over_the_end_of_the_process", |h| Ending::of(fences_grow(h))),
];

async fn begin(harness: &dyn Harness) -> Result<(Mirror, Lease), Stop> {
    let mut mirror = Mirror::new(Scene::new(harness).await);
    let lease = mirror.grant(&claim(1)).await?;
    Ok((mirror, lease))
}

async fn claim_survives(harness: &dyn Harness) -> Result<(), Stop> {
    let (mirror, lease) = begin(harness).await?;
    let mut mirror = mirror.reopen().await?;
    let found = mirror.scene.live(id()).await?.map(|record| (record.attempt, record.fence));
    same("who holds it", &found, &Some((lease.attempt, lease.fence)))?;
    // Nobody runs it as if it were new, not even once the lease is over.
    mirror.scene.hold(&claim(2)).await?;
    mirror.scene.hold(&other(3)).await?;
    mirror.advance(TERM).await;
    mirror.claim(&claim(2)).await?;
    same("the status", &mirror.scene.status(id()).await?, &"lapsed")
}

async fn answer_survives(harness: &dyn Harness) -> Result<(), Stop> {
    let (mut mirror, lease) = begin(harness).await?;
    mirror.settled(&lease, &complete(1)).await?;
    let mut mirror = mirror.reopen().await?.reopen().await?;
    mirror.claim(&claim(2)).await?;
    same(
        "a repeated settlement",
        &mirror.settle(&lease, &complete(2), Settler::Owner).await?,
        &Ok(()),
    )?;
    same("the status", &mirror.scene.status(id()).await?, &"completed")
}

async fn release_survives(harness: &dyn Harness) -> Result<(), Stop> {
    let (mut mirror, lease) = begin(harness).await?;
    mirror.settled(&lease, &release()).await?;
    let mut mirror = mirror.reopen().await?;
    mirror.scene.hold(&other(2)).await?;
    let next = mirror.grant(&claim(2)).await?;
    same("the next attempt's number", &next.number, &2)?;
    same("what freed the key", &next.rerun_of, &Some(503))
}

async fn doubt_survives(harness: &dyn Harness) -> Result<(), Stop> {
    let (mut mirror, lease) = begin(harness).await?;
    mirror.settled(&lease, &doubt()).await?;
    let mut mirror = mirror.reopen().await?;
    mirror.claim(&claim(2)).await?;
    same("the status", &mirror.scene.status(id()).await?, &"in doubt")?;
    let stats = mirror.scene.store().stats().await?;
    same("the number of doubts", &stats.in_doubt, &1)?;
    same(
        "an operator's answer",
        &mirror.settle(&lease, &complete(1), Settler::Operator).await?,
        &Ok(()),
    )?;
    mirror.reopen().await.map(|_| ())
}

async fn progress_survives(harness: &dyn Harness) -> Result<(), Stop> {
    let (mut mirror, lease) = begin(harness).await?;
    let steps = Some(Bytes::from_static(b"step 1\0step 2"));
    let renewed = mirror.renew(&lease, steps.clone()).await?.map(|lease| lease.progress);
    same("the steps", &renewed, &Ok(steps))?;
    mirror.reopen().await.map(|_| ())
}

async fn purge_survives(harness: &dyn Harness) -> Result<(), Stop> {
    let (mut mirror, lease) = begin(harness).await?;
    mirror.settled(&lease, &complete(1)).await?;
    mirror.grant(&Claim { id: id_of(2), ..claim(2) }).await?;
    mirror.purge(id(), false).await?;
    mirror.purge(id_of(2), true).await?;
    let mirror = mirror.reopen().await?;
    for n in [1, 2] {
        same("a purged record", &mirror.scene.status(id_of(n)).await?, &"absent")?;
    }
    Ok(())
}

async fn expiry_survives(harness: &dyn Harness) -> Result<(), Stop> {
    let (mut mirror, lease) = begin(harness).await?;
    mirror.settled(&lease, &complete(1)).await?;
    let mirror = mirror.reopen().await?;
    mirror.advance(RETENTION - MARGIN).await;
    mirror.scene.sweep().await?;
    mirror.scene.hold(&claim(2)).await?;
    let mut mirror = mirror.reopen().await?;
    mirror.advance(MARGIN).await;
    same("the next attempt's number", &mirror.grant(&other(2)).await?.number, &1)
}

/// The owner lives, the store's process does not: what the effect came to can still be told.
async fn owner_settles(harness: &dyn Harness) -> Result<(), Stop> {
    let (mirror, lease) = begin(harness).await?;
    let mut mirror = mirror.reopen().await?;
    mirror.settled(&lease, &complete(1)).await?;
    let mut mirror = mirror.reopen().await?;
    mirror.settled(&lease, &complete(1)).await?;
    same("the status", &mirror.scene.status(id()).await?, &"completed")
}

async fn fences_grow(harness: &dyn Harness) -> Result<(), Stop> {
    let (mut mirror, mut lease) = begin(harness).await?;
    for n in 2..6 {
        mirror.settled(&lease, &release()).await?;
        mirror = mirror.reopen().await?;
        let next = mirror.grant(&Claim { attempt: attempt(n), ..claim(1) }).await?;
        ensure(next.fence > lease.fence, "the new fence is not above the old one")?;
        lease = next;
    }
    Ok(())
}

//! Listing, sizes, purging, sweeping, and what happens when the store is full.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::super::harness::Harness;
use super::super::scene::{
    MARGIN, RETENTION, Scene, Stop, TERM, attempt, claim, complete, doubt, ensure, failed, id,
    id_of, release, said, same,
};
use super::super::{Case, Ending};
use crate::lease::Lease;
use crate::machine::{Claim, LeaseLost};
use crate::record::{Record, Settler};
use crate::scope::RecordId;
use crate::store::{ListQuery, Purged, State, StoreError};

pub(super) const CASES: [Case; 14] = [
    Case::free("list_shows_what_records_mean_now", |h| Ending::of(list_states(h))),
    Case::free("list_pages_through_all_in_order", |h| Ending::of(list_pages(h))),
    Case::free("list_of_a_scope_shows_that_scope_alone", |h| Ending::of(list_scope(h))),
    Case::free("stats_count_what_is_in_doubt_or_lapsed", |h| Ending::of(stats_doubts(h))),
    Case::free("purge_on_absent_finds_nothing", |h| Ending::of(purge_absent(h))),
    Case::free("purge_on_running_is_refused", |h| Ending::of(purge_running(h))),
    Case::free("purge_by_force_on_running_removes", |h| Ending::of(purge_forced(h))),
    Case::free("purge_on_settled_removes", |h| Ending::of(purge_settled(h))),
    Case::free("purge_on_doubt_removes", |h| Ending::of(purge_doubt(h))),
    Case::free("sweep_removes_what_has_long_expired", |h| Ending::of(sweep_expired(h))),
    Case::free("sweep_removes_no_more_than_its_limit", |h| Ending::of(sweep_limit(h))),
    Case::free("full_store_refuses_new_records", |h| Ending::of(full_refuses(h))),
    Case::free("full_store_goes_on_with_its_records", |h| Ending::of(full_goes_on(h))),
    Case::free("full_store_takes_new_records_after_purging", |h| Ending::of(full_purged(h))),
];

/// Long after anything that expires has: a store may return space in large pieces.
const LONG: Duration = Duration::from_secs(1_000 * 24 * 60 * 60);

async fn grant_at(scene: &Scene, n: u8) -> Result<Lease, Stop> {
    scene.grant(&Claim { id: id_of(n), ..claim(n) }).await
}

/// Six records: 1 lapsed, 2 in doubt, 3 completed, 4 released, 5 expired, 6 running.
async fn populate(scene: &Scene) -> Result<(), Stop> {
    let expiring = grant_at(scene, 5).await?;
    scene.settled(&expiring, &complete(5)).await?;
    scene.advance(RETENTION).await;
    grant_at(scene, 1).await?;
    scene.settled(&grant_at(scene, 2).await?, &doubt()).await?;
    scene.advance(TERM).await;
    scene.settled(&grant_at(scene, 3).await?, &complete(3)).await?;
    scene.settled(&grant_at(scene, 4).await?, &release()).await?;
    grant_at(scene, 6).await?;
    Ok(())
}

/// All pages of a query. A store may show pages shorter than asked for.
async fn pages(scene: &Scene, query: &ListQuery) -> Result<Vec<Record>, Stop> {
    const PAGES_MAX: usize = 1_000;
    let (mut query, mut records) = (query.clone(), Vec::new());
    for _ in 0..PAGES_MAX {
        let page = scene.list(&query).await?;
        ensure(page.records.len() <= query.limit as usize, "a page is longer than asked for")?;
        records.extend(page.records);
        match page.next {
            Some(_) if page.next == query.after => break,
            Some(next) => query.after = Some(next),
            None => return Ok(records),
        }
    }
    failed("the pages do not come to an end")
}

fn ids(records: &[Record]) -> Vec<RecordId> {
    records.iter().map(|record| record.id).collect()
}

async fn list_states(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    populate(&scene).await?;
    let listed = |state| ListQuery { limit: 100, state, ..ListQuery::default() };
    for (state, expected) in [
        (State::InDoubt, vec![id_of(1), id_of(2)]),
        (State::Completed, vec![id_of(3)]),
        (State::Released, vec![id_of(4)]),
        (State::InProgress, vec![id_of(6)]),
    ] {
        let found = pages(&scene, &listed(Some(state))).await?;
        same(state.as_str(), &ids(&found), &expected)?;
    }
    let all = pages(&scene, &listed(None)).await?;
    same("the whole list", &ids(&all), &[1, 2, 3, 4, 6].map(id_of).to_vec())?;
    for record in all {
        same("the listed record", &scene.live(record.id).await?, &Some(record))?;
    }
    Ok(())
}

async fn list_pages(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for n in [7, 3, 200, 1, 90, 4, 250] {
        let lease = grant_at(&scene, n).await?;
        if n > 50 {
            scene.settled(&lease, &complete(1)).await?;
        }
    }
    let expected = [1, 3, 4, 7, 90, 200, 250].map(id_of).to_vec();
    for limit in [1, 2, 3, 7, 8] {
        let found = pages(&scene, &ListQuery { limit, ..ListQuery::default() }).await?;
        same("the list by pages", &ids(&found), &expected)?;
    }
    let query = ListQuery { after: Some(id_of(7)), limit: 100, ..ListQuery::default() };
    let found = pages(&scene, &query).await?;
    same("what is behind the fourth", &ids(&found), &expected[4..].to_vec())
}

async fn list_scope(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let mut scopes = BTreeSet::new();
    for first in [0x00, 0x41, 0xff] {
        for last in 0..3 {
            let mut bytes = [first; 32];
            bytes[31] = last;
            let id = RecordId::from_bytes(bytes);
            scopes.insert(id.scope_head());
            scene.grant(&Claim { id, ..claim(last + 1) }).await?;
        }
    }
    for head in scopes {
        let query = ListQuery { limit: 2, scope: Some(head), ..ListQuery::default() };
        let found = pages(&scene, &query).await?;
        ensure(
            found.iter().all(|record| record.id.scope_head() == head),
            "another scope is listed",
        )?;
        same("the number of records of one scope", &found.len(), &3)?;
    }
    Ok(())
}

async fn stats_doubts(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let stats = scene.store().stats().await?;
    same("doubts of an empty store", &(stats.in_doubt, stats.in_doubt_since), &(0, None))?;
    populate(&scene).await?;
    let mut oldest = None;
    for n in [1, 2] {
        let since = scene.live(id_of(n)).await?.map(|record| record.lease().until);
        oldest = oldest.map_or(since, |at| since.min(Some(at)));
    }
    let stats = scene.store().stats().await?;
    let found = (stats.in_doubt, stats.in_doubt_since);
    same("doubts, and since when", &found, &(2, oldest))?;
    ensure(stats.now >= scene.now().await?.minus(MARGIN), "its time is far behind")?;
    for n in [1, 2] {
        let seen = scene.live(id_of(n)).await?;
        let lease = seen.map(|record| record.lease());
        let Some(lease) = lease else { return failed("a record in doubt is gone") };
        let settled = scene.settle(&lease, &complete(1), Settler::Operator).await?;
        same("an operator's settlement", &settled, &Ok(()))?;
    }
    let stats = scene.store().stats().await?;
    same("doubts when all are settled", &(stats.in_doubt, stats.in_doubt_since), &(0, None))
}

async fn purge(scene: &Scene, force: bool) -> Result<Purged, Stop> {
    Ok(scene.store().purge(&id(), force).await?)
}

async fn purge_absent(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for force in [false, true] {
        same("the answer", &purge(&scene, force).await?, &Purged::Absent)?;
    }
    same("the record", &scene.peek(id()).await?.map(|seen| seen.record), &None)
}

async fn purge_running(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let lease = scene.grant(&claim(1)).await?;
    let before = scene.live(id()).await?;
    same("the answer", &purge(&scene, false).await?, &Purged::Refused)?;
    same("the record", &scene.live(id()).await?, &before)?;
    scene.settled(&lease, &complete(1)).await
}

async fn purge_forced(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let lease = scene.grant(&claim(1)).await?;
    same("the answer", &purge(&scene, true).await?, &Purged::Removed)?;
    same("the status", &scene.status(id()).await?, &"absent")?;
    let settled = scene.settle(&lease, &complete(1), Settler::Owner).await?;
    same("the owner's settlement", &settled, &Err(LeaseLost::Expired))?;
    same("the status after it", &scene.status(id()).await?, &"absent")
}

async fn purge_settled(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for (n, with) in [(1, complete(1)), (2, release())] {
        let lease = scene.grant(&claim(n)).await?;
        scene.settled(&lease, &with).await?;
        same("the answer", &purge(&scene, false).await?, &Purged::Removed)?;
        same("the status", &scene.status(id()).await?, &"absent")?;
    }
    let lease = scene.grant(&claim(3)).await?;
    same("the next attempt's number", &lease.number, &1)
}

async fn purge_doubt(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let lease = scene.grant(&claim(1)).await?;
    scene.settled(&lease, &doubt()).await?;
    same("the answer", &purge(&scene, false).await?, &Purged::Removed)?;
    scene.grant(&claim(2)).await?;
    scene.advance(TERM).await;
    same("the answer on a lapsed claim", &purge(&scene, false).await?, &Purged::Removed)?;
    let stats = scene.store().stats().await?;
    same("doubts left", &(stats.in_doubt, stats.in_doubt_since), &(0, None))
}

async fn sweep_expired(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for n in 0..20 {
        let lease = grant_at(&scene, n).await?;
        let with = if n % 2 == 0 { complete(1) } else { release() };
        scene.settled(&lease, &with).await?;
    }
    scene.advance(LONG).await;
    let swept = scene.sweep().await?;
    same("the number of records swept", &swept, &20)?;
    for n in 0..20 {
        same("a swept record", &scene.peek(id_of(n)).await?.map(|seen| seen.record), &None)?;
    }
    same("the number swept again", &scene.sweep().await?, &0)
}

async fn sweep_limit(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    for n in 0..5 {
        let lease = grant_at(&scene, n).await?;
        scene.settled(&lease, &complete(1)).await?;
    }
    scene.advance(LONG).await;
    let swept = scene.store().sweep(NonZeroU32::MIN.saturating_add(1)).await?;
    ensure(swept <= 2, format_args!("it swept {swept} records, two were allowed"))?;
    same("the others", &(scene.sweep().await? + swept), &5)
}

/// Two records fill the store; the third is refused and leaves no trace (TTL-07).
async fn full(harness: &dyn Harness) -> Result<(Scene, [Lease; 2]), Stop> {
    let scene = Scene::small(harness, 2).await?;
    let leases = [grant_at(&scene, 1).await?, grant_at(&scene, 2).await?];
    match scene.store().claim(&Claim { id: id_of(3), ..claim(3) }).await {
        Err(StoreError::Full) => {}
        other => return failed(format_args!("a claim beyond the limit: {other:?}")),
    }
    same("the refused record", &scene.peek(id_of(3)).await?, &None)?;
    Ok((scene, leases))
}

async fn full_refuses(harness: &dyn Harness) -> Result<(), Stop> {
    let (scene, leases) = full(harness).await?;
    for lease in &leases {
        let live = scene.live(lease.id).await?.map(|record| record.lease());
        same("a record of the full store", &live, &Some(lease.clone()))?;
    }
    Ok(())
}

async fn full_goes_on(harness: &dyn Harness) -> Result<(), Stop> {
    let (scene, [one, two]) = full(harness).await?;
    same("a repeated claim", &scene.grant(&claim(1)).await?, &one)?;
    said(scene.store().renew(&one, TERM, None).await)?
        .map_or_else(|lost| failed(format_args!("a renewal was refused: {lost}")), |_| Ok(()))?;
    scene.settled(&one, &complete(1)).await?;
    scene.settled(&two, &release()).await?;
    let again = Claim { attempt: attempt(4), id: id_of(2), ..claim(2) };
    same("the next attempt's number", &scene.grant(&again).await?.number, &2)
}

async fn full_purged(harness: &dyn Harness) -> Result<(), Stop> {
    let (scene, _leases) = full(harness).await?;
    same("the answer", &purge(&scene, true).await?, &Purged::Removed)?;
    grant_at(&scene, 3).await.map(|_| ())
}

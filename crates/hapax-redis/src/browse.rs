//! Looking at many records: listing and sweeping.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::StreamExt as _;
use hapax::{Kept, Observed};
use hapax::{ListQuery, Page, Phase, Record, RecordId, State, StoreError};
use tokio::time::{Instant, timeout};

use crate::script::{Call, Step};
use crate::store::RedisStore;
use crate::walk::Walk;

/// Records on one page at most.
const PAGE_RECORDS_MAX: u32 = 1_000;

/// Bytes of answers on one page at most, the last one's aside.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a page may take, however many keys there are.
const PAGE_LIMIT: Duration = Duration::from_secs(60);

/// Records fetched at once for a page.
const FETCHED_AT_ONCE: usize = 32;

/// Slices looked at by one sweep at most.
const SWEEP_SLICES_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
#[error("a page takes a walk over all records, which took more than {} s", PAGE_LIMIT.as_secs())]
struct TooMany;

impl RedisStore {
    /// One page, at the price of a walk over all keys, by no more memory than the page's.
    pub(crate) async fn page(&self, query: &ListQuery) -> Result<Page, StoreError> {
        match timeout(PAGE_LIMIT, self.unlimited_page(query)).await {
            Ok(page) => page,
            Err(_elapsed) => Err(StoreError::none(TooMany)),
        }
    }

    async fn unlimited_page(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let limit = query.limit.min(PAGE_RECORDS_MAX) as usize;
        let now = self.now().await?;
        // One more than is shown tells whether there is a next page.
        let mut ids = self.smallest(query, limit + 1).await?;
        let more = ids.len() > limit;
        if more {
            ids.pop_last();
        }
        let last = ids.last().copied();
        let (mut records, mut bytes) = (Vec::new(), 0);
        let fetched = ids.into_iter().map(|id| async move { (id, self.look(&id).await) });
        let mut fetched = futures_util::stream::iter(fetched).buffered(FETCHED_AT_ONCE);
        let mut next = last.filter(|_| more);
        while let Some((id, found)) = fetched.next().await {
            // It may have changed since it was found.
            let fits = |seen: &Observed| {
                let state = State::of(&seen.record, seen.now);
                state.is_some() && query.state.is_none_or(|wanted| state == Some(wanted))
            };
            let Some(Observed { record, .. }) = found?.filter(fits) else { continue };
            bytes += size(&record);
            records.push(record);
            if bytes >= PAGE_BYTES_MAX && Some(id) != last {
                next = Some(id);
                break;
            }
        }
        Ok(Page { next, now, records })
    }

    /// The ids that come first of those that fit, at most so many.
    async fn smallest(
        &self,
        query: &ListQuery,
        count: usize,
    ) -> Result<BTreeSet<RecordId>, StoreError> {
        let (servers, names) = (self.servers(), self.names());
        let head = query.scope.map_or(String::new(), |scope| {
            let mut bytes = [0; 32];
            bytes[..scope.len()].copy_from_slice(&scope);
            RecordId::from_bytes(bytes).scope_short()
        });
        let now = self.now().await?;
        let mut walk = Walk::start(servers, names, &head, servers.deadline()).await?;
        let mut ids = BTreeSet::new();
        while let Some(mut slice) = walk.slice(servers, names, servers.deadline()).await? {
            let bound = if ids.len() < count { None } else { ids.last().copied() };
            slice.ids.retain(|id| {
                query.after.is_none_or(|after| *id > after) && bound.is_none_or(|bound| *id < bound)
            });
            let meanings = match query.state {
                Some(_) => slice.meanings(servers, names, now, servers.deadline()).await?,
                None => Vec::new(),
            };
            for (n, id) in slice.ids.into_iter().enumerate() {
                let fits = query.state.is_none_or(|wanted| {
                    meanings.get(n).copied().flatten().is_some_and(|found| found.state == wanted)
                });
                if fits {
                    ids.insert(id);
                    if ids.len() > count {
                        ids.pop_last();
                    }
                }
            }
        }
        Ok(ids)
    }

    /// Removes what has expired by a clock with an offset. Without one, the server has done it.
    pub(crate) async fn sweep_offset(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        let offset = self.offset();
        if offset == 0 {
            return Ok(0);
        }
        let (servers, names) = (self.servers(), self.names());
        let enough = Instant::now() + servers.timeout() / 2;
        let mut sweep = self.sweeping().lock().await;
        let mut removed = 0;
        for _ in 0..SWEEP_SLICES_MAX {
            let walk = match sweep.as_mut() {
                Some(walk) => walk,
                None => sweep.insert(Walk::start(servers, names, "", servers.deadline()).await?),
            };
            let Some(slice) = walk.slice(servers, names, servers.deadline()).await? else {
                *sweep = None;
                break;
            };
            for id in slice.ids {
                if removed >= limit.get() || Instant::now() > enough {
                    // What is left of the slice is met again by the next walk.
                    *sweep = None;
                    return Ok(removed);
                }
                let call = Call::new(Step::Sweep, names.record(&id)).with(offset.to_string());
                let swept = servers.call(&call).await?;
                removed += u32::from(swept == redis::Value::Int(1));
            }
        }
        Ok(removed)
    }
}

/// Bytes of the answer that a record holds.
fn size(record: &Record) -> usize {
    match &record.phase {
        Phase::Completed { kept: Kept::Response(response), .. } => response.size(),
        Phase::Completed { .. }
        | Phase::InDoubt { .. }
        | Phase::InProgress { .. }
        | Phase::Released { .. } => 0,
    }
}

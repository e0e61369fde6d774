//! The reference store: a mutex around a map around the machine. For development and tests: it
//! forgets everything when the process ends, and says so.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;

use super::{Guarantees, LeaseError, ListQuery, Page, Purged, State, Stats, Store, StoreError};
use crate::lease::Lease;
use crate::machine::{self, Claim, Claimed, Observed, Settlement, Step};
use crate::record::{Phase, Record, Settler, Status};
use crate::response::Kept;
use crate::scope::RecordId;
use crate::time::{Clock, SystemClock, Timestamp};

/// Records looked at by one call of `sweep` for each one it may remove.
const SWEEP_LOOKS_PER_REMOVAL: usize = 8;

/// Keeps records in memory, up to a number.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    records: Mutex<Records>,
    records_max: usize,
}

#[derive(Default)]
struct Records {
    bytes: u64,
    by_id: BTreeMap<RecordId, Record>,
    /// Where the last sweep stopped.
    swept_to: Option<RecordId>,
}

impl MemoryStore {
    /// An empty store of at most `records_max` records, by the system's clock.
    #[must_use]
    pub fn new(records_max: usize) -> Self {
        Self::with_clock(records_max, Arc::new(SystemClock))
    }

    /// An empty store by a clock of the caller's.
    #[must_use]
    pub fn with_clock(records_max: usize, clock: Arc<dyn Clock>) -> Self {
        Self { clock, records: Mutex::default(), records_max }
    }

    fn step<T>(
        &self,
        id: &RecordId,
        apply: impl FnOnce(Option<&Record>, Timestamp) -> Step<T>,
    ) -> Result<T, StoreError> {
        let mut records = self.records();
        // Read under the mutex, so that no two steps see time in another order than they happen.
        let now = self.clock.now();
        let current = records.by_id.get(id);
        let is_new = current.is_none();
        let Step { put, reply } = apply(current, now);
        if let Some(record) = put {
            if is_new && records.by_id.len() >= self.records_max {
                return Err(StoreError::Full);
            }
            records.put(record);
        }
        Ok(reply)
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // No step leaves the map half-changed, so a panic elsewhere does not spoil it.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    /// At most a million records.
    fn default() -> Self {
        Self::new(1_000_000)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("records_max", &self.records_max)
            .finish_non_exhaustive()
    }
}

impl Records {
    fn put(&mut self, record: Record) {
        self.bytes += size(&record);
        if let Some(previous) = self.by_id.insert(record.id, record) {
            self.bytes -= size(&previous);
        }
    }

    fn remove(&mut self, id: &RecordId) {
        if let Some(record) = self.by_id.remove(id) {
            self.bytes -= size(&record);
        }
    }
}

fn size(record: &Record) -> u64 {
    let kept = match &record.phase {
        Phase::Completed { kept: Kept::Response(response), .. } => response.size(),
        Phase::Completed { .. }
        | Phase::InDoubt { .. }
        | Phase::InProgress { .. }
        | Phase::Released { .. } => 0,
    };
    (kept + size_of::<Record>()) as u64
}

#[async_trait]
impl Store for MemoryStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.step(&claim.id, |current, now| machine::claim(current, claim, now))
    }

    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError> {
        let renew = |current: Option<&Record>, now| {
            machine::renew(current, lease, term, progress.as_ref(), now)
        };
        Ok(self.step(&lease.id, renew)??)
    }

    async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<(), LeaseError> {
        let settle = |current: Option<&Record>, now| machine::settle(current, lease, with, by, now);
        Ok(self.step(&lease.id, settle)??)
    }

    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        let records = self.records();
        let now = self.clock.now();
        Ok(records.by_id.get(id).map(|record| Observed { now, record: record.clone() }))
    }

    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        let mut records = self.records();
        let now = self.clock.now();
        let Some(record) = records.by_id.get(id) else {
            return Ok(Purged::Absent);
        };
        if matches!(record.status(now), Status::Running { .. }) && !force {
            return Ok(Purged::Refused);
        }
        records.remove(id);
        Ok(Purged::Removed)
    }

    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut records = self.records();
        let now = self.clock.now();
        let limit = limit.get() as usize;
        let start = records.swept_to.map_or(Unbounded, Excluded);
        let (mut expired, mut last) = (Vec::new(), None);
        for (id, record) in records
            .by_id
            .range((start, Unbounded))
            .take(limit.saturating_mul(SWEEP_LOOKS_PER_REMOVAL))
        {
            if expired.len() == limit {
                break;
            }
            last = Some(*id);
            if record.gone_at().is_some_and(|at| at <= now) {
                expired.push(*id);
            }
        }
        // At the end the next sweep starts over.
        records.swept_to = last;
        for id in &expired {
            records.remove(id);
        }
        Ok(u32::try_from(expired.len()).unwrap_or(u32::MAX))
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let records = self.records();
        let now = self.clock.now();
        let start = query.after.map_or(Unbounded, Excluded);
        let wanted = |record: &&Record| {
            let state = State::of(record, now);
            state.is_some()
                && query.state.is_none_or(|wanted| state == Some(wanted))
                && query.scope.is_none_or(|head| record.id.scope_head() == head)
        };
        let mut found: Vec<Record> = records
            .by_id
            .range((start, Unbounded))
            .map(|(_, record)| record)
            .filter(wanted)
            .take(query.limit as usize + 1)
            .cloned()
            .collect();
        let more = found.len() > query.limit as usize;
        found.truncate(query.limit as usize);
        let next = if more { found.last().map(|record| record.id) } else { None };
        Ok(Page { next, now, records: found })
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let records = self.records();
        let now = self.clock.now();
        let mut stats = Stats {
            bytes: records.bytes,
            now,
            records: records.by_id.len() as u64,
            ..Stats::default()
        };
        for record in records.by_id.values() {
            if State::of(record, now) == Some(State::InDoubt) {
                let since = record.lease().until;
                stats.in_doubt += 1;
                stats.in_doubt_since = Some(stats.in_doubt_since.map_or(since, |at| at.min(since)));
            }
        }
        Ok(stats)
    }

    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>> {
        None
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            durable: false,
            shared: false,
            summary: "in memory: every key is forgotten when the process ends; for development"
                .to_owned(),
        }
    }
}

//! A store around the machine that does one thing wrong.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;

use super::{Defect, Shared};
use crate::lease::{AttemptId, Fence, Lease};
use crate::machine::{self, Claim, Claimed, LeaseLost, Observed, Retention, Settlement, Step};
use crate::record::{OnLapse, Phase, Record, Settler, Status};
use crate::response::{Kept, RecordedResponse};
use crate::scope::RecordId;
use crate::store::{
    Guarantees, LeaseError, ListQuery, Page, Purged, State, Stats, Store, StoreError,
};
use crate::time::{Clock as _, Timestamp};

/// How much of a body the store keeps that keeps one piece.
const PIECE_BYTES: usize = 1 << 16;

/// Claims that the store answers at once; more wait for a connection.
const CONNECTIONS: usize = 8;

/// How far the second node's clock is ahead of that of the first, where each has one.
const SKEW: Duration = Duration::from_secs(700);

/// One node.
#[derive(Debug)]
pub(super) struct MutantStore {
    node: Node,
    shared: Arc<Shared>,
}

/// Which one it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Node {
    First,
    Second,
}

impl MutantStore {
    pub(super) const fn new(node: Node, shared: Arc<Shared>) -> Self {
        Self { node, shared }
    }

    fn has(&self, defect: Defect) -> bool {
        self.shared.defect == Some(defect)
    }

    fn now(&self) -> Timestamp {
        let now = self.shared.clock.now();
        match self.node {
            Node::Second if self.has(Defect::NodeClock) => now.plus(SKEW),
            Node::First | Node::Second => now,
        }
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<RecordId, Record>> {
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, and only then acts, if `torn`: others may act in between.
    async fn step<T>(
        &self,
        id: &RecordId,
        torn: bool,
        apply: impl FnOnce(Option<&Record>) -> Step<T>,
    ) -> Result<T, StoreError> {
        if torn {
            let current = self.records().get(id).cloned();
            pause().await;
            let step = apply(current.as_ref());
            return self.put(id, step);
        }
        let mut records = self.records();
        let step = apply(records.get(id));
        self.put_into(&mut records, id, step)
    }

    fn put<T>(&self, id: &RecordId, step: Step<T>) -> Result<T, StoreError> {
        self.put_into(&mut self.records(), id, step)
    }

    fn put_into<T>(
        &self,
        records: &mut BTreeMap<RecordId, Record>,
        id: &RecordId,
        step: Step<T>,
    ) -> Result<T, StoreError> {
        if let Some(record) = step.put {
            if !records.contains_key(id) && records.len() >= self.shared.records_max {
                if !self.has(Defect::EvictsWhenFull) {
                    return Err(StoreError::Full);
                }
                records.pop_first();
            }
            let freed = matches!(record.phase, Phase::Released { .. });
            if freed && self.has(Defect::ReleaseDeletes) {
                records.remove(id);
            } else {
                records.insert(*id, record);
            }
        }
        Ok(step.reply)
    }

    fn decide(&self, current: Option<&Record>, wish: &Claim) -> Step<Claimed> {
        let (mut current, mut wish, now) = (current.cloned(), wish.clone(), self.now());
        if let Some(record) = &mut current {
            self.misread(record, &mut wish, now);
        }
        if self.has(Defect::LeaseIsRetention) {
            wish.term = Duration::from_secs(12 * 60 * 60);
        }
        let mut step = machine::claim(current.as_ref(), &wish, now);
        let fence = match self.shared.defect {
            Some(Defect::FenceIsTime) => Some(Fence::new(now.as_micros())),
            Some(Defect::FenceRestarts) => Some(Fence::new(1)),
            Some(_) | None => None,
        };
        if let (Some(fence), Some(record), Claimed::Granted(lease)) =
            (fence, &mut step.put, &mut step.reply)
        {
            (record.fence, lease.fence) = (fence, fence);
        }
        let again = step.put.is_none() && matches!(step.reply, Claimed::Granted(_));
        if let (true, true, Some(record)) = (again, self.has(Defect::RepeatedClaimHeld), current) {
            step.reply = Claimed::Held(Observed { now, record });
        }
        step
    }

    /// Takes the record that meets a claim for something else than it is.
    fn misread(&self, record: &mut Record, wish: &mut Claim, now: Timestamp) {
        let status = record.status(now);
        let unknown = matches!(status, Status::InDoubt | Status::Lapsed);
        if self.has(Defect::ExpiredBlocks) {
            record.expires_at = None;
        }
        if self.has(Defect::MismatchIgnored) && status == Status::Released {
            wish.fingerprint = record.fingerprint;
        }
        let same = record.fingerprint == wish.fingerprint;
        if self.has(Defect::DoubtIsFree) && unknown && same {
            record.on_lapse = OnLapse::Reclaim { after: Duration::ZERO, attempts_max: u32::MAX };
        }
        if self.has(Defect::AttemptsUncounted) && unknown && same {
            record.attempts = 0;
        }
        if self.has(Defect::ReclaimsEarly)
            && unknown
            && let OnLapse::Reclaim { after, .. } = &mut record.on_lapse
        {
            *after = Duration::ZERO;
        }
    }

    fn prolong(
        &self,
        current: Option<&Record>,
        lease: &Lease,
        term: Duration,
        progress: Option<&Bytes>,
    ) -> Step<Result<Lease, LeaseLost>> {
        let (mut current, mut lease, now) = (current.cloned(), lease.clone(), self.now());
        if let Some(record) = &mut current {
            if self.has(Defect::RenewsForAnyone) {
                lease.attempt = record.attempt;
            }
            if self.has(Defect::RenewRevives) {
                revive(record, now);
            }
        }
        let mut step = machine::renew(current.as_ref(), &lease, term, progress, now);
        if let (true, Ok(lease)) = (self.has(Defect::RenewalShortens), &mut step.reply) {
            lease.until = now.plus(term);
        }
        step
    }

    fn end(
        &self,
        current: Option<&Record>,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Step<Result<(), LeaseLost>> {
        let (mut current, mut lease, now) = (current.cloned(), lease.clone(), self.now());
        let mut by = by;
        if let Some(record) = &mut current {
            let completes = matches!(with, Settlement::Complete { .. });
            let completed = record.status(now) == Status::Completed;
            if self.has(Defect::SettlesForAnyone) {
                lease.attempt = record.attempt;
            }
            if self.has(Defect::LateSettleOverwrites) && completes && completed {
                revive(record, now);
            }
            if self.has(Defect::LateOwnerRefused) && record.status(now) == Status::Lapsed {
                return Step { put: None, reply: Err(LeaseLost::Expired) };
            }
        }
        if self.has(Defect::OperatorSettlesRunning) {
            by = Settler::Owner;
        }
        let mut step = machine::settle(current.as_ref(), &lease, &self.spoil(with), by, now);
        if self.has(Defect::RepeatedSettleFails) && step.put.is_none() && step.reply.is_ok() {
            step.reply = Err(LeaseLost::Settled);
        }
        if let Some(record) = &mut step.put {
            self.miswrite(record, with, now);
        }
        step
    }

    /// Writes something else than the settlement says.
    fn miswrite(&self, record: &mut Record, with: &Settlement, now: Timestamp) {
        if self.has(Defect::RetentionFromClaim) {
            let behind = now.since(record.claimed_at);
            record.expires_at = record.expires_at.map(|at| at.minus(behind));
        }
        if self.has(Defect::RetentionIsLease) && matches!(with, Settlement::Complete { .. }) {
            record.expires_at = Retention::For(Duration::from_secs(10)).from(now);
        }
        if self.has(Defect::ProgressLost)
            && let Phase::InDoubt { progress, .. } = &mut record.phase
        {
            *progress = None;
        }
    }

    fn spoil(&self, with: &Settlement) -> Settlement {
        let mut with = with.clone();
        if let Settlement::Complete { kept: Kept::Response(response), .. } = &mut with {
            if self.has(Defect::BodyTruncated) {
                response.body.truncate(PIECE_BYTES);
            }
            if self.has(Defect::HeadersJoined) {
                join_headers(response);
            }
            if self.has(Defect::TrailersMerged) {
                response.headers.append(&mut response.trailers);
            }
        }
        with
    }

    fn sweeps(&self, record: &Record, now: Timestamp) -> bool {
        let gone = record.gone_at().is_some_and(|at| at <= now);
        gone || match record.status(now) {
            Status::InDoubt | Status::Lapsed => self.has(Defect::SweepsDoubt),
            Status::Completed => self.has(Defect::SweepsEarly),
            Status::Expired | Status::Released | Status::Running { .. } => false,
        }
    }

    fn state(&self, record: &Record, now: Timestamp) -> Option<State> {
        let state = State::of(record, now)?;
        let stored = matches!(record.phase, Phase::InProgress { .. });
        let shown = self.has(Defect::ListShowsStored) && stored;
        Some(if shown { State::InProgress } else { state })
    }
}

/// Lets whoever else is there go first.
async fn pause() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

fn revive(record: &mut Record, now: Timestamp) {
    let until = now.plus(Duration::from_secs(1));
    record.phase = Phase::InProgress { progress: None, rerun_of: None, until };
    record.expires_at = None;
}

fn join_headers(response: &mut RecordedResponse) {
    let mut joined: Vec<crate::response::Field> = Vec::new();
    for field in response.headers.drain(..) {
        match joined.iter_mut().find(|known| known.name == field.name) {
            Some(known) => {
                known.value = [known.value.as_ref(), b", ", field.value.as_ref()].concat().into();
            }
            None => joined.push(field),
        }
    }
    response.headers = joined;
}

#[async_trait]
impl Store for MutantStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        if self.has(Defect::DroppedClaimSticks) && !self.records().contains_key(&claim.id) {
            let nobody = Claim { attempt: AttemptId::from_bytes([0; 16]), ..claim.clone() };
            self.put(&claim.id, machine::claim(None, &nobody, self.now()))?;
            tokio::task::yield_now().await;
            return self.put(&claim.id, machine::claim(None, claim, self.now()));
        }
        let before = self.shared.claiming.fetch_add(1, Ordering::SeqCst);
        let queued = self.has(Defect::QueuedClaimIsStale) && before >= CONNECTIONS;
        if self.has(Defect::QueuedClaimIsStale) && !queued {
            pause().await;
        }
        let torn = queued || self.has(Defect::CheckThenAct);
        let claimed = self.step(&claim.id, torn, |current| self.decide(current, claim)).await?;
        self.shared.claiming.fetch_sub(1, Ordering::SeqCst);
        match claimed {
            Claimed::Granted(_) if self.has(Defect::TakeoverForgetsWaiters) => {
                self.shared.hints.take(&claim.id);
            }
            Claimed::Granted(_) => {}
            Claimed::Held(_) => self.shared.hints.wait(claim.id),
        }
        Ok(claimed)
    }

    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError> {
        let apply =
            |current: Option<&Record>| self.prolong(current, lease, term, progress.as_ref());
        Ok(self.step(&lease.id, false, apply).await??)
    }

    async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<(), LeaseError> {
        let torn = self.has(Defect::SettleThenAct);
        let apply = |current: Option<&Record>| self.end(current, lease, with, by);
        self.step(&lease.id, torn, apply).await??;
        let untold = self.has(Defect::DoubtUntold) && matches!(with, Settlement::Doubt { .. });
        if self.shared.hints.take(&lease.id) && !untold {
            self.shared.hints.tell(lease.id, self.node);
        }
        Ok(())
    }

    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        let records = self.records();
        let now = self.now();
        Ok(records.get(id).map(|record| Observed { now, record: record.clone() }))
    }

    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        let mut records = self.records();
        let Some(record) = records.get(id) else {
            return Ok(Purged::Absent);
        };
        let running = matches!(record.status(self.now()), Status::Running { .. });
        if running && !force && !self.has(Defect::PurgesRunning) {
            return Ok(Purged::Refused);
        }
        records.remove(id);
        Ok(Purged::Removed)
    }

    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        let now = self.now();
        let gone: Vec<RecordId> = {
            let records = self.records();
            let gone = records.iter().filter(|(_, record)| self.sweeps(record, now));
            gone.map(|(id, _)| *id).take(limit.get() as usize).collect()
        };
        let torn = self.has(Defect::SweepThenAct);
        if torn {
            pause().await;
        }
        let mut records = self.records();
        let mut swept = 0;
        for id in gone {
            if torn || records.get(&id).is_some_and(|record| self.sweeps(record, now)) {
                swept += u32::from(records.remove(&id).is_some());
            }
        }
        Ok(swept)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let records = self.records();
        let now = self.now();
        let wanted = |record: &&Record| {
            let state = self.state(record, now);
            state.is_some()
                && query.after.is_none_or(|after| record.id > after)
                && query.state.is_none_or(|wanted| state == Some(wanted))
                && query.scope.is_none_or(|head| record.id.scope_head() == head)
        };
        let mut found: Vec<Record> = records.values().filter(wanted).cloned().collect();
        let more = found.len() > query.limit as usize;
        found.truncate(query.limit as usize);
        let next = found.last().filter(|_| more).map(|record| record.id);
        Ok(Page { next, now, records: found })
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let records = self.records();
        let now = self.now();
        let doubts = records.values().filter(|record| {
            let lapsed = record.status(now) == Status::Lapsed;
            State::of(record, now) == Some(State::InDoubt)
                && !(lapsed && self.has(Defect::StatsForgetLapsed))
        });
        let since: Vec<Timestamp> = doubts.map(|record| record.lease().until).collect();
        Ok(Stats {
            bytes: 0,
            in_doubt: since.len() as u64,
            in_doubt_since: since.into_iter().min(),
            now,
            records: records.len() as u64,
        })
    }

    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>> {
        let from = if self.has(Defect::HintsStayHome) { Some(self.node) } else { None };
        Some(self.shared.hints.hear(from))
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            durable: true,
            shared: true,
            summary: "for the suite's own tests: whatever its defect leaves".to_owned(),
        }
    }
}

//! A store and the machine side by side: every reply, and every record afterwards, must be one that
//! the machine gives at some moment between the store's time before the call and after it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;

use super::scene::{Scene, Stop, TERM, ensure, failed, same};
use crate::lease::Lease;
use crate::machine::{self, Claim, Claimed, LeaseLost, Observed, Settlement, Step};
use crate::record::{Phase, Record, Settler, Status};
use crate::scope::RecordId;
use crate::store::{ListQuery, Purged, State};
use crate::time::Timestamp;

/// The store, and what the machine says it holds. Keeps records that have expired, because the
/// store may have swept them or not.
pub(super) struct Mirror {
    /// The store.
    pub(super) scene: Scene,
    records: BTreeMap<RecordId, Record>,
}

/// What a store did, as seen from outside.
struct Seen<T> {
    /// The record, unless it had expired by then.
    after: Option<Record>,
    /// When the record was looked at.
    looked: Timestamp,
    /// Moments at which it may have been.
    moments: Vec<Timestamp>,
    reply: T,
}

impl Mirror {
    pub(super) const fn new(scene: Scene) -> Self {
        Self { scene, records: BTreeMap::new() }
    }

    /// Moves the store's clock.
    pub(super) async fn advance(&self, by: Duration) {
        self.scene.advance(by).await;
    }

    /// The record by the machine, expired or not.
    pub(super) fn record(&self, id: RecordId) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(super) async fn claim(&mut self, claim: &Claim) -> Result<Claimed, Stop> {
        let before = self.scene.now().await?;
        let reply = self.scene.claim(claim).await?;
        let hints = match &reply {
            Claimed::Granted(lease) => vec![lease.claimed_at],
            Claimed::Held(Observed { now, .. }) => vec![*now],
        };
        let seen = self.look(claim.id, before, hints, reply).await?;
        self.follow(claim.id, seen, claim, |current, now| machine::claim(current, claim, now))
    }

    /// A claim that must be granted.
    pub(super) async fn grant(&mut self, claim: &Claim) -> Result<Lease, Stop> {
        match self.claim(claim).await? {
            Claimed::Granted(lease) => Ok(lease),
            Claimed::Held(observed) => failed(format_args!("a claim was held: {observed:?}")),
        }
    }

    pub(super) async fn renew(
        &mut self,
        lease: &Lease,
        progress: Option<Bytes>,
    ) -> Result<Result<Lease, LeaseLost>, Stop> {
        let before = self.scene.now().await?;
        let reply = self.scene.renew(lease, progress.clone()).await?;
        let hints = reply.iter().map(|lease| lease.until.minus(TERM)).collect();
        let seen = self.look(lease.id, before, hints, reply).await?;
        self.follow(lease.id, seen, lease, |current, now| {
            machine::renew(current, lease, TERM, progress.as_ref(), now)
        })
    }

    pub(super) async fn settle(
        &mut self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<Result<(), LeaseLost>, Stop> {
        let before = self.scene.now().await?;
        let reply = self.scene.settle(lease, with, by).await?;
        let seen = self.look(lease.id, before, Vec::new(), reply).await?;
        self.follow(lease.id, seen, with, |current, now| {
            machine::settle(current, lease, with, by, now)
        })
    }

    /// A settlement by the owner that must succeed.
    pub(super) async fn settled(&mut self, lease: &Lease, with: &Settlement) -> Result<(), Stop> {
        match self.settle(lease, with, Settler::Owner).await? {
            Ok(()) => Ok(()),
            Err(lost) => failed(format_args!("a settlement by the owner was refused: {lost}")),
        }
    }

    pub(super) async fn purge(&mut self, id: RecordId, force: bool) -> Result<(), Stop> {
        let expected = |record: Option<&Record>, now| match record.map(|r| r.status(now)) {
            // What has expired may have been swept or not.
            None | Some(Status::Expired) => vec![Purged::Absent, Purged::Removed],
            Some(Status::Running { .. }) if !force => vec![Purged::Refused],
            Some(_) => vec![Purged::Removed],
        };
        let before = self.scene.now().await?;
        let reply = self.scene.store().purge(&id, force).await?;
        let after = self.scene.now().await?;
        let record = self.records.get(&id);
        let mut allowed = expected(record, before);
        allowed.extend(expected(record, after));
        ensure(
            allowed.contains(&reply),
            format_args!("purging {record:?} was answered {reply:?}, expected one of {allowed:?}"),
        )?;
        if reply == Purged::Removed {
            self.records.remove(&id);
        }
        self.check(id).await
    }

    pub(super) async fn sweep(&self, limit: NonZeroU32) -> Result<(), Stop> {
        let swept = self.scene.store().sweep(limit).await?;
        ensure(swept <= limit.get(), format_args!("it swept {swept}, {limit} were allowed"))?;
        self.check_all().await
    }

    /// What is listed is what is there, in the order of ids.
    pub(super) async fn list(&self, state: Option<State>) -> Result<(), Stop> {
        let query = ListQuery { limit: 1_000, state, ..ListQuery::default() };
        let before = self.scene.now().await?;
        let page = self.scene.list(&query).await?;
        ensure(before <= page.now, "the list is older than the time before it")?;
        let wanted = |record: &&Record| {
            let found = State::of(record, page.now);
            found.is_some() && state.is_none_or(|state| found == Some(state))
        };
        let expected: Vec<&Record> = self.records.values().filter(wanted).collect();
        same("the list", &page.records.iter().collect(), &expected)
    }

    /// The store holds what the machine holds.
    pub(super) async fn check(&self, id: RecordId) -> Result<(), Stop> {
        let before = self.scene.now().await?;
        let found = self.scene.peek(id).await?;
        let now = match &found {
            Some(observed) => observed.now,
            None => self.scene.now().await?,
        };
        ensure(before <= now, "time went back")?;
        let expected = self.records.get(&id).and_then(|record| live(record, now));
        let found = found.as_ref().and_then(|observed| live(&observed.record, now));
        same("the record", &found, &expected)
    }

    pub(super) async fn check_all(&self) -> Result<(), Stop> {
        for id in self.records.keys() {
            self.check(*id).await?;
        }
        Ok(())
    }

    /// The same after the end of the process. Claims may have lapsed at opening (ruling 9); nothing
    /// else may have changed.
    pub(super) async fn reopen(mut self) -> Result<Self, Stop> {
        let before = self.scene.now().await?;
        self.scene = self.scene.reopen().await?;
        ensure(before <= self.scene.now().await?, "time went back over the end of the process")?;
        for (id, record) in &mut self.records {
            let found = self.scene.peek(*id).await?.map(|observed| observed.record);
            if let (Phase::InProgress { until, .. }, Some(found)) = (&mut record.phase, found)
                && let Phase::InProgress { until: lapses, .. } = found.phase
            {
                ensure(lapses <= *until, "a claim got a longer lease by opening the store")?;
                *until = lapses;
            }
        }
        self.check_all().await?;
        Ok(self)
    }

    async fn look<T>(
        &self,
        id: RecordId,
        before: Timestamp,
        mut moments: Vec<Timestamp>,
        reply: T,
    ) -> Result<Seen<T>, Stop> {
        let after = self.scene.peek(id).await?;
        let now = match &after {
            Some(observed) => observed.now,
            None => self.scene.now().await?,
        };
        ensure(before <= now, "time went back")?;
        if let Some(Observed { record, .. }) = &after {
            moments.extend(record.history.entries().iter().map(|entry| entry.at));
        }
        moments.extend([before, now]);
        moments.retain(|moment| (before..=now).contains(moment));
        moments.sort_unstable();
        moments.dedup();
        let after = after.filter(|seen| live(&seen.record, now).is_some()).map(|seen| seen.record);
        Ok(Seen { after, looked: now, moments, reply })
    }

    /// Finds the moment at which the machine does what the store did, and does it.
    fn follow<T, W>(
        &mut self,
        id: RecordId,
        seen: Seen<T>,
        wish: &W,
        apply: impl Fn(Option<&Record>, Timestamp) -> Step<T>,
    ) -> Result<T, Stop>
    where
        T: fmt::Debug + PartialEq,
        W: fmt::Debug,
    {
        let standing = self.records.remove(&id);
        let mut expected = None;
        for moment in &seen.moments {
            // What has expired may have been swept.
            let swept = standing.as_ref().filter(|record| live(record, *moment).is_some());
            for current in [standing.as_ref(), swept] {
                let step = apply(current, *moment);
                let next = step.put.or_else(|| current.cloned());
                let shown = next.as_ref().and_then(|record| live(record, seen.looked));
                if step.reply == seen.reply && shown == seen.after.as_ref() {
                    self.records.extend(next.map(|record| (id, record)));
                    return Ok(seen.reply);
                }
                expected = Some((step.reply, next));
            }
        }
        failed(format_args!(
            "on {standing:?}\n{wish:?}\nwas answered {:?}\nand left {:?}\nexpected {expected:?}",
            seen.reply, seen.after
        ))
    }
}

/// The record, if it has not expired.
fn live(record: &Record, now: Timestamp) -> Option<&Record> {
    (record.status(now) != Status::Expired).then_some(record)
}

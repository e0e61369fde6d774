//! One turn of the writer: steps applied to what stands, nothing written yet.
//!
//! Every record that an operation asks for is taken into the turn once, and later operations of the
//! same turn see what earlier ones made of it. The [writer](crate::writer) then writes the last state
//! of each in one batch.

use std::num::NonZeroU32;

use hapax::machine::{self, Step};
use hapax::{
    Claim, LeaseError, Observed, Phase, Purged, Record, RecordId, Stats, Status, StoreError,
    Timestamp,
};

use crate::buckets::decode;
use crate::error::read_failed;
use crate::hint::Hint;
use crate::ledger::Ledger;
use crate::open_records::{IdMap, Open};
use crate::operation::{Operation, Reply};
use crate::options::Durability;

/// Settled records that one sweep looks at one by one, in buckets that have not ended yet.
const LOOKS_PER_SWEEP: usize = 256;

/// Buckets with more records than this only ever leave whole.
const LOOKED_INTO_MAX: u64 = 1_024;

/// Bytes of records that one sweep reads at most.
const LOOKED_AT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where a record lay before the turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Absent,
    /// In the bucket that ends then.
    Bucket(Timestamp),
    Open,
}

/// A record in the turn.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) before: Place,
    pub(crate) changed: bool,
    pub(crate) record: Option<Box<Record>>,
}

/// The turn.
pub(crate) struct Turn<'a> {
    /// Buckets that have ended and leave with this turn.
    pub(crate) dropped: Vec<Timestamp>,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) now: Timestamp,
    /// Whether any step must be synced before it is answered.
    pub(crate) sync: bool,
    pub(crate) touched: IdMap<Touched>,
    /// Records there will be.
    total: u64,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(ledger: &'a mut Ledger) -> Self {
        let now = ledger.clock.now();
        let total = ledger.records();
        Self { dropped: Vec::new(), ledger, now, sync: false, touched: IdMap::default(), total }
    }

    /// Applies one operation. The answer may be given once the turn is as durable as it must be.
    pub(crate) fn apply(&mut self, operation: Operation) -> Reply {
        match operation {
            Operation::Claim { claim, hint } => Reply::Claim(self.claim(&claim, hint)),
            Operation::Peek { id } => Reply::Peek(self.peek(&id)),
            Operation::Purge { force, id } => Reply::Purge(self.purge(&id, force)),
            Operation::Renew { lease, progress, term } => {
                let now = self.now;
                // A claim of an ended process lapses at open whatever its term was: a longer term
                // alone need not survive.
                let sync = progress.is_some() && self.ledger.durability == Durability::Full;
                let step = self.step(&lease.id, None, sync, |current| {
                    machine::renew(current, &lease, term, progress.as_ref(), now)
                });
                Reply::Renew(step.map_err(LeaseError::Store).and_then(|reply| Ok(reply?)))
            }
            Operation::Settle { by, lease, with } => {
                let now = self.now;
                let sync = self.ledger.durability == Durability::Full;
                let step = self.step(&lease.id, None, sync, |current| {
                    machine::settle(current, &lease, &with, by, now)
                });
                Reply::Settle(step.map_err(LeaseError::Store).and_then(|reply| Ok(reply?)))
            }
            Operation::Stats => Reply::Stats(Ok(self.stats())),
            Operation::Sweep { limit } => Reply::Sweep(self.sweep(limit)),
        }
    }

    fn claim(&mut self, claim: &Claim, hint: Hint) -> Result<hapax::Claimed, StoreError> {
        let now = self.now;
        self.step(&claim.id, Some(hint), true, |current| machine::claim(current, claim, now))
    }

    fn step<T>(
        &mut self,
        id: &RecordId,
        hint: Option<Hint>,
        sync: bool,
        apply: impl FnOnce(Option<&Record>) -> Step<T>,
    ) -> Result<T, StoreError> {
        let full = self.total >= self.ledger.records_max;
        let touched = self.load(id, hint)?;
        let Step { put, reply } = apply(touched.record.as_deref());
        if let Some(record) = put {
            let is_new = touched.record.is_none();
            if is_new && full {
                return Err(StoreError::Full);
            }
            touched.record = Some(Box::new(record));
            touched.changed = true;
            self.total += u64::from(is_new);
            self.sync |= sync;
        }
        Ok(reply)
    }

    fn load(&mut self, id: &RecordId, hint: Option<Hint>) -> Result<&mut Touched, StoreError> {
        use std::collections::hash_map::Entry;
        match self.touched.entry(*id) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(self.ledger.look_up(id, hint)?)),
        }
    }

    fn peek(&mut self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        let now = self.now;
        let touched = self.load(id, None)?;
        Ok(touched.record.as_deref().map(|record| Observed { now, record: record.clone() }))
    }

    fn purge(&mut self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        let now = self.now;
        let touched = self.load(id, None)?;
        let Some(record) = &touched.record else {
            return Ok(Purged::Absent);
        };
        if matches!(record.status(now), Status::Running { .. }) && !force {
            return Ok(Purged::Refused);
        }
        self.remove(id);
        self.sync = true;
        Ok(Purged::Removed)
    }

    fn remove(&mut self, id: &RecordId) {
        if let Some(touched) = self.touched.get_mut(id) {
            self.total -= u64::from(touched.record.is_some());
            touched.record = None;
            touched.changed = true;
        }
    }

    fn stats(&self) -> Stats {
        // What this turn has touched is out of the open records until it is written: an estimate for
        // as long as a turn lasts.
        let doubts = self.ledger.open.doubts(self.now);
        Stats {
            bytes: self.ledger.bytes_on_disk(),
            in_doubt: doubts.count,
            in_doubt_since: doubts.since,
            now: self.now,
            records: self.total,
        }
    }

    /// One small step: at most one bucket that has ended and is not empty, else a few single records.
    fn sweep(&mut self, limit: NonZeroU32) -> Result<u32, StoreError> {
        let limit = limit.get();
        let mut swept = 0;
        for id in self.ledger.open.gone(self.now, limit as usize) {
            self.load(&id, None)?;
            swept += u64::from(self.remove_if_gone(&id));
        }
        let mut whole = 0;
        while whole == 0
            && let Some((end, count)) = self.ended_bucket()
        {
            self.dropped.push(end);
            // The bucket's files go next: its count must not be found without them.
            self.sync = true;
            self.total -= count;
            whole += count;
        }
        swept += if whole == 0 { self.sweep_singly(limit as usize)? } else { whole };
        // A bucket leaves whole, whatever the limit, and is reported in portions of it.
        let due = self.ledger.swept_unreported + swept;
        let reported = due.min(u64::from(limit));
        self.ledger.swept_unreported = due - reported;
        Ok(u32::try_from(reported).unwrap_or(limit))
    }

    /// A bucket all of whose records have expired, and how many of them are still there.
    fn ended_bucket(&self) -> Option<(Timestamp, u64)> {
        let has_ended = |end: &Timestamp| *end <= self.now && !self.dropped.contains(end);
        let (end, count) = self.ledger.counts.iter().find(|(end, _)| has_ended(end))?;
        // Those that this turn has claimed anew or removed are counted elsewhere already.
        let has_moved =
            |touched: &&Touched| touched.before == Place::Bucket(*end) && touched.changed;
        let moved = self.touched.values().filter(has_moved).count() as u64;
        Some((*end, count.saturating_sub(moved)))
    }

    fn sweep_singly(&mut self, limit: usize) -> Result<u64, StoreError> {
        let mut gone = Vec::new();
        let (mut looks, mut bytes) = (0, 0);
        let live = self.ledger.buckets.live();
        for bucket in live.iter().rev() {
            if self.ledger.counts.get(&bucket.end).is_none_or(|count| *count > LOOKED_INTO_MAX) {
                continue;
            }
            let start = match self.ledger.looked_to {
                Some((end, id)) if end == bucket.end => id.as_bytes().to_vec(),
                Some((end, _)) if end > bucket.end => continue,
                Some(_) | None => Vec::new(),
            };
            for entry in bucket.keyspace.range(start..) {
                let (key, value) = entry.into_inner().map_err(read_failed)?;
                let Some(id) = key.as_ref().try_into().ok().map(RecordId::from_bytes) else {
                    return Err(StoreError::Damaged("a key has the wrong length".to_owned()));
                };
                looks += 1;
                bytes += value.len();
                if looks > LOOKS_PER_SWEEP || bytes > LOOKED_AT_BYTES_MAX || gone.len() == limit {
                    self.ledger.looked_to = Some((bucket.end, id));
                    return self.remove_all(&gone);
                }
                if decode(id, value)?.gone_at().is_some_and(|at| at <= self.now) {
                    gone.push(id);
                }
            }
        }
        self.ledger.looked_to = None;
        self.remove_all(&gone)
    }

    fn remove_all(&mut self, ids: &[RecordId]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for id in ids {
            self.load(id, None)?;
            removed += u64::from(self.remove_if_gone(id));
        }
        Ok(removed)
    }

    fn remove_if_gone(&mut self, id: &RecordId) -> bool {
        let record = self.touched.get(id).and_then(|touched| touched.record.as_deref());
        let is_gone = record.and_then(Record::gone_at).is_some_and(|at| at <= self.now);
        if is_gone {
            self.remove(id);
        }
        is_gone
    }
}

impl Ledger {
    fn look_up(&mut self, id: &RecordId, hint: Option<Hint>) -> Result<Touched, StoreError> {
        let touched = |before, record| Touched { before, changed: false, record };
        match self.open.take(id) {
            Some(Open::Running(record)) => return Ok(touched(Place::Open, Some(record))),
            Some(Open::Doubted) => {
                let record = self.read_open(id)?;
                self.open.forget(id);
                return Ok(touched(Place::Open, Some(record)));
            }
            None => {}
        }
        let found = match hint {
            Some(hint) if !self.recent.changed_since(id, hint.turn) => hint.found,
            Some(_) | None => self.buckets.find(id)?,
        };
        Ok(found.map_or_else(
            || touched(Place::Absent, None),
            |found| touched(Place::Bucket(found.end), Some(found.record)),
        ))
    }

    fn read_open(&self, id: &RecordId) -> Result<Box<Record>, StoreError> {
        let bytes = self.open_keyspace.get(id.as_bytes()).map_err(read_failed)?;
        let missing = || StoreError::Damaged(format!("record {id} is gone from the disk"));
        decode(*id, bytes.ok_or_else(missing)?)
    }
}

/// Whether a record belongs into a bucket.
pub(crate) const fn is_settled(record: &Record) -> bool {
    match record.phase {
        Phase::Completed { .. } | Phase::Released { .. } => true,
        Phase::InDoubt { .. } | Phase::InProgress { .. } => false,
    }
}

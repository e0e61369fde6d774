//! The machine: every meaning a record can have, and every step it can take. Pure.
//!
//! A store's whole duty is to apply one of these functions to its current record atomically and to
//! put what it says. No clock, no chance, no waiting in here; `docs/model.md` holds the transition
//! table, printed by the test that checks it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::fingerprint::Fingerprint;
use crate::lease::{AttemptId, Fence, Lease};
use crate::policy::Disposition;
use crate::record::{Cause, Entry, History, OnLapse, Phase, Record, Settler, Status, What};
use crate::response::Kept;
use crate::scope::RecordId;
use crate::time::Timestamp;

/// What a store does with a step: `put` the record, if there is one to put, and answer `reply`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step<T> {
    /// The record as it is from now on; `None` leaves it as it is.
    pub put: Option<Record>,
    /// The answer.
    pub reply: T,
}

/// A wish to run one operation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// Who wishes. A repeated claim of the same attempt gets the same grant (ruling 11).
    pub attempt: AttemptId,
    /// What the request is.
    pub fingerprint: Fingerprint,
    /// Which record.
    pub id: RecordId,
    /// What is to become of the record if this attempt vanishes.
    pub on_lapse: OnLapse,
    /// The route, for people.
    pub route: Arc<str>,
    /// The lease's term.
    pub term: Duration,
    /// Whether the effect commits through the store, in one transaction with the fact that it
    /// happened, and if so for how long an answer is kept that the store itself finds committed.
    /// Goes with [`OnLapse::Reclaim`] alone. The machine has no use for it, and neither have stores
    /// that cannot be committed through.
    pub transactional: Option<Retention>,
    /// How long an unknown outcome is kept; `None`: until settled.
    pub unknown_retention: Option<Duration>,
}

/// The answer to a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claimed {
    /// Run it.
    Granted(Lease),
    /// Do not: this is what stands.
    Held(Observed),
}

/// A record as somebody saw it, and when by the store's clock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observed {
    /// The store's time of looking.
    pub now: Timestamp,
    /// The record.
    pub record: Record,
}

/// How an attempt ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// With an answer that retries get.
    Complete {
        /// The answer.
        kept: Kept,
        /// How long retries get it.
        retention: Retention,
    },
    /// Nobody knows.
    Doubt {
        /// Why.
        cause: Cause,
    },
    /// Without effect: the next claim runs.
    Release {
        /// How long the tombstone stays, during which another payload is a mismatch (ruling 10).
        retention: Retention,
        /// The status of the answer that frees the key; `None` where nothing was sent.
        status: Option<u16>,
    },
}

impl Settlement {
    /// What it means for the key.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Complete { .. } => Disposition::Keep,
            Self::Doubt { .. } => Disposition::Unknown,
            Self::Release { .. } => Disposition::Free,
        }
    }
}

/// How long a settled record stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retention {
    /// This long after it was settled.
    For(Duration),
    /// For ever.
    Never,
}

impl Retention {
    /// When a record settled at `now` expires.
    #[must_use]
    pub fn from(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::For(duration) => Some(now.plus(duration)),
            Self::Never => None,
        }
    }
}

/// Why a lease gives no right to change the record. The record is as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LeaseLost {
    /// The record is gone.
    #[error("the record has expired")]
    Expired,
    /// An operator's settlement met a living owner.
    #[error("the operation is running")]
    Running,
    /// This attempt has been settled otherwise.
    #[error("the attempt is settled already")]
    Settled,
    /// Another attempt holds the record.
    #[error("another attempt holds the record")]
    Superseded {
        /// Its fence.
        by: Fence,
    },
}

/// Decides a claim.
///
/// An attempt that was settled or has lapsed is never granted again: a repetition of its claim that
/// arrives late must not take a key that nobody would then own.
#[must_use]
pub fn claim(current: Option<&Record>, claim: &Claim, now: Timestamp) -> Step<Claimed> {
    let Some(record) = current else {
        return grant(None, claim, now);
    };
    let same = record.fingerprint == claim.fingerprint;
    let again = record.attempt == claim.attempt;
    let held =
        || Step { put: None, reply: Claimed::Held(Observed { now, record: record.clone() }) };
    match record.status(now) {
        Status::Expired => grant(Some(record), claim, now),
        Status::Released if same && !again => grant(Some(record), claim, now),
        Status::Running { .. } if same && again => {
            Step { put: None, reply: Claimed::Granted(record.lease()) }
        }
        Status::Lapsed | Status::InDoubt
            if same && !again && record.reclaimable_at().is_some_and(|at| at <= now) =>
        {
            grant(Some(record), claim, now)
        }
        Status::Completed
        | Status::InDoubt
        | Status::Lapsed
        | Status::Released
        | Status::Running { .. } => held(),
    }
}

fn grant(previous: Option<&Record>, claim: &Claim, now: Timestamp) -> Step<Claimed> {
    // An expired record lends the next one its fence, so that fences grow even when time does not.
    let fence = Fence::after(previous.map(|record| record.fence), now);
    let continued = previous.filter(|record| record.status(now) != Status::Expired);
    let attempts = continued.map_or(1, |record| record.attempts.saturating_add(1));
    let (progress, rerun_of) = match continued.map(|record| &record.phase) {
        Some(Phase::InDoubt { progress, .. } | Phase::InProgress { progress, .. }) => {
            (progress.clone(), None)
        }
        Some(Phase::Released { status, .. }) => (None, *status),
        Some(Phase::Completed { .. }) | None => (None, None),
    };
    let entry = Entry { at: now, attempt: attempts, what: What::Claimed };
    let record = Record {
        attempt: claim.attempt,
        attempts,
        claimed_at: now,
        created_at: continued.map_or(now, |record| record.created_at),
        expires_at: None,
        fence,
        fingerprint: claim.fingerprint,
        history: continued
            .map_or_else(|| History::from_entries([entry]), |record| record.history.with(entry)),
        id: claim.id,
        on_lapse: claim.on_lapse,
        phase: Phase::InProgress { progress, rerun_of, until: now.plus(claim.term) },
        route: claim.route.clone(),
        unknown_retention: claim.unknown_retention,
    };
    let lease = record.lease();
    Step { put: Some(record), reply: Claimed::Granted(lease) }
}

/// Prolongs a lease by `term` from `now`, even a lapsed one that nobody took over; `progress`
/// replaces the finished steps, if given.
#[must_use]
pub fn renew(
    current: Option<&Record>,
    lease: &Lease,
    term: Duration,
    progress: Option<&Bytes>,
    now: Timestamp,
) -> Step<Result<Lease, LeaseLost>> {
    let record = match mine(current, lease, now) {
        Ok(record) => record,
        Err(lost) => return Step { put: None, reply: Err(lost) },
    };
    let Phase::InProgress { progress: kept, rerun_of, until } = &record.phase else {
        return Step { put: None, reply: Err(LeaseLost::Settled) };
    };
    let mut renewed = record.clone();
    renewed.phase = Phase::InProgress {
        progress: progress.or(kept.as_ref()).cloned(),
        rerun_of: *rerun_of,
        // A clock that stepped back must not shorten what the owner was promised.
        until: now.plus(term).max(*until),
    };
    let reply = Ok(renewed.lease());
    Step { put: Some(renewed), reply }
}

/// Ends an attempt. Repeating a settlement gives the first answer again; the first one stands.
#[must_use]
pub fn settle(
    current: Option<&Record>,
    lease: &Lease,
    with: &Settlement,
    by: Settler,
    now: Timestamp,
) -> Step<Result<(), LeaseLost>> {
    let answer = |reply| Step { put: None, reply };
    let record = match mine(current, lease, now) {
        Ok(record) => record,
        Err(lost) => return answer(Err(lost)),
    };
    match (&record.phase, with) {
        (Phase::InProgress { .. }, _)
            if by == Settler::Operator && matches!(record.status(now), Status::Running { .. }) =>
        {
            answer(Err(LeaseLost::Running))
        }
        (Phase::InProgress { .. }, _)
        | (Phase::InDoubt { .. }, Settlement::Complete { .. } | Settlement::Release { .. }) => {
            Step { put: Some(settled(record, with, by, now)), reply: Ok(()) }
        }
        (Phase::Completed { .. }, Settlement::Complete { .. })
        | (Phase::InDoubt { .. }, Settlement::Doubt { .. })
        | (Phase::Released { .. }, Settlement::Release { .. }) => answer(Ok(())),
        (Phase::Completed { .. }, Settlement::Doubt { .. } | Settlement::Release { .. })
        | (Phase::Released { .. }, Settlement::Complete { .. } | Settlement::Doubt { .. }) => {
            answer(Err(LeaseLost::Settled))
        }
    }
}

fn settled(record: &Record, with: &Settlement, by: Settler, now: Timestamp) -> Record {
    let mut next = record.clone();
    let what = match with {
        Settlement::Complete { kept, retention } => {
            next.expires_at = retention.from(now);
            next.phase = Phase::Completed { at: now, kept: kept.clone() };
            What::Completed { by, status: kept.status() }
        }
        Settlement::Doubt { cause } => {
            let progress = record.lease().progress;
            next.phase = Phase::InDoubt { cause: *cause, progress, since: now };
            What::Doubted { cause: *cause }
        }
        Settlement::Release { retention, status } => {
            next.expires_at = retention.from(now);
            next.phase = Phase::Released { at: now, status: *status };
            What::Released { by, status: *status }
        }
    };
    next.history = record.history.with(Entry { at: now, attempt: record.attempts, what });
    next
}

fn mine<'a>(
    current: Option<&'a Record>,
    lease: &Lease,
    now: Timestamp,
) -> Result<&'a Record, LeaseLost> {
    let record = current.ok_or(LeaseLost::Expired)?;
    if record.status(now) == Status::Expired {
        return Err(LeaseLost::Expired);
    }
    if record.attempt != lease.attempt {
        return Err(LeaseLost::Superseded { by: record.fence });
    }
    Ok(record)
}

#[cfg(test)]
mod tests;

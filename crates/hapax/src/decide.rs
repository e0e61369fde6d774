//! What to tell the caller: a claim's answer and a fingerprint become one of six words. Pure.

use std::time::Duration;

use crate::fingerprint::Fingerprint;
use crate::lease::Lease;
use crate::machine::{Claimed, Observed};
use crate::record::{Phase, Record, Status};
use crate::time::Timestamp;

/// What is to be done with a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Somebody runs it.
    Busy {
        /// When asking again is worth it; at least a second, never past the owner's lease by more
        /// (DBT-03).
        retry_after: Duration,
    },
    /// Run it.
    Execute(Lease),
    /// Nothing holds the key any more: a new claim would run it.
    Free,
    /// The outcome of an earlier attempt is unknown.
    InDoubt(Box<Observed>),
    /// The key belongs to another request.
    Mismatch,
    /// The answer is there: the record is completed.
    Replay(Box<Observed>),
}

/// Reads the answer to a claim.
#[must_use]
pub fn decide(claimed: Claimed, fingerprint: &Fingerprint) -> Decision {
    match claimed {
        Claimed::Granted(lease) => Decision::Execute(lease),
        Claimed::Held(observed) => decide_observed(observed, fingerprint),
    }
}

/// Reads a record that somebody looked at. A mismatch is told before anything else (FPR-03).
#[must_use]
pub fn decide_observed(observed: Observed, fingerprint: &Fingerprint) -> Decision {
    let Observed { now, ref record } = observed;
    let status = record.status(now);
    if status == Status::Expired {
        return Decision::Free;
    }
    if record.fingerprint != *fingerprint {
        return Decision::Mismatch;
    }
    match status {
        Status::Expired | Status::Released => Decision::Free,
        Status::Completed => Decision::Replay(Box::new(observed)),
        Status::Running { until } => busy(until, now),
        Status::InDoubt | Status::Lapsed => match record.reclaimable_at() {
            Some(at) if at <= now => Decision::Free,
            Some(at) => busy(at, now),
            None => Decision::InDoubt(Box::new(observed)),
        },
    }
}

fn busy(until: Timestamp, now: Timestamp) -> Decision {
    // Whole seconds, rounded down: the header has no others, and a promise must not be too late.
    let secs = until.since(now).as_secs().clamp(1, RETRY_AFTER_SECS_MAX);
    Decision::Busy { retry_after: Duration::from_secs(secs) }
}

/// A living owner may be done at any moment; asking every few seconds costs little.
const RETRY_AFTER_SECS_MAX: u64 = 5;

/// Whether a completed record's answer is there, and since when; for replays.
#[must_use]
pub fn completed(record: &Record) -> Option<(&crate::response::Kept, Timestamp)> {
    match &record.phase {
        Phase::Completed { at, kept } => Some((kept, *at)),
        Phase::InDoubt { .. } | Phase::InProgress { .. } | Phase::Released { .. } => None,
    }
}

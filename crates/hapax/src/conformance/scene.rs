//! What cases are written with: one store, and the few things one does to it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::harness::{Harness, Subject};
use crate::fingerprint::Fingerprint;
use crate::lease::{AttemptId, Lease};
use crate::machine::{Claim, Claimed, LeaseLost, Observed, Retention, Settlement};
use crate::record::{Cause, OnLapse, Record, Settler, Status};
use crate::response::{Field, Kept, RecordedResponse};
use crate::scope::RecordId;
use crate::store::{LeaseError, Page, Store, StoreError};
use crate::time::Timestamp;

/// The lease's term of every claim, unless a case says otherwise.
pub(super) const TERM: Duration = Duration::from_secs(1_000);

/// How long settled records are kept, unless a case says otherwise.
pub(super) const RETENTION: Duration = Duration::from_secs(360_000);

/// How near to the end of a time a case goes, before it and after it: much longer than what it does
/// meanwhile may take, however slow the machine is.
pub(super) const MARGIN: Duration = Duration::from_secs(100);

/// The late-answer cap of [`reclaim`].
pub(super) const LATE_ANSWER: Duration = Duration::from_secs(6_000);

/// Why a case ends early.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// The store is wrong.
    Failed(String),
    /// The store does not claim to be able to do this.
    Skipped(String),
}

/// The end of a case that found what `message` says.
pub(super) fn failed<T>(message: impl fmt::Display) -> Result<T, Stop> {
    Err(Stop::Failed(message.to_string()))
}

/// Goes on if `holds`.
pub(super) fn ensure(holds: bool, message: impl fmt::Display) -> Result<(), Stop> {
    if holds { Ok(()) } else { failed(message) }
}

/// Goes on if both are the same.
pub(super) fn same<T>(what: &str, found: &T, expected: &T) -> Result<(), Stop>
where
    T: fmt::Debug + PartialEq,
{
    ensure(found == expected, format_args!("{what} is {found:?}, expected {expected:?}"))
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(format!("the store failed unasked: {error}"))
    }
}

/// One store and its clock.
pub(super) struct Scene {
    subject: Box<dyn Subject>,
}

impl Scene {
    pub(super) async fn new(harness: &dyn Harness) -> Self {
        Self { subject: harness.fresh().await }
    }

    /// A scene with room for so many records.
    pub(super) async fn small(harness: &dyn Harness, records_max: usize) -> Result<Self, Stop> {
        match harness.fresh_with_records_max(records_max).await {
            Some(subject) => Ok(Self { subject }),
            None => Err(Stop::Skipped("its number of records has no limit to set".to_owned())),
        }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        self.subject.store()
    }

    /// Two ways to the same records; the same one twice where the store has only one.
    pub(super) async fn nodes(&self) -> [Arc<dyn Store>; 2] {
        let one = self.store();
        let other = self.subject.another().await.unwrap_or_else(|| one.clone());
        [one, other]
    }

    pub(super) async fn advance(&self, by: Duration) {
        self.subject.advance(by).await;
    }

    /// Sets the store's clock back; the case is over where its time never steps.
    pub(super) async fn step_back(&self, by: Duration) -> Result<(), Stop> {
        if self.subject.step_back(by).await {
            Ok(())
        } else {
            Err(Stop::Skipped("its time never steps back".to_owned()))
        }
    }

    /// The same records after the end of the process; the case is over where nothing is left.
    pub(super) async fn reopen(self) -> Result<Self, Stop> {
        let durable = self.store().guarantees().durable;
        match self.subject.reopen().await {
            Some(subject) => Ok(Self { subject }),
            None if durable => failed("it says that it is durable, and nothing is left"),
            None => Err(Stop::Skipped("it does not say that it is durable".to_owned())),
        }
    }

    pub(super) async fn now(&self) -> Result<Timestamp, Stop> {
        Ok(self.store().stats().await?.now)
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Result<Claimed, Stop> {
        Ok(self.store().claim(claim).await?)
    }

    /// A claim that must be granted.
    pub(super) async fn grant(&self, claim: &Claim) -> Result<Lease, Stop> {
        match self.claim(claim).await? {
            Claimed::Granted(lease) => Ok(lease),
            Claimed::Held(observed) => failed(format_args!("a claim was held: {observed:?}")),
        }
    }

    /// A claim that must be held.
    pub(super) async fn hold(&self, claim: &Claim) -> Result<Observed, Stop> {
        match self.claim(claim).await? {
            Claimed::Granted(lease) => failed(format_args!("a claim was granted: {lease:?}")),
            Claimed::Held(observed) => Ok(observed),
        }
    }

    pub(super) async fn renew(
        &self,
        lease: &Lease,
        progress: Option<Bytes>,
    ) -> Result<Result<Lease, LeaseLost>, Stop> {
        said(self.store().renew(lease, TERM, progress).await)
    }

    pub(super) async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<Result<(), LeaseLost>, Stop> {
        said(self.store().settle(lease, with, by).await)
    }

    /// A settlement by the owner that must succeed.
    pub(super) async fn settled(&self, lease: &Lease, with: &Settlement) -> Result<(), Stop> {
        match self.settle(lease, with, Settler::Owner).await? {
            Ok(()) => Ok(()),
            Err(lost) => failed(format_args!("a settlement by the owner was refused: {lost}")),
        }
    }

    pub(super) async fn peek(&self, id: RecordId) -> Result<Option<Observed>, Stop> {
        Ok(self.store().peek(&id).await?)
    }

    /// The record, if it has not expired.
    pub(super) async fn live(&self, id: RecordId) -> Result<Option<Record>, Stop> {
        let observed = self.peek(id).await?;
        Ok(observed
            .filter(|observed| observed.record.status(observed.now) != Status::Expired)
            .map(|observed| observed.record))
    }

    /// What the record means, in a word; `absent` also for what has expired.
    pub(super) async fn status(&self, id: RecordId) -> Result<&'static str, Stop> {
        let observed = self.peek(id).await?;
        Ok(match observed.map(|observed| word(observed.record.status(observed.now))) {
            None | Some("expired") => "absent",
            Some(word) => word,
        })
    }

    /// Sweeps until nothing is left to sweep.
    pub(super) async fn sweep(&self) -> Result<u32, Stop> {
        const ROUNDS_MAX: usize = 100;
        let (mut swept, mut idle) = (0, 0);
        for _ in 0..ROUNDS_MAX {
            let round = self.store().sweep(NonZeroU32::MIN.saturating_add(99)).await?;
            swept += round;
            idle = if round == 0 { idle + 1 } else { 0 };
            // A sweep may stop in the middle and go on where it stopped.
            if idle == 3 {
                return Ok(swept);
            }
        }
        failed("sweeping does not come to an end")
    }

    pub(super) async fn list(&self, query: &crate::store::ListQuery) -> Result<Page, Stop> {
        Ok(self.store().list(query).await?)
    }
}

/// What the record said; anything else the store says ends the case.
pub(super) fn said<T>(answer: Result<T, LeaseError>) -> Result<Result<T, LeaseLost>, Stop> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(LeaseError::Lost(lost)) => Ok(Err(lost)),
        Err(LeaseError::Store(error)) => Err(error.into()),
    }
}

/// The status in a word.
pub(super) const fn word(status: Status) -> &'static str {
    match status {
        Status::Completed => "completed",
        Status::Expired => "expired",
        Status::InDoubt => "in doubt",
        Status::Lapsed => "lapsed",
        Status::Released => "released",
        Status::Running { .. } => "running",
    }
}

/// The record that most cases are about.
pub(super) fn id() -> RecordId {
    id_of(1)
}

/// One of 256 records, all of one scope.
pub(super) fn id_of(n: u8) -> RecordId {
    let mut bytes = [0x5a; 32];
    bytes[31] = n;
    RecordId::from_bytes(bytes)
}

/// One of 256 attempts.
pub(super) const fn attempt(n: u8) -> AttemptId {
    AttemptId::from_bytes([n; 16])
}

/// A claim of [`id`] by this attempt, under [`OnLapse::Doubt`].
pub(super) fn claim(n: u8) -> Claim {
    Claim {
        attempt: attempt(n),
        fingerprint: Fingerprint::of(b"the request"),
        id: id(),
        on_lapse: OnLapse::Doubt,
        route: "/v1/payments".into(),
        term: TERM,
        transactional: None,
        unknown_retention: None,
    }
}

/// The same for another request.
pub(super) fn other(n: u8) -> Claim {
    Claim { fingerprint: Fingerprint::of(b"another request"), ..claim(n) }
}

/// The rule of routes that run again what is unknown: twice in all.
pub(super) const RECLAIM: OnLapse = OnLapse::Reclaim { after: LATE_ANSWER, attempts_max: 2 };

/// An answer that tells which it is.
pub(super) fn answer(n: u16) -> RecordedResponse {
    RecordedResponse {
        body: Bytes::from(format!("answer {n}")),
        headers: vec![Field::new("content-type", "text/plain")],
        status: 200 + n,
        trailers: Vec::new(),
    }
}

/// Completion with [`answer`].
pub(super) fn complete(n: u16) -> Settlement {
    Settlement::Complete { kept: Kept::Response(answer(n)), retention: Retention::For(RETENTION) }
}

/// Release by an answer of status 503.
pub(super) const fn release() -> Settlement {
    Settlement::Release { retention: Retention::For(RETENTION), status: Some(503) }
}

/// Doubt after a time-out.
pub(super) const fn doubt() -> Settlement {
    Settlement::Doubt { cause: Cause::TimedOut }
}

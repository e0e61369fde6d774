//! What the tests are written with. Every function panics where the store does not do as it says.

use std::fmt;
use std::time::Duration;

use hapax::{
    AttemptId, Claim, Claimed, Effect, Fingerprint, Kept, Lease, LeaseError, Observed, OnLapse,
    RecordId, RecordedResponse, Retention, Settlement, Settler, Store, StoreError,
};

/// The term of every claim: longer than any test takes, so that leases lapse by moved clocks alone.
pub const TERM: Duration = Duration::from_secs(600);

/// How long settled records are kept.
pub const RETENTION: Duration = Duration::from_secs(3_600);

/// The rule that lets another attempt run as soon as the lease is over.
pub const RECLAIM: OnLapse = OnLapse::Reclaim { after: Duration::ZERO, attempts_max: u32::MAX };

/// Record `n`, all of one scope.
#[must_use]
pub fn id_of(n: u16) -> RecordId {
    let mut bytes = [0x5a; 32];
    bytes[30..].copy_from_slice(&n.to_be_bytes());
    RecordId::from_bytes(bytes)
}

/// A claim of record `n` by attempt `by`.
#[must_use]
pub fn claim(n: u16, by: u8) -> Claim {
    Claim {
        attempt: AttemptId::from_bytes([by; 16]),
        fingerprint: Fingerprint::of(b"the request"),
        id: id_of(n),
        on_lapse: OnLapse::Doubt,
        route: "/v1/payments".into(),
        term: TERM,
        transactional: None,
        unknown_retention: None,
    }
}

/// Completion with an answer of status 201.
#[must_use]
pub fn complete() -> Settlement {
    let answer = RecordedResponse { status: 201, ..RecordedResponse::default() };
    let retention = Retention::For(RETENTION);
    Settlement::Complete { kept: Kept::Response(answer), retention }
}

/// Release by an answer of status 503.
#[must_use]
pub fn release() -> Settlement {
    Settlement::Release { retention: Retention::For(RETENTION), status: Some(503) }
}

/// The lease of a claim that must be granted.
pub async fn grant(store: &dyn Store, claim: &Claim) -> Lease {
    match store.claim(claim).await.expect("an answer") {
        Claimed::Granted(lease) => lease,
        Claimed::Held(seen) => panic!("a claim was held: {seen:?}"),
    }
}

/// What stands in the way of a claim that must be held.
pub async fn hold(store: &dyn Store, claim: &Claim) -> Observed {
    match store.claim(claim).await.expect("an answer") {
        Claimed::Granted(lease) => panic!("a claim was granted: {lease:?}"),
        Claimed::Held(seen) => seen,
    }
}

/// A settlement by the owner that must succeed.
pub async fn settle(store: &dyn Store, lease: &Lease, with: &Settlement) {
    store.settle(lease, with, Settler::Owner).await.expect("a settlement");
}

/// The effect of an operation that the store could not answer.
pub fn effect<T: fmt::Debug>(answer: Result<T, StoreError>) -> Effect {
    let error = answer.expect_err("the operation must fail");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    error.effect()
}

/// The same of a settlement.
pub async fn settle_effect(store: &dyn Store, lease: &Lease) -> Effect {
    match store.settle(lease, &complete(), Settler::Owner).await {
        Err(LeaseError::Store(error)) => error.effect(),
        other => panic!("the settlement must fail: {other:?}"),
    }
}

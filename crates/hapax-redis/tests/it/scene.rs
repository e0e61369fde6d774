//! What the tests are written with.

use std::sync::Arc;
use std::time::Duration;

use hapax::{
    AttemptId, Claim, Claimed, Effect, Fingerprint, Kept, Lease, LeaseError, OnLapse, RecordId,
    RecordedResponse, Retention, Settlement, Settler, Store as _, StoreError,
};
use hapax_redis::RedisStore;

use crate::support::address;

pub(crate) const TERM: Duration = Duration::from_secs(10);
pub(crate) const RETENTION: Duration = Duration::from_secs(3_600);

/// The rule that lets another attempt run as soon as the lease is over.
pub(crate) const RECLAIM: OnLapse =
    OnLapse::Reclaim { after: Duration::ZERO, attempts_max: u32::MAX };

pub(crate) fn id_of(n: u16) -> RecordId {
    let mut bytes = [0x5a; 32];
    bytes[30..].copy_from_slice(&n.to_be_bytes());
    RecordId::from_bytes(bytes)
}

/// A claim of record `n` by attempt `by`.
pub(crate) fn claim(n: u16, by: u8) -> Claim {
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

pub(crate) fn complete() -> Settlement {
    let answer = RecordedResponse { status: 201, ..RecordedResponse::default() };
    let retention = Retention::For(RETENTION);
    Settlement::Complete { kept: Kept::Response(answer), retention }
}

pub(crate) fn release() -> Settlement {
    Settlement::Release { retention: Retention::For(RETENTION), status: Some(503) }
}

pub(crate) async fn grant(store: &RedisStore, claim: &Claim) -> Lease {
    match store.claim(claim).await.expect("an answer") {
        Claimed::Granted(lease) => lease,
        Claimed::Held(seen) => panic!("a claim was held: {seen:?}"),
    }
}

pub(crate) async fn settle(store: &RedisStore, lease: &Lease, with: &Settlement) {
    store.settle(lease, with, Settler::Owner).await.expect("a settlement");
}

/// How many of these claims were granted, all made at once, on one node after the other.
pub(crate) async fn granted(nodes: &[Arc<RedisStore>], claims: Vec<Claim>) -> usize {
    let barrier = Arc::new(tokio::sync::Barrier::new(claims.len()));
    let running: Vec<_> = claims
        .into_iter()
        .enumerate()
        .map(|(n, claim)| {
            let (node, barrier) = (Arc::clone(&nodes[n % nodes.len()]), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                node.claim(&claim).await
            })
        })
        .collect();
    let mut granted = 0;
    for claimed in running {
        let claimed = claimed.await.expect("no panic").expect("an answer");
        granted += usize::from(matches!(claimed, Claimed::Granted(_)));
    }
    granted
}

/// The server alone; `None` if there is none.
pub(crate) fn standalone() -> Option<String> {
    address("HAPAX_TEST_REDIS_URL")
}

/// The cluster; `None` if there is none.
pub(crate) fn cluster() -> Option<String> {
    address("HAPAX_TEST_REDIS_CLUSTER")
}

/// What of both there is.
pub(crate) fn both() -> Vec<String> {
    standalone().into_iter().chain(cluster()).collect()
}

/// The effect of an operation that the store could not answer.
pub(crate) fn effect<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> Effect {
    let error = answer.expect_err("the operation must fail");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    error.effect()
}

/// The same of a settlement.
pub(crate) async fn settle_effect(store: &RedisStore, lease: &Lease) -> Effect {
    match store.settle(lease, &complete(), Settler::Owner).await {
        Err(LeaseError::Store(error)) => error.effect(),
        other => panic!("the settlement must fail: {other:?}"),
    }
}

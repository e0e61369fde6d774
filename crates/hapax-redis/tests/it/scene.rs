//! What the tests are written with.

use hapax::{Claim, Effect, Lease, Settlement};
use hapax_redis::RedisStore;

use crate::support::address;

pub(crate) use hapax_store_tests::{RETENTION, TERM, claim, complete, effect, release};

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

// Whoever has the store in an `Arc` hands it over as it is.

pub(crate) async fn grant(store: &RedisStore, claim: &Claim) -> Lease {
    hapax_store_tests::grant(store, claim).await
}

pub(crate) async fn settle(store: &RedisStore, lease: &Lease, with: &Settlement) {
    hapax_store_tests::settle(store, lease, with).await;
}

pub(crate) async fn settle_effect(store: &RedisStore, lease: &Lease) -> Effect {
    hapax_store_tests::settle_effect(store, lease).await
}

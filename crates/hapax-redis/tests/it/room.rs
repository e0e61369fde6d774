//! A server whose memory is full (TTL-07).

use bytes::Bytes;
use hapax::{
    Kept, Lease, RecordedResponse, Retention, Settlement, Settler, Status, Store as _, StoreError,
};
use hapax_redis::RedisStore;

use crate::readiness::ready;
use crate::scene::{RETENTION, TERM, claim, grant, release, settle, standalone};
use crate::server::Server;
use crate::support::Place;

/// Completion with an answer of so many bytes.
fn large(bytes: usize) -> Settlement {
    let answer = RecordedResponse {
        body: Bytes::from(vec![b'x'; bytes]),
        status: 200,
        ..RecordedResponse::default()
    };
    Settlement::Complete { kept: Kept::Response(answer), retention: Retention::For(RETENTION) }
}

/// Fills the server until it refuses a claim; the leases that were granted.
async fn fill(store: &RedisStore) -> Vec<Lease> {
    let mut leases = Vec::new();
    for n in 0..10_000 {
        match store.claim(&claim(n, 1)).await {
            Ok(hapax::Claimed::Granted(lease)) => {
                if n % 2 == 0 {
                    settle(store, &lease, &large(64 * 1024)).await;
                } else {
                    leases.push(lease);
                }
            }
            Err(StoreError::Full) => return leases,
            other => panic!("neither granted nor full: {other:?}"),
        }
    }
    panic!("the server never fills");
}

#[tokio::test]
async fn ttl_07_a_full_server_refuses_new_claims_and_goes_on_with_those_it_granted() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&["maxmemory 8mb"]).await;
    let place = Place::take(&server.address());
    let store = place.open(place.options()).await;
    let mut leases = fill(&store).await;
    let refused = claim(20_000, 1);
    assert!(matches!(store.claim(&refused).await, Err(StoreError::Full)));
    assert_eq!(store.peek(&refused.id).await.unwrap(), None, "no trace of it");
    // It is ready: everything but new claims goes on.
    ready(&store).await.expect("it is ready");
    // What runs is renewed, settled and looked at.
    let lease = leases.pop().expect("a lease");
    store.renew(&lease, TERM, Some(Bytes::from_static(b"step"))).await.expect("a renewal");
    settle(&store, &lease, &large(200 * 1024)).await;
    let seen = store.peek(&lease.id).await.unwrap().expect("a record");
    assert_eq!(seen.record.status(seen.now), Status::Completed);
    let lease = leases.pop().expect("a lease");
    settle(&store, &lease, &release()).await;
    // A duplicate is held, and a key that was freed runs again.
    store.claim(&claim(0, 2)).await.expect("an answer");
    let again = hapax::Claim { id: lease.id, ..claim(0, 9) };
    let again = grant(&store, &again).await;
    assert_eq!(again.number, 2);
    store.settle(&again, &release(), Settler::Owner).await.expect("a settlement");
    // Purging makes room.
    for n in (0..40).step_by(2) {
        store.purge(&claim(n, 1).id, false).await.expect("a purge");
    }
    grant(&store, &refused).await;
}

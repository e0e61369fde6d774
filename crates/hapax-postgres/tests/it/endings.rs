//! An owner's settlement takes a short way where nothing speaks against it. Here something does, or it is
//! not the owner's.

use std::time::Duration;

use hapax::{Claim, LeaseError, LeaseLost, Settler, Status, Store as _};

use crate::scene::{Onlooker, RETENTION, TERM, claim, complete, grant, settle};
use crate::support::{Place, server_url};

const SECOND: Duration = Duration::from_secs(1);

/// TTL-02: what counts as absent is nobody's to settle, though its row is there.
#[tokio::test]
async fn ttl_02_an_owner_settles_nothing_that_was_kept_long_enough() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let ending = |n: u16| Claim { unknown_retention: Some(RETENTION), ..claim(n, 1) };
    let (running, lapsed) = (grant(&node, &ending(1)).await, grant(&node, &ending(2)).await);
    let gone = grant(&node, &ending(3)).await;
    settle(&node, &running, &complete()).await;
    place.clock.advance(TERM + SECOND);
    settle(&node, &lapsed, &complete()).await;
    place.clock.advance(RETENTION);
    let late = node.settle(&gone, &complete(), Settler::Owner).await;
    assert!(matches!(late, Err(LeaseError::Lost(LeaseLost::Expired))), "{late:?}");
    let seen = node.peek(&gone.id).await.unwrap().expect("a row that nobody swept");
    assert_eq!(seen.record.status(seen.now), Status::Expired);
    assert_eq!(seen.record.history.entries().len(), 1, "nothing happened to it");
}

/// An operator is just settling the record: the owner waits for that, and must look again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn con_06_an_owners_settlement_is_decided_on_the_row_that_the_lock_shows() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let lease = grant(&node, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.hold_row(lease.id).await;
    let owner = {
        let (node, lease) = (node.clone(), lease.clone());
        tokio::spawn(async move { node.settle(&lease, &complete(), Settler::Owner).await })
    };
    onlooker.see_waiting(1).await;
    onlooker.run("UPDATE hapax.record SET phase = 'released', moment = moment - 1; COMMIT").await;
    let answer = owner.await.unwrap();
    assert!(matches!(answer, Err(LeaseError::Lost(LeaseLost::Settled))), "{answer:?}");
    let seen = node.peek(&lease.id).await.unwrap().expect("a record");
    assert_eq!(seen.record.status(seen.now), Status::Released);
}

/// The lease ends while an operator's settlement waits for the row: the time that counts is the one after
/// the wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn con_07_the_clock_is_read_when_the_row_is_held() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let lease = grant(&node, &claim(1, 1)).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.hold_row(lease.id).await;
    let operator = {
        let (node, lease) = (node.clone(), lease.clone());
        tokio::spawn(async move { node.settle(&lease, &complete(), Settler::Operator).await })
    };
    onlooker.see_waiting(1).await;
    onlooker.run("UPDATE hapax.record SET moment = hapax.clock(0); COMMIT").await;
    let answer = operator.await.unwrap();
    assert!(answer.is_ok(), "{answer:?}");
}

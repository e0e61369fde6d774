//! Transactional records that nobody retries are found out by sweeping.

use std::num::NonZeroU32;
use std::time::Duration;

use hapax::{Cause, Claim, Settlement, Settler, Status, Store as _, What};
use hapax_postgres::PgStore;

use crate::application::{OVERTAKEN, at_once, stage};
use crate::scene::{RETENTION, TERM, claim, grant, hold, id_of, kept, settle, transactional};

/// How long after they lapsed or came in doubt.
const PATIENCE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_secs(1);

async fn sweep(node: &PgStore) -> u32 {
    at_once(node.sweep(NonZeroU32::MIN.saturating_add(999))).await.expect("a sweep")
}

async fn status(node: &PgStore, n: u16) -> Option<Status> {
    let seen = node.peek(&id_of(n)).await.expect("a look")?;
    Some(seen.record.status(seen.now))
}

#[tokio::test]
async fn b03_no_key_is_left_unknown_a_minute_after_its_owner_was() {
    let Some((place, node, mut application)) = stage().await else { return };
    let mut leases = Vec::new();
    for n in 0..6 {
        leases.push(grant(&node, &transactional(n, 1)).await);
    }
    // Two of each: committed, not committed, and one that is lapsed and one in doubt.
    for lease in &leases[..2] {
        assert_eq!(application.transact("READ COMMITTED", lease, "201").await, Ok(()));
    }
    settle(&node, &leases[3], &Settlement::Doubt { cause: Cause::Lost }).await;
    // One is alive, and one not transactional though its rule is the same.
    let like_it = Claim { transactional: None, ..transactional(6, 1) };
    grant(&node, &like_it).await;
    grant(&node, &claim(7, 1)).await;
    place.clock.advance(TERM);
    assert_eq!(sweep(&node).await, 0);
    for n in [0, 1, 2, 6, 7] {
        assert_eq!(status(&node, n).await, Some(Status::Lapsed), "{n}");
    }
    place.clock.advance(PATIENCE);
    for lease in &leases[4..6] {
        node.renew(lease, TERM, None).await.expect("a renewal");
    }
    assert_eq!(sweep(&node).await, 0);
    let expected = [Status::Completed, Status::Completed, Status::Released, Status::Released];
    for (n, expected) in (0..).zip(expected) {
        assert_eq!(status(&node, n).await, Some(expected), "{n}");
    }
    for n in [4, 5] {
        assert!(matches!(status(&node, n).await, Some(Status::Running { .. })), "{n}");
    }
    for n in [6, 7] {
        assert_eq!(status(&node, n).await, Some(Status::Lapsed), "{n}");
    }
    assert_eq!(kept(hold(&node, &transactional(0, 2)).await).status(), 201);
    // What was released can run, and what ran before can never commit any more.
    for n in [2, 3] {
        assert_eq!(application.transact("READ COMMITTED", &leases[n], "").await, OVERTAKEN);
    }
    let seen = node.peek(&id_of(2)).await.unwrap().expect("a record");
    let last = *seen.record.history.entries().last().expect("an entry");
    assert_eq!(last.what, What::Released { by: Settler::Owner, status: None });
    assert_eq!(seen.record.expires_at, Some(last.at.plus(RETENTION)));
    assert_eq!(grant(&node, &transactional(2, 2)).await.number, 2);
    assert_eq!(application.seats().await, 3);
}

#[tokio::test]
async fn b03_sweeping_passes_over_what_an_application_is_about_to_commit() {
    let Some((place, node, mut application)) = stage().await else { return };
    let slow = grant(&node, &transactional(1, 1)).await;
    grant(&node, &transactional(2, 1)).await;
    application.begin("READ COMMITTED").await;
    assert_eq!(application.commit(&slow, "").await, Ok(()));
    place.clock.advance(TERM + 10 * PATIENCE);
    sweep(&node).await;
    assert!(matches!(status(&node, 1).await, Some(Status::Running { .. })));
    assert_eq!(status(&node, 2).await, Some(Status::Released));
    assert_eq!(application.end().await, Ok(()));
    assert_eq!(status(&node, 1).await, Some(Status::Lapsed));
    sweep(&node).await;
    assert_eq!(status(&node, 1).await, Some(Status::Completed));
}

/// A route may let what is unknown expire; what can be known does not.
#[tokio::test]
async fn b03_what_was_committed_does_not_expire_as_unknown() {
    let Some((place, node, mut application)) = stage().await else { return };
    let brief = |n, by| Claim { unknown_retention: Some(MOMENT), ..transactional(n, by) };
    for n in 0..5 {
        let lease = grant(&node, &brief(n, 1)).await;
        if n < 3 {
            assert_eq!(application.transact("READ COMMITTED", &lease, "200").await, Ok(()));
        }
    }
    place.clock.advance(TERM + MOMENT);
    // Found by a retry, or by a sweep before it is time and after; and only then removed.
    assert_eq!(kept(hold(&node, &brief(0, 2)).await).status(), 200);
    assert_eq!(sweep(&node).await, 0);
    assert_eq!(kept(hold(&node, &brief(1, 2)).await).status(), 200);
    assert_eq!(grant(&node, &brief(3, 2)).await.number, 1);
    place.clock.advance(PATIENCE);
    assert_eq!(sweep(&node).await, 1);
    assert_eq!(kept(hold(&node, &brief(2, 2)).await).status(), 200);
    assert_eq!(status(&node, 4).await, None);
    assert_eq!(application.seats().await, 1);
}

/// So that a sweep is over soon: what is left is for the next one.
#[tokio::test]
async fn b03_a_sweep_finds_out_about_a_hundred_at_most() {
    let Some((place, node, mut application)) = stage().await else { return };
    for n in 0..150 {
        grant(&node, &transactional(n, 1)).await;
    }
    place.clock.advance(TERM + PATIENCE);
    assert_eq!(sweep(&node).await, 0);
    assert_eq!(application.seats().await, 50);
    assert_eq!(sweep(&node).await, 0);
    assert_eq!(application.seats().await, 0);
}

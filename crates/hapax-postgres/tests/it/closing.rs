//! What settling and purging make of what an application has committed, or has not.

use std::time::{Duration, Instant};

use hapax::{
    Cause, Effect, Kept, LeaseError, LeaseLost, Phase, Purged, RecordedResponse, Retention,
    Settlement, Settler, Status, Store as _,
};

use crate::application::{OVERTAKEN, stage};
use crate::scene::{
    Onlooker, RETENTION, TERM, complete, grant, hold, kept, release, settle, transactional,
};

const DOUBT: Settlement = Settlement::Doubt { cause: Cause::TimedOut };

fn told(body: &'static str) -> Kept {
    let body = body.into();
    Kept::Response(RecordedResponse { body, status: 200, ..RecordedResponse::default() })
}

/// The service commits, and then says 500 or nothing at all: the retry must not run.
#[tokio::test]
async fn b03_what_was_committed_is_completed_by_release_and_by_doubt() {
    let Some((_place, node, mut application)) = stage().await else { return };
    for (n, with) in (1..).zip([release(), DOUBT]) {
        let lease = grant(&node, &transactional(n, 1)).await;
        let done = application.transact("READ COMMITTED", &lease, "200, '{}', 'done'").await;
        assert_eq!(done, Ok(()));
        settle(&node, &lease, &with).await;
        let seen = hold(&node, &transactional(n, 2)).await;
        assert_eq!(seen.record.status(seen.now), Status::Completed);
        let entries = seen.record.history.entries().to_vec();
        assert_eq!(entries.len(), 2);
        let expected = hapax::What::Completed { by: Settler::Owner, status: 200 };
        assert_eq!(entries[1].what, expected);
        assert_eq!(seen.record.expires_at, Some(entries[1].at.plus(RETENTION)));
        assert_eq!(kept(seen), told("done"));
    }
    assert_eq!(application.seats().await, 0);
}

/// The gateway heard the answer itself, which is as much as there is to know.
#[tokio::test]
async fn b03_a_complete_answer_stands_whatever_the_commit_was_told() {
    let Some((_place, node, mut application)) = stage().await else { return };
    for (n, commits) in [(1, true), (2, false)] {
        let lease = grant(&node, &transactional(n, 1)).await;
        if commits {
            let done = application.transact("READ COMMITTED", &lease, "200, '{}', 'x'").await;
            assert_eq!(done, Ok(()));
        }
        settle(&node, &lease, &complete()).await;
        let repeated = node.settle(&lease, &complete(), Settler::Owner).await;
        assert!(repeated.is_ok(), "{repeated:?}");
        assert_eq!(kept(hold(&node, &transactional(n, 2)).await).status(), 201);
        // It is over: an application that answers first and commits later has done it too late.
        assert_eq!(application.transact("READ COMMITTED", &lease, "").await, OVERTAKEN);
    }
    assert_eq!(application.seats().await, 0);
}

#[tokio::test]
async fn b03_what_was_released_or_taken_over_by_another_rule_cannot_commit() {
    let Some((_place, node, mut application)) = stage().await else { return };
    let first = grant(&node, &transactional(1, 1)).await;
    settle(&node, &first, &release()).await;
    assert_eq!(application.transact("READ COMMITTED", &first, "").await, OVERTAKEN);
    let second = grant(&node, &transactional(1, 2)).await;
    assert_eq!(application.transact("READ COMMITTED", &first, "").await, OVERTAKEN);
    settle(&node, &second, &DOUBT).await;
    // Doubt alone takes nothing away.
    application.begin("READ COMMITTED").await;
    assert_eq!(application.commit(&second, "").await, Ok(()));
    application.roll_back().await;
    // The route is not transactional any more.
    let third = grant(&node, &crate::scene::claim(1, 3)).await;
    assert_eq!(third.number, 3);
    assert_eq!(application.seats().await, 0);
    for lease in [&second, &third] {
        assert_eq!(application.transact("READ COMMITTED", lease, "").await, OVERTAKEN);
    }
}

/// The service answers before its COMMIT: the settlement waits for that, not for long. The scene is set
/// again where the machine stands still for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_a_settlement_waits_for_an_open_transaction() {
    let Some((place, node, mut application)) = stage().await else { return };
    let mut onlooker = Onlooker::new(&application.server, &place.schema).await;
    let mut left = vec![false, true];
    for n in 0.. {
        let Some(&commits) = left.last() else { return };
        assert!(n < 40, "no settlement waits until the end");
        let lease = grant(&node, &transactional(n, 1)).await;
        application.begin("READ COMMITTED").await;
        assert_eq!(application.commit(&lease, "200, '{}', 'done'").await, Ok(()));
        let waiting = tokio::spawn({
            let (node, lease) = (node.clone(), lease.clone());
            async move { node.settle(&lease, &release(), Settler::Owner).await }
        });
        onlooker.see_waiting_or_over(&waiting).await;
        // It holds nothing meanwhile: duplicates and renewals wait for it as little.
        place.clock.advance(TERM);
        let seen = crate::application::at_once(hold(&node, &transactional(n, 2))).await;
        assert!(matches!(seen.record.status(seen.now), Status::Running { .. }));
        node.renew(&lease, TERM, None).await.expect("a renewal");
        if commits {
            assert_eq!(application.end().await, Ok(()));
        } else {
            application.roll_back().await;
        }
        match waiting.await.unwrap() {
            Ok(()) => left.pop(),
            Err(LeaseError::Store(error)) if error.to_string().contains("still open") => continue,
            Err(error) => panic!("a settlement fails: {error}"),
        };
        let seen = node.peek(&lease.id).await.unwrap().expect("a record");
        let expected = if commits { Status::Completed } else { Status::Released };
        assert_eq!(seen.record.status(seen.now), expected);
    }
}

#[tokio::test]
async fn b03_a_settlement_that_waited_too_long_did_not_happen() {
    let Some((_place, node, mut application)) = stage().await else { return };
    let lease = grant(&node, &transactional(1, 1)).await;
    application.begin("READ COMMITTED").await;
    assert_eq!(application.commit(&lease, "").await, Ok(()));
    let began = Instant::now();
    match node.settle(&lease, &complete(), Settler::Owner).await {
        // So that it is tried again in the background (ruling 12).
        Err(LeaseError::Store(error)) => {
            assert_eq!(error.effect(), Effect::None);
            assert!(error.to_string().contains("still open"), "{error}");
        }
        other => panic!("it must fail: {other:?}"),
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // Doubt does not wait at all, and leaves the application its seat.
    settle(&node, &lease, &DOUBT).await;
    let seen = node.peek(&lease.id).await.unwrap().expect("a record");
    assert!(matches!(seen.record.status(seen.now), Status::Running { .. }));
    assert_eq!(application.end().await, Ok(()));
    let seen = node.peek(&lease.id).await.unwrap().expect("a record");
    assert!(matches!(seen.record.phase, Phase::InDoubt { .. }));
    settle(&node, &lease, &complete()).await;
    assert_eq!(kept(hold(&node, &transactional(1, 2)).await).status(), 201);
}

/// Ruling 13: an operator may not say of what was committed that it was not.
#[tokio::test]
async fn b03_an_operator_cannot_free_what_was_committed() {
    let Some((place, node, mut application)) = stage().await else { return };
    for n in 1..=3 {
        let lease = grant(&node, &transactional(n, 1)).await;
        let commits = n != 3;
        if commits {
            let done = application.transact("READ COMMITTED", &lease, "200, '{}', 'done'").await;
            assert_eq!(done, Ok(()));
        }
        let early = node.settle(&lease, &release(), Settler::Operator).await;
        assert!(matches!(early, Err(LeaseError::Lost(LeaseLost::Running))), "{early:?}");
        place.clock.advance(TERM);
        let with = if n == 1 { release() } else { complete() };
        let settled = node.settle(&lease, &with, Settler::Operator).await;
        if n == 1 {
            assert!(matches!(settled, Err(LeaseError::Lost(LeaseLost::Settled))), "{settled:?}");
        } else {
            settled.expect("a settlement");
        }
        let expected = if n == 1 { 200 } else { 201 };
        assert_eq!(kept(hold(&node, &transactional(n, 2)).await).status(), expected);
        assert_eq!(application.transact("READ COMMITTED", &lease, "").await, OVERTAKEN);
    }
    assert_eq!(application.seats().await, 0);
}

#[tokio::test]
async fn b03_purging_takes_the_seat_along() {
    let Some((place, node, mut application)) = stage().await else { return };
    let lease = grant(&node, &transactional(1, 1)).await;
    assert_eq!(node.purge(&lease.id, false).await.unwrap(), Purged::Refused);
    assert_eq!(application.seats().await, 1);
    place.clock.advance(TERM);
    assert_eq!(node.purge(&lease.id, false).await.unwrap(), Purged::Removed);
    assert_eq!(application.seats().await, 0);
    assert_eq!(application.transact("READ COMMITTED", &lease, "").await, OVERTAKEN);
    assert_eq!(grant(&node, &transactional(1, 2)).await.number, 1);
}

/// Kept for ever is kept for ever, when the store finds the answer itself as well.
#[tokio::test]
async fn b03_retention_is_that_of_the_claim() {
    let Some((place, node, mut application)) = stage().await else { return };
    let wish = hapax::Claim { transactional: Some(Retention::Never), ..transactional(1, 1) };
    let lease = grant(&node, &wish).await;
    assert_eq!(application.transact("READ COMMITTED", &lease, "200").await, Ok(()));
    place.clock.advance(TERM);
    let seen = hold(&node, &transactional(1, 2)).await;
    assert_eq!(seen.record.expires_at, None);
    assert_eq!(kept(seen), Kept::NotRetained { location: None, status: 200 });
}

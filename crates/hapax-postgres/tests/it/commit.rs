//! `hapax.commit`: the effect and the fact that it happened are one commit (M10, B03).

use hapax::decide::{Decision, decide_observed};
use hapax::{Kept, ListQuery, Settler, Status, Store as _};

use crate::application::{Application, COMMITTED, LEVELS, OVERTAKEN, TRY_AGAIN, at_once, stage};
use crate::scene::{Onlooker, TERM, claim, complete, grant, hold, kept, settle, transactional};
use crate::support::{Place, server_url};

#[tokio::test]
async fn b03_a_lapsed_claim_that_nobody_took_over_commits() {
    let Some((place, node, mut application)) = stage().await else { return };
    for (n, level) in (0..).zip(LEVELS) {
        let lease = grant(&node, &transactional(n, 1)).await;
        place.clock.advance(10 * TERM);
        assert_eq!(application.transact(level, &lease, "201, '{}', 'done'").await, Ok(()));
        // Its owner is gone; whoever comes next knows.
        let Kept::Response(answer) = kept(hold(&node, &transactional(n, 2)).await) else {
            panic!("the answer is not kept");
        };
        assert_eq!((answer.status, answer.body.as_ref()), (201, b"done".as_slice()));
        assert_eq!(application.effects(lease.id).await, [lease.attempt.to_string()]);
    }
    assert_eq!(application.seats().await, 0);
}

/// The application begins, is overtaken, and then comes to commit.
#[tokio::test]
async fn b03_an_overtaken_claim_cannot_commit_in_any_isolation_level() {
    let Some((place, node, mut application)) = stage().await else { return };
    let mut second = Application::join(&application.server, &place.schema).await;
    for (n, level) in (0..).zip(LEVELS) {
        let overtaken = grant(&node, &transactional(n, 1)).await;
        application.begin(level).await;
        application.work(&overtaken).await;
        place.clock.advance(TERM);
        let next = grant(&node, &transactional(n, 2)).await;
        let expected = if level == "READ COMMITTED" { OVERTAKEN } else { TRY_AGAIN };
        assert_eq!(application.commit(&overtaken, "").await, expected, "{level}");
        application.roll_back().await;
        assert_eq!(application.transact(level, &overtaken, "").await, OVERTAKEN, "{level}");
        assert_eq!(second.transact(level, &next, "").await, Ok(()), "{level}");
        // Nor when the other is done.
        assert_eq!(application.transact(level, &overtaken, "").await, OVERTAKEN, "{level}");
        assert_eq!(application.effects(next.id).await, [next.attempt.to_string()], "{level}");
    }
}

/// The same when the record was settled since the snapshot, or removed.
#[tokio::test]
async fn b03_a_settled_or_purged_claim_cannot_commit_in_any_isolation_level() {
    let Some((_place, node, mut application)) = stage().await else { return };
    for (n, level) in (0..).zip(LEVELS) {
        for purged in [false, true] {
            let lease = grant(&node, &transactional(2 * n + u16::from(purged), 1)).await;
            application.begin(level).await;
            application.work(&lease).await;
            if purged {
                node.purge(&lease.id, true).await.expect("a purge");
            } else {
                settle(&node, &lease, &complete()).await;
            }
            let expected = if level == "READ COMMITTED" { OVERTAKEN } else { TRY_AGAIN };
            assert_eq!(application.commit(&lease, "").await, expected, "{level}");
            application.roll_back().await;
            assert_eq!(application.transact(level, &lease, "").await, OVERTAKEN, "{level}");
            assert!(application.effects(lease.id).await.is_empty(), "{level}");
        }
    }
}

/// An application that lost the answer to its COMMIT does it all again.
#[tokio::test]
async fn b03_a_second_commit_of_one_claim_raises() {
    let Some((_place, node, mut application)) = stage().await else { return };
    for (n, level) in (0..).zip(LEVELS) {
        let lease = grant(&node, &transactional(n, 1)).await;
        assert_eq!(application.transact(level, &lease, "").await, Ok(()));
        assert_eq!(application.transact(level, &lease, "").await, COMMITTED, "{level}");
        // Twice in one transaction as well.
        let lease = grant(&node, &transactional(100 + n, 1)).await;
        application.begin(level).await;
        assert_eq!(application.commit(&lease, "").await, Ok(()));
        assert_eq!(application.commit(&lease, "").await, COMMITTED, "{level}");
        application.roll_back().await;
        assert_eq!(application.transact(level, &lease, "").await, Ok(()), "{level}");
    }
}

/// In a table of one page the whole table would be the quickest way to one row, and each of two
/// transactions would have read what the other writes.
#[tokio::test]
async fn b03_unrelated_serializable_transactions_do_not_fail_each_other() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let mut one = Application::start(&server, &place.schema).await;
    let mut other = Application::join(&server, &place.schema).await;
    let leases =
        [grant(&node, &transactional(1, 1)).await, grant(&node, &transactional(2, 1)).await];
    assert_eq!(one.run("VACUUM ANALYZE hapax.seat").await, Ok(()));
    one.begin("SERIALIZABLE").await;
    other.begin("SERIALIZABLE").await;
    assert_eq!(one.commit(&leases[0], "201, '{}', 'x'").await, Ok(()));
    assert_eq!(other.commit(&leases[1], "201, '{}', 'x'").await, Ok(()));
    assert_eq!(one.end().await, Ok(()));
    assert_eq!(other.end().await, Ok(()));
}

/// Both are at it at once: the second waits for the first, and then knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_of_two_transactions_with_one_claim_one_commits() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let mut first = Application::start(&server, &place.schema).await;
    let mark = if server.contains('?') { '&' } else { '?' };
    let marked = format!("{server}{mark}application_name={}", place.schema);
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    for (n, level) in (0..).zip(LEVELS) {
        let lease = grant(&node, &transactional(n, 1)).await;
        first.begin(level).await;
        first.work(&lease).await;
        assert_eq!(first.commit(&lease, "").await, Ok(()));
        let mut second = Application::join(&marked, &place.schema).await;
        let waiting = tokio::spawn({
            let lease = lease.clone();
            async move { second.transact(level, &lease, "").await }
        });
        onlooker.see_waiting(1).await;
        assert_eq!(first.end().await, Ok(()));
        let expected = if level == "READ COMMITTED" { COMMITTED } else { TRY_AGAIN };
        assert_eq!(waiting.await.unwrap(), expected, "{level}");
        assert_eq!(first.effects(lease.id).await.len(), 1);
    }
}

#[tokio::test]
async fn b03_what_is_no_claim_is_refused_with_the_mend() {
    let Some((_place, node, mut application)) = stage().await else { return };
    let lease = grant(&node, &transactional(1, 1)).await;
    let text = lease.to_claim();
    let wrong = [
        "NULL".to_owned(),
        "''".to_owned(),
        format!("'{}'", &text[..text.len() - 20]),
        format!("'{text} '"),
        format!("'{}'", text.to_uppercase()),
        format!("'2{}'", &text[1..]),
    ];
    for wrong in wrong {
        let refused = application.run(&format!("SELECT hapax.commit({wrong})")).await;
        assert_eq!(refused, Err("HX012"), "{wrong}");
    }
    // A claim of a route that is not transactional.
    let held = grant(&node, &claim(2, 1)).await;
    assert_eq!(application.commit(&held, "").await, OVERTAKEN);
    assert_eq!(application.commit(&lease, "").await, Ok(()));
}

/// The transaction's process dies before COMMIT, or after it.
#[tokio::test]
async fn b03_after_a_crash_the_next_attempt_knows() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let mut onlooker = Application::start(&server, &place.schema).await;
    for (n, commits) in [(1, false), (2, true)] {
        let lease = grant(&node, &transactional(n, 1)).await;
        let mut application = Application::join(&server, &place.schema).await;
        application.begin("READ COMMITTED").await;
        application.work(&lease).await;
        assert_eq!(application.commit(&lease, "200, '{}', 'yes'").await, Ok(()));
        if commits {
            assert_eq!(application.end().await, Ok(()));
        }
        application.die();
        place.clock.advance(TERM);
        // The server notices a moment later; until then the application seems alive.
        let seen = loop {
            match node.claim(&transactional(n, 2)).await.expect("an answer") {
                hapax::Claimed::Granted(lease) => break Ok(lease),
                hapax::Claimed::Held(seen) => match seen.record.status(seen.now) {
                    Status::Running { .. } => tokio::task::yield_now().await,
                    _ => break Err(seen),
                },
            }
        };
        match seen {
            Ok(next) => {
                assert!(!commits);
                assert_eq!(next.number, 2);
                assert!(onlooker.effects(lease.id).await.is_empty());
            }
            Err(seen) => {
                assert!(commits);
                assert_eq!(kept(seen).status(), 200);
                assert_eq!(onlooker.effects(lease.id).await.len(), 1);
            }
        }
    }
}

/// What an application has locked, for however long, is in nobody's way (CON-07).
#[tokio::test]
async fn b03_nobody_waits_for_an_open_transaction() {
    let Some((place, node, mut application)) = stage().await else { return };
    let lease = grant(&node, &transactional(1, 1)).await;
    application.begin("READ COMMITTED").await;
    assert_eq!(application.commit(&lease, "").await, Ok(()));
    // While the lease is good.
    let seen = at_once(hold(&node, &transactional(1, 2))).await;
    assert!(matches!(seen.record.status(seen.now), Status::Running { .. }));
    at_once(node.renew(&lease, TERM, None)).await.expect("a renewal");
    // And when it has lapsed: the application is alive, so the key is busy, and asking is worth it soon.
    place.clock.advance(100 * TERM);
    for _ in 0..3 {
        let held = at_once(hold(&node, &transactional(1, 2))).await;
        let peeked = at_once(node.peek(&lease.id)).await.unwrap().expect("a record");
        for seen in [held, peeked] {
            let fingerprint = seen.record.fingerprint;
            let Decision::Busy { retry_after } = decide_observed(seen, &fingerprint) else {
                panic!("the key is not busy");
            };
            assert_eq!(retry_after.as_secs(), 1);
        }
    }
    let page = at_once(node.list(&ListQuery { limit: 9, ..ListQuery::default() })).await.unwrap();
    assert_eq!(page.records.len(), 1);
    at_once(node.stats()).await.expect("sizes");
    assert_eq!(at_once(node.sweep(std::num::NonZeroU32::MIN)).await.unwrap(), 0);
    let purged = at_once(node.purge(&lease.id, true)).await.unwrap();
    assert_eq!(purged, hapax::Purged::Refused);
    let settled = at_once(node.settle(&lease, &complete(), Settler::Operator)).await;
    assert!(matches!(settled, Err(hapax::LeaseError::Lost(hapax::LeaseLost::Running))));
    at_once(node.renew(&lease, TERM, None)).await.expect("a renewal of what lapsed");
    place.clock.advance(100 * TERM);
    // Other keys have nothing to do with it.
    at_once(grant(&node, &transactional(2, 1))).await;
    // The application gives up, and so the next attempt runs.
    application.roll_back().await;
    assert_eq!(grant(&node, &transactional(1, 2)).await.number, 2);
}

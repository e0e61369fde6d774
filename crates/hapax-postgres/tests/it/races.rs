//! What comes at once meets at the row, and the row's lock keeps waiting only who must wait (CON-06, CON-07).

use hapax::{Claimed, Status, Store as _};

use crate::scene::{Onlooker, claim, complete, grant, release, settle};
use crate::support::{Place, server_url};

/// Both claims have seen the released row and wait to take it over; the second must look again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn con_06_a_takeover_is_decided_on_the_row_that_the_lock_shows() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let lease = grant(&node, &claim(1, 1)).await;
    settle(&node, &lease, &release()).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.hold_row(lease.id).await;
    let claims = [2, 3].map(|by| {
        let node = node.clone();
        tokio::spawn(async move { node.claim(&claim(1, by)).await })
    });
    onlooker.see_waiting(2).await;
    onlooker.run("COMMIT").await;
    let mut fates = Vec::new();
    for each in claims {
        fates.push(each.await.unwrap().unwrap());
    }
    let held = fates.iter().find_map(|fate| match fate {
        Claimed::Held(seen) => Some(seen.record.status(seen.now)),
        Claimed::Granted(_) => None,
    });
    assert!(matches!(held, Some(Status::Running { .. })), "{fates:?}");
    assert!(fates.iter().any(|fate| matches!(fate, Claimed::Granted(_))), "{fates:?}");
}

/// Who holds a row, such as an application's transaction, keeps no duplicate waiting.
#[tokio::test]
async fn con_07_held_claims_do_not_wait_for_the_rows_lock() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    grant(&node, &claim(1, 1)).await;
    let done = grant(&node, &claim(2, 1)).await;
    settle(&node, &done, &complete()).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    onlooker.run("BEGIN; SELECT FROM hapax.record FOR UPDATE").await;
    for n in [1, 2] {
        let held = node.claim(&claim(n, 2)).await.unwrap();
        assert!(matches!(held, Claimed::Held(_)), "{held:?}");
        assert!(node.peek(&claim(n, 1).id).await.unwrap().is_some());
    }
    // The owner's own claim, repeated, neither.
    assert!(matches!(node.claim(&claim(1, 1)).await.unwrap(), Claimed::Granted(_)));
    onlooker.run("ROLLBACK").await;
}

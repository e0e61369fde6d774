//! Who waits on one node hears what was settled on another.

use std::time::Duration;

use futures_util::StreamExt as _;
use hapax::{Claim, Lease, RecordId, Store as _};
use hapax_postgres::{PgOptions, PgStore};
use tokio::time::timeout;

use crate::scene::{Onlooker, RECLAIM, TERM, claim, complete, grant, hold, id_of, release, settle};
use crate::support::{Place, server_url};

const PATIENCE: Duration = Duration::from_secs(20);

/// A lease that somebody else waits for.
async fn grant_awaited(store: &PgStore, n: u16) -> Lease {
    let lease = grant(store, &claim(n, 1)).await;
    hold(store, &claim(n, 2)).await;
    lease
}

/// Settles record after record until the listener hears one: it may not be listening yet.
async fn heard(
    teller: &PgStore,
    hints: &mut (impl futures_util::Stream<Item = RecordId> + Unpin),
    from: u16,
) -> RecordId {
    let tell = async {
        for n in from..from + 1_000 {
            let lease = grant_awaited(teller, n).await;
            settle(teller, &lease, &complete()).await;
            if let Ok(hint) = timeout(Duration::from_millis(20), hints.next()).await {
                return hint.expect("hints do not end");
            }
        }
        panic!("a thousand settlements and not one hint");
    };
    timeout(PATIENCE, tell).await.expect("a hint")
}

#[tokio::test]
async fn con_03_a_settlement_on_one_node_is_heard_on_another() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let teller = place.open(place.options()).await;
    let listener = place.open(place.options()).await;
    let mut hints = listener.wakeups().expect("there is somewhere to listen");
    heard(&teller, &mut hints, 1_000).await;
    // Now it listens, nothing is lost, and all ends of an attempt count.
    let mut expected = Vec::new();
    for (n, with) in
        (0..).zip([complete(), release(), hapax::Settlement::Doubt { cause: hapax::Cause::Lost }])
    {
        let lease = grant_awaited(&teller, n).await;
        settle(&teller, &lease, &with).await;
        expected.push(id_of(n));
    }
    let mut found = Vec::new();
    while found.len() < expected.len() {
        let hint = timeout(PATIENCE, hints.next()).await.expect("a hint").expect("no end");
        // Those of the beginning may still be on their way.
        found.extend(expected.contains(&hint).then_some(hint));
    }
    assert_eq!(found, expected);
}

/// A hint goes to every node, so none is sent that nobody needs.
#[tokio::test]
async fn what_nobody_waits_for_is_not_told() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let store = place.open(place.options()).await;
    let mut hints = store.wakeups().expect("there is somewhere to listen");
    heard(&store, &mut hints, 1_000).await;
    for n in 0..20 {
        let lease = grant(&store, &claim(n, 1)).await;
        settle(&store, &lease, &complete()).await;
    }
    // What was told before this one has been heard before it.
    let lease = grant_awaited(&store, 20).await;
    settle(&store, &lease, &complete()).await;
    loop {
        let hint = timeout(PATIENCE, hints.next()).await.expect("a hint").expect("no end");
        assert!((0..20).all(|n| hint != id_of(n)), "told although nobody waits");
        if hint == id_of(20) {
            break;
        }
    }
}

/// The next owner's end is what those wait for who were held under the last one.
#[tokio::test]
async fn a_take_over_keeps_in_mind_who_waits() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let store = place.open(place.options()).await;
    let mut hints = store.wakeups().expect("there is somewhere to listen");
    heard(&store, &mut hints, 1_000).await;
    let reclaim = |by| Claim { on_lapse: RECLAIM, ..claim(0, by) };
    grant(&store, &reclaim(1)).await;
    hold(&store, &reclaim(2)).await;
    place.clock.advance(2 * TERM);
    let lease = grant(&store, &reclaim(3)).await;
    settle(&store, &lease, &complete()).await;
    let told = async { while hints.next().await != Some(id_of(0)) {} };
    timeout(PATIENCE, told).await.expect("a hint");
}

#[tokio::test]
async fn hints_come_again_after_the_listening_session_was_ended() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let teller = place.open(place.options()).await;
    let mut hints = teller.wakeups().expect("there is somewhere to listen");
    heard(&teller, &mut hints, 0).await;
    let mut onlooker = Onlooker::new(&server, &place.schema).await;
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = \
         '{}' AND query LIKE 'LISTEN%'",
        place.schema
    );
    assert_eq!(onlooker.number(&end).await, 1);
    heard(&teller, &mut hints, 2_000).await;
}

#[tokio::test]
async fn behind_a_pooler_one_listens_elsewhere_or_not_at_all() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let pooled = PgOptions { pooled: true, ..place.options() };
    let deaf = place.open(pooled.clone()).await;
    assert!(deaf.wakeups().is_none());
    assert!(deaf.guarantees().summary.contains("waiters poll"));
    let hearing = place.open(PgOptions { listen_url: Some(server.clone()), ..pooled }).await;
    let mut hints = hearing.wakeups().expect("there is somewhere to listen");
    // It tells, though it cannot listen.
    heard(&deaf, &mut hints, 0).await;
}

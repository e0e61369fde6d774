//! Who waits on one node hears what was settled on another.

use std::time::Duration;

use futures_util::StreamExt as _;
use hapax::{Cause, Claim, Claimed, RecordId, Settlement, Store as _};
use hapax_redis::RedisStore;
use tokio::time::timeout;

use crate::scene::{
    RECLAIM, TERM, both, claim, complete, grant, id_of, release, settle, standalone,
};
use crate::server::{Server, tell};
use crate::support::Place;

const PATIENCE: Duration = Duration::from_secs(20);

/// One node runs an operation for which the other is held, and settles it.
async fn tell_of(teller: &RedisStore, waiting: &RedisStore, n: u16, with: &Settlement) {
    let lease = grant(teller, &claim(n, 1)).await;
    let held = waiting.claim(&claim(n, 2)).await.expect("an answer");
    assert!(matches!(held, Claimed::Held(_)), "{held:?}");
    settle(teller, &lease, with).await;
}

/// Settles record after record until the listener hears one: it may not be listening yet.
async fn heard(
    teller: &RedisStore,
    listener: &RedisStore,
    hints: &mut (impl futures_util::Stream<Item = RecordId> + Unpin),
    from: u16,
) -> RecordId {
    let tell = async {
        for n in from..from + 1_000 {
            tell_of(teller, listener, n, &complete()).await;
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
    for server in both() {
        let place = Place::take(&server);
        let teller = place.open(place.options()).await;
        let listener = place.open(place.options()).await;
        let mut hints = listener.wakeups().expect("there is somewhere to listen");
        heard(&teller, &listener, &mut hints, 1_000).await;
        // Nobody waits for this one, so nobody is told.
        let lease = grant(&teller, &claim(7, 1)).await;
        settle(&teller, &lease, &complete()).await;
        // Now it listens, nothing is lost, and all ends of an attempt count.
        let doubt = Settlement::Doubt { cause: Cause::Lost };
        let mut expected = Vec::new();
        for (n, with) in (0..).zip([complete(), release(), doubt]) {
            tell_of(&teller, &listener, n, &with).await;
            expected.push(id_of(n));
        }
        let mut found = Vec::new();
        while found.len() < expected.len() {
            let hint = timeout(PATIENCE, hints.next()).await.expect("a hint").expect("no end");
            assert_ne!(hint, id_of(7));
            // Those of the beginning may still be on their way.
            found.extend(expected.contains(&hint).then_some(hint));
        }
        // In a cluster each comes from the server that holds it, so they may overtake each other.
        found.sort();
        assert_eq!(found, expected);

        // Who was held for an attempt that vanished hears the end of the next one.
        let claim = |by| Claim { on_lapse: RECLAIM, ..claim(8, by) };
        grant(&teller, &claim(1)).await;
        let held = listener.claim(&claim(2)).await.expect("an answer");
        assert!(matches!(held, Claimed::Held(_)), "{held:?}");
        place.clock.advance(TERM);
        let second = grant(&teller, &claim(3)).await;
        settle(&teller, &second, &complete()).await;
        let hint = timeout(PATIENCE, hints.next()).await.expect("a hint");
        assert_eq!(hint, Some(id_of(8)));
    }
}

#[tokio::test]
async fn hints_come_again_after_the_listening_connection_was_ended() {
    let Some(_) = standalone() else { return };
    let server = Server::start(&[]).await;
    let place = Place::take(&server.address());
    let teller = place.open(place.options()).await;
    let mut hints = teller.wakeups().expect("there is somewhere to listen");
    heard(&teller, &teller, &mut hints, 0).await;
    let ended: i64 = tell(&server.address(), "CLIENT KILL TYPE pubsub").await;
    assert_eq!(ended, 1);
    heard(&teller, &teller, &mut hints, 2_000).await;
}

//! What every store promises that is reached over a network. Every function panics where it does not
//! keep the promise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use hapax::{Effect, Lease, LeaseError, RecordId, Settler, Store};
use tokio::time::timeout;

use crate::relay::Relay;
use crate::scene::{claim, complete, effect, grant, hold, id_of, settle, settle_effect};

/// Only what never comes takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a scene is set that a slow machine may miss.
const SCENES_MAX: u16 = 20;

/// Nothing is sent where there is nobody: neither over a way that leads nowhere, nor where nobody even
/// listens. What was connected a moment ago may have carried something away. `open` opens a store over
/// the relay; none where opening says that the server is unavailable.
pub async fn a_server_that_is_not_there_did_nothing(
    relay: Relay,
    open: impl AsyncFn() -> Option<Arc<dyn Store>>,
) {
    let store = open().await.expect("a store");
    let lease = grant(&*store, &claim(1, 1)).await;
    for n in 0.. {
        assert!(n < SCENES_MAX, "what is sent over a dead connection is never said to be unknown");
        // A connection that was idle for long is not trusted, and then nothing is sent over it.
        grant(&*store, &claim(100 + n, 1)).await;
        relay.cut();
        if effect(store.claim(&claim(2, 1)).await) == Effect::Unknown {
            break;
        }
        relay.mend();
    }
    nothing_is_sent(&*store, &lease).await;
    assert!(open().await.is_none(), "a store without a server");
    // It is back, and nobody had to restart anything.
    relay.mend();
    settle(&*store, &lease, &complete()).await;
    assert_eq!(grant(&*store, &claim(2, 1)).await.number, 1);
    let _port = relay.port();
    drop(relay);
    effect(store.claim(&claim(3, 1)).await);
    nothing_is_sent(&*store, &lease).await;
    assert!(open().await.is_none(), "a store without a server");
}

async fn nothing_is_sent(store: &dyn Store, lease: &Lease) {
    assert_eq!(effect(store.claim(&claim(2, 1)).await), Effect::None);
    assert_eq!(settle_effect(store, lease).await, Effect::None);
}

/// Whoever is not answered says so in time: unknown, if the connection was there. `store` has this
/// time-out and one connection, over the relay; `patient` has more time, beside it.
pub async fn a_server_that_says_nothing_is_unknown_in_time(
    relay: &Relay,
    store: &dyn Store,
    patient: &dyn Store,
    store_timeout: Duration,
) {
    let lease = grant(patient, &claim(1, 1)).await;
    for n in 0.. {
        assert!(n < SCENES_MAX, "what is sent and not answered is never said to be unknown");
        // Then the connection is there, and trusted for a while; unless the machine stands still.
        let _hasty = store.claim(&claim(100 + n, 1)).await;
        relay.pause(true);
        let began = Instant::now();
        let silence = async {
            let first = settle_effect(store, &lease).await;
            // The next one cannot even connect, which is as long but certain.
            (first, effect(store.claim(&claim(2, 1)).await))
        };
        let (first, second) = timeout(PATIENCE, silence).await.expect("an answer in time");
        let took = began.elapsed();
        relay.pause(false);
        assert_eq!(second, Effect::None);
        if first == Effect::Unknown {
            assert!(took >= 2 * store_timeout, "{took:?}");
            break;
        }
    }
    for n in 0.. {
        assert!(n < SCENES_MAX, "a settlement never succeeds again");
        match store.settle(&lease, &complete(), Settler::Owner).await {
            Ok(()) => return,
            // The machine stood still.
            Err(LeaseError::Store(_)) => {}
            Err(LeaseError::Lost(lost)) => panic!("the lease is lost: {lost}"),
        }
    }
}

/// Whichever operation it is, it is one question and one answer. Where more goes over the connection now
/// and then, the fewest of several rounds count.
pub async fn an_operation_is_one_round_trip(relay: &Relay, store: &dyn Store) {
    let mut fewest = [u64::MAX; 7];
    for n in (0..2 * SCENES_MAX).step_by(2) {
        let mut trips = Vec::new();
        let mut before = relay.trips();
        let mut count = || {
            let now = relay.trips();
            trips.push(now - before);
            before = now;
        };
        let lease = grant(store, &claim(n, 1)).await;
        count();
        hold(store, &claim(n, 2)).await;
        count();
        store.renew(&lease, Duration::from_secs(10), None).await.expect("a renewal");
        count();
        store.peek(&lease.id).await.expect("an answer");
        count();
        let lease = grant(store, &claim(n + 1, 1)).await;
        count();
        settle(store, &lease, &complete()).await;
        count();
        hold(store, &claim(n + 1, 2)).await;
        count();
        for (fewest, trips) in fewest.iter_mut().zip(trips) {
            *fewest = trips.min(*fewest);
        }
    }
    assert_eq!(fewest, [1; 7]);
}

/// A hint goes to every node, so none is sent that nobody needs.
pub async fn what_nobody_waits_for_is_not_told(teller: &dyn Store, listener: &dyn Store) {
    let mut hints = listener.wakeups().expect("there is somewhere to listen");
    heard(teller, listener, &mut hints, 10_000).await;
    for n in 0..20 {
        let lease = grant(teller, &claim(n, 1)).await;
        settle(teller, &lease, &complete()).await;
    }
    // What one server told before this one has been heard before it. One may be lost, so there are more.
    let tell = async {
        for n in 20.. {
            end_awaited(teller, listener, n).await;
            while let Ok(hint) = timeout(Duration::from_millis(20), hints.next()).await {
                let hint = hint.expect("hints do not end");
                assert!((0..20).all(|n| hint != id_of(n)), "told although nobody waits");
                if (id_of(20)..id_of(10_000)).contains(&hint) {
                    return;
                }
            }
        }
    };
    timeout(PATIENCE, tell).await.expect("a hint");
}

/// Settles record after record from this one on until the listener hears one of them: it may not be
/// listening yet, or again.
pub async fn heard(
    teller: &dyn Store,
    listener: &dyn Store,
    hints: &mut (impl Stream<Item = RecordId> + Unpin),
    from: u16,
) {
    let tell = async {
        for n in from.. {
            end_awaited(teller, listener, n).await;
            if let Ok(hint) = timeout(Duration::from_millis(20), hints.next()).await
                && hint.expect("hints do not end") >= id_of(from)
            {
                return;
            }
        }
    };
    timeout(PATIENCE, tell).await.expect("a hint");
}

/// One node runs an operation for which somebody waits on the other, and settles it.
async fn end_awaited(teller: &dyn Store, listener: &dyn Store, n: u16) {
    let lease = grant(teller, &claim(n, 1)).await;
    hold(listener, &claim(n, 2)).await;
    settle(teller, &lease, &complete()).await;
}

//! The server's clock is set back while records live. The suite has no such clock.

use std::time::Duration;

use hapax::{Cause, Claim, Settlement, Store as _};

use crate::scene::{RECLAIM, TERM, claim, complete, grant, release, settle, standalone};
use crate::server::tell;
use crate::support::Place;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn con_05_fences_grow_when_the_clock_steps_back() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let node = place.open(place.options()).await;
    let first = grant(&node, &claim(1, 1)).await;
    settle(&node, &first, &release()).await;
    place.clock.step_back(HOUR);
    let second = grant(&node, &claim(1, 2)).await;
    assert_eq!(second.fence.value(), first.fence.value() + 1);
    assert!(second.claimed_at < first.claimed_at);
    // As it does for what expired, and for what another takes over.
    settle(&node, &second, &complete()).await;
    place.clock.advance(HOUR);
    let third = grant(&node, &Claim { on_lapse: RECLAIM, ..claim(1, 3) }).await;
    assert_eq!(third.number, 1);
    assert!(third.fence > second.fence);
    place.clock.advance(TERM);
    place.clock.step_back(Duration::from_micros(1));
    let fourth = grant(&node, &Claim { on_lapse: RECLAIM, ..claim(1, 4) }).await;
    assert!(fourth.fence > third.fence);
}

#[tokio::test]
async fn con_04_a_renewal_never_shortens_a_lease() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let node = place.open(place.options()).await;
    let lease = grant(&node, &claim(1, 1)).await;
    place.clock.step_back(HOUR);
    let renewed = node.renew(&lease, TERM, None).await.expect("a renewal");
    assert_eq!(renewed.until, lease.until);
    let seen = node.peek(&lease.id).await.unwrap().expect("a record");
    assert_eq!(seen.record.lease().until, lease.until);
}

/// The server removes by itself what has expired, and nothing else (TTL-02, TTL-03).
#[tokio::test]
async fn ttl_only_what_expires_carries_a_time() {
    let Some(server) = standalone() else { return };
    let place = Place::take(&server);
    let node = place.open(place.options()).await;
    let ttl = async |n: u16| {
        let id = claim(n, 1).id;
        tell::<i64>(&server, &format!("PTTL {}:{{{id}}}", place.prefix)).await
    };
    let hours = |range: std::ops::RangeInclusive<i64>, found: i64| {
        let hour = i64::try_from(HOUR.as_millis()).unwrap();
        assert!((range.start() * hour..=range.end() * hour + 2_000).contains(&found), "{found}");
    };
    const NO_TIME: i64 = -1;
    let lease = grant(&node, &claim(1, 1)).await;
    assert_eq!(ttl(1).await, NO_TIME);
    settle(&node, &lease, &release()).await;
    hours(0..=1, ttl(1).await);
    // Taken again, it must outlive the retention of its tombstone.
    let lease = grant(&node, &claim(1, 2)).await;
    assert_eq!(ttl(1).await, NO_TIME);
    settle(&node, &lease, &Settlement::Doubt { cause: Cause::Lost }).await;
    assert_eq!(ttl(1).await, NO_TIME);
    settle(&node, &lease, &complete()).await;
    hours(0..=1, ttl(1).await);
    // Where a route says how long the unknown is kept, so does the key.
    let ending = Claim { unknown_retention: Some(2 * HOUR), ..claim(2, 1) };
    let lease = grant(&node, &ending).await;
    hours(2..=3, ttl(2).await);
    node.renew(&lease, HOUR, None).await.expect("a renewal");
    hours(3..=4, ttl(2).await);
    settle(&node, &lease, &Settlement::Doubt { cause: Cause::Lost }).await;
    hours(1..=2, ttl(2).await);
    // By a clock that is ahead, the server's time is still its own.
    place.clock.advance(24 * HOUR);
    let lease = grant(&node, &claim(3, 1)).await;
    settle(&node, &lease, &complete()).await;
    hours(0..=1, ttl(3).await);
}

//! What the server forgets by itself, and when.

use std::time::Duration;

use hapax::{Cause, Claim, Settlement, Store as _};

use crate::scene::{claim, complete, grant, release, settle, standalone};
use crate::server::tell;
use crate::support::Place;

const HOUR: Duration = Duration::from_secs(3_600);

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
    node.renew(&lease, 2 * HOUR, None).await.expect("a renewal");
    hours(3..=4, ttl(2).await);
    settle(&node, &lease, &Settlement::Doubt { cause: Cause::Lost }).await;
    hours(1..=2, ttl(2).await);
    // By a clock that is ahead, the server's time is still its own.
    place.clock.advance(24 * HOUR);
    let lease = grant(&node, &claim(3, 1)).await;
    settle(&node, &lease, &complete()).await;
    hours(0..=1, ttl(3).await);
}

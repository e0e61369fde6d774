//! The server's clock is set back while records live. The suite has no such clock.

use std::time::Duration;

use hapax::{Claim, Store as _};

use crate::scene::{RECLAIM, TERM, claim, complete, grant, release, settle};
use crate::support::{Place, server_url};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn con_05_fences_grow_when_the_clock_steps_back() {
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
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
    let Some(server) = server_url() else { return };
    let place = Place::take(&server).await;
    let node = place.open(place.options()).await;
    let lease = grant(&node, &claim(1, 1)).await;
    place.clock.step_back(HOUR);
    let renewed = node.renew(&lease, TERM, None).await.expect("a renewal");
    assert_eq!(renewed.until, lease.until);
    let seen = node.peek(&lease.id).await.unwrap().expect("a record");
    assert_eq!(seen.record.lease().until, lease.until);
}

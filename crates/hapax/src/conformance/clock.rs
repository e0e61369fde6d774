//! By whose clock: one for all nodes (section 7.4), which somebody may set back (CON-04, CON-05).

use std::time::Duration;

use super::harness::Harness;
use super::scene::{
    MARGIN, RETENTION, Scene, Stop, TERM, claim, complete, ensure, failed, id, id_of, release,
    same, word,
};
use super::{Case, Ending};
use crate::lease::Fence;
use crate::machine::{Claim, Claimed};
use crate::record::OnLapse;

/// The rule that lets another attempt run as soon as the lease is over.
const AT_ONCE: OnLapse = OnLapse::Reclaim { after: Duration::ZERO, attempts_max: u32::MAX };

pub(super) const CASES: [Case; 3] = [
    Case::free("leases_are_judged_by_one_clock", |h| Ending::of(one_clock(h))),
    Case::free("con_04_renewal_never_shortens_a_lease", |h| Ending::of(never_shortened(h))),
    Case::free("con_05_fences_grow_when_the_clock_steps_back", |h| Ending::of(fences_grow(h))),
];

/// Whichever node asks, the store's time is one (section 7.4): a lease granted by one node is
/// neither over nor longer for another.
async fn one_clock(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let [one, other] = scene.nodes().await;
    for (granting, asking, n) in [(&one, &other, 1), (&other, &one, 3)] {
        let wish = Claim { id: id_of(n), ..claim(n) };
        let before = asking.stats().await?.now;
        let Claimed::Granted(lease) = granting.claim(&wish).await? else {
            return failed("a first claim was held");
        };
        let after = asking.stats().await?.now;
        let within = (before..=after).contains(&lease.claimed_at);
        ensure(within, format_args!("{:?} is not in {before:?}..={after:?}", lease.claimed_at))?;
        for (by, expected) in [(TERM - MARGIN, "running"), (MARGIN, "lapsed")] {
            scene.advance(by).await;
            let seen = asking.peek(&wish.id).await?;
            let status = seen.map(|seen| word(seen.record.status(seen.now)));
            same("what the other node sees", &status, &Some(expected))?;
        }
    }
    Ok(())
}

async fn never_shortened(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let lease = scene.grant(&claim(1)).await?;
    scene.step_back(RETENTION).await?;
    match scene.renew(&lease, None).await? {
        Ok(renewed) => same("the lease's end", &renewed.until, &lease.until)?,
        Err(lost) => return failed(format_args!("a living owner lost its lease: {lost}")),
    }
    let stands = scene.live(id()).await?.map(|record| record.lease().until);
    same("the end that stands", &stands, &Some(lease.until))
}

/// While the clock is behind the first claim, each way to a new grant: after a release, after the owner
/// vanished, and when the record has expired.
async fn fences_grow(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let wish = |n| Claim { on_lapse: AT_ONCE, ..claim(n) };
    let first = scene.grant(&wish(1)).await?;
    scene.settled(&first, &release()).await?;
    scene.step_back(2 * RETENTION).await?;
    let second = scene.grant(&wish(2)).await?;
    scene.advance(TERM).await;
    let third = scene.grant(&wish(3)).await?;
    scene.settled(&third, &complete(1)).await?;
    scene.advance(RETENTION).await;
    let fourth = scene.grant(&wish(4)).await?;
    same("the number of the attempt after expiry", &fourth.number, &1)?;
    for (fence, lease) in (first.fence.value() + 1..).zip([second, third, fourth]) {
        ensure(lease.claimed_at < first.claimed_at, "the clock was not set back")?;
        same("the next fence", &lease.fence, &Fence::new(fence))?;
    }
    Ok(())
}

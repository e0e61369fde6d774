//! The store's own operations are safe to retry: after an error of unknown effect, the repetition
//! gives the answer that the first call gave or would have given (ruling 11, ruling 12).

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::harness::Harness;
use super::scene::{
    Scene, Stop, TERM, answer, claim, complete, doubt, ensure, failed, id, release, said, same,
};
use super::{Case, Ending};
use crate::lease::Lease;
use crate::machine::{Claimed, LeaseLost, Settlement};
use crate::record::{Phase, Settler};
use crate::response::Kept;
use crate::store::{Effect, Fault, Faulty, LeaseError, Operation, Store as _, StoreError};

pub(super) const CASES: [Case; 11] = [
    Case::free("retry_of_claim_after_a_lost_answer_gets_the_grant", |h| {
        Ending::of(claim_again(h, Fault::After))
    }),
    Case::free("retry_of_claim_after_a_lost_request_gets_the_grant", |h| {
        Ending::of(claim_again(h, Fault::Before))
    }),
    Case::free("retry_of_held_claim_is_held", |h| Ending::of(held_again(h))),
    Case::free("retry_of_renewal_keeps_the_lease", |h| Ending::of(renew_again(h))),
    Case::free("retry_of_complete_gets_the_first_answer", |h| Ending::of(complete_again(h))),
    Case::free("retry_of_release_gets_the_first_answer", |h| Ending::of(release_again(h))),
    Case::free("retry_of_doubt_gets_the_first_answer", |h| Ending::of(doubt_again(h))),
    Case::free("retry_of_operator_settlement_gets_the_first_answer", |h| {
        Ending::of(operator_again(h))
    }),
    Case::free("late_retry_of_release_does_not_free_the_next_attempt", |h| {
        Ending::of(late_release(h))
    }),
    Case::free("dropped_claim_is_made_or_not", |h| Ending::of(dropped_claim(h))),
    Case::free("dropped_settlement_is_made_or_not", |h| Ending::of(dropped_settlement(h))),
];

/// What was lost must say that it may have happened.
fn lost<T: std::fmt::Debug>(answered: Result<T, StoreError>) -> Result<(), Stop> {
    match answered {
        Err(error) => same("the effect", &error.effect(), &Effect::Unknown),
        Ok(value) => failed(format_args!("a planned fault gave {value:?}")),
    }
}

fn settle_lost(answered: Result<(), LeaseError>) -> Result<(), Stop> {
    match answered {
        Err(LeaseError::Store(error)) => lost::<()>(Err(error)),
        other => failed(format_args!("a planned fault gave {other:?}")),
    }
}

async fn claim_again(harness: &dyn Harness, fault: Fault) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let happened = matches!(fault, Fault::After);
    let faulty = Faulty::new(scene.store());
    faulty.plan(Operation::Claim, fault);
    lost(faulty.claim(&claim(1)).await)?;
    let first = scene.live(id()).await?.map(|record| record.lease());
    same("whether the step happened", &first.is_some(), &happened)?;
    for _ in 0..3 {
        match faulty.claim(&claim(1)).await? {
            Claimed::Granted(lease) => {
                same("the number of the attempt", &lease.number, &1)?;
                if let Some(first) = &first {
                    same("the lease", &lease, first)?;
                }
            }
            Claimed::Held(observed) => {
                return failed(format_args!("the retry was held: {observed:?}"));
            }
        }
    }
    scene.hold(&claim(2)).await.map(|_| ())
}

async fn held_again(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    scene.grant(&claim(1)).await?;
    let faulty = Faulty::new(scene.store());
    for fault in [Fault::After, Fault::Before] {
        faulty.plan(Operation::Claim, fault);
        let before = scene.live(id()).await?;
        lost(faulty.claim(&claim(2)).await)?;
        let seen = scene.hold(&claim(2)).await?;
        same("the record shown", &Some(seen.record), &before)?;
    }
    Ok(())
}

async fn renew_again(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let first = scene.grant(&claim(1)).await?;
    let faulty = Faulty::new(scene.store());
    let steps = Some(Bytes::from_static(b"step"));
    for fault in [Fault::After, Fault::Before] {
        scene.advance(Duration::from_secs(1)).await;
        faulty.plan(Operation::Renew, fault);
        match faulty.renew(&first, TERM, steps.clone()).await {
            Err(LeaseError::Store(error)) => lost::<()>(Err(error))?,
            other => return failed(format_args!("a planned fault gave {other:?}")),
        }
        match said(faulty.renew(&first, TERM, steps.clone()).await)? {
            Ok(lease) => {
                ensure(lease.until > first.until, "the lease is not longer")?;
                let expected =
                    Lease { progress: steps.clone(), until: lease.until, ..first.clone() };
                same("the lease", &lease, &expected)?;
            }
            Err(lost) => return failed(format_args!("the retry was refused: {lost}")),
        }
    }
    Ok(())
}

/// The retry carries another answer, as a second reading of a broken upstream might: the first
/// settlement stands.
async fn settle_again(
    harness: &dyn Harness,
    first: Settlement,
    retry: Settlement,
    by: Settler,
) -> Result<Phase, Stop> {
    let scene = Scene::new(harness).await;
    let lease = scene.grant(&claim(1)).await?;
    if by == Settler::Operator {
        scene.advance(TERM).await;
    }
    let faulty = Faulty::new(scene.store());
    faulty.plan(Operation::Settle, Fault::Before);
    settle_lost(faulty.settle(&lease, &first, by).await)?;
    ensure(
        matches!(scene.status(id()).await?, "running" | "lapsed"),
        "a settlement happened that was never sent",
    )?;
    faulty.plan(Operation::Settle, Fault::After);
    settle_lost(faulty.settle(&lease, &first, by).await)?;
    let stands = scene.live(id()).await?;
    for with in [&first, &retry, &first] {
        same("the retry's answer", &said(faulty.settle(&lease, with, by).await)?, &Ok(()))?;
        same("the record", &scene.live(id()).await?, &stands)?;
        scene.advance(Duration::from_secs(1)).await;
    }
    match stands {
        Some(record) => Ok(record.phase),
        None => failed("nothing stands after a settlement"),
    }
}

async fn complete_again(harness: &dyn Harness) -> Result<(), Stop> {
    let phase = settle_again(harness, complete(1), complete(2), Settler::Owner).await?;
    match phase {
        Phase::Completed { kept, .. } => same("the answer", &kept, &Kept::Response(answer(1))),
        phase => failed(format_args!("it holds {phase:?}")),
    }
}

async fn release_again(harness: &dyn Harness) -> Result<(), Stop> {
    settle_again(harness, release(), release(), Settler::Owner).await.map(|_| ())
}

async fn doubt_again(harness: &dyn Harness) -> Result<(), Stop> {
    settle_again(harness, doubt(), doubt(), Settler::Owner).await.map(|_| ())
}

async fn operator_again(harness: &dyn Harness) -> Result<(), Stop> {
    settle_again(harness, complete(1), complete(2), Settler::Operator).await?;
    settle_again(harness, release(), release(), Settler::Operator).await.map(|_| ())
}

/// CON-05: a release that arrives twice, the second time when the key has changed hands.
async fn late_release(harness: &dyn Harness) -> Result<(), Stop> {
    let scene = Scene::new(harness).await;
    let first = scene.grant(&claim(1)).await?;
    scene.settled(&first, &release()).await?;
    let second = scene.grant(&claim(2)).await?;
    let stands = scene.live(id()).await?;
    for with in [release(), complete(1), doubt()] {
        let late = scene.settle(&first, &with, Settler::Owner).await?;
        same("the answer", &late, &Err(LeaseLost::Superseded { by: second.fence }))?;
        same("the record", &scene.live(id()).await?, &stands)?;
    }
    scene.settled(&second, &complete(2)).await
}

/// How often a step is polled before it is let go, at most.
const POLLS_MAX: u8 = 4;

/// Polls a step so many times and lets go of it.
async fn drop_after(polls: u8, step: impl Future) {
    let mut step = pin!(step);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(step.as_mut().poll(context).is_ready())).await {
            return;
        }
    }
}

async fn dropped_claim(harness: &dyn Harness) -> Result<(), Stop> {
    for polls in 1..=POLLS_MAX {
        let scene = Scene::new(harness).await;
        let (store, wish) = (scene.store(), claim(1));
        drop_after(polls, store.claim(&wish)).await;
        let lease = scene.grant(&claim(1)).await?;
        same("the number of the attempt", &lease.number, &1)?;
        let stands = scene.live(id()).await?.map(|record| record.lease());
        same("the lease that stands", &stands, &Some(lease.clone()))?;
        scene.hold(&claim(2)).await?;
        scene.settled(&lease, &complete(1)).await?;
    }
    Ok(())
}

async fn dropped_settlement(harness: &dyn Harness) -> Result<(), Stop> {
    for polls in 1..=POLLS_MAX {
        let scene = Scene::new(harness).await;
        let lease = scene.grant(&claim(1)).await?;
        let (store, with) = (scene.store(), complete(1));
        drop_after(polls, store.settle(&lease, &with, Settler::Owner)).await;
        ensure(
            matches!(scene.status(id()).await?, "running" | "completed"),
            "a dropped settlement left the record between",
        )?;
        scene.settled(&lease, &complete(1)).await?;
        same("the status", &scene.status(id()).await?, &"completed")?;
    }
    Ok(())
}

//! Leases: kept up while the owner lives, worthless once another holds the record.

use super::*;
use crate::machine::{LeaseLost, Retention};
use crate::policy::OnUnknown;
use crate::store::LeaseError;
use crate::time::ManualClock;

#[tokio::test(start_paused = true)]
async fn con_04_a_slow_owner_keeps_its_lease() {
    let policy = Policy { upstream_timeout: secs(300), ..Policy::default() };
    let one = Scene::with(policy);
    let two = one.other_node();
    let owner = one.start("k", secs(100), answer(200)).await;
    for _ in 0..9 {
        assert_eq!(two.run("k", secs(0), answer(200)).await, "busy");
    }
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
    assert_eq!(two.run("k", secs(0), answer(200)).await, "replayed 200");
    assert_eq!(one.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn con_04_renewals_that_fail_are_tried_again_before_the_lease_ends() {
    let policy = Policy { upstream_timeout: secs(300), ..Policy::default() };
    let one = Scene::with(policy);
    let two = one.other_node();
    for fault in [Fault::Before, Fault::After, Fault::Refused, Fault::Before] {
        one.plan(Operation::Renew, fault);
    }
    let owner = one.start("k", secs(35), answer(200)).await;
    for _ in 0..3 {
        assert_eq!(two.run("k", secs(0), answer(200)).await, "busy");
    }
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
    assert_eq!(one.heard.count("lease-lost"), 0);
}

#[tokio::test(start_paused = true)]
async fn con_05_an_overtaken_owner_changes_nothing() {
    let clock = Arc::new(ManualClock::default());
    let policy =
        Policy { late_answer: secs(0), unknown: OnUnknown::ReExecute, ..Policy::default() };
    let of_store = Arc::clone(&clock) as Arc<dyn Clock>;
    let one = Scene::by_clocks(policy, of_store, Arc::new(RuntimeClock(Instant::now())));
    let two = one.other_node();
    let told = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&told);
    let slow = move |attempt: Attempt| async move {
        tokio::time::sleep(secs(5)).await;
        let saved = attempt.save("step".into()).await;
        *tell.lock().unwrap() = Some((attempt.is_lost(), attempt.may_send(), saved));
        answer(200)
    };
    let guard = one.guard.clone();
    let intent = intent("k", &one.policy);
    let owner = tokio::spawn(async move { words(&guard.run(intent, slow).await) });
    settle_down().await;
    // The store's time moves past the lease before the owner has renewed it.
    clock.advance(secs(11));
    assert_eq!(two.run("k", secs(0), answer(201)).await, "ran 201 kept");
    // Its caller gets the true answer of its own call.
    assert!(owner.await.unwrap().starts_with("ran 200"));
    let (is_lost, may_send, saved) = told.lock().unwrap().take().unwrap();
    assert!(is_lost && !may_send);
    assert!(matches!(saved, Err(LeaseError::Lost(LeaseLost::Superseded { .. }))));
    assert_eq!(one.run("k", secs(0), answer(500)).await, "replayed 201");
    // At the first renewal, and when it settled.
    assert_eq!(one.heard.count("lease-lost"), 2);
}

#[tokio::test(start_paused = true)]
async fn ruling_9_a_suspended_owner_sends_nothing_and_frees_the_key() {
    let of_guard = Arc::new(ManualClock::default());
    let of_store = Arc::new(RuntimeClock(Instant::now()));
    let scene =
        Scene::by_clocks(Policy::default(), of_store, Arc::clone(&of_guard) as Arc<dyn Clock>);
    let suspended = |by: Duration| {
        let clock = Arc::clone(&of_guard);
        move |attempt: Attempt| async move {
            clock.advance(by);
            if attempt.may_send() { answer(200) } else { Outcome::NotSent }
        }
    };
    let intent = intent("k", &scene.policy);
    // The margin is a tenth of the term.
    let verdict = scene.guard.run(intent.clone(), suspended(secs(9))).await;
    assert_eq!(words(&verdict), "ran not-sent");
    let verdict = scene.guard.run(intent, suspended(millis(8_999))).await;
    assert_eq!(words(&verdict), "ran 200 kept");
}

#[tokio::test(start_paused = true)]
async fn ruling_9_a_claim_that_took_its_time_counts_from_when_it_was_asked_for() {
    let of_guard = Arc::new(ManualClock::default());
    let of_store = Arc::new(RuntimeClock(Instant::now()));
    let scene =
        Scene::by_clocks(Policy::default(), of_store, Arc::clone(&of_guard) as Arc<dyn Clock>);
    let clock = Arc::clone(&of_guard);
    let slowly = Box::pin(async move { clock.advance(secs(9)) });
    scene.plan(Operation::Claim, Fault::Delay(slowly));
    let verdict = scene.guard.run(intent("k", &scene.policy), |attempt| async move {
        if attempt.may_send() { answer(200) } else { Outcome::NotSent }
    });
    assert_eq!(words(&verdict.await), "ran not-sent");
}

#[tokio::test(start_paused = true)]
async fn ruling_9_a_renewed_lease_may_send_again() {
    let mut scene = Scene::new();
    scene.policy.upstream_timeout = secs(60);
    scene.policy.retention = Retention::Never;
    let verdict = scene.guard.run(intent("k", &scene.policy), |attempt| async move {
        tokio::time::sleep(secs(55)).await;
        if attempt.may_send() { answer(200) } else { Outcome::NotSent }
    });
    assert_eq!(words(&verdict.await), "ran 200 kept");
}

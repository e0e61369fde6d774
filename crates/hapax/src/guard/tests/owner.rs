//! The owner's side: callers that leave, effects that panic, time out or answer late.

use super::*;
use crate::machine::{Retention, Settlement};
use crate::record::{Settler, Status};

#[tokio::test(start_paused = true)]
async fn exe_05_a_caller_that_leaves_cancels_nothing() {
    let scene = Scene::new();
    let caller = scene.start("k", secs(5), answer(200)).await;
    caller.abort();
    pass(secs(5)).await;
    assert_eq!(scene.guard.in_flight(), 0);
    assert_eq!(scene.run("k", secs(5), answer(200)).await, "replayed 200");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_unknown_outcome_and_the_key_is_held() {
    let scene = Scene::new();
    let early = scene.guard.run(intent("early", &scene.policy), |_attempt| {
        assert!(std::hint::black_box(false), "before the first await, on purpose");
        std::future::ready(answer(200))
    });
    assert_eq!(words(&early.await), "ran unknown panicked");
    let late = scene.guard.run(intent("late", &scene.policy), |_attempt| async {
        tokio::time::sleep(secs(1)).await;
        panic!("after an await, on purpose");
    });
    assert_eq!(words(&late.await), "ran unknown panicked");
    for key in ["early", "late"] {
        assert_eq!(scene.run(key, secs(0), answer(200)).await, "held");
    }
    assert_eq!(scene.runs(), 0);
    assert_eq!(scene.heard.count("unknown panicked"), 2);
}

#[tokio::test(start_paused = true)]
async fn dbt_01_and_07_a_time_out_is_told_and_a_late_answer_settles() {
    let scene = Scene::new();
    assert_eq!(scene.run("k", secs(50), answer(201)).await, "ran unknown timed-out");
    assert_eq!(scene.after(), secs(30));
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "held");
    assert_eq!(scene.after(), secs(30));
    pass(secs(20)).await;
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "replayed 201");
    assert_eq!((scene.runs(), scene.guard.in_flight()), (1, 0));
    assert_eq!(scene.heard.count("resolved by late-answer"), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_07_a_late_failure_frees_the_key() {
    let scene = Scene::new();
    assert_eq!(scene.run("k", secs(50), answer(500)).await, "ran unknown timed-out");
    pass(secs(20)).await;
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "ran 200 kept");
}

#[tokio::test(start_paused = true)]
async fn dbt_07_an_answer_past_the_cap_settles_nothing() {
    let scene = Scene::new();
    assert_eq!(scene.run("k", secs(91), answer(201)).await, "ran unknown timed-out");
    pass(secs(59)).await;
    assert_eq!(scene.guard.in_flight(), 1);
    pass(secs(2)).await;
    assert_eq!(scene.guard.in_flight(), 0);
    pass(secs(3600 * 24 * 30)).await;
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "held");
    assert_eq!(scene.status("k").await, Status::InDoubt);
    assert_eq!(scene.heard.count("resolved by late-answer"), 0);
}

#[tokio::test(start_paused = true)]
async fn dbt_01_callers_that_wait_hear_of_the_time_out() {
    let mut scene = Scene::new();
    scene.policy.concurrent = Concurrent::Wait(secs(60));
    let owner = scene.start("k", secs(50), answer(200)).await;
    let waiter = scene.start("k", secs(50), answer(200)).await;
    assert_eq!(all(vec![owner, waiter]).await, ["held", "ran unknown timed-out"]);
    assert_eq!(scene.after(), secs(30));
}

#[tokio::test(start_paused = true)]
async fn fai_05_a_complete_502_is_shared_and_then_held() {
    let scene = Scene::new();
    let owner = scene.start("k", secs(1), answer(502)).await;
    let waiter = scene.start("k", secs(1), answer(502)).await;
    assert_eq!(all(vec![owner, waiter]).await, ["ran 502", "waited 502"]);
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "held");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn adm_03_what_an_operator_settles_as_not_executed_runs_at_once() {
    let scene = Scene::new();
    assert_eq!(scene.run("k", secs(50), answer(201)).await, "ran unknown timed-out");
    let id = intent("k", &scene.policy).id;
    let lease = scene.lease_of(scene.store.peek(&id).await.unwrap());
    let with = Settlement::Release { retention: Retention::Never, status: None };
    scene.store.settle(&lease, &with, Settler::Operator).await.unwrap();
    assert_eq!(scene.run("k", secs(1), answer(202)).await, "ran 202 kept");
    assert_eq!(scene.after(), secs(31));
    // The first call's answer comes at last; it finds another owner's record and leaves it alone.
    pass(secs(20)).await;
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "replayed 202");
    assert_eq!(scene.heard.count("resolved by late-answer"), 0);
    // At its next renewal, and when it settled.
    assert_eq!(scene.heard.count("lease-lost"), 2);
    assert_eq!(scene.guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn m10_what_the_handler_settled_itself_is_not_settled_again() {
    let scene = Scene::new();
    let store = Arc::clone(&scene.store);
    let response = RecordedResponse { status: 207, ..RecordedResponse::value("in one commit") };
    let effect = move |attempt: Attempt| async move {
        let lease = attempt.lease().unwrap().clone();
        let kept = Kept::Response(response.clone());
        let with = Settlement::Complete { kept, retention: Retention::Never };
        store.settle(&lease, &with, Settler::Owner).await.unwrap();
        Outcome::Settled { response }
    };
    let ran = scene.guard.run(intent("k", &scene.policy), effect).await;
    assert_eq!(words(&ran), "ran settled 207 kept");
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "replayed 207");
}

#[tokio::test(start_paused = true)]
async fn ttl_04_the_advertised_end_is_not_later_than_the_kept_one() {
    let scene = Scene::new();
    let effect = scene.effect(secs(7), answer(200));
    let Verdict::Ran(ran) = scene.guard.run(intent("k", &scene.policy), effect).await else {
        panic!("did not run");
    };
    let effect = scene.effect(secs(7), answer(200));
    let Verdict::Replayed(replay) = scene.guard.run(intent("k", &scene.policy), effect).await
    else {
        panic!("was not replayed");
    };
    let (first, then) = (ran.expires_at.unwrap(), replay.expires_at.unwrap());
    assert_eq!(then.since(first), secs(7));
}

#[tokio::test(start_paused = true)]
async fn ttl_01_after_its_time_a_key_is_new_for_any_payload_and_ttl_03_never_while_running() {
    let mut scene = Scene::new();
    scene.policy.retention = Retention::For(secs(1));
    let owner = scene.start("k", secs(20), answer(200)).await;
    pass(secs(5)).await;
    let swept = scene.store.sweep(std::num::NonZeroU32::MAX).await.unwrap();
    assert_eq!(swept, 0);
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
    pass(millis(900)).await;
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "replayed 200");
    pass(millis(100)).await;
    let effect = scene.effect(secs(0), answer(201));
    let other = another_payload(intent("k", &scene.policy));
    assert_eq!(words(&scene.guard.run(other, effect).await), "ran 201 kept");
}

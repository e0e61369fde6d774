//! Simultaneous duplicates within one process share one run (ruling 1, CON).

use super::*;

#[tokio::test(start_paused = true)]
async fn con_03_fifty_callers_are_one_run_and_get_its_answer() {
    let scene = Scene::new();
    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(scene.start("k", secs(1), answer(201)).await);
    }
    let ended = all(calls).await;
    assert_eq!(ended[0], "ran 201 kept");
    assert!(ended[1..].iter().all(|words| words == "waited 201 kept"), "{ended:?}");
    assert_eq!(scene.runs(), 1);
    assert_eq!(scene.run("k", secs(1), answer(201)).await, "replayed 201");
    assert_eq!(scene.guard.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn ruling_1_an_answer_that_frees_the_key_is_shared_and_a_later_caller_runs_again() {
    for status in [429, 500] {
        let scene = Scene::new();
        let mut calls = Vec::new();
        for _ in 0..50 {
            calls.push(scene.start("k", secs(1), answer(status)).await);
        }
        let ended = all(calls).await;
        assert_eq!(ended[0], format!("ran {status}"));
        assert!(ended[1..].iter().all(|words| *words == format!("waited {status}")), "{ended:?}");
        assert_eq!(scene.runs(), 1);
        assert_eq!(scene.run("k", secs(1), answer(200)).await, "ran 200 kept");
        assert_eq!(scene.heard.count(&format!("rerun {status}")), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn exe_08_followers_share_that_nothing_was_sent() {
    let scene = Scene::new();
    let first = scene.start("k", secs(1), Outcome::NotSent).await;
    let second = scene.start("k", secs(1), Outcome::NotSent).await;
    assert_eq!(all(vec![first, second]).await, ["ran not-sent", "waited not-sent"]);
    assert_eq!(scene.run("k", secs(0), answer(200)).await, "ran 200 kept");
}

#[tokio::test(start_paused = true)]
async fn con_01_reject_is_busy_at_once_and_con_02_replays_later() {
    let mut scene = Scene::new();
    scene.policy.concurrent = Concurrent::Reject;
    let owner = scene.start("k", secs(5), answer(200)).await;
    assert_eq!(scene.run("k", secs(5), answer(200)).await, "busy");
    assert_eq!(scene.after(), secs(0));
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
    assert_eq!(scene.run("k", secs(5), answer(200)).await, "replayed 200");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn con_01_waiting_ends_at_its_cap() {
    let scene = Scene::new();
    let owner = scene.start("k", secs(15), answer(200)).await;
    pass(secs(1)).await;
    assert_eq!(scene.run("k", secs(15), answer(200)).await, "busy");
    assert_eq!(scene.after(), secs(11));
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_end_is_no_overflow() {
    let mut scene = Scene::new();
    scene.policy.concurrent = Concurrent::Wait(Duration::MAX);
    let owner = scene.start("k", secs(20), answer(200)).await;
    let waiter = scene.start("k", secs(20), answer(200)).await;
    assert_eq!(all(vec![owner, waiter]).await, ["ran 200 kept", "waited 200 kept"]);
}

#[tokio::test(start_paused = true)]
async fn con_03_waiters_are_bounded_and_places_are_given_back() {
    let mut scene = Scene::new();
    scene.policy.waiters_max = 2;
    let owner = scene.start("k", secs(5), answer(200)).await;
    let waiters = [
        scene.start("k", secs(5), answer(200)).await,
        scene.start("k", secs(5), answer(200)).await,
    ];
    assert_eq!(scene.run("k", secs(5), answer(200)).await, "busy");
    assert_eq!(scene.after(), secs(0));
    waiters[0].abort();
    settle_down().await;
    let third = scene.start("k", secs(5), answer(200)).await;
    assert_eq!(scene.run("k", secs(5), answer(200)).await, "busy");
    assert_eq!(third.await.unwrap(), "waited 200 kept");
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
}

#[tokio::test(start_paused = true)]
async fn con_03_a_waiter_that_leaves_cancels_nothing() {
    let scene = Scene::new();
    let owner = scene.start("k", secs(5), answer(200)).await;
    let waiter = scene.start("k", secs(5), answer(200)).await;
    waiter.abort();
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn fpr_03_another_payload_is_a_mismatch_while_running_and_fpr_02_spoils_nothing() {
    let scene = Scene::new();
    let owner = scene.start("k", secs(5), answer(200)).await;
    let other = another_payload(intent("k", &scene.policy));
    let effect = scene.effect(secs(5), answer(200));
    assert_eq!(words(&scene.guard.run(other.clone(), effect).await), "mismatch");
    assert_eq!(scene.after(), secs(0));
    assert_eq!(owner.await.unwrap(), "ran 200 kept");
    let effect = scene.effect(secs(5), answer(200));
    assert_eq!(words(&scene.guard.run(other, effect).await), "mismatch");
    assert_eq!(scene.run("k", secs(5), answer(200)).await, "replayed 200");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn con_07_a_stuck_key_leaves_others_alone() {
    let scene = Scene::new();
    let _stuck = scene.start("stuck", secs(1000), answer(200)).await;
    assert_eq!(scene.run("free", secs(0), answer(200)).await, "ran 200 kept");
    assert_eq!(scene.after(), secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_while_asking_leaves_nobody_waiting() {
    for concurrent in [Concurrent::Reject, Concurrent::Wait(secs(10))] {
        let mut scene = Scene::new();
        scene.policy.concurrent = concurrent;
        let fault = async {
            tokio::time::sleep(millis(10)).await;
            panic!("a store that panics on purpose");
        };
        scene.plan(Operation::Claim, Fault::Delay(Box::pin(fault)));
        let leader = scene.start("k", secs(0), answer(200)).await;
        let follower = scene.start("k", secs(0), answer(200)).await;
        assert_eq!(all(vec![leader, follower]).await, ["store-failed", "store-failed"]);
        assert_eq!(scene.after(), millis(10));
        assert_eq!((scene.runs(), scene.guard.in_flight()), (0, 0));
    }
}

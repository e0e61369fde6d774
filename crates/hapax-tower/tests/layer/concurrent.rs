//! CON: simultaneous duplicates.

use std::time::Duration;

use hapax::event::Answer;
use hapax::{Concurrent, Policy};

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn con_01_02_reject_is_409_at_once_and_the_result_replays_later() {
    let scene = Scene::of(Policy { concurrent: Concurrent::Reject, ..Policy::default() });
    scene.plan(slow(secs(5), answer(201, &[], "made")));
    let owner = scene.start(post("k", "b")).await;
    let busy = scene.send(post("k", "b")).await;
    busy.problem(409, "in-progress");
    assert!(busy.retry_after() >= 1);
    assert_eq!((scene.after(), scene.runs()), (secs(0), 1));
    assert_eq!(owner.await.unwrap().status, 201);
    let replay = scene.send(post("k", "b")).await;
    assert!(replay.is_replay() && replay.status == 201);
}

#[tokio::test(start_paused = true)]
async fn con_01_waiting_ends_in_409_at_its_cap() {
    let scene = Scene::new();
    scene.plan(slow(secs(25), answer(201, &[], "made")));
    let owner = scene.start(post("k", "b")).await;
    let busy = scene.send(post("k", "b")).await;
    busy.problem(409, "in-progress");
    assert!(busy.retry_after() >= 1);
    assert_eq!(scene.after(), secs(10));
    assert_eq!(owner.await.unwrap().status, 201);
    assert_eq!(scene.heard.count(Answer::InProgress), 1);
}

#[tokio::test(start_paused = true)]
async fn con_03_who_waits_gets_the_marked_answer() {
    let scene = Scene::new();
    scene.plan(slow(secs(5), answer(201, &[("x", "1")], "made")));
    let owner = scene.start(post("k", "b")).await;
    let waited = scene.send(post("k", "b")).await;
    assert_eq!((waited.status.as_u16(), waited.header("x")), (201, Some("1")));
    assert!(waited.is_replay());
    assert_eq!(waited.header("age"), Some("0"));
    assert_eq!(
        waited.header("idempotency-expires"),
        owner.await.unwrap().header("idempotency-expires")
    );
    assert_eq!(scene.heard.count(Answer::Waited), 1);
    assert_eq!(scene.after(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn ruling_1_fifty_clicks_on_a_failing_service_are_one_run() {
    for status in [429, 500, 503] {
        let scene = Scene::new();
        scene.plan(slow(secs(1), answer(status, &[("retry-after", "7")], "failed")));
        let mut calls = Vec::new();
        for _ in 0..50 {
            calls.push(scene.start(post("k", "b")).await);
        }
        for call in calls {
            let answered = call.await.unwrap();
            assert_eq!((answered.status.as_u16(), &answered.body[..]), (status, &b"failed"[..]));
            assert_eq!(answered.header("retry-after"), Some("7"));
            // It is not kept, so no time is promised.
            assert_eq!(answered.header("idempotency-expires"), None);
        }
        assert_eq!(scene.runs(), 1);
        assert_eq!(scene.send(post("k", "b")).await.status, 200);
        assert_eq!(scene.runs(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn con_03_waiters_are_bounded() {
    let scene = Scene::of(Policy { waiters_max: 1, ..Policy::default() });
    scene.plan(slow(secs(5), answer(201, &[], "made")));
    let _owner = scene.start(post("k", "b")).await;
    let waiter = scene.start(post("k", "b")).await;
    scene.send(post("k", "b")).await.problem(409, "in-progress");
    assert_eq!(scene.after(), Duration::ZERO);
    assert!(waiter.await.unwrap().is_replay());
}

#[tokio::test(start_paused = true)]
async fn con_07_another_key_does_not_wait() {
    let scene = Scene::new();
    scene.plan(slow(secs(1000), answer(201, &[], "made")));
    let _stuck = scene.start(post("stuck", "b")).await;
    assert_eq!(scene.send(post("k", "b")).await.status, 200);
    assert_eq!(scene.after(), Duration::ZERO);
}

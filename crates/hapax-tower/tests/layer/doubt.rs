//! DBT: outcomes that nobody knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hapax::guard::{Probe, Probed};
use hapax::store::{Fault, Operation};
use hapax::{OnUnknown, Policy, RecordedResponse};
use hapax_tower::EffectError;
use tokio::time::Instant;

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn dbt_01_02_07_a_time_out_is_504_then_409_then_the_late_answer() {
    let scene = Scene::new();
    scene.plan(slow(secs(50), answer(201, &[], "made at last")));
    scene.send(post("k", "b")).await.problem(504, "outcome-unknown");
    assert_eq!(scene.after(), secs(30));
    for _ in 0..3 {
        scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
    }
    pass(secs(20)).await;
    let replay = scene.send(post("k", "b")).await;
    assert!(replay.is_replay() && replay.body == "made at last");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_02_lost_calls_and_panics_are_502_and_then_held() {
    let plans = [
        Plan::Fail("no idea".into()),
        Plan::Fail(Box::new(EffectError::Unknown(hapax::Cause::Lost))),
        Plan::Panic,
    ];
    for plan in plans {
        let scene = Scene::new();
        scene.plan(plan);
        scene.send(post("k", "b")).await.problem(502, "outcome-unknown");
        for _ in 0..3 {
            scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
        }
        assert_eq!(scene.runs(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn ruling_2_a_complete_504_reaches_the_first_caller_as_it_came() {
    let scene = Scene::new();
    scene.plan(answer(504, &[("x", "1")], "of the upstream"));
    let first = scene.send(post("k", "b")).await;
    assert_eq!((first.status.as_u16(), &first.body[..]), (504, &b"of the upstream"[..]));
    assert_eq!(first.header("idempotency-expires"), None);
    scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
}

#[tokio::test(start_paused = true)]
async fn dbt_04_a_second_attempt_has_the_same_key_and_says_its_number() {
    let scene = Scene::of(Policy { unknown: OnUnknown::ReExecute, ..Policy::default() });
    scene.plan(Plan::Fail("lost".into())).plan(Plan::Fail("lost".into()));
    scene.send(post("k", "b")).await.problem(502, "outcome-unknown");
    scene.send(post("k", "b")).await.problem(409, "in-progress");
    pass(secs(60)).await;
    scene.send(post("k", "b")).await.problem(502, "outcome-unknown");
    pass(secs(60)).await;
    for _ in 0..10 {
        scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
    }
    let arrived = scene.upstream.arrived();
    assert_eq!(arrived.len(), 2);
    let numbers = arrived.iter().map(|arrived| arrived.attempt.as_ref().unwrap());
    let numbers: Vec<u32> = numbers.map(|attempt| attempt.lease().unwrap().number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(arrived[0].headers["idempotency-key"], arrived[1].headers["idempotency-key"]);
}

#[derive(Debug)]
struct Found(AtomicU32);

#[async_trait]
impl Probe for Found {
    async fn ask(&self) -> Probed {
        self.0.fetch_add(1, Ordering::SeqCst);
        Probed::Executed(RecordedResponse { status: 201, ..RecordedResponse::value("found") })
    }
}

#[tokio::test(start_paused = true)]
async fn dbt_05_a_probe_beside_the_request_is_asked() {
    let scene = Scene::of(Policy { unknown: OnUnknown::Probe, ..Policy::default() });
    let probe = Arc::new(Found(AtomicU32::new(0)));
    let with_probe = || {
        let mut request = post("k", "b");
        request.extensions_mut().insert(Arc::clone(&probe) as Arc<dyn Probe>);
        request
    };
    scene.plan(Plan::Fail("lost".into()));
    scene.send(with_probe()).await.problem(502, "outcome-unknown");
    scene.send(with_probe()).await.problem(409, "in-progress");
    pass(secs(60)).await;
    for _ in 0..2 {
        let replay = scene.send(with_probe()).await;
        assert!(replay.is_replay() && replay.body == "found");
    }
    assert_eq!((probe.0.load(Ordering::SeqCst), scene.runs()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn dbt_08_a_settlement_that_fails_does_not_cost_the_answer() {
    let scene = Scene::new();
    scene.plan(answer(201, &[], "made"));
    for _ in 0..3 {
        scene.fault(Operation::Settle, Fault::Before);
    }
    let first = scene.send(post("k", "b")).await;
    assert_eq!((first.status.as_u16(), &first.body[..]), (201, &b"made"[..]));
    let replay = scene.send(post("k", "b")).await;
    assert!(replay.is_replay() && replay.body == "made");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_10_what_draining_cuts_is_502_and_held() {
    let scene = Scene::new();
    scene.plan(slow(secs(29), answer(201, &[], "made")));
    let owner = scene.start(post("k", "b")).await;
    scene.guard.drain(Instant::now() + secs(5)).await;
    owner.await.unwrap().problem(502, "outcome-unknown");
    assert_eq!(scene.after(), secs(5));
}

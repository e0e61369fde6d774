//! TTL: how long keys live.

use hapax::{Policy, Retention};
use hapax_tower::Rules;

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn ttl_01_02_a_key_replays_to_its_last_moment_and_is_new_then_for_any_body() {
    let scene = Scene::new();
    scene.send(post("k", "one")).await;
    pass(secs(24 * 3600 - 1)).await;
    assert!(scene.send(post("k", "one")).await.is_replay());
    pass(secs(1)).await;
    let new = scene.send(post("k", "two")).await;
    assert_eq!((new.status.as_u16(), new.is_replay()), (200, false));
    scene.send(post("k", "one")).await.problem(422, "key-reused");
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn ruling_10_a_freed_key_with_another_body_is_a_mismatch_until_it_expires() {
    let scene = Scene::new();
    scene.plan(answer(500, &[], ""));
    scene.send(post("k", "one")).await;
    scene.send(post("k", "two")).await.problem(422, "key-reused");
    pass(secs(24 * 3600)).await;
    assert_eq!(scene.send(post("k", "two")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn ttl_01_a_key_kept_for_ever_promises_no_time() {
    let scene = Scene::of(Policy { retention: Retention::Never, ..Policy::default() });
    let first = scene.send(post("k", "b")).await;
    pass(secs(3600 * 24 * 365 * 10)).await;
    let again = scene.send(post("k", "b")).await;
    assert!(again.is_replay());
    for answered in [first, again] {
        assert_eq!(answered.header("idempotency-expires"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn ttl_03_a_retention_shorter_than_the_call_does_not_expire_it() {
    let retention = Retention::For(secs(1));
    let scene = Scene::of(Policy { retention, ..Policy::default() });
    scene.plan(slow(secs(25), answer(201, &[], "made")));
    let owner = scene.start(post("k", "b")).await;
    pass(secs(20)).await;
    assert!(scene.send(post("k", "b")).await.is_replay());
    assert_eq!(owner.await.unwrap().status, 201);
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn dbt_11_a_doubt_outlives_every_retention_unless_the_route_says_otherwise() {
    let retention = Retention::For(secs(1));
    let scene = Scene::of(Policy { retention, ..Policy::default() });
    scene.plan(answer(502, &[], ""));
    scene.send(post("k", "b")).await;
    pass(secs(3600 * 24 * 365)).await;
    scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
    let policy = Policy { unknown_retention: Some(secs(60)), ..Policy::default() };
    let scene = Scene::of(policy);
    scene.plan(answer(502, &[], ""));
    scene.send(post("k", "b")).await;
    pass(secs(59)).await;
    scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
    pass(secs(1)).await;
    assert_eq!(scene.send(post("k", "b")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn ttl_07_a_full_store_is_503_and_keeps_what_it_has() {
    let scene = Scene::bounded(Rules::default(), 1, 100);
    scene.send(post("one", "b")).await;
    let full = scene.send(post("two", "b")).await;
    full.problem(503, "store-full");
    assert!(full.retry_after() >= 1);
    assert!(scene.send(post("one", "b")).await.is_replay());
    assert_eq!(scene.runs(), 1);
}

//! SEC: what a key gives, what an outage costs, what a flood does.

use hapax::event::Answer;
use hapax::store::{Fault, Operation};
use hapax::{Policy, StoreOutage};
use hapax_tower::Rules;

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn sec_01_hostile_keys_are_only_keys() {
    let scene = Scene::new();
    let keys =
        ["\"' OR 1=1--\"", "*", "../../etc", "%0d%0aset-cookie:x", "{tag}", "\"a;b\"", "$(x)"];
    for key in keys {
        assert!(!scene.send(post(key, "b")).await.is_replay(), "{key}");
    }
    for key in keys {
        assert!(scene.send(post(key, "b")).await.is_replay(), "{key}");
    }
    assert_eq!(scene.runs(), keys.len());
}

#[tokio::test(start_paused = true)]
async fn sec_02_a_key_alone_gives_nothing() {
    let scene = Scene::new();
    scene.plan(answer(200, &[], "secret"));
    scene.send(post("k", "b")).await;
    for lines in
        [&[("idempotency-key", "k")][..], &[("idempotency-key", "k"), ("authorization", "x")]]
    {
        let mut lines = lines.to_vec();
        lines.push(("host", "api.example"));
        let other = scene.send(request("POST", "/pay", &lines, "b".into())).await;
        assert_eq!((other.status.as_u16(), &other.body[..]), (200, &b"done"[..]));
        assert!(!other.is_replay());
    }
    assert_eq!(scene.runs(), 3);
}

#[tokio::test(start_paused = true)]
async fn sec_04_neither_layer_nor_service_shows_its_secret() {
    let scene = Scene::new();
    let shown = format!("{:?} {:?}", scene.service, scene.guard);
    assert!(!shown.contains("secret of the tests"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn sec_06_without_a_store_nothing_runs() {
    let scene = Scene::new();
    scene.fault(Operation::Claim, Fault::Refused);
    let refused = scene.send(post("k", "b")).await;
    refused.problem(503, "store-unavailable");
    assert!(refused.retry_after() >= 1);
    scene.fault(Operation::Claim, Fault::Delay(Box::pin(std::future::pending())));
    scene.send(post("l", "b")).await.problem(503, "store-unavailable");
    assert_eq!((scene.runs(), scene.after()), (0, secs(5)));
    assert_eq!(scene.heard.count(Answer::StoreError), 2);
}

#[tokio::test(start_paused = true)]
async fn sec_06_an_open_route_says_that_it_ran_unprotected_to_all_who_share_it() {
    let policy = Policy { store_outage: StoreOutage::Open, ..Policy::default() };
    let scene = Scene::of(policy);
    scene.plan(slow(secs(1), answer(201, &[], "made")));
    scene.fault(Operation::Claim, Fault::Refused);
    let owner = scene.start(post("k", "b")).await;
    let follower = scene.start(post("k", "b")).await;
    for answered in [owner.await.unwrap(), follower.await.unwrap()] {
        assert_eq!((answered.status.as_u16(), &answered.body[..]), (201, &b"made"[..]));
        assert_eq!(answered.header("hapax-unprotected"), Some("store-unavailable"));
        assert_eq!(answered.header("idempotency-expires"), None);
    }
    assert_eq!(scene.heard.count(Answer::Unprotected), 1);
    // With the store back, the header is gone.
    assert_eq!(scene.send(post("k", "b")).await.header("hapax-unprotected"), None);
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn sec_06_a_large_unprotected_answer_says_so_too() {
    let policy = Policy { store_outage: StoreOutage::Open, ..Policy::default() };
    let rules =
        Rules { policy: std::sync::Arc::new(policy), response_body_max: 4, ..Rules::default() };
    let scene = Scene::with(rules);
    scene.plan(answer(200, &[], "more than four"));
    scene.fault(Operation::Claim, Fault::Refused);
    let answered = scene.send(post("k", "b")).await;
    assert_eq!((answered.complete, &answered.body[..]), (true, &b"more than four"[..]));
    assert_eq!(answered.header("hapax-unprotected"), Some("store-unavailable"));
}

#[tokio::test(start_paused = true)]
async fn sec_07_one_callers_flood_is_503_for_it_alone() {
    let scene = Scene::bounded(Rules::default(), 1000, 10);
    let mut running = Vec::new();
    for n in 0..9 {
        scene.plan(slow(secs(5), answer(200, &[], "")));
        running.push(scene.start(post(&format!("k{n}"), "b")).await);
    }
    let refused = scene.send(post("one more", "b"));
    refused.await.problem(400, "invalid-key");
    let refused = scene.send(post("one-more", "b")).await;
    refused.problem(503, "overloaded");
    assert!(refused.retry_after() >= 1);
    let lines = [("idempotency-key", "k"), ("authorization", "Bearer other")];
    let other = scene.send(request("POST", "/pay", &lines, "b".into())).await;
    assert_eq!(other.status, 200);
    for running in running {
        assert_eq!(running.await.unwrap().status, 200);
    }
    assert_eq!(scene.send(post("one-more", "b")).await.status, 200);
}

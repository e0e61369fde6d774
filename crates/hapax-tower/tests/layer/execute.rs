//! EXE: the first execution.

use std::sync::atomic::Ordering;

use axum::body::Body;
use hapax::store::{Fault, Operation};
use hapax_tower::{EffectError, Rules};

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn exe_01_and_10_the_request_arrives_once_and_as_it_was_sent() {
    let scene = Scene::new();
    scene.plan(answer(201, &[("location", "/x"), ("set-cookie", "a=1")], "made"));
    let lines = [("x-custom", "1"), ("x-custom", "2"), ("content-type", "text/plain")];
    let mut sent = post_with("\"k\";v=1", &lines, "bo\u{0}dy");
    *sent.uri_mut() = "/a%2Fb/../c?x=%20&y".parse().unwrap();
    let answered = scene.send(sent).await;
    assert_eq!((answered.status.as_u16(), &answered.body[..]), (201, &b"made"[..]));
    assert_eq!(answered.header("location"), Some("/x"));
    assert_eq!(answered.header("set-cookie"), Some("a=1"));
    assert!(!answered.is_replay() && answered.header("age").is_none(), "REP-02");
    assert!(answered.header("idempotency-expires").unwrap().ends_with("GMT"));
    let arrived = &scene.upstream.arrived()[..];
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].uri, "/a%2Fb/../c?x=%20&y");
    assert_eq!(arrived[0].body, "bo\u{0}dy");
    assert_eq!(arrived[0].headers["idempotency-key"], "\"k\";v=1");
    assert_eq!(arrived[0].headers.get_all("x-custom").iter().count(), 2);
    let attempt = arrived[0].attempt.as_ref().unwrap();
    assert_eq!(attempt.lease().unwrap().number, 1);
}

#[tokio::test(start_paused = true)]
async fn exe_03_nobody_sees_the_answer_before_it_is_settled() {
    let scene = Scene::new();
    scene.fault(Operation::Settle, Fault::Delay(Box::pin(tokio::time::sleep(secs(3)))));
    let answered = scene.send(post("k", "b")).await;
    assert_eq!((answered.status.as_u16(), scene.after()), (200, secs(3)));
}

#[tokio::test(start_paused = true)]
async fn exe_04_simultaneous_first_requests_are_one() {
    let scene = Scene::new();
    scene.plan(slow(secs(1), answer(201, &[], "made")));
    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(scene.start(post("k", "b")).await);
    }
    let mut replays = 0;
    for call in calls {
        let answered = call.await.unwrap();
        assert_eq!((answered.status.as_u16(), &answered.body[..]), (201, &b"made"[..]));
        replays += usize::from(answered.is_replay());
    }
    assert_eq!((replays, scene.runs()), (49, 1));
}

#[tokio::test(start_paused = true)]
async fn exe_05_a_client_that_leaves_cancels_nothing() {
    let scene = Scene::new();
    scene.plan(slow(secs(5), answer(201, &[], "made")));
    let client = scene.start(post("k", "b")).await;
    pass(secs(1)).await;
    client.abort();
    pass(secs(5)).await;
    let answered = scene.send(post("k", "b")).await;
    assert!(answered.is_replay() && answered.body == "made");
    assert_eq!((scene.runs(), scene.guard.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn exe_06_a_request_that_was_cut_runs_nothing_and_leaves_the_key_free() {
    let scene = Scene::new();
    let mut cut = post("k", "");
    *cut.body_mut() = pieces(&[Piece::Data("bo"), Piece::Broken]);
    scene.send(cut).await.problem(400, "invalid-request");
    // And one that is left alone in the middle.
    let mut left = post("k", "");
    *left.body_mut() = pieces(&[Piece::Data("bo"), Piece::Never]);
    scene.start(left).await.abort();
    assert_eq!((scene.runs(), scene.guard.in_flight()), (0, 0));
    assert!(!scene.send(post("k", "body")).await.is_replay());
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn htp_14_a_body_that_does_not_come_is_408_and_leaves_the_key_free() {
    let scene = Scene::new();
    let mut slow = post("k", "");
    *slow.body_mut() = pieces(&[Piece::Data("bo"), Piece::Never]);
    scene.send(slow).await.problem(408, "invalid-request");
    assert_eq!((scene.after(), scene.runs()), (secs(30), 0));
    assert!(!scene.send(post("k", "body")).await.is_replay());
}

#[tokio::test(start_paused = true)]
async fn exe_08_what_was_not_sent_frees_the_key() {
    let scene = Scene::new();
    scene.plan(Plan::Fail(Box::new(EffectError::NotSent("connection refused".into()))));
    scene.send(post("k", "b")).await.problem(502, "upstream-unreachable");
    assert!(!scene.send(post("k", "b")).await.is_replay());
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn exe_08_a_lease_too_old_to_send_under_sends_nothing() {
    let scene = Scene::new();
    // The answer to the claim takes as long as the lease but for less than the margin.
    let scene = scene.under(Rules {
        policy: std::sync::Arc::new(hapax::Policy { lease: secs(4), ..Default::default() }),
        ..Rules::default()
    });
    scene.fault(Operation::Claim, Fault::Delay(Box::pin(tokio::time::sleep(secs(4)))));
    scene.send(post("k", "b")).await.problem(502, "upstream-unreachable");
    assert_eq!(scene.runs(), 0);
    assert_eq!(scene.send(post("k", "b")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn exe_09_a_body_over_the_limit_is_413_declared_or_not() {
    let scene = Scene::with(Rules { request_body_max: 4, ..Rules::default() });
    let (body, touched) = watched();
    let mut declared = post_with("k", &[("content-length", "5")], "");
    *declared.body_mut() = body;
    scene.send(declared).await.problem(413, "body-too-large");
    assert!(!touched.load(Ordering::SeqCst), "HTP-05");
    let mut chunked = post("k", "");
    *chunked.body_mut() = pieces(&[Piece::Data("123"), Piece::Data("45"), Piece::Never]);
    scene.send(chunked).await.problem(413, "body-too-large");
    assert_eq!(scene.runs(), 0);
    assert_eq!(scene.send(post("k", "1234")).await.status, 200);
    let bare = request("POST", "/pay", &[], Body::from("12345"));
    assert_eq!(scene.send(bare).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn fai_06_rep_08_htp_07_fields_that_could_mislead_the_service_do_not_reach_it() {
    let scene = Scene::new();
    let lines = [
        ("hapax-outcome", "release"),
        ("hapax-claim", "1.2.3"),
        ("accept-encoding", "gzip"),
        ("upgrade", "websocket"),
    ];
    scene.send(post_with("k", &lines, "b")).await;
    let headers = &scene.upstream.arrived()[0].headers;
    assert_eq!(headers.get("hapax-outcome"), None);
    assert_eq!(headers.get("hapax-claim"), None);
    assert_eq!(headers.get("upgrade"), None);
    assert_eq!(headers["accept-encoding"], "identity");
    // What no key protects arrives untouched.
    scene.send(request("POST", "/pay", &lines[2..], Body::empty())).await;
    let headers = &scene.upstream.arrived()[1].headers;
    assert_eq!(
        (&headers["upgrade"], &headers["accept-encoding"]),
        (
            &"websocket".parse::<http::HeaderValue>().unwrap(),
            &"gzip".parse::<http::HeaderValue>().unwrap(),
        )
    );
}

#[tokio::test(start_paused = true)]
async fn an_axum_router_runs_once_behind_the_layer() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use tower_service::Service as _;

    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let pay = move |attempt: axum::Extension<hapax::Attempt>, body: String| async move {
        counted.fetch_add(1, Ordering::SeqCst);
        format!("{body} by attempt {}", attempt.lease().unwrap().number)
    };
    let guard = hapax::Guard::new(Arc::new(hapax::MemoryStore::default()));
    let secret = hapax::Secret::new(b"secret of the tests");
    let layer = hapax_tower::IdempotencyLayer::new(guard, secret, Rules::default());
    let mut app: axum::Router =
        axum::Router::new().route("/pay", axum::routing::post(pay)).layer(layer);
    for n in 0..3 {
        let response = app.call(post("k", "paid")).await.unwrap();
        assert_eq!(response.headers().contains_key("idempotent-replayed"), n > 0);
        let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        assert_eq!(body, "paid by attempt 1");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

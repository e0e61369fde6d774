//! HTP: what the layer owes to HTTP.

use axum::body::Body;
use hapax::Problem;
use hapax_tower::{KeyMode, KeySource, ResponseBody, Rules, problem};
use http_body_util::BodyExt as _;

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn htp_12_every_problem_is_problem_json() {
    for each in Problem::ALL {
        let base = "/.well-known/idempotency/problems";
        let response: http::Response<ResponseBody<Body>> = problem(base, each, None, None);
        let answered = Answered::read(response).await;
        let members = answered.problem(each.status(), each.code());
        assert_eq!(members["title"], each.title());
        assert_eq!(members.as_object().unwrap().len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn htp_12_one_problem_to_the_letter() {
    let rules =
        Rules { key: KeyMode::Required, problem_base: "https://p".into(), ..Rules::default() };
    let scene = Scene::with(rules);
    let answered = scene.send(request("POST", "/pay", &[], Body::empty())).await;
    let expected = "{\"type\":\"https://p/missing-key\",\"title\":\"An idempotency key is required\",\
        \"status\":400,\"detail\":\"This route takes only requests with an Idempotency-Key field. \
        Nothing was executed; send a unique key, the same on every retry.\",\"code\":\"missing-key\"}";
    assert_eq!(answered.body, expected);
}

#[tokio::test(start_paused = true)]
async fn htp_08_unprotected_requests_and_answers_stream_with_their_trailers() {
    let scene = Scene::new();
    let body = [
        Piece::Data("first"),
        Piece::Wait(secs(3600)),
        Piece::Data("second"),
        Piece::Trailer("x-sum", "1"),
    ];
    scene.plan(answer_of(200, &[], pieces(&body)));
    let mut head = scene.head(request("POST", "/events", &[], Body::from("b"))).await;
    let first = head.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((first, scene.after()), ("first".into(), secs(0)));
    let rest = head.into_body().collect().await.unwrap();
    assert_eq!(rest.trailers().unwrap()["x-sum"], "1");
    assert_eq!(rest.to_bytes(), "second");
}

#[tokio::test(start_paused = true)]
async fn htp_09_grpc_is_not_intercepted() {
    let body = [Piece::Data("frame"), Piece::Trailer("grpc-status", "13")];
    for media_type in ["application/grpc", "application/grpc+proto", "Application/GRPC; x=1"] {
        let scene = Scene::new();
        for _ in 0..2 {
            scene.plan(answer_of(200, &[("content-type", "application/grpc")], pieces(&body)));
            let answered = scene.send(post_with("k", &[("content-type", media_type)], "b")).await;
            assert!(!answered.is_replay());
            assert_eq!(answered.trailers.unwrap()["grpc-status"], "13");
        }
        assert_eq!(scene.runs(), 2, "{media_type}");
    }
    let scene = Scene::with(Rules { key_source: KeySource::Content, ..Rules::default() });
    for _ in 0..2 {
        scene.send(post_with("k", &[("content-type", "application/grpc")], "b")).await;
    }
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn htp_09_where_a_key_is_required_grpc_is_refused_not_let_through() {
    let scene = Scene::with(Rules { key: KeyMode::Required, ..Rules::default() });
    let refused = scene.send(post_with("k", &[("content-type", "application/grpc")], "b")).await;
    refused.problem(400, "invalid-request");
    let other = scene.send(post_with("k", &[("content-type", "application/grpcish")], "b")).await;
    assert_eq!(other.status, 200);
    assert_eq!(scene.runs(), 1);
}

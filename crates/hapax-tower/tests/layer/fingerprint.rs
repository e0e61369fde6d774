//! FPR: what makes two requests the same.

use axum::body::Body;
use hapax::FingerprintSpec;
use hapax_tower::Rules;

use crate::scene::*;

fn of_type(media_type: &str, body: &str) -> http::Request<Body> {
    post_with("k", &[("content-type", media_type)], body)
}

#[tokio::test(start_paused = true)]
async fn fpr_01_02_another_body_is_422_and_the_first_still_replays() {
    let scene = Scene::new();
    assert_eq!(scene.send(post("k", "one")).await.status, 200);
    let refused = scene.send(post("k", "two")).await;
    refused.problem(422, "key-reused");
    assert_eq!(refused.header("retry-after"), None);
    assert!(scene.send(post("k", "one")).await.is_replay());
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn fpr_03_another_body_is_422_while_the_first_runs() {
    let scene = Scene::new();
    scene.plan(slow(secs(5), answer(201, &[], "")));
    let running = scene.start(post("k", "one")).await;
    scene.send(post("k", "two")).await.problem(422, "key-reused");
    assert_eq!(scene.after(), secs(0));
    assert_eq!(running.await.unwrap().status, 201);
}

#[tokio::test(start_paused = true)]
async fn fpr_04_transport_is_not_part_of_the_request() {
    let scene = Scene::new();
    let base = [("host", "api.example"), ("authorization", "Bearer a"), ("idempotency-key", "k")];
    let with = |target: &str, lines: &[(&str, &str)], body: Body| {
        let all: Vec<_> = base.iter().chain(lines).copied().collect();
        request("POST", target, &all, body)
    };
    let chunks = pieces(&[Piece::Data("bo"), Piece::Data(""), Piece::Data("dy")]);
    let trailed = pieces(&[Piece::Data("body"), Piece::Trailer("x-sum", "1")]);
    let same = [
        with("/pay", &[("content-length", "4")], Body::from("body")),
        with("/pay", &[("transfer-encoding", "chunked")], chunks),
        with("/pay", &[], trailed),
        with("http://api.example/pay", &[], Body::from("body")),
        with(
            "/pay",
            &[("user-agent", "x"), ("date", "now"), ("traceparent", "00-1")],
            "body".into(),
        ),
        with(
            "/pay",
            &[("cookie", "a=1"), ("forwarded", "for=1"), ("accept", "*/*")],
            "body".into(),
        ),
    ];
    for (n, request) in same.into_iter().enumerate() {
        let answered = scene.send(request).await;
        assert_eq!((answered.status.as_u16(), answered.is_replay()), (200, n > 0), "{n}");
    }
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn fpr_05_raw_target_bytes_and_media_type_count() {
    let base = [("host", "h"), ("idempotency-key", "k")];
    for (first, other) in [("/a%2Fb", "/a/b"), ("/a?x=1&y=2", "/a?y=2&x=1"), ("/a", "/a?")] {
        let scene = Scene::new();
        assert_eq!(scene.send(request("POST", first, &base, "b".into())).await.status, 200);
        let refused = scene.send(request("POST", other, &base, "b".into())).await;
        refused.problem(422, "key-reused");
    }
    let scene = Scene::new();
    assert_eq!(scene.send(of_type("application/json", "{}")).await.status, 200);
    scene.send(of_type("text/plain", "{}")).await.problem(422, "key-reused");
}

#[tokio::test(start_paused = true)]
async fn fpr_06_json_counts_by_bytes_unless_the_route_says_by_value() {
    let (one, two) = ("{\"a\":1,\"b\":[2]}", "{ \"b\": [2], \"a\": 1 }");
    let scene = Scene::new();
    assert_eq!(scene.send(of_type("application/json", one)).await.status, 200);
    scene.send(of_type("application/json", two)).await.problem(422, "key-reused");
    let rules = Rules { fingerprint: FingerprintSpec::Json, ..Rules::default() };
    let scene = Scene::with(rules);
    assert_eq!(scene.send(of_type("application/json", one)).await.status, 200);
    assert!(scene.send(of_type("application/json", two)).await.is_replay());
    let others =
        ["{\"a\":1.0,\"b\":[2]}", "{\"a\":1,\"a\":1,\"b\":[2]}", "{\"a\":1,\"b\":[2]", "[]"];
    for other in others {
        scene.send(of_type("application/json", other)).await.problem(422, "key-reused");
    }
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn fpr_07_a_fresh_multipart_boundary_is_the_same_request() {
    let scene = Scene::new();
    let form = |boundary: &str, value: &str| {
        let body = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n{value}\r\n\
             --{boundary}--\r\n"
        );
        of_type(&format!("multipart/form-data; boundary={boundary}"), &body)
    };
    assert_eq!(scene.send(form("one", "1")).await.status, 200);
    assert!(scene.send(form("two", "1")).await.is_replay());
    scene.send(form("two", "2")).await.problem(422, "key-reused");
}

#[tokio::test(start_paused = true)]
async fn fpr_08_no_body_is_an_empty_body_and_nothing_else() {
    let scene = Scene::new();
    assert_eq!(scene.send(post_with("k", &[], "")).await.status, 200);
    let mut bodiless = post("k", "");
    *bodiless.body_mut() = Body::empty();
    assert!(scene.send(bodiless).await.is_replay());
    for body in ["{}", "null"] {
        scene.send(post("k", body)).await.problem(422, "key-reused");
    }
}

//! KEY: which keys there are, and which requests they concern.

use axum::body::Body;
use hapax::Syntax;
use hapax_tower::{KeyMode, KeySource, Rules};
use http::{HeaderName, Method};

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn key_01_the_fields_name_has_no_case() {
    let scene = Scene::new();
    for name in ["idempotency-key", "IDEMPOTENCY-KEY", "Idempotency-Key"] {
        let request = request("POST", "/pay", &[(name, "k")], Body::empty());
        assert_eq!(scene.send(request).await.status, 200);
    }
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn key_02_03_04_06_10_spellings_of_one_key_are_one_key() {
    let same = [
        vec!["k-1", "\"k-1\"", "\"k-1\";v=1", "  k-1\t", " \"k-1\""],
        vec!["8e03978e-40d5-43e8-bc93-6894a57f9324", "\"8e03978e-40d5-43e8-bc93-6894a57f9324\""],
        vec!["12345", "\"12345\""],
        vec!["?1", "\"?1\""],
        vec!["YWJj+/=", "\"YWJj+/=\""],
        vec!["order:17_a"],
        vec!["ABC"],
        vec!["abc"],
        vec!["\"a b\""],
        vec!["\"a\\\"b\""],
        vec!["\"a\\\\b\""],
    ];
    let scene = Scene::new();
    for (n, spellings) in same.iter().enumerate() {
        for spelling in spellings {
            assert_eq!(scene.send(post(spelling, "b")).await.status, 200, "{spelling}");
            assert_eq!(scene.runs(), n + 1, "{spelling}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn key_05_07_08_09_what_is_no_key_is_400_and_runs_nothing() {
    let scene = Scene::new();
    let long = "k".repeat(256);
    let malformed = [
        "",
        "  ",
        "\"\"",
        "\"open",
        "\"k\"x",
        "\"a\\b\"",
        "a b",
        "a,b",
        "\"k\", \"k\"",
        "a\"b",
        &long,
    ];
    for value in malformed {
        let (body, touched) = watched();
        let request = request("POST", "/pay", &[("idempotency-key", value)], body);
        scene.send(request).await.problem(400, "invalid-key");
        assert!(!touched.load(std::sync::atomic::Ordering::SeqCst), "HTP-05: {value:?}");
    }
    let twice = [("idempotency-key", "k"), ("idempotency-key", "k")];
    let doubled = request("POST", "/pay", &twice, Body::empty());
    scene.send(doubled).await.problem(400, "invalid-key");
    let mut odd = post("k", "b");
    odd.headers_mut().insert("idempotency-key", http::HeaderValue::from_bytes(b"k\xff").unwrap());
    scene.send(odd).await.problem(400, "invalid-key");
    assert_eq!(scene.runs(), 0);
    assert_eq!(scene.send(post(&"k".repeat(255), "b")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn key_05_strict_takes_quoted_keys_only() {
    let scene = Scene::with(Rules { syntax: Syntax::Strict, ..Rules::default() });
    scene.send(post("bare", "b")).await.problem(400, "invalid-key");
    assert_eq!(scene.runs(), 0);
    assert_eq!(scene.send(post("\"quoted\"", "b")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn key_11_absence_is_refused_where_a_key_is_required_and_passes_elsewhere() {
    let bare = |body| request("POST", "/pay", &[], body);
    let required = Scene::with(Rules { key: KeyMode::Required, ..Rules::default() });
    let (body, touched) = watched();
    required.send(bare(body)).await.problem(400, "missing-key");
    assert!(!touched.load(std::sync::atomic::Ordering::SeqCst), "HTP-05");
    assert_eq!(required.runs(), 0);
    let optional = Scene::new();
    for _ in 0..2 {
        let answered = optional.send(bare(Body::from("b"))).await;
        assert_eq!((answered.status.as_u16(), answered.header("idempotency-expires")), (200, None));
    }
    assert_eq!(optional.runs(), 2);
    let off = Scene::with(Rules { key: KeyMode::Off, ..Rules::default() });
    for _ in 0..2 {
        assert_eq!(off.send(post("\"broken", "b")).await.status, 200);
    }
    assert_eq!(off.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn key_12_safe_and_other_methods_pass_every_time() {
    let scene = Scene::new();
    let methods = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
    for method in methods {
        for _ in 0..2 {
            let answered =
                scene.send(request(method, "/pay", &[("idempotency-key", "k")], Body::empty()));
            assert!(!answered.await.is_replay());
        }
    }
    assert_eq!(scene.runs(), 2 * methods.len());
    let put = Scene::with(Rules { methods: vec![Method::PUT], ..Rules::default() });
    for _ in 0..2 {
        put.send(request("PUT", "/pay", &[("idempotency-key", "k")], Body::empty())).await;
    }
    assert_eq!(put.runs(), 1);
    let patch = Scene::new();
    for _ in 0..2 {
        patch.send(request("PATCH", "/pay", &[("idempotency-key", "k")], Body::empty())).await;
    }
    assert_eq!(patch.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn key_13_connection_may_not_name_what_protects() {
    let scene = Scene::new();
    for option in ["idempotency-key", "close, Authorization", "x-api-key", "Cookie"] {
        let refused = scene.send(post_with("k", &[("connection", option)], "b")).await;
        refused.problem(400, "invalid-request");
    }
    assert_eq!(scene.runs(), 0);
    assert_eq!(scene.send(post_with("k", &[("connection", "close")], "b")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn key_14_another_field_can_carry_the_key_and_the_usual_one_then_means_nothing() {
    let name = HeaderName::from_static("x-idempotency-key");
    let rules = Rules { key_source: KeySource::Header(name), ..Rules::default() };
    let scene = Scene::with(rules);
    for _ in 0..2 {
        scene.send(request("POST", "/pay", &[("x-idempotency-key", "k")], Body::empty())).await;
    }
    assert_eq!(scene.runs(), 1);
    for _ in 0..2 {
        scene.send(post("k", "b")).await;
    }
    assert_eq!(scene.runs(), 3);
}

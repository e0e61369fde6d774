//! SCO: whose key it is.

use std::sync::Arc;

use axum::body::Body;
use hapax_tower::{Authority, Identify, Identity, PrincipalSource, Rules};
use http::HeaderName;
use http::request::Parts;

use crate::scene::*;

fn by(authorization: &str, key: &str) -> http::Request<Body> {
    let lines = [("host", "h"), ("authorization", authorization), ("idempotency-key", key)];
    request("POST", "/pay", &lines, Body::from("b"))
}

#[tokio::test(start_paused = true)]
async fn sco_01_two_callers_with_one_key_are_two_operations() {
    let scene = Scene::new();
    scene.plan(answer(201, &[], "for a")).plan(answer(202, &[], "for b"));
    for _ in 0..2 {
        assert_eq!(scene.send(by("Bearer a", "k")).await.body, "for a");
        assert_eq!(scene.send(by("Bearer b", "k")).await.body, "for b");
    }
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn sco_01_another_callers_running_or_other_request_is_none_of_mine() {
    let scene = Scene::new();
    scene.plan(slow(secs(5), answer(201, &[], "for a")));
    let running = scene.start(by("Bearer a", "k")).await;
    let lines = [("host", "h"), ("authorization", "Bearer b"), ("idempotency-key", "k")];
    let other = request("POST", "/elsewhere", &lines, Body::from("other"));
    assert_eq!(scene.send(other).await.status, 200);
    assert_eq!(scene.after(), secs(0));
    assert_eq!(running.await.unwrap().body, "for a");
}

#[tokio::test(start_paused = true)]
async fn sco_02_another_method_path_or_query_is_a_mismatch() {
    let scene = Scene::new();
    let lines = [("host", "h"), ("idempotency-key", "k")];
    let send = |method, target| scene.send(request(method, target, &lines, Body::from("b")));
    assert_eq!(send("POST", "/pay").await.status, 200);
    for (method, target) in [("PATCH", "/pay"), ("POST", "/refund"), ("POST", "/pay?x=1")] {
        send(method, target).await.problem(422, "key-reused");
    }
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn sco_03_caller_and_key_do_not_run_into_each_other() {
    let scene = Scene::new();
    for (caller, key) in [("a", "b:c"), ("a:b", "c"), ("a", "\"b c\""), ("a b", "c")] {
        assert!(!scene.send(by(caller, key)).await.is_replay());
    }
    assert_eq!(scene.runs(), 4);
}

#[tokio::test(start_paused = true)]
async fn ruling_4_hosts_are_apart_unless_the_authority_is_fixed() {
    let to = |host| {
        let lines = [("host", host), ("idempotency-key", "k")];
        request("POST", "/pay", &lines, Body::from("b"))
    };
    let scene = Scene::new();
    for host in ["one.example", "ONE.example:80", "two.example", "one.example:8080"] {
        scene.send(to(host)).await;
    }
    assert_eq!(scene.runs(), 3);
    let fixed = Authority::Fixed("api".into());
    let scene = Scene::with(Rules { authority: fixed, ..Rules::default() });
    for host in ["one.example", "two.example"] {
        scene.send(to(host)).await;
    }
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn ruling_4_two_credentials_are_refused_before_the_body_is_read() {
    let scene = Scene::new();
    for name in ["authorization", "x-api-key"] {
        let (body, touched) = watched();
        let lines = [("idempotency-key", "k"), (name, "a"), (name, "b")];
        let refused = scene.send(request("POST", "/pay", &lines, body)).await;
        refused.problem(400, "invalid-request");
        assert!(!touched.load(std::sync::atomic::Ordering::SeqCst));
    }
    assert_eq!(scene.runs(), 0);
}

/// Knows `Bearer token-N-of-NAME` for NAME, and nothing else.
#[derive(Debug)]
struct Tokens;

impl Identify for Tokens {
    fn identify(&self, parts: &Parts) -> Result<Identity, String> {
        let Some(value) = parts.headers.get("authorization") else {
            return Ok(Identity::Anonymous);
        };
        let name = value.to_str().unwrap().rsplit_once("-of-").map(|(_token, name)| name);
        let name = name.ok_or("the token's signature does not hold")?;
        Ok(Identity::Named { source: "jwt:sub".into(), value: name.into() })
    }
}

#[tokio::test(start_paused = true)]
async fn sco_04_a_forged_identity_is_401_and_sco_05_a_refreshed_one_is_the_same_caller() {
    let principal = PrincipalSource::Custom(Arc::new(Tokens));
    let scene = Scene::with(Rules { principal, ..Rules::default() });
    assert!(!scene.send(by("Bearer token-1-of-ann", "k")).await.is_replay());
    assert!(scene.send(by("Bearer token-2-of-ann", "k")).await.is_replay());
    let forged = scene.send(by("Bearer forged", "k")).await;
    forged.problem(401, "invalid-request");
    assert_eq!(forged.header("www-authenticate"), Some("Bearer"));
    assert!(!scene.send(by("Bearer token-1-of-bob", "k")).await.is_replay());
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn sco_05_by_credential_a_refreshed_token_is_another_caller() {
    let scene = Scene::new();
    for token in ["Bearer 1", "Bearer 2", " Bearer 1 "] {
        scene.send(by(token, "k")).await;
    }
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn sco_04_a_trusted_header_a_cookie_or_nothing_can_name_the_caller() {
    let tenant = HeaderName::from_static("x-tenant");
    let scene =
        Scene::with(Rules { principal: PrincipalSource::Header(tenant), ..Rules::default() });
    let to = |name, value| {
        request("POST", "/", &[("idempotency-key", "k"), (name, value)], Body::empty())
    };
    for tenant in ["a", "b", "a"] {
        scene.send(to("x-tenant", tenant)).await;
    }
    assert_eq!(scene.runs(), 2);
    let sid = PrincipalSource::Cookie("sid".into());
    let scene = Scene::with(Rules { principal: sid, ..Rules::default() });
    for cookie in ["sid=a; x=1", "sid=b", "y=2; sid=a"] {
        scene.send(to("cookie", cookie)).await;
    }
    assert_eq!(scene.runs(), 2);
    let shared = PrincipalSource::Shared;
    let scene = Scene::with(Rules { principal: shared, ..Rules::default() });
    for authorization in ["a", "b"] {
        scene.send(to("authorization", authorization)).await;
    }
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn sco_06_an_anonymous_caller_with_another_cookie_gets_422_and_no_answer() {
    let scene = Scene::new();
    let with = |lines: &[(&str, &str)]| {
        let mut all = vec![("host", "h"), ("idempotency-key", "k")];
        all.extend(lines);
        request("POST", "/pay", &all, Body::from("b"))
    };
    assert_eq!(scene.send(with(&[("cookie", "sid=1")])).await.status, 200);
    scene.send(with(&[("cookie", "sid=2")])).await.problem(422, "key-reused");
    scene.send(with(&[])).await.problem(422, "key-reused");
    assert!(scene.send(with(&[("cookie", "sid=1")])).await.is_replay());
    // A caller with a name is another, whatever its cookies.
    assert!(!scene.send(with(&[("cookie", "sid=1"), ("x-api-key", "x")])).await.is_replay());
    assert!(scene.send(with(&[("cookie", "sid=2"), ("x-api-key", "x")])).await.is_replay());
    assert_eq!(scene.runs(), 2);
}

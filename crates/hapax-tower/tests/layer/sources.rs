//! M12 and ruling 15: keys that do not come in `Idempotency-Key`, or that the server made.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use hapax::{Failures, FingerprintSpec, Policy, Preset, Secret, Timestamp};
use hapax_tower::{IssuedKeys, KeyMode, KeySource, Rules};
use http::HeaderName;

use crate::scene::*;

fn rules(source: KeySource) -> Rules {
    let failures = Failures::preset(Preset::SuccessOnly);
    Rules {
        key_source: source,
        policy: Arc::new(Policy { failures, ..Policy::default() }),
        ..Rules::default()
    }
}

fn body(body: &str) -> http::Request<Body> {
    request("POST", "/pay", &[("host", "h")], Body::from(body.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn m12_a_member_of_the_body_is_the_key_and_the_rest_may_differ() {
    let source = KeySource::Body("/order/id".into());
    let scene = Scene::with(Rules { fingerprint: FingerprintSpec::Key, ..rules(source) });
    let same = ["{\"order\":{\"id\":\"a\"},\"n\":1}", "{\"order\":{\"id\":\"a\"},\"n\":2}"];
    assert!(!scene.send(body(same[0])).await.is_replay());
    assert!(scene.send(body(same[1])).await.is_replay());
    assert!(!scene.send(body("{\"order\":{\"id\":\"b\"}}")).await.is_replay());
    assert!(!scene.send(body("{\"order\":{\"id\":17}}")).await.is_replay());
    let elsewhere = request("POST", "/refund", &[("host", "h")], Body::from(same[0]));
    scene.send(elsewhere).await.problem(422, "key-reused");
    assert_eq!(scene.runs(), 3);
}

#[tokio::test(start_paused = true)]
async fn m12_a_body_without_the_key_is_400_where_one_is_required_and_passes_elsewhere() {
    let without = [
        "",
        "not json",
        "{}",
        "{\"id\":null}",
        "{\"id\":true}",
        "{\"id\":1.5}",
        "{\"id\":[]}",
        "{\"id\":\"\"}",
        "{\"id\":99999999999999999999999}",
    ];
    let source = KeySource::Body("/id".into());
    let required = Scene::with(Rules { key: KeyMode::Required, ..rules(source.clone()) });
    let optional = Scene::with(rules(source));
    for text in without {
        required.send(body(text)).await.problem(400, "invalid-key");
        for _ in 0..2 {
            let passed = optional.send(body(text)).await;
            assert_eq!((passed.status.as_u16(), passed.is_replay()), (200, false), "{text}");
        }
    }
    assert_eq!((required.runs(), optional.runs()), (0, 2 * without.len()));
    assert_eq!(optional.upstream.arrived()[2].body, "not json");
}

#[tokio::test(start_paused = true)]
async fn m12_the_content_itself_can_be_the_key() {
    let scene = Scene::with(rules(KeySource::Content));
    for (text, replays) in [("one", false), ("two", false), ("one", true), ("two", true)] {
        assert_eq!(scene.send(body(text)).await.is_replay(), replays);
    }
    // Only successes are kept: a failed request may be made again as it is.
    scene.plan(answer(404, &[], ""));
    for status in [404, 200] {
        assert_eq!(scene.send(body("three")).await.status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn m12_a_joined_id_is_one_operation_per_caller_and_route() {
    let joined = || KeySource::Joined(HeaderName::from_static("x-request-id"));
    let scene = Scene::with(Rules { route: "/a".into(), ..rules(joined()) });
    let other = scene.under(Rules { route: "/b".into(), ..rules(joined()) });
    let plain = scene.under(rules(KeySource::Header(HeaderName::from_static("x-request-id"))));
    let id = |caller: &'static str| {
        let lines = [("host", "h"), ("authorization", caller), ("x-request-id", "r-1")];
        request("POST", "/pay", &lines, Body::from("b"))
    };
    assert!(!scene.send(id("a")).await.is_replay());
    assert!(scene.send(id("a")).await.is_replay());
    assert!(!scene.send(id("b")).await.is_replay());
    assert!(!other.send(id("a")).await.is_replay());
    assert!(!plain.send(id("a")).await.is_replay());
    assert!(scene.send(id("a")).await.is_replay());
    assert_eq!(scene.runs(), 4);
    // Without an id nothing is protected, and nothing is refused.
    assert!(!scene.send(body("b")).await.is_replay());
}

#[tokio::test(start_paused = true)]
async fn m12_issued_keys_are_good_for_one_caller_and_route_until_their_time() {
    let issuing = Rules { key: KeyMode::Required, route: "/a".into(), ..rules(KeySource::Issued) };
    let scene = Scene::with(issuing.clone());
    let secret = Secret::new(b"secret of the tests");
    let keys = IssuedKeys::new(secret.clone());
    let by = |caller: &str, key: &str| {
        let lines = [("host", "h"), ("authorization", caller), ("idempotency-key", key)];
        request("POST", "/pay", &lines, Body::from("b"))
    };
    let (parts, ()) = by("a", "x").map(|_body| ()).into_parts();
    let scope = issuing.caller(&secret, &parts).unwrap();
    // The layer reads the system's clock.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_micros(u64::try_from(now.as_micros()).unwrap());
    let hour = Duration::from_secs(3600);
    let (key, _until) = keys.issue(&scope, "/a", now, hour).unwrap();
    assert!(!scene.send(by("a", key.as_str())).await.is_replay());
    assert!(scene.send(by("a", &format!("\"{}\"", key.as_str()))).await.is_replay());
    scene.send(by("b", key.as_str())).await.problem(400, "invalid-key");
    let elsewhere = scene.under(Rules { route: "/b".into(), ..issuing });
    elsewhere.send(by("a", key.as_str())).await.problem(400, "invalid-key");
    scene.send(by("a", "made-up-by-the-client")).await.problem(400, "invalid-key");
    let (past, _until) = keys.issue(&scope, "/a", now.minus(2 * hour), hour).unwrap();
    scene.send(by("a", past.as_str())).await.problem(412, "key-expired");
    let bare = request("POST", "/pay", &[("host", "h"), ("authorization", "a")], Body::empty());
    scene.send(bare).await.problem(400, "missing-key");
    assert_eq!(scene.runs(), 1);
}

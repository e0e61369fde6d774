//! REP: replays.

use axum::body::Body;
use hapax_tower::Rules;
use http_body::Body as _;

use crate::scene::*;

async fn twice(scene: &Scene, plan: Plan) -> (Answered, Answered) {
    scene.plan(plan);
    let first = scene.send(post("k", "b")).await;
    let again = scene.send(post("k", "b")).await;
    assert_eq!(scene.runs(), 1);
    assert!(!first.is_replay() && again.is_replay());
    (first, again)
}

#[tokio::test(start_paused = true)]
async fn rep_01_02_07_a_replay_is_the_first_answer_byte_by_byte() {
    let scene = Scene::new();
    let binary: Vec<u8> = (0..=255).collect();
    let lines = [
        ("content-type", "application/octet-stream"),
        ("location", "/orders/1"),
        ("etag", "\"v1\""),
        ("content-language", "de"),
        ("link", "<a>; rel=\"x, y\""),
        ("link", "<b>"),
        ("x-custom", "\"quoted, and\""),
        ("cache-control", "no-store"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ];
    let (first, again) = twice(&scene, answer_of(201, &lines, Body::from(binary.clone()))).await;
    for answered in [&first, &again] {
        assert_eq!(answered.status, 201);
        assert_eq!(&answered.body[..], &binary);
        for (name, _) in lines {
            let sent: Vec<&str> =
                lines.iter().filter(|(line, _)| *line == name).map(|(_, value)| *value).collect();
            assert_eq!(answered.lines(name), sent, "{name}");
        }
    }
    for _ in 0..3 {
        assert_eq!(scene.send(post("k", "b")).await.body, again.body);
    }
}

#[tokio::test(start_paused = true)]
async fn rep_02_the_upstreams_own_marker_passes_the_first_time() {
    let scene = Scene::new();
    scene.plan(answer(200, &[("idempotent-replayed", "of-mine")], ""));
    let first = scene.send(post("k", "b")).await;
    assert_eq!(first.header("idempotent-replayed"), Some("of-mine"));
    assert_eq!(scene.send(post("k", "b")).await.lines("idempotent-replayed"), ["true"]);
}

#[tokio::test(start_paused = true)]
async fn rep_03_fields_of_one_connection_are_not_replayed_and_framing_is_made_anew() {
    let scene = Scene::new();
    let hop = [
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("proxy-connection", "close"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
    ];
    let (_first, again) = twice(&scene, answer(200, &hop, "body")).await;
    for (name, _) in hop {
        assert_eq!(again.header(name), None, "{name}");
    }
    let again = scene.head(post("k", "b")).await;
    assert_eq!(again.body().size_hint().exact(), Some(4));
    assert!(!again.headers().contains_key("content-length"));
}

#[tokio::test(start_paused = true)]
async fn rep_03_answers_without_content_stay_without() {
    for status in [204, 304] {
        let scene = Scene::new();
        let (first, again) = twice(&scene, answer(status, &[("etag", "\"x\"")], "")).await;
        assert_eq!((first.status.as_u16(), again.status.as_u16()), (status, status));
        assert!(again.body.is_empty());
        assert_eq!((again.header("content-length"), again.header("etag")), (None, Some("\"x\"")));
    }
}

#[tokio::test(start_paused = true)]
async fn rep_04_the_date_is_kept_and_the_age_added() {
    let scene = Scene::new();
    // An answer without a date gets one, for both to have the same.
    scene.plan(answer(200, &[("age", "99")], ""));
    let first = scene.send(post("k", "b")).await;
    assert_eq!(first.header("age"), Some("99"));
    pass(std::time::Duration::from_millis(7_900)).await;
    let again = scene.send(post("k", "b")).await;
    assert_eq!(again.header("date"), first.header("date"));
    assert!(first.header("date").unwrap().ends_with("GMT"));
    assert_eq!(again.lines("age"), ["7"]);
    assert!(scene.heard.lines().contains(&"replay-age 7".to_owned()), "OBS-02");
}

#[tokio::test(start_paused = true)]
async fn rep_05_cookies_are_not_replayed_unless_the_route_says_so() {
    let lines = [("set-cookie", "a=1, b; Path=/"), ("set-cookie", "c=2")];
    let (first, again) = twice(&Scene::new(), answer(200, &lines, "")).await;
    assert_eq!(first.lines("set-cookie").len(), 2);
    assert_eq!(again.header("set-cookie"), None);
    let scene = Scene::with(Rules { set_cookie: true, ..Rules::default() });
    let (_first, again) = twice(&scene, answer(200, &lines, "")).await;
    assert_eq!(again.lines("set-cookie"), ["a=1, b; Path=/", "c=2"]);
}

#[tokio::test(start_paused = true)]
async fn rep_06_fields_about_the_first_exchange_are_not_replayed() {
    let lines = [
        ("www-authenticate", "Basic"),
        ("ratelimit", "x"),
        ("ratelimit-remaining", "1"),
        ("x-ratelimit-reset", "1"),
        ("server-timing", "db"),
        ("traceresponse", "00-1"),
        ("alt-svc", "h3"),
        ("age", "1"),
    ];
    let (first, again) = twice(&Scene::new(), answer(200, &lines, "")).await;
    for (name, value) in lines {
        assert_eq!(first.header(name), Some(value));
        if name != "age" {
            assert_eq!(again.header(name), None, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rep_09_a_cut_answer_is_told_and_never_kept() {
    let scene = Scene::new();
    let cut = pieces(&[Piece::Data("half of it"), Piece::Broken]);
    scene.plan(answer_of(200, &[("content-length", "100")], cut));
    scene.send(post("k", "b")).await.problem(502, "outcome-unknown");
    for _ in 0..2 {
        scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
    }
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn rep_10_conditions_ranges_and_preferences_of_the_retry_mean_nothing() {
    let scene = Scene::new();
    scene.plan(answer(200, &[("etag", "\"v2\""), ("content-type", "text/plain")], "content"));
    scene.send(post_with("k", &[("if-match", "\"v1\"")], "b")).await;
    let lines = [
        ("if-match", "\"v1\""),
        ("if-none-match", "\"v2\""),
        ("range", "bytes=0-1"),
        ("accept", "image/png"),
        ("accept-encoding", "br"),
    ];
    let again = scene.send(post_with("k", &lines, "b")).await;
    assert_eq!((again.status.as_u16(), &again.body[..]), (200, &b"content"[..]));
}

#[tokio::test(start_paused = true)]
async fn rep_11_trailers_are_replayed_as_trailers() {
    let scene = Scene::new();
    let body = [Piece::Data("bo"), Piece::Data("dy"), Piece::Trailer("x-sum", "42")];
    let plan = answer_of(200, &[("trailer", "x-sum")], pieces(&body));
    let (first, again) = twice(&scene, plan).await;
    for answered in [first, again] {
        assert_eq!(answered.body, "body");
        assert_eq!(answered.header("x-sum"), None);
        assert_eq!(answered.trailers.as_ref().unwrap()["x-sum"], "42");
        assert_eq!(answered.header("trailer"), Some("x-sum"));
    }
    // With trailers to come, the length of the content is no framing.
    assert_eq!(scene.head(post("k", "b")).await.body().size_hint().exact(), None);
}

//! Numbers and events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hapax::event::Answer;
use hapax::{Event, Observer as _, RecordId};
use hapax_proxy::metrics::FEED_EVENTS_MAX;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower_service::Service as _;

use crate::desk::Desk;

fn answered(desk: &Desk, answer: Answer) {
    let route: Arc<str> = "/v1/payments/**".into();
    let id = Some(RecordId::from_bytes([1; 32]));
    desk.metrics.observe(&Event::Answered { answer, id, route: &route });
}

async fn open(desk: &Desk) -> (StatusCode, Body) {
    let request = Request::get("/api/events").header("host", "localhost");
    let response = desk.router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    if parts.status == StatusCode::OK {
        assert_eq!(parts.headers["content-type"], "text/event-stream");
    }
    (parts.status, body)
}

/// The name and the data of the next event.
async fn next(body: &mut Body) -> (String, Value) {
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    (line("event: ").to_owned(), serde_json::from_str(line("data: ")).unwrap())
}

#[tokio::test]
async fn obs_01_stats_are_the_numbers_of_the_metrics() {
    let desk = Desk::new();
    answered(&desk, Answer::Executed);
    answered(&desk, Answer::Replayed);
    answered(&desk, Answer::Replayed);
    desk.metrics.observe(&Event::AddedTime(Duration::from_micros(300)));
    let stats = desk.get("/api/stats").await.json();
    assert_eq!(stats["requests"]["/v1/payments/**"]["replayed"], 2);
    assert_eq!(stats["requests"]["/v1/payments/**"]["executed"], 1);
    assert_eq!(stats["times"]["added"]["count"], 1);
    assert_eq!(stats["times"]["added"]["p99_at_most_seconds"], 0.0005);
    assert_eq!(stats["store"]["durable"], false);
    assert_eq!(stats["in_flight"], 0);
}

#[tokio::test]
async fn events_are_told_as_they_happen() {
    let desk = Desk::new();
    answered(&desk, Answer::Held);
    let (status, mut body) = open(&desk).await;
    assert_eq!(status, StatusCode::OK);
    answered(&desk, Answer::Replayed);
    let lease = desk.doubt(1).await;
    desk.settle(&lease, crate::desk::executed()).await;
    let (name, event) = next(&mut body).await;
    assert_eq!((&*name, &event["outcome"]), ("answered", &json!("replayed")));
    assert_eq!(event["route"], "/v1/payments/**");
    assert_eq!(event["record"], "01".repeat(32));
    let (name, event) = next(&mut body).await;
    assert_eq!((&*name, &event["by"]), ("resolved", &json!("operator")));
    assert_eq!(event["record"], lease.id.to_string());
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_lost() {
    let desk = Desk::new();
    let (_, mut body) = open(&desk).await;
    for _ in 0..FEED_EVENTS_MAX + 3 {
        answered(&desk, Answer::Replayed);
    }
    assert_eq!(next(&mut body).await, ("lost".to_owned(), json!({"lost": 3})));
    assert_eq!(next(&mut body).await.0, "answered");
}

#[tokio::test]
async fn streams_are_limited_and_end_with_their_reader() {
    let desk = Desk::new();
    let mut open_streams = Vec::new();
    for _ in 0..32 {
        let (status, body) = open(&desk).await;
        assert_eq!(status, StatusCode::OK);
        open_streams.push(body);
    }
    assert_eq!(desk.get("/api/events").await.problem(), (503, "busy".to_owned()));
    open_streams.pop();
    assert_eq!(open(&desk).await.0, StatusCode::OK);
}

//! Ruling 16: shadow mode counts and changes nothing.

use axum::body::Body;
use hapax::event::Answer;
use hapax::store::{Fault, Operation};
use hapax_tower::{KeyMode, Mode, Rules};

use crate::scene::*;

fn watching() -> Rules {
    Rules { key: KeyMode::Required, mode: Mode::Shadow, ..Rules::default() }
}

#[track_caller]
fn assert_untouched(answered: &Answered, status: u16, body: &str) {
    assert_eq!((answered.status.as_u16(), &answered.body[..]), (status, body.as_bytes()));
    let added = ["idempotent-replayed", "idempotency-expires", "date", "age", "hapax-unprotected"];
    for name in added {
        assert_eq!(answered.header(name), None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn ruling_16_every_request_runs_and_duplicates_are_counted() {
    let scene = Scene::with(watching());
    for _ in 0..3 {
        scene.plan(answer(201, &[("x", "1")], "made"));
        let answered = scene.send(post_with("k", &[("accept-encoding", "gzip")], "b")).await;
        assert_untouched(&answered, 201, "made");
        assert_eq!(answered.header("x"), Some("1"));
        settle_down().await;
    }
    assert_untouched(&scene.send(post("k", "other")).await, 200, "done");
    settle_down().await;
    assert_eq!(scene.runs(), 4);
    let headers = &scene.upstream.arrived()[0].headers;
    assert_eq!(headers["accept-encoding"], "gzip");
    let expected = [Answer::Executed, Answer::Replayed, Answer::Replayed, Answer::KeyReused];
    assert_eq!(scene.heard.lines(), expected.map(Answer::as_str));
}

#[tokio::test(start_paused = true)]
async fn ruling_16_what_would_be_refused_passes_and_is_counted() {
    let scene = Scene::with(Rules { request_body_max: 4, ..watching() });
    let requests = [
        request("POST", "/pay", &[], Body::from("b")),
        post("\"broken", "b"),
        post_with("k", &[("connection", "cookie")], "b"),
        post("k", "longer than four"),
    ];
    for request in requests {
        assert_untouched(&scene.send(request).await, 200, "done");
        settle_down().await;
    }
    assert_eq!(scene.runs(), 4);
    assert_eq!(scene.upstream.arrived()[3].body, "longer than four");
    let expected = [Answer::MissingKey, Answer::InvalidKey, Answer::InvalidKey, Answer::InvalidKey];
    assert_eq!(scene.heard.lines(), expected.map(Answer::as_str));
}

#[tokio::test(start_paused = true)]
async fn ruling_16_running_freed_and_unknown_outcomes_are_counted_as_they_would_be() {
    let scene = Scene::with(watching());
    scene.plan(slow(secs(1), answer(500, &[], "")));
    let first = scene.start(post("k", "b")).await;
    assert_untouched(&scene.send(post("k", "b")).await, 200, "done");
    assert_untouched(&first.await.unwrap(), 500, "");
    settle_down().await;
    scene.plan(answer(502, &[], ""));
    scene.send(post("k", "b")).await;
    settle_down().await;
    scene.send(post("k", "b")).await;
    settle_down().await;
    let expected = [Answer::InProgress, Answer::Released, Answer::Unknown, Answer::Held];
    assert_eq!(scene.heard.lines(), expected.map(Answer::as_str));
}

#[tokio::test(start_paused = true)]
async fn fai_06_the_upstreams_word_counts_in_shadow_as_well() {
    let scene = Scene::with(watching());
    scene.plan(answer(200, &[("hapax-outcome", "release")], ""));
    for _ in 0..2 {
        scene.send(post("k", "b")).await;
        settle_down().await;
    }
    assert_eq!(scene.heard.lines(), [Answer::Released, Answer::Executed].map(Answer::as_str));
}

#[tokio::test(start_paused = true)]
async fn ruling_16_shadow_records_are_apart_and_hold_no_answer() {
    let scene = Scene::with(watching());
    scene.send(post("k", "b")).await;
    settle_down().await;
    // The same key on the same store, enforced: a first request.
    let enforcing = scene.under(Rules::default());
    assert!(!enforcing.send(post("k", "b")).await.is_replay());
    assert_eq!(scene.runs(), 2);
    let query = hapax::ListQuery { limit: 10, ..Default::default() };
    let records = scene.guard.store().list(&query).await.unwrap().records;
    assert_eq!(records.len(), 2);
    let holds_answer = |record: &&hapax::Record| {
        matches!(record.phase, hapax::Phase::Completed { kept: hapax::Kept::Response(_), .. })
    };
    assert_eq!(records.iter().filter(holds_answer).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn ruling_16_the_stores_errors_cost_nothing() {
    let scene = Scene::with(watching());
    scene.fault(Operation::Claim, Fault::Refused);
    assert_untouched(&scene.send(post("k", "b")).await, 200, "done");
    scene.fault(Operation::Claim, Fault::Delay(Box::pin(std::future::pending())));
    assert_untouched(&scene.send(post("l", "b")).await, 200, "done");
    assert_eq!(scene.after(), secs(0));
    pass(secs(60)).await;
    assert_eq!(scene.heard.count(Answer::StoreError), 2);
}

#[tokio::test(start_paused = true)]
async fn htp_08_bodies_stream_through_shadow_mode() {
    use http_body_util::BodyExt as _;
    let scene = Scene::with(Rules { response_body_max: 4, ..watching() });
    let body = [Piece::Data("first"), Piece::Wait(secs(5)), Piece::Data("second")];
    scene.plan(answer_of(200, &[], pieces(&body)));
    let mut head = scene.head(post("k", "b")).await;
    let first = head.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((first, scene.after()), ("first".into(), secs(0)));
    let rest = head.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((rest, scene.after()), ("second".into(), secs(5)));
}

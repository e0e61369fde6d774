//! REP-12 and ruling 14: answers past the limit stream on and are not kept.

use axum::body::Body;
use hapax::event::Answer;
use hapax::store::{Fault, Operation};
use hapax_tower::Rules;
use http_body_util::BodyExt as _;

use crate::scene::*;

fn limited() -> Scene {
    Scene::with(Rules { response_body_max: 4, ..Rules::default() })
}

/// `count` pieces of ten bytes.
fn tens(count: usize) -> Body {
    pieces(&vec![Piece::Data("0123456789"); count])
}

#[track_caller]
fn assert_not_retained(answered: &Answered, status: u16, location: Option<&str>) {
    let members = answered.problem(410, "result-not-retained");
    assert_eq!(members["original-status"], status);
    assert_eq!(answered.header("location"), location);
}

#[tokio::test(start_paused = true)]
async fn rep_12_a_large_answer_arrives_whole_and_its_retry_is_410() {
    for count in [1, 2, 10, 16, 17, 40] {
        let scene = limited();
        scene.plan(answer_of(201, &[("location", "/orders/1"), ("x", "1")], tens(count)));
        let first = scene.send(post("k", "b")).await;
        assert_eq!((first.status.as_u16(), first.header("x")), (201, Some("1")));
        assert!(first.complete, "{count}");
        assert_eq!(first.body.len(), 10 * count);
        for _ in 0..2 {
            let again = scene.send(post("k", "b")).await;
            assert_not_retained(&again, 201, Some("/orders/1"));
        }
        assert_eq!((scene.runs(), scene.guard.in_flight()), (1, 0));
        assert_eq!(scene.heard.count(Answer::NotRetained), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn rep_12_an_answer_at_the_limit_is_kept_and_one_byte_more_is_not() {
    let scene = limited();
    scene.plan(answer(200, &[], "1234")).plan(answer(200, &[], "12345"));
    for key in ["at", "past"] {
        assert!(scene.send(post(key, "b")).await.complete);
    }
    assert!(scene.send(post("at", "b")).await.is_replay());
    assert_not_retained(&scene.send(post("past", "b")).await, 200, None);
}

#[tokio::test(start_paused = true)]
async fn ruling_14_the_end_is_withheld_until_it_is_settled() {
    for last in [Piece::Data("end"), Piece::Trailer("x-sum", "1"), Piece::Data("")] {
        let scene = limited();
        let body = [Piece::Data("0123456789"), Piece::Data("more"), last.clone()];
        scene.plan(answer_of(200, &[], pieces(&body)));
        scene.fault(Operation::Settle, Fault::Delay(Box::pin(tokio::time::sleep(secs(3)))));
        let mut head = scene.head(post("k", "b")).await;
        let mut seen = Vec::new();
        while let Some(frame) = head.body_mut().frame().await {
            if let Ok(data) = frame.unwrap().into_data() {
                seen.push((data, scene.after()));
            }
        }
        let total: usize = seen.iter().map(|(data, _)| data.len()).sum();
        let content = if matches!(last, Piece::Data("end")) { 17 } else { 14 };
        assert_eq!(total, content, "{last:?}");
        assert_eq!(scene.after(), secs(3), "{last:?}");
        // Even where the length was declared, the last byte of the content comes after.
        let early: usize =
            seen.iter().filter(|(_, at)| *at < secs(3)).map(|(data, _)| data.len()).sum();
        if !matches!(last, Piece::Trailer(..)) {
            assert!(early < content, "{last:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ruling_14_a_large_answer_is_read_to_its_end_although_the_client_left_before() {
    let scene = limited();
    scene.plan(slow(secs(1), answer_of(201, &[("location", "/x")], tens(100))));
    let client = scene.start(post("k", "b")).await;
    client.abort();
    pass(secs(2)).await;
    assert_eq!(scene.guard.in_flight(), 0);
    assert_not_retained(&scene.send(post("k", "b")).await, 201, Some("/x"));
}

#[tokio::test(start_paused = true)]
async fn ruling_14_a_large_answer_is_read_to_its_end_although_the_client_left_in_the_middle() {
    let scene = limited();
    scene.plan(answer_of(201, &[], tens(100)));
    let mut head = scene.head(post("k", "b")).await;
    assert!(head.body_mut().frame().await.unwrap().is_ok());
    settle_down().await;
    assert_eq!(scene.guard.in_flight(), 1, "the client is slow, and the answer waits for it");
    drop(head);
    settle_down().await;
    assert_eq!(scene.guard.in_flight(), 0);
    assert_not_retained(&scene.send(post("k", "b")).await, 201, None);
}

#[tokio::test(start_paused = true)]
async fn dbt_07_a_late_large_answer_settles() {
    let scene = limited();
    scene.plan(slow(secs(40), answer_of(201, &[("location", "/x")], tens(100))));
    scene.send(post("k", "b")).await.problem(504, "outcome-unknown");
    pass(secs(11)).await;
    assert_eq!(scene.guard.in_flight(), 0);
    assert_not_retained(&scene.send(post("k", "b")).await, 201, Some("/x"));
}

#[tokio::test(start_paused = true)]
async fn rep_09_a_large_answer_that_breaks_off_breaks_off_and_is_held() {
    let scene = limited();
    let body = [Piece::Data("0123456789"), Piece::Wait(secs(1)), Piece::Broken];
    scene.plan(answer_of(200, &[], pieces(&body)));
    let first = scene.send(post("k", "b")).await;
    assert_eq!((first.status.as_u16(), first.complete), (200, false));
    scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
    assert_eq!(scene.runs(), 1);
    // Where nothing has been given away yet, it can be told.
    let scene = limited();
    scene.plan(answer_of(200, &[], pieces(&[Piece::Data("0123456789"), Piece::Broken])));
    scene.send(post("k", "b")).await.problem(502, "outcome-unknown");
}

#[tokio::test(start_paused = true)]
async fn rep_09_a_large_answer_past_its_time_is_not_ended_well() {
    let scene = limited();
    let body = [Piece::Data("0123456789"), Piece::Wait(secs(40)), Piece::Data("end")];
    scene.plan(answer_of(200, &[], pieces(&body)));
    let first = scene.send(post("k", "b")).await;
    assert!(!first.complete);
    // It came late, but it came.
    pass(secs(1)).await;
    assert_not_retained(&scene.send(post("k", "b")).await, 200, None);
}

#[tokio::test(start_paused = true)]
async fn fai_04_a_large_failure_frees_the_key() {
    let scene = limited();
    scene.plan(answer_of(500, &[], tens(3)));
    let first = scene.send(post("k", "b")).await;
    assert_eq!((first.status.as_u16(), first.complete), (500, true));
    assert_eq!(scene.send(post("k", "b")).await.status, 200);
    assert_eq!(scene.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn rep_12_who_waits_for_a_large_answer_is_told_that_it_was_not_kept() {
    let scene = limited();
    scene.plan(slow(secs(1), answer_of(201, &[("location", "/x")], tens(3))));
    let owner = scene.start(post("k", "b")).await;
    let waiter = scene.start(post("k", "b")).await;
    assert_eq!(owner.await.unwrap().body.len(), 30);
    assert_not_retained(&waiter.await.unwrap(), 201, Some("/x"));
}

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
async fn rep_09_a_large_answer_that_breaks_off_breaks_off_and_is_held() {
    let scene = limited();
    let body = [Piece::Data("0123456789"), Piece::Data("more"), Piece::Broken];
    scene.plan(answer_of(200, &[], pieces(&body)));
    let first = scene.send(post("k", "b")).await;
    assert_eq!((first.status.as_u16(), first.complete), (200, false));
    scene.send(post("k", "b")).await.problem(409, "outcome-unknown");
    assert_eq!(scene.runs(), 1);
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

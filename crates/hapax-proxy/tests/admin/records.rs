//! Looking at records.

use std::time::Duration;

use hapax::{Retention, Settlement};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::desk::{Desk, TERM, completed, id};

fn ids(page: &Value) -> Vec<&str> {
    page["records"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

/// M05: running, completed, failed, released and unknown can be told apart.
#[tokio::test]
async fn adm_02_each_state_shows_what_it_knows() {
    let desk = Desk::new();
    let (done, failed, freed) = (desk.claim(1).await, desk.claim(2).await, desk.claim(3).await);
    desk.own(&done, completed(201, b"{}")).await;
    desk.own(&failed, completed(422, b"no")).await;
    let retention = Retention::For(Duration::from_secs(60));
    desk.own(&freed, Settlement::Release { retention, status: Some(503) }).await;
    let doubted = desk.doubt(4).await;
    let lapsed = desk.claim(5).await;
    desk.clock.advance(TERM);
    let running = desk.claim(6).await;

    let shown = desk.shown(&done).await;
    assert_eq!(shown["id"], id(&done));
    assert_eq!(shown["route"], "/v1/payments/**");
    assert_eq!((&shown["state"], &shown["status"]), (&json!("completed"), &json!(201)));
    assert_eq!((&shown["failed"], &shown["body_bytes"]), (&json!(false), &json!(2)));
    assert_eq!(shown["created_at"], "2026-01-01T00:00:00.000Z");
    assert_eq!(shown["expires_at"], "2026-01-01T01:00:00.000Z");
    assert_eq!(shown["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(shown["attempts"], 1);
    assert_eq!(shown["scope"], "0101010101010101");
    assert_eq!(
        shown["history"],
        json!([
            {"at": "2026-01-01T00:00:00.000Z", "attempt": 1, "what": "claimed"},
            {"at": "2026-01-01T00:00:00.000Z", "attempt": 1, "what": "completed",
             "by": "owner", "status": 201},
        ])
    );
    let shown = desk.shown(&failed).await;
    assert_eq!((&shown["state"], &shown["failed"]), (&json!("completed"), &json!(true)));
    let shown = desk.shown(&freed).await;
    assert_eq!((&shown["state"], &shown["status"]), (&json!("released"), &json!(503)));
    let shown = desk.shown(&doubted).await;
    assert_eq!((&shown["state"], &shown["cause"]), (&json!("in_doubt"), &json!("timed-out")));
    assert_eq!(shown["expires_at"], Value::Null);
    let shown = desk.shown(&lapsed).await;
    assert_eq!((&shown["state"], &shown["cause"]), (&json!("in_doubt"), &json!("lapsed")));
    assert_eq!(shown["in_doubt_since"], "2026-01-01T00:00:10.000Z");
    let shown = desk.shown(&running).await;
    assert_eq!(shown["state"], "in_progress");
    assert_eq!(shown["lease_until"], "2026-01-01T00:00:20.000Z");
}

#[tokio::test]
async fn lists_go_through_pages_by_state_and_scope() {
    let desk = Desk::new();
    let mut all = Vec::new();
    for number in 1..=5 {
        all.push(id(&desk.claim(number).await));
    }
    desk.doubt(6).await;
    let mut found = Vec::new();
    let mut path = "/api/records?limit=2&state=in_progress".to_owned();
    loop {
        let page = desk.get(&path).await.json();
        found.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/api/records?limit=2&state=in_progress&cursor={cursor}");
    }
    assert_eq!(found, all);
    let page = desk.get("/api/records?state=in_doubt&scope=&cursor=").await.json();
    assert_eq!(ids(&page).len(), 1);
    let page = desk.get("/api/records?scope=0202020202020202").await.json();
    assert_eq!(ids(&page), [&*all[1]]);
    let page = desk.get("/api/records?scope=9999999999999999").await.json();
    assert_eq!(page, json!({"records": [], "cursor": null}));
}

#[tokio::test]
async fn bad_queries_and_ids_are_told() {
    let desk = Desk::new();
    for path in [
        "/api/records?state=done",
        "/api/records?scope=1",
        "/api/records?cursor=x",
        "/api/records?limit=0",
        "/api/records?limit=101",
        "/api/records?limit=many",
        "/api/records?sort=age",
        "/api/records/x",
        "/api/audit?limit=0",
    ] {
        let said = desk.get(path).await;
        assert_eq!(said.problem(), (400, "invalid-request".to_owned()), "{path}");
    }
    let none = format!("/api/records/{}", "00".repeat(32));
    assert_eq!(desk.get(&none).await.problem(), (404, "not-found".to_owned()));
}

#[tokio::test]
async fn expired_records_are_not_there() {
    let desk = Desk::new();
    let lease = desk.claim(1).await;
    desk.own(&lease, completed(200, b"")).await;
    desk.clock.advance(Duration::from_secs(3600));
    let said = desk.get(&format!("/api/records/{}", id(&lease))).await;
    assert_eq!(said.problem(), (404, "not-found".to_owned()));
    assert_eq!(desk.get("/api/records").await.json()["records"], json!([]));
}

/// ADM-02: answers belong to callers; they need a permission of their own.
#[tokio::test]
async fn adm_02_answers_are_shown_only_for_the_token() {
    let desk = Desk::new();
    let lease = desk.claim(1).await;
    desk.own(&lease, completed(201, b"secret")).await;
    let path = format!("/api/records/{}?body=true", id(&lease));
    assert_eq!(desk.get(&path).await.problem(), (403, "body-forbidden".to_owned()));
    assert!(desk.shown(&lease).await.get("answer").is_none());

    let desk = Desk::guarded("t");
    let lease = desk.claim(1).await;
    desk.own(&lease, completed(201, b"secret")).await;
    let shown = [("authorization", "Bearer t")];
    let said = desk.ask(Method::GET, &path, &shown, None).await;
    assert_eq!(said.status(), StatusCode::OK);
    assert_eq!(
        said.json()["answer"],
        json!({"status": 201, "headers": [["location", "/p/1"]], "body_base64": "c2VjcmV0",
               "trailers": []})
    );
}

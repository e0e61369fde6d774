//! Forgetting records.

use http::StatusCode;
use serde_json::json;

use crate::desk::{Desk, TERM, completed, id};

#[tokio::test]
async fn a_completed_record_is_forgotten_and_its_key_is_new() {
    let desk = Desk::new();
    let lease = desk.claim(1).await;
    desk.own(&lease, completed(200, b"")).await;
    let path = format!("/api/records/{}", id(&lease));
    let said = desk.delete(&format!("{path}?reason=erasure")).await;
    assert_eq!(said.status(), StatusCode::OK);
    assert_eq!(said.json(), json!({"id": id(&lease), "purged": true}));
    assert_eq!(desk.delete(&path).await.problem(), (404, "not-found".to_owned()));
    assert_eq!(desk.claim_as(1, 2).await.unwrap().number, 1);
}

/// Ruling 13: what runs, or may have run, is purged only by force, and that is audited.
#[tokio::test]
async fn adm_03_live_records_are_purged_only_by_force() {
    let desk = Desk::new();
    let (running, doubted) = (desk.claim(1).await, desk.doubt(2).await);
    let path = format!("/api/records/{}", id(&running));
    assert_eq!(desk.delete(&path).await.problem(), (409, "in-progress".to_owned()));
    let doubted = format!("/api/records/{}", id(&doubted));
    let said = desk.delete(&doubted).await;
    assert_eq!(said.problem(), (409, "in-doubt".to_owned()));
    assert_eq!(said.json()["record"]["state"], "in_doubt");
    desk.clock.advance(TERM);
    assert_eq!(desk.delete(&path).await.code(), "in-doubt");
    for path in [path, doubted] {
        assert_eq!(desk.delete(&format!("{path}?force=true")).await.status(), StatusCode::OK);
    }
    let audit = desk.get("/api/audit").await.json();
    let told: Vec<_> = audit["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["result"].as_str().unwrap(), one["force"] == json!(true)))
        .collect();
    assert_eq!(
        told,
        [
            ("done", true),
            ("done", true),
            ("in-doubt", false),
            ("in-doubt", false),
            ("in-progress", false)
        ]
    );
}

#[tokio::test]
async fn an_id_of_an_older_attempt_purges_nothing() {
    let desk = Desk::new();
    let first = desk.doubt(1).await;
    desk.settle(&first, crate::desk::not_executed()).await;
    let second = desk.claim_as(1, 2).await.unwrap();
    desk.own(&second, completed(200, b"")).await;
    let said = desk.delete(&format!("/api/records/{}", id(&first))).await;
    assert_eq!(said.problem(), (409, "superseded".to_owned()));
    let said = desk.delete(&format!("/api/records/{}", first.id)).await;
    assert_eq!(said.status(), StatusCode::OK, "the record itself may be named");
}

//! Settling what is in doubt (ADM-03, ruling 13).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hapax::store::{Fault, Operation};
use hapax::{Cause, Kept, Phase, Retention, Settlement, Settler, Store as _};
use hapax_proxy::audit::{AUDIT_FILE_BYTES_MAX, AuditLog};
use http::{Request, StatusCode};
use serde_json::json;

use crate::desk::{Desk, TERM, completed, executed, id, not_executed};

#[tokio::test]
async fn adm_03_executed_keeps_the_supplied_answer_for_the_routes_retention() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    let said = desk.settle(&lease, executed()).await;
    assert_eq!(said.status(), StatusCode::OK, "{said:?}");
    let record = said.json();
    assert_eq!((&record["state"], &record["repeated"]), (&json!("completed"), &json!(false)));
    assert_eq!(record["expires_at"], "2026-01-02T00:00:00.000Z");
    assert_eq!(record["history"][2]["by"], "operator");
    let seen = desk.store.peek(&lease.id).await.unwrap().unwrap();
    let Phase::Completed { kept: Kept::Response(kept), .. } = seen.record.phase else {
        panic!("{seen:?}")
    };
    assert_eq!((kept.status, &kept.body[..]), (201, &b"{\"id\":7}"[..]));
    assert_eq!(kept.headers, [hapax::Field::new("location", "/p/7")]);
    assert!(desk.claim_as(1, 2).await.is_none(), "a retry does not run");
}

#[tokio::test]
async fn adm_03_not_executed_frees_the_key() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    assert!(desk.claim_as(1, 2).await.is_none());
    let said = desk.settle(&lease, not_executed()).await;
    assert_eq!(said.json()["state"], "released");
    let again = desk.claim_as(1, 2).await.unwrap();
    assert_eq!(again.number, 2);
}

#[tokio::test]
async fn adm_03_a_lapsed_claim_can_be_settled_and_a_running_one_cannot() {
    let desk = Desk::new();
    let lease = desk.claim(1).await;
    let said = desk.settle(&lease, not_executed()).await;
    assert_eq!(said.problem(), (409, "in-progress".to_owned()));
    assert_eq!(said.json()["record"]["state"], "in_progress");
    desk.clock.advance(TERM);
    // The owner is alive after all.
    desk.store.renew(&lease, TERM, None).await.unwrap();
    assert_eq!(desk.settle(&lease, not_executed()).await.code(), "in-progress");
    desk.clock.advance(TERM);
    assert_eq!(desk.settle(&lease, not_executed()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn adm_03_a_repetition_returns_the_first_result() {
    let desk = Desk::new();
    for (number, ending) in [(1, executed()), (2, not_executed())] {
        let lease = desk.doubt(number).await;
        let first = desk.settle(&lease, ending.clone()).await.json();
        desk.clock.advance(Duration::from_secs(5));
        let mut again = desk.settle(&lease, ending).await.json();
        assert_eq!((&first["repeated"], &again["repeated"]), (&json!(false), &json!(true)));
        again["repeated"] = json!(false);
        assert_eq!(again, first);
    }
    let resolved = desk.metrics.snapshot().resolved;
    assert!(resolved.contains(&("operator", 2)), "{resolved:?}");
}

#[tokio::test]
async fn adm_03_another_ending_than_the_first_is_refused() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    desk.settle(&lease, executed()).await;
    let mut other = executed();
    other["status"] = json!(200);
    for ending in [not_executed(), other] {
        let said = desk.settle(&lease, ending).await;
        assert_eq!(said.problem(), (409, "settled".to_owned()));
        assert_eq!(said.json()["record"]["status"], 201);
    }
}

/// What the owner itself settled is not the operator's to settle, whatever it was.
#[tokio::test]
async fn adm_03_what_the_owner_settled_stands() {
    let desk = Desk::new();
    let lease = desk.claim(1).await;
    desk.own(&lease, completed(200, b"owner")).await;
    assert_eq!(desk.settle(&lease, executed()).await.problem(), (409, "settled".to_owned()));
    let lease = desk.claim(2).await;
    let retention = Retention::For(Duration::from_secs(60));
    desk.own(&lease, Settlement::Release { retention, status: None }).await;
    assert_eq!(desk.settle(&lease, not_executed()).await.code(), "settled");
}

#[tokio::test]
async fn adm_03_an_older_attempt_is_superseded() {
    let desk = Desk::new();
    let first = desk.doubt(1).await;
    desk.settle(&first, not_executed()).await;
    let second = desk.claim_as(1, 2).await.unwrap();
    let said = desk.settle(&first, not_executed()).await;
    assert_eq!(said.problem(), (409, "superseded".to_owned()));
    assert_eq!(said.json()["record"]["id"], id(&second));
    assert_eq!(desk.shown(&second).await["state"], "in_progress");
}

/// A late answer gets through between the look and the settlement.
#[tokio::test]
async fn adm_03_a_simultaneous_late_answer_is_not_overwritten() {
    for ending in [executed(), not_executed()] {
        let desk = Desk::new();
        let lease = desk.doubt(1).await;
        let (store, owner) = (Arc::clone(&desk.store), lease.clone());
        let late = async move {
            store.settle(&owner, &completed(202, b"late"), Settler::Owner).await.unwrap();
        };
        // The first settlement is the operator's, which waits for the late answer's.
        desk.store.plan(Operation::Settle, Fault::Delay(Box::pin(late)));
        let said = desk.settle(&lease, ending).await;
        assert_eq!(said.problem(), (409, "settled".to_owned()));
        assert_eq!(desk.shown(&lease).await["status"], 202);
    }
}

/// The owner renews its lapsed lease between the look and the settlement.
#[tokio::test]
async fn adm_03_an_owner_that_comes_back_to_life_keeps_its_record() {
    let desk = Desk::new();
    let lease = desk.claim(1).await;
    desk.clock.advance(TERM);
    let (store, owner) = (Arc::clone(&desk.store), lease.clone());
    let renewal = async move {
        store.renew(&owner, TERM, None).await.unwrap();
    };
    desk.store.plan(Operation::Settle, Fault::Delay(Box::pin(renewal)));
    let said = desk.settle(&lease, not_executed()).await;
    assert_eq!(said.problem(), (409, "in-progress".to_owned()));
    desk.own(&lease, completed(200, b"")).await;
}

/// Two operators who know different things: one is told that the other was first.
#[tokio::test]
async fn adm_03_of_two_operators_the_first_stands() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    let (store, other) = (Arc::clone(&desk.store), lease.clone());
    let first = async move {
        store.settle(&other, &completed(200, b"first"), Settler::Operator).await.unwrap();
    };
    desk.store.plan(Operation::Settle, Fault::Delay(Box::pin(first)));
    assert_eq!(desk.settle(&lease, executed()).await.code(), "settled");
    assert_eq!(desk.shown(&lease).await["status"], 200);
}

/// The answer of the store gets lost: repeating the settlement tells how it ended.
#[tokio::test]
async fn adm_03_a_settlement_of_unknown_effect_is_safe_to_repeat() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    desk.store.plan(Operation::Settle, Fault::After);
    let said = desk.settle(&lease, executed()).await;
    assert_eq!(said.problem(), (503, "store-unavailable".to_owned()));
    assert_eq!(desk.settle(&lease, executed()).await.json()["repeated"], true);
}

#[tokio::test]
async fn adm_03_a_record_must_be_there_and_be_named_with_its_attempt() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    let path = format!("/api/records/{}/settle", lease.id);
    assert_eq!(desk.post(&path, executed()).await.problem(), (400, "invalid-request".to_owned()));
    let path = format!("/api/records/{}.{}/settle", "ab".repeat(32), lease.attempt);
    assert_eq!(desk.post(&path, executed()).await.problem(), (404, "not-found".to_owned()));
}

#[tokio::test]
async fn adm_03_bad_endings_change_nothing() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    let with = |name: &str, value: serde_json::Value| {
        let mut ending = executed();
        ending[name] = value;
        ending
    };
    for ending in [
        json!({}),
        json!([]),
        json!({"outcome": "maybe"}),
        json!({"outcome": "executed"}),
        json!({"outcome": "not-executed", "status": 200}),
        with("headers", json!([["a"]])),
        with("surprise", json!(1)),
        with("reason", json!("two\nlines")),
        with("reason", json!("x".repeat(501))),
    ] {
        let said = desk.settle(&lease, ending.clone()).await;
        assert_eq!(said.problem(), (400, "invalid-request".to_owned()), "{ending}");
    }
    for ending in [
        with("status", json!(199)),
        with("status", json!(600)),
        with("status", json!(204)),
        with("body_base64", json!("?")),
        with("headers", json!([["Transfer-Encoding", "chunked"]])),
        with("headers", json!([["Connection", "close"]])),
        with("headers", json!([["Content-Length", "1"]])),
        with("headers", json!([["Idempotent-Replayed", "true"]])),
        with("headers", json!([["Set-Cookie", "a=1"]])),
        with("headers", json!([["x", "a\r\nb: c"]])),
    ] {
        let said = desk.settle(&lease, ending.clone()).await;
        assert_eq!(said.problem(), (422, "invalid-answer".to_owned()), "{ending}");
    }
    assert_eq!(desk.shown(&lease).await["state"], "in_doubt");
}

#[tokio::test]
async fn adm_03_a_body_over_the_limit_is_refused() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    let path = format!("/api/records/{}/settle", id(&lease));
    let large = vec![b' '; 12 << 20];
    for declared in [false, true] {
        let mut request = Request::post(&path)
            .header("host", "localhost")
            .header("content-type", "application/json");
        if declared {
            request = request.header("content-length", large.len());
        }
        let said = desk.send(request.body(Body::from(large.clone())).unwrap()).await;
        assert_eq!(said.problem(), (413, "body-too-large".to_owned()));
    }
}

#[tokio::test]
async fn adm_03_every_decision_is_audited_with_its_result() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    let mut ending = executed();
    ending["reason"] = json!("ticket 4711");
    desk.settle(&lease, ending).await;
    desk.settle(&lease, executed()).await;
    desk.settle(&lease, not_executed()).await;
    let told = desk.get("/api/audit").await.json();
    assert_eq!(told["durable"], false);
    let decisions = told["decisions"].as_array().unwrap();
    let results: Vec<_> =
        decisions.iter().map(|decision| decision["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["settled", "repeated", "done"]);
    let first = &decisions[2];
    assert_eq!((&first["action"], &first["outcome"]), (&json!("settle"), &json!("executed")));
    assert_eq!((&first["record"], &first["status"]), (&json!(id(&lease)), &json!(201)));
    assert_eq!((&first["reason"], &first["by"]), (&json!("ticket 4711"), &json!("unknown")));
    assert!(!told.to_string().contains("eyJpZCI6N30"), "no bodies in the audit");
    assert_eq!(
        desk.get("/api/audit?limit=1").await.json()["decisions"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn adm_03_without_an_audit_nothing_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    // The file is full, and something is in the way of the name that it would get then.
    std::fs::File::create(&path).unwrap().set_len(AUDIT_FILE_BYTES_MAX).unwrap();
    std::fs::create_dir_all(folder.path().join("audit.jsonl.1/in-the-way")).unwrap();
    let log = AuditLog::open(&path).unwrap();
    let desk = Desk::with(|state| state.audit = log);
    let lease = desk.doubt(1).await;
    let said = desk.settle(&lease, executed()).await;
    assert_eq!(said.problem(), (503, "audit-unavailable".to_owned()));
    assert_eq!(desk.shown(&lease).await["state"], "in_doubt");
}

/// An operator who settles a doubt that the owner repeats does not bring the doubt back.
#[tokio::test]
async fn adm_03_the_owners_late_doubt_changes_nothing() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    desk.settle(&lease, executed()).await;
    let doubt = Settlement::Doubt { cause: Cause::Lost };
    assert!(desk.store.settle(&lease, &doubt, Settler::Owner).await.is_err());
    assert_eq!(desk.shown(&lease).await["state"], "completed");
}

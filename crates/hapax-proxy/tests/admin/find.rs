//! From what a caller sent to its record: the same record that the layer itself uses.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::post;
use hapax_proxy::admin::AdminState;
use hapax_tower::{
    Authority, IdempotencyLayer, Identify, Identity, KeySource, Mode, PrincipalSource, Rules,
};
use http::request::Parts;
use http::{HeaderName, Request, StatusCode};
use serde_json::{Value, json};
use tower_service::Service as _;

use crate::desk::Desk;

/// Trusts a header, as a verifier of tokens would trust a token.
#[derive(Debug)]
struct Trusting;

impl Identify for Trusting {
    fn identify(&self, parts: &Parts) -> Result<Identity, String> {
        match parts.headers.get("authorization").and_then(|value| value.to_str().ok()) {
            Some("bad") => Err("the token is past its time".to_owned()),
            Some(value) => {
                Ok(Identity::Named { source: "jwt:sub".to_owned(), value: value.into() })
            }
            None => Ok(Identity::Anonymous),
        }
    }
}

fn rules() -> Rules {
    Rules { route: "/v1/payments/**".into(), ..Rules::default() }
}

/// A desk with these rules beside a service that obeys them, which has answered one request.
async fn after(rules: Rules, lines: &[(&str, &str)]) -> Desk {
    let with = rules.clone();
    let mut guard = None;
    let desk = Desk::with(|state: &mut AdminState| {
        state.rules = vec![Rules { route: "/other".into(), ..Rules::default() }, with];
        guard = Some(state.guard.clone());
    });
    let layer = IdempotencyLayer::new(guard.unwrap(), desk.secret.clone(), rules);
    let mut app: Router = Router::new()
        .route("/v1/payments/1", post(|_body: Bytes| async { (StatusCode::CREATED, "paid") }))
        .layer(layer);
    let mut request = Request::post("/v1/payments/1");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let body = Body::from(r#"{"id":"k-1"}"#);
    let response = app.call(request.body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    desk
}

async fn find(desk: &Desk, sent: Value) -> (StatusCode, Value) {
    let said = desk.post("/api/records/find", sent).await;
    (said.status(), said.json())
}

const KEY: (&str, &str) = ("idempotency-key", "\"k-1\"");
const HOST: (&str, &str) = ("host", "API.example:80");

#[tokio::test]
async fn adm_02_a_key_and_its_callers_credential_lead_to_the_record() {
    let desk = after(rules(), &[KEY, HOST, ("authorization", "Bearer a")]).await;
    for sent in [
        json!({"key": "k-1", "authorization": " Bearer a ", "authority": "api.example"}),
        json!({"key": "\"k-1\"", "authorization": "Bearer a", "authority": "Api.Example:443",
               "route": "/v1/payments/**"}),
    ] {
        let (status, record) = find(&desk, sent).await;
        assert_eq!((status, &record["status"]), (StatusCode::OK, &json!(201)));
        assert_eq!(record["history"][1]["what"], "completed");
    }
    for other in [
        json!({"key": "k-2", "authorization": "Bearer a", "authority": "api.example"}),
        json!({"key": "k-1", "authorization": "Bearer b", "authority": "api.example"}),
        json!({"key": "k-1", "x_api_key": "Bearer a", "authority": "api.example"}),
        json!({"key": "k-1", "authorization": "Bearer a", "authority": "www.example"}),
        json!({"key": "k-1", "authority": "api.example"}),
    ] {
        let (status, problem) = find(&desk, other).await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("not-found")));
    }
}

#[tokio::test]
async fn adm_02_every_way_to_tell_callers_apart_is_known() {
    let field = |name: &'static str| HeaderName::from_static(name);
    let sources = [
        (PrincipalSource::Authorization, ("x-api-key", "x"), json!({"x_api_key": "x"})),
        (PrincipalSource::Authorization, ("accept", "*/*"), json!({})),
        (PrincipalSource::Header(field("x-tenant")), ("x-tenant", "t"), json!({"principal": "t"})),
        (
            PrincipalSource::Cookie("sid".into()),
            ("cookie", "a=b; sid=s"),
            json!({"principal": "s"}),
        ),
        (
            PrincipalSource::Custom(Arc::new(Trusting)),
            ("authorization", "me"),
            json!({"authorization": "me"}),
        ),
        (PrincipalSource::Shared, ("authorization", "x"), json!({})),
    ];
    for (principal, line, mut sent) in sources {
        let name = format!("{principal:?}");
        let rules = Rules { principal, ..rules() };
        let desk = after(rules, &[KEY, HOST, line]).await;
        sent["key"] = json!("k-1");
        sent["authority"] = json!("api.example");
        assert_eq!(find(&desk, sent).await.0, StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn adm_02_every_source_of_keys_and_shadow_mode_are_known() {
    let request_id = HeaderName::from_static("x-request-id");
    for source in [
        KeySource::Header(HeaderName::from_static("idempotency-key")),
        KeySource::Joined(request_id),
        KeySource::Body("/id".into()),
    ] {
        let name = format!("{source:?}");
        let authority = Authority::Fixed("shop".into());
        let rules = Rules { authority, key_source: source, ..rules() };
        let desk = after(rules, &[KEY, HOST, ("x-request-id", "k-1")]).await;
        let sent = json!({"key": "k-1", "route": "/v1/payments/**"});
        assert_eq!(find(&desk, sent).await.0, StatusCode::OK, "{name}");
    }
    let rules = Rules { mode: Mode::Shadow, ..rules() };
    let desk = after(rules, &[KEY, HOST]).await;
    let sent = json!({"key": "k-1", "authority": "api.example", "route": "/v1/payments/**"});
    for _ in 0..200 {
        // Shadow mode claims beside the answer.
        if find(&desk, sent.clone()).await.0 == StatusCode::OK {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("no record of shadow mode was found");
}

#[tokio::test]
async fn what_cannot_be_looked_for_is_told() {
    let desk = Desk::with(|state| {
        let principal = PrincipalSource::Custom(Arc::new(Trusting));
        state.rules.insert(0, Rules { principal, route: "/jwt".into(), ..Rules::default() });
    });
    for sent in [
        json!({}),
        json!({"key": ""}),
        json!({"key": "k".repeat(256), "authority": "a"}),
        json!({"key": "k"}),
        json!({"key": "k", "authority": "a", "route": "/none"}),
        json!({"key": "k", "authority": "a", "authorization": "a\nb"}),
        json!({"key": "k", "authority": "a", "authorization": "bad", "route": "/jwt"}),
        json!({"key": "k", "authority": "a", "password": "x"}),
    ] {
        let said = desk.post("/api/records/find", sent.clone()).await;
        assert_eq!(said.problem(), (400, "invalid-request".to_owned()), "{sent}");
        assert!(!said.text().contains("kkk"), "SEC-04: the key is not said again");
    }
    let large = json!({"key": "k", "authority": "a".repeat(70_000)});
    assert_eq!(desk.post("/api/records/find", large).await.code(), "body-too-large");
}

#[tokio::test]
async fn hosts_that_the_gateway_knows_are_tried_when_none_is_named() {
    let desk = Desk::with(|state| {
        state.authorities = vec!["other".to_owned(), "Gateway:8080".to_owned()];
    });
    let scope = desk.secret.scope(hapax::Principal::Anonymous, "gateway:8080");
    let id = desk.secret.record_id(&scope, &hapax::Key::from_text("k").unwrap());
    let (status, problem) = find(&desk, json!({"key": "k"})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("not-found")));
    let claim = hapax::Claim {
        attempt: hapax::AttemptId::from_bytes([1; 16]),
        fingerprint: hapax::Fingerprint::of(b""),
        id,
        on_lapse: hapax::OnLapse::Doubt,
        route: "/v1/payments/**".into(),
        term: crate::desk::TERM,
        transactional: None,
        unknown_retention: None,
    };
    hapax::Store::claim(&*desk.store, &claim).await.unwrap();
    assert_eq!(find(&desk, json!({"key": "k"})).await.0, StatusCode::OK);
}

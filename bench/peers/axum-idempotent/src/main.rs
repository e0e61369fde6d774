//! The orders API behind axum-idempotent, which keeps answers in the caller's session: `POST
//! /session` gives a caller its cookie. The key is taken from its header, as the documentation
//! shows it first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_idempotent::{IdempotentLayer, IdempotentOptions};
use ruts::store::Ttl;
use ruts::store::moka::MokaStore;
use ruts::{CookieOptions, Session, SessionLayer};
use serde_json::{Value, json};
use tower_cookies::CookieManagerLayer;

const WORK: Duration = Duration::from_millis(50);
const SESSION_SECONDS: u64 = 3600;

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).expect("the port to listen on");
    let options = IdempotentOptions::default()
        .use_idempotency_key_header(Some("Idempotency-Key"), false)
        .expire_after(SESSION_SECONDS as i64);
    let cookie = CookieOptions::build().name("session").max_age(SESSION_SECONDS).path("/");
    let sessions = SessionLayer::new(Arc::new(MokaStore::builder().build()));
    let app = Router::new()
        .route("/orders", post(create))
        .layer(IdempotentLayer::<MokaStore>::new(options))
        .route("/session", post(enter))
        .route("/effects", get(count))
        .layer(sessions.with_cookie_options(cookie.secure(false)))
        .layer(CookieManagerLayer::new())
        .with_state(Arc::new(AtomicU64::new(0)));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await;
    axum::serve(listener.expect("a free port"), app).await.expect("to serve");
}

async fn count(State(effects): State<Arc<AtomicU64>>) -> Json<Value> {
    Json(json!({"count": effects.load(Ordering::SeqCst)}))
}

async fn enter(session: Session<MokaStore>) -> StatusCode {
    let lasting = Ttl::new(SESSION_SECONDS as i64).expect("a valid lifetime");
    match session.set("entered", &true, lasting, None).await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Takes effect as soon as the order is understood and answers a little later.
async fn create(
    State(effects): State<Arc<AtomicU64>>,
    headers: HeaderMap,
    Json(order): Json<Value>,
) -> Response {
    let (Some(item), Some(amount)) = (order["item"].as_str(), order["amount"].as_i64()) else {
        let error = json!({"error": "an order has an item and an amount"});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    };
    effects.fetch_add(1, Ordering::SeqCst);
    let id = uuid::Uuid::new_v4().to_string();
    let caller = headers.get("authorization").and_then(|value| value.to_str().ok());
    let customer = caller.and_then(|value| value.split(' ').next_back()).unwrap_or("nobody");
    tokio::time::sleep(WORK).await;
    let answer = json!({"id": id, "customer": customer, "item": item, "amount": amount});
    let location = [(header::LOCATION, format!("/orders/{id}"))];
    (StatusCode::CREATED, location, Json(answer)).into_response()
}

//! The orders API behind the Tower layer of idempotent, with its memory store. Keys are scoped by
//! the caller, which its documentation asks for wherever there is more than one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use idempotent::memory::MemoryStore;
use idempotent::middleware::IdempotencyLayer;
use serde_json::{Value, json};

const WORK: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).expect("the port to listen on");
    let store = MemoryStore::builder().try_build().expect("a memory store");
    let layer = IdempotencyLayer::new(store).scope(|parts| {
        let caller = parts.headers.get(header::AUTHORIZATION)?;
        caller.to_str().ok().map(str::to_owned)
    });
    let app = Router::new()
        .route("/orders", post(create))
        .layer(layer)
        .route("/effects", get(count))
        .with_state(Arc::new(AtomicU64::new(0)));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await;
    axum::serve(listener.expect("a free port"), app).await.expect("to serve");
}

async fn count(State(effects): State<Arc<AtomicU64>>) -> Json<Value> {
    Json(json!({"count": effects.load(Ordering::SeqCst)}))
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

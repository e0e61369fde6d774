//! A payment API in axum that is safe to retry.
//!
//! ```sh
//! cargo run -p hapax-examples --example axum
//! curl -i localhost:3000/payments -H 'idempotency-key: order-17' --json '{"cents":500}'
//! ```
//!
//! The second time the same command gets the first answer, marked `idempotent-replayed: true`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Json, Router};
use hapax::{Attempt, Failures, Guard, MemoryStore, Policy, Preset, Secret};
use hapax_tower::{IdempotencyLayer, KeyMode, Rules};
use http::StatusCode;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    cents: u64,
}

#[derive(Serialize)]
struct Receipt {
    cents: u64,
    payment: u64,
}

/// Runs once per key, whatever clients and networks do.
async fn pay(
    State(payments): State<Arc<AtomicU64>>,
    Extension(attempt): Extension<Attempt>,
    Json(order): Json<Order>,
) -> (StatusCode, Json<Receipt>) {
    // For the payment provider: the same on every attempt of this operation.
    let _key_of_the_call = attempt.child_key("charge");
    let payment = payments.fetch_add(1, Ordering::Relaxed) + 1;
    (StatusCode::CREATED, Json(Receipt { cents: order.cents, payment }))
}

fn app(payments: Arc<AtomicU64>) -> Router {
    // In memory: keys are forgotten when the program ends. Money belongs in a durable store, with a
    // secret that is kept beside it.
    let guard = Guard::new(Arc::new(MemoryStore::default()));
    let secret = Secret::new(b"sixteen bytes or more, kept with the store");
    let policy = Policy { failures: Failures::preset(Preset::Strict), ..Policy::default() };
    let rules = Rules { key: KeyMode::Required, policy: Arc::new(policy), ..Rules::default() };
    let layer = IdempotencyLayer::new(guard, secret, rules);
    Router::new().route("/payments", post(pay)).layer(layer).with_state(payments)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(Arc::default())).await?;
    Ok(())
}

#[tokio::test]
async fn a_retry_pays_once() -> Result<(), Box<dyn Error>> {
    use tower_service::Service as _;
    let payments = Arc::new(AtomicU64::new(0));
    let mut app = app(Arc::clone(&payments));
    let mut pay = async |key: &'static str, body: &'static str| {
        let request = http::Request::post("/payments")
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body))?;
        Ok::<_, Box<dyn Error>>(app.call(request).await?.status().as_u16())
    };
    assert_eq!(pay("order-17", r#"{"cents":500}"#).await?, 201);
    assert_eq!(pay("order-17", r#"{"cents":500}"#).await?, 201);
    assert_eq!(pay("order-17", r#"{"cents":900}"#).await?, 422);
    assert_eq!(payments.load(Ordering::Relaxed), 1);
    Ok(())
}

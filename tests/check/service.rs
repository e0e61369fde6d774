//! A small axum service with the layer around it, and a count of its effects.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use hapax::{Guard, MemoryStore, Secret};
use hapax_tower::{IdempotencyLayer, Rules};
use serde_json::json;

/// Serves until the process ends; answers with its URL.
pub(crate) fn start() -> String {
    let (told, address) = std::sync::mpsc::channel::<SocketAddr>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a free port");
            let address = listener.local_addr().expect("an address");
            told.send(address).expect("the test waits");
            axum::serve(listener, router()).await.expect("a service");
        });
    });
    format!("http://{}", address.recv().expect("an address"))
}

fn router() -> Router {
    let guard = Guard::new(Arc::new(MemoryStore::default()));
    let layer = IdempotencyLayer::new(guard, Secret::new(b"of this test"), Rules::default());
    let orders = Router::new().route("/orders", post(order)).layer(layer);
    let effects = Router::new().route("/effects", get(effects));
    orders.merge(effects).with_state(Arc::default())
}

async fn order(
    State(count): State<Arc<AtomicU64>>,
    body: String,
) -> Result<(StatusCode, [(header::HeaderName, String); 1], Json<serde_json::Value>), StatusCode> {
    serde_json::from_str::<serde_json::Value>(&body).map_err(|_error| StatusCode::BAD_REQUEST)?;
    let id = count.fetch_add(1, Ordering::SeqCst) + 1;
    let location = (header::LOCATION, format!("/orders/{id}"));
    Ok((StatusCode::CREATED, [location], Json(json!({ "id": id }))))
}

async fn effects(State(count): State<Arc<AtomicU64>>) -> Json<serde_json::Value> {
    Json(json!({ "count": count.load(Ordering::SeqCst) }))
}

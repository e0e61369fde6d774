//! The sample API: payments, orders and tickets. It knows nothing of keys; every POST takes effect.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// From the effect to the answer: long enough for a line to drop in between.
const ANSWER_TAKES: Duration = Duration::from_millis(150);

/// What it keeps of each kind at most; it is a sample, but it is left running.
const ENTRIES_MAX: usize = 10_000;

/// A running sample API; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct SampleApi {
    pub(super) address: SocketAddr,
    books: Arc<Books>,
    server: JoinHandle<()>,
}

/// What took effect, by kind.
#[derive(Clone, Debug, Default)]
struct Ledger {
    orders: Vec<Value>,
    payments: Vec<Payment>,
    tickets: Vec<Value>,
}

#[derive(Debug)]
struct Books {
    ledger: Mutex<Ledger>,
    /// Counts effects, so that a scene can act between an effect and its answer.
    effects: watch::Sender<usize>,
    /// Whether answers wait, so that such a scene is in time on any machine.
    held: watch::Sender<bool>,
}

/// While it is kept, the API takes effect and does not answer.
#[derive(Debug)]
pub(super) struct Held(Arc<Books>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.send_replace(false);
    }
}

#[derive(Clone, Debug, Serialize)]
struct Payment {
    id: String,
    customer: String,
    cents: u64,
}

#[derive(Debug, Deserialize)]
struct PaymentRequest {
    customer: String,
    cents: u64,
}

#[derive(Debug, Deserialize)]
struct OrderRequest {
    customer: String,
    item: String,
}

#[derive(Debug, Deserialize)]
struct TicketRequest {
    customer: String,
    seat: String,
}

/// How many there are of each kind, and what was charged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Totals {
    pub(super) cents: u64,
    pub(super) orders: usize,
    pub(super) payments: usize,
    pub(super) tickets: usize,
}

impl SampleApi {
    /// Starts it on a free port of loopback.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let books = Arc::new(Books {
            ledger: Mutex::default(),
            effects: watch::Sender::new(0),
            held: watch::Sender::new(false),
        });
        let router = Router::new()
            .route("/orders", get(orders).post(order))
            .route("/payments", get(payments).post(pay))
            .route("/tickets", get(tickets).post(book))
            .with_state(Arc::clone(&books));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the sample API ended");
            }
        });
        Ok(Self { address, books, server })
    }

    /// What took effect so far.
    pub(super) fn totals(&self) -> Totals {
        let ledger = self.books.ledger();
        Totals {
            cents: ledger.payments.iter().map(|payment| payment.cents).sum(),
            orders: ledger.orders.len(),
            payments: ledger.payments.len(),
            tickets: ledger.tickets.len(),
        }
    }

    /// Waits for the next effect after those that `seen` knows.
    pub(super) async fn next_effect(&self, seen: usize) {
        let mut effects = self.books.effects.subscribe();
        // The sender lives as long as the API.
        let _closed = effects.wait_for(|effects| *effects > seen).await;
    }

    /// How many effects there were.
    pub(super) fn effects(&self) -> usize {
        *self.books.effects.borrow()
    }

    /// Holds all answers back.
    pub(super) fn hold(&self) -> Held {
        self.books.held.send_replace(true);
        Held(Arc::clone(&self.books))
    }

    /// The newest ticket, as its buyer should have been told.
    pub(super) fn last_ticket(&self) -> Option<Value> {
        self.books.ledger().tickets.last().cloned()
    }
}

impl Drop for SampleApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Books {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes effect at once, and answers in its own time.
    async fn created(
        &self,
        kind: &str,
        take_effect: impl FnOnce(&mut Ledger) -> Option<(String, Value)>,
    ) -> Response {
        let Some((id, body)) = take_effect(&mut self.ledger()) else {
            let full = json!({"error": "the sample's books are full; start it again"});
            return (StatusCode::INSUFFICIENT_STORAGE, Json(full)).into_response();
        };
        self.effects.send_modify(|effects| *effects += 1);
        tokio::time::sleep(ANSWER_TAKES).await;
        let mut held = self.held.subscribe();
        // What the wait hands back would hold up whoever lets go next.
        drop(held.wait_for(|held| !held).await);
        let location = [(header::LOCATION, format!("/{kind}/{id}"))];
        (StatusCode::CREATED, location, Json(body)).into_response()
    }
}

async fn pay(State(books): State<Arc<Books>>, body: Bytes) -> Response {
    let request = match read::<PaymentRequest>(&body) {
        Ok(request) => request,
        Err(error) => return refuse(&error),
    };
    let PaymentRequest { customer, cents } = request;
    let charge = |ledger: &mut Ledger| {
        let id = number("pay", ledger.payments.len())?;
        let payment = Payment { id: id.clone(), customer, cents };
        ledger.payments.push(payment.clone());
        Some((id, json!(payment)))
    };
    books.created("payments", charge).await
}

async fn order(State(books): State<Arc<Books>>, body: Bytes) -> Response {
    let request = match read::<OrderRequest>(&body) {
        Ok(request) => request,
        Err(error) => return refuse(&error),
    };
    let OrderRequest { customer, item } = request;
    let place = |ledger: &mut Ledger| {
        let id = number("order", ledger.orders.len())?;
        let order = json!({"id": id, "customer": customer, "item": item});
        ledger.orders.push(order.clone());
        Some((id, order))
    };
    books.created("orders", place).await
}

async fn book(State(books): State<Arc<Books>>, body: Bytes) -> Response {
    let request = match read::<TicketRequest>(&body) {
        Ok(request) => request,
        Err(error) => return refuse(&error),
    };
    let TicketRequest { customer, seat } = request;
    let sell = |ledger: &mut Ledger| {
        let id = number("ticket", ledger.tickets.len())?;
        let ticket = json!({"id": id, "customer": customer, "seat": seat});
        ledger.tickets.push(ticket.clone());
        Some((id, ticket))
    };
    books.created("tickets", sell).await
}

async fn payments(State(books): State<Arc<Books>>) -> Json<Value> {
    let payments = books.ledger().payments.clone();
    let charged: u64 = payments.iter().map(|payment| payment.cents).sum();
    Json(json!({"count": payments.len(), "cents_charged": charged, "payments": payments}))
}

async fn orders(State(books): State<Arc<Books>>) -> Json<Value> {
    let orders = books.ledger().orders.clone();
    Json(json!({"count": orders.len(), "orders": orders}))
}

async fn tickets(State(books): State<Arc<Books>>) -> Json<Value> {
    let tickets = books.ledger().tickets.clone();
    Json(json!({"count": tickets.len(), "tickets": tickets}))
}

/// Whatever it calls itself, the content has to be JSON: `curl -d` is enough to try it.
fn read<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}

fn refuse(error: &serde_json::Error) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": error.to_string()}))).into_response()
}

fn number(kind: &str, taken: usize) -> Option<String> {
    (taken < ENTRIES_MAX).then(|| format!("{kind}_{}", taken + 1))
}

#[cfg(test)]
mod tests {
    use super::super::customer::{Call, send};
    use super::*;

    #[tokio::test]
    async fn held_answer_waits_behind_its_effect() {
        let api = SampleApi::start().await.unwrap();
        let call =
            Call { body: json!({"customer": "a", "cents": 1}), key: None, path: "/payments" };
        let held = api.hold();
        let asking = send(api.address, &call);
        tokio::pin!(asking);
        let told = tokio::time::timeout(2 * ANSWER_TAKES, &mut asking).await;
        assert!(told.is_err(), "{told:?}");
        tokio::select! {
            told = &mut asking => panic!("{told:?}"),
            () = api.next_effect(0) => {}
        }
        drop(held);
        assert_eq!(asking.await.unwrap().status, 201);
        assert_eq!(api.totals().payments, 1);
    }
}

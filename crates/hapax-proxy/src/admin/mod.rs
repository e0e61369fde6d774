//! The admin listener: health, metrics, and the records with what an operator may do to them.
//!
//! ```text
//! access.rs   who may ask: Host, Origin, token; limits and headers of every answer
//! health.rs   /livez  /readyz  /metrics
//! records.rs  /api/records  /api/records/{id}  DELETE /api/records/{id}
//! find.rs     /api/records/find: from what a caller sent to its record
//! settle.rs   /api/records/{id}/settle
//! live.rs     /api/stats  /api/events  /api/audit
//! ```
//!
//! It is a listener of its own: none of its paths is served on the data port (ADM-01).

mod access;
mod answer;

mod find;
mod health;
mod id;
mod index;
mod input;
mod live;
mod lookup;
mod problem;
mod purge;
mod records;
mod serve;
mod settle;
mod time;
mod view;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use hapax::{Guard, Secret};
use hapax_tower::Rules;
use tokio::sync::Semaphore;

use crate::audit::AuditLog;
use crate::config;
use crate::metrics::Metrics;

pub use serve::{CONNECTIONS_MAX, serve};

/// Listings and settlements at once: either may hold megabytes.
const HEAVY_MAX: usize = 4;

/// What the admin listener works on.
#[derive(Debug)]
pub struct AdminState {
    /// Where decisions are written down.
    pub audit: AuditLog,
    /// Hosts that a caller may have addressed, tried when a search names none.
    pub authorities: Vec<String>,
    /// The guard of all routes; its store is the one that is shown and settled.
    pub guard: Guard,
    /// Names besides loopback that the listener answers to, in lower case and without port.
    pub hosts: Vec<String>,
    /// Whether it listens on loopback alone. If not, nothing is told without a token.
    pub is_loopback: bool,
    /// What `/metrics`, `/api/stats` and `/api/events` tell.
    pub metrics: Arc<Metrics>,
    /// Whether the data port accepts, for `/readyz`.
    pub ready: Arc<AtomicBool>,
    /// The rules of all routes in their order, the last of which is for all other names.
    pub rules: Vec<Rules>,
    /// What names records.
    pub secret: Secret,
    /// How long one operation of the store may take.
    pub store_timeout: Duration,
    /// What a caller has to show.
    pub token: Option<config::Secret>,
}

/// [`AdminState`] with what requests share.
#[derive(Debug)]
struct Shared {
    admin: AdminState,
    event_streams: Arc<Semaphore>,
    heavy: Semaphore,
}

impl std::ops::Deref for Shared {
    type Target = AdminState;

    fn deref(&self) -> &AdminState {
        &self.admin
    }
}

/// All endpoints, with their limits and checks around them.
pub fn router(state: AdminState) -> Router {
    let shared = Arc::new(Shared {
        admin: state,
        event_streams: Arc::new(Semaphore::new(live::EVENT_STREAMS_MAX)),
        heavy: Semaphore::new(HEAVY_MAX),
    });
    Router::new()
        .route("/", get(index::page))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/api/audit", get(live::audit))
        .route("/api/events", get(live::events))
        .route("/api/records", get(records::list))
        .route("/api/records/find", post(find::find))
        .route("/api/records/{id}", get(records::show).delete(purge::purge))
        .route("/api/records/{id}/settle", post(settle::settle))
        .route("/api/stats", get(live::stats))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), access::check))
        .with_state(shared)
}

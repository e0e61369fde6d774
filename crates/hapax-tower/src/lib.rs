//! A Tower layer that makes any HTTP service safe to retry.
//!
//! [`IdempotencyLayer`] goes around an axum router or any `tower_service::Service`. For a request
//! whose method is protected and that carries a key, in this order:
//!
//! 1. the key is parsed and the caller identified (`admit.rs`); what is wrong is answered without
//!    reading the body;
//! 2. the body is read up to a limit, and the request's fingerprint taken;
//! 3. [`hapax::Guard`] runs the inner service once (`drive.rs`), detached from the client's
//!    connection, or finds out what stands in its way;
//! 4. the verdict becomes an answer (`answer.rs`): the service's own, a replay, or a problem.
//!
//! All other requests go straight through, untouched.
//!
//! ```
//! use std::sync::Arc;
//! use hapax::{Guard, MemoryStore, Secret};
//! use hapax_tower::{IdempotencyLayer, Rules};
//!
//! let guard = Guard::new(Arc::new(MemoryStore::default()));
//! let secret = Secret::new(b"kept with the store and shared by all nodes");
//! let layer = IdempotencyLayer::new(guard, secret, Rules::default());
//! let app: axum::Router = axum::Router::new()
//!     .route("/payments", axum::routing::post(|| async { "paid" }))
//!     .layer(layer);
//! ```

mod admit;
mod answer;
mod body;
mod drive;
mod extension;
mod headers;
mod issued;
mod layer;
mod reply;
mod rules;
mod service;
mod shadow;

pub use body::{RequestBody, ResponseBody, Whole};
pub use drive::EffectError;
pub use extension::Settled;
pub use headers::{EXPIRES, KEY, OUTCOME, REPLAYED, UNPROTECTED, http_date};
pub use issued::{IssueError, IssuedKeys};
pub use layer::IdempotencyLayer;
pub use reply::problem;
pub use rules::{Authority, Identify, Identity, KeyMode, KeySource, Mode, PrincipalSource, Rules};
pub use service::Idempotency;
pub use shadow::{Watched, WatchedResponse};

//! The shared store of Hapax on PostgreSQL: `postgres://...`.
//!
//! Any number of gateways and libraries use one database as one. [`PgStore`] implements
//! [`hapax::Store`]:
//!
//! - **Each operation is one statement, one round trip, one transaction.** It calls a function that
//!   takes the row's lock, reads the server's clock, and decides on what the lock shows
//!   (`migrations/0002_steps.sql`). No grant is decided on a version of the row that somebody may be
//!   replacing.
//! - **An application may commit in the same database**: `hapax.commit`, called in its own transaction,
//!   makes its effect and the fact that it happened one commit (`migrations/0004_commit.sql`). Nothing
//!   waits for that transaction but its owner's settlement, for a second.
//! - **The server's clock judges**, whichever node asks.
//! - **An operation keeps nothing in its session**, so that a pooler may hand each one to another
//!   ([`PgOptions::pooled`]). Only listening for hints needs a session of its own.
//! - **Every claim and renewal says whose it is**: a server that holds records made with another
//!   secret or under other scope rules refuses it, whatever a reconnection has led to.
//! - **What the server promises is asked at opening**, and [`guarantees`](hapax::Store::guarantees)
//!   repeats it: `synchronous_commit`, `fsync`, synchronous standbys. A read-only replica is refused.
//!
//! The schema is plain SQL in `migrations/`, applied by [`migrate`] or by an operator.

mod address;
mod call;
mod connections;
mod decode;
mod error;
mod hints;
mod line;
mod migrate;
mod open;
mod options;
mod promises;
mod record;
mod refusal;
mod store;

pub use error::OpenError;
pub use migrate::{Migrated, migrate};
pub use options::PgOptions;
pub use store::PgStore;

//! The embedded durable store of Hapax: `file:PATH`.
//!
//! One process, one folder, no server. [`FileStore`] implements [`hapax::Store`] on a log-structured
//! library (fjall):
//!
//! - **One writer thread** takes every step. It takes all that is queued, applies the pure
//!   [machine](hapax::machine), writes one atomic batch, syncs once, and only then answers everyone.
//!   At 64 callers one sync serves dozens of steps.
//! - **Nothing is answered before it is as durable as promised** ([`Durability`]). A write or sync
//!   that fails ends the store: it never retries on the same file, and what it cannot know it
//!   reports as unknown.
//! - **Open records apart, settled ones in buckets of time.** A bucket is dropped whole when the last
//!   of its records has expired, so that expiry costs nothing per record.
//! - **No key, credential or scope is on the disk**: records are named by keyed hashes. Answers are
//!   kept as they are.
//! - A folder that is in use, damaged, foreign, or of a newer release is told apart at opening
//!   ([`OpenError`]), and never taken for an empty store.

mod buckets;
mod clock;
mod error;
mod filter;
mod folder;
mod hint;
mod janitor;
mod journal;
mod ledger;
mod list;
mod mailbox;
mod open;
mod open_records;
mod operation;
mod options;
mod queue;
mod schema;
mod store;
mod turn;
mod writer;

pub use error::OpenError;
pub use options::{Durability, FileOptions};
pub use store::FileStore;
pub use writer::Work;

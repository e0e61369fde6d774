//! Measures from outside whether an API, a middleware or a gateway is safe to retry.
//!
//! A *case* is one promise: an id, a sentence, its source and a judgement. Cases come in two
//! modes. In *API mode* the checker is a client and sees only answers (and a count of effects, if
//! the target has one to read). In *layer mode* it also plays the upstream behind a gateway,
//! sidecar or middleware: it counts what arrives, delays, cuts and lies, and may kill, pause and
//! restart the layer.
//!
//! The crate depends on no other crate of this workspace, so that a bug there cannot hide itself.

mod app;
mod args;
pub mod case;
mod cases;
mod judge;
mod port;
mod process;
pub mod profile;
pub mod report;
mod runner;
mod setup;
mod stillness;
mod target;
mod trial;
mod upstream;
mod wire;

pub use app::{Unmeasured, measure, run};
pub use args::{CheckArgs, Format};
pub use case::{Case, Kind, Need};
pub use cases::all as cases;
pub use profile::layer_profile_toml;
pub use report::{Finding, Report, Verdict};

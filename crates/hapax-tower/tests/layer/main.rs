//! The layer around services, in process: no sockets, time as the tests say.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by panicking")]

mod concurrent;
mod doubt;
mod execute;
mod expiry;
mod failure;
mod fingerprint;
mod http;
mod key;
mod large;
mod replay;
mod scene;
mod scope;
mod security;
mod shadow;
mod sources;
mod wire;

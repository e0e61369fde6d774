//! The transport over real sockets on loopback: what leaves, what comes back, and what is said about it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as the tests do")]

#[path = "transport/forward.rs"]
mod forward;
#[path = "transport/framing.rs"]
mod framing;
#[path = "transport/limits.rs"]
mod limits;
mod support;
#[path = "transport/upstream.rs"]
mod upstream;

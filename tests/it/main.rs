//! End-to-end tests: the gateway as its users run it, killed, paused and lied to.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod campaign;
mod demo;
mod doubt;
mod hostile;
mod lease;
mod moving;
mod once;
mod outage;
mod pass;
mod secrecy;
mod settle;
mod shared;
mod start;
mod versions;

//! End-to-end tests: the gateway as its users run it, killed, paused and lied to.

mod campaign;
mod demo;
mod doubt;
mod lease;
mod once;
mod settle;
mod start;

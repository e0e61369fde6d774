//! End-to-end tests: the gateway as its users run it, killed, paused and lied to.

mod campaign;
mod demo;
mod doubt;
mod once;
mod start;

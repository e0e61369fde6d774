//! End-to-end tests: the gateway as its users run it, killed, paused and lied to.

mod campaign;
mod demo;
mod doubt;
mod hostile;
mod lease;
mod once;
mod pass;
mod secrecy;
mod settle;
mod start;
mod versions;

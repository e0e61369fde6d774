//! The embedded store against a real disk: what is kept, what is refused, what is survived.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod callers;
mod crash;
mod full_disk;
mod refusals;
mod secrecy;
mod steps;
mod support;
mod torn;

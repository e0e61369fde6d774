//! The embedded store against a real disk: what is kept, what is refused, what is survived.

mod callers;
mod crash;
mod full_disk;
mod refusals;
mod secrecy;
mod steps;
mod support;
mod torn;

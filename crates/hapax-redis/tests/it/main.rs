//! What only this store has to show, on real servers: the one that the variables name, and own ones
//! that a test may kill.

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod expiry;
mod hints;
mod identity;
mod opening;
mod outages;
mod readiness;
mod room;
mod scene;
mod server;
mod waiting;

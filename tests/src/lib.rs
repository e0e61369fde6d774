//! What the end-to-end tests share: the gateway as a process that can be killed, a scripted upstream
//! that counts, and a client whose every byte is the test's own.
//!
//! Everything here blocks, has a limit in time, and ends what it started when it is dropped.

mod binary;
mod chance;
mod client;
mod cue;
mod gateway;
mod servers;
mod settings;
mod shared;
mod upstream;
mod wire;

use std::time::{Duration, Instant};

pub use binary::binary;
pub use chance::Chance;
pub use client::{Answer, Connection, Request};
pub use cue::Cue;
pub use gateway::{Ended, Gateway};
pub use hapax_store_tests::{Port, Relay};
pub use servers::{Postgres, Redis, RedisCluster, Reply};
pub use settings::Settings;
pub use shared::{Place, Server, Shared};
pub use upstream::{Arrival, Next, Upstream, respond};
pub use wire::{Fields, read_fields};

/// The time after which a test is stuck.
pub const STUCK: Duration = Duration::from_secs(20);

/// The host that requests are addressed to, whatever port the gateway has: it is part of the scope.
pub const HOST: &str = "api.hapax.test";

/// Waits until `done` holds; for states that another process reaches in its own time.
///
/// # Panics
/// When it does not hold within [`STUCK`].
pub fn eventually(what: &str, done: impl FnMut() -> bool) {
    assert!(holds_within(STUCK, done), "never happened: {what}");
}

/// Whether `done` comes to hold within `limit`.
pub fn holds_within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

//! What only this store has to show, on a real server.

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod hints;
mod identity;
mod opening;
mod outages;
mod races;
mod relay;
mod scene;
mod sweeping;

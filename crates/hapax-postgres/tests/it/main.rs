//! What only this store has to show, on a real server.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod application;
mod closing;
mod commit;
mod endings;
mod flow;
mod hints;
mod identity;
mod listening;
mod opening;
mod outages;
mod overtaking;
mod races;
mod resolving;
mod rights;
mod scene;
mod sweeping;

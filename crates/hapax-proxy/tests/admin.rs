//! The admin listener over a store in memory whose clock stands still unless told otherwise.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as the tests do")]

#[path = "admin/access.rs"]
mod access;
#[path = "admin/desk.rs"]
mod desk;
#[path = "admin/find.rs"]
mod find;
#[path = "admin/health.rs"]
mod health;
#[path = "admin/keys.rs"]
mod keys;
#[path = "admin/live.rs"]
mod live;
#[path = "admin/purge.rs"]
mod purge;
#[path = "admin/records.rs"]
mod records;
#[path = "admin/serve.rs"]
mod serve;
#[path = "admin/settle.rs"]
mod settle;

//! Servers of a test's own, to be killed, paused and failed over, and the way to those that all tests
//! share.
//!
//! A server of a test's own keeps its folder from start to start, promises what it promises to its users
//! (PostgreSQL as it comes; Redis with every write synced), and ends with its test.

mod cluster;
mod daemon;
mod find;
mod postgres;
mod redis;
mod reply;

pub use cluster::RedisCluster;
pub use postgres::Postgres;
pub use redis::Redis;
pub use reply::Reply;

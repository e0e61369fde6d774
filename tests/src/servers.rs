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

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

//! How a store is opened.

use std::fmt;
use std::time::Duration;

use hapax::ClockOffset;

/// What the store's keys begin with unless the options say otherwise.
pub(crate) const PREFIX: &str = "hapax";

/// What a [`RedisStore`](crate::RedisStore) is opened with.
#[derive(Clone)]
pub struct RedisOptions {
    /// Whether to open a server that may evict keys when its memory is full. A claim that is evicted
    /// runs again, silently. `false` by default.
    pub allow_eviction: bool,
    /// What is added to the server's clock; nothing, but in tests.
    pub clock_offset: ClockOffset,
    /// Connections to each server that the steps are spread over; two by default. Each carries any
    /// number of steps at once. One more is for administration, and one listens for hints.
    pub connections: u32,
    /// What all keys of the store begin with, so that several stores can share a server: up to 40
    /// letters, digits, `_`, `-`, `.` and `:`; `hapax` by default.
    pub prefix: String,
    /// What keys are scoped by, in any fixed wording: a store made under other rules is refused
    /// (ruling 8).
    pub scope_rules: String,
    /// What record ids are keyed with. `None`: made once at random by the first node, and kept on the
    /// server.
    pub secret: Option<Vec<u8>>,
    /// How long one operation may take in all; five seconds by default.
    pub store_timeout: Duration,
    /// Whether to wait after each step until the server has it on its disk (`WAITAOF`). A step that is
    /// not there in time has an unknown effect. `false` by default; not needed with `appendfsync always`,
    /// which is faster: under `everysec` each connection does about one step a second.
    ///
    /// It takes `appendonly yes`, and Redis 8 with `everysec` or `always`, or Redis 7.2 or Valkey with
    /// `always`: under `everysec` these confirm what is not on the disk yet. Any other server is refused.
    pub wait_fsync: bool,
    /// For how many replicas to wait after each step (`WAIT`); none by default. With `wait_fsync` they
    /// are waited for until it is on their disks, which takes `appendonly yes` there too. A step that
    /// too few have in time has an unknown effect. This makes it unlikely that a failover forgets a step,
    /// not impossible: replicas do not vote, and one that has missed the step may still be promoted.
    pub wait_replicas: u32,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            allow_eviction: false,
            clock_offset: ClockOffset::default(),
            connections: 2,
            prefix: PREFIX.to_owned(),
            scope_rules: String::new(),
            secret: None,
            store_timeout: Duration::from_secs(5),
            wait_fsync: false,
            wait_replicas: 0,
        }
    }
}

impl fmt::Debug for RedisOptions {
    /// Leaves out the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("allow_eviction", &self.allow_eviction)
            .field("clock_offset", &self.clock_offset)
            .field("connections", &self.connections)
            .field("prefix", &self.prefix)
            .field("scope_rules", &self.scope_rules)
            .field("store_timeout", &self.store_timeout)
            .field("wait_fsync", &self.wait_fsync)
            .field("wait_replicas", &self.wait_replicas)
            .finish_non_exhaustive()
    }
}

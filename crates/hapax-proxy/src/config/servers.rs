//! What the shared stores need beyond their address: the sections `[postgres]` and `[redis]`.

use serde::Deserialize;

use super::secret::Secret;
use super::setting::{optional, setting};

/// How records are kept in PostgreSQL.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Connections to the server, the one that listens for other gateways aside.
    #[serde(deserialize_with = "setting")]
    pub connections_max: u32,
    /// Where to listen for other gateways, if not where the records are: behind a pooler.
    #[serde(default, deserialize_with = "optional")]
    pub listen_url: Option<Secret>,
    /// Whether the address is that of a pooler which hands out transactions, not sessions.
    #[serde(deserialize_with = "setting")]
    pub pooled: bool,
    /// The schema that records are in.
    #[serde(deserialize_with = "setting")]
    pub schema: String,
}

/// How records are kept in Redis or Valkey.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// Whether a server may be used that throws keys out when its memory is full.
    #[serde(deserialize_with = "setting")]
    pub allow_eviction: bool,
    /// Connections to each server that steps are spread over.
    #[serde(deserialize_with = "setting")]
    pub connections: u32,
    /// What the names of all keys begin with.
    #[serde(deserialize_with = "setting")]
    pub prefix: String,
    /// Whether each step waits until the server has it on its disk (`WAITAOF`).
    #[serde(deserialize_with = "setting")]
    pub wait_fsync: bool,
    /// Replicas that must have each step before it counts; none: none is waited for.
    #[serde(default, deserialize_with = "optional")]
    pub wait_replicas: Option<u32>,
}

//! How a store is opened.

use std::fmt;
use std::time::Duration;

use hapax::ClockOffset;

/// The schema that records are in unless the options say otherwise.
pub(crate) const SCHEMA: &str = "hapax";

/// What a [`PgStore`](crate::PgStore) is opened with.
#[derive(Clone)]
pub struct PgOptions {
    /// What is added to the server's clock; nothing, but in tests.
    pub clock_offset: ClockOffset,
    /// At most this many connections, the one that listens aside; 16 by default.
    pub connections_max: u32,
    /// Where to listen for hints from other nodes, if not where the records are: a pooler that hands
    /// out transactions cannot pass them on, the server behind it can. Without hints, waiters poll.
    pub listen_url: Option<String>,
    /// Whether to bring the schema up to date at opening; it takes the right to create. `true` by
    /// default.
    pub migrate: bool,
    /// Whether the address is that of a pooler which hands out transactions rather than sessions.
    /// Statements are then sent whole, nothing is prepared, and there is no `statement_timeout` but
    /// the one that the role has.
    pub pooled: bool,
    /// The schema that the records are in: lower-case letters, digits and `_`; `hapax` by default.
    pub schema: String,
    /// What keys are scoped by, in any fixed wording: a store made under other rules is refused
    /// (ruling 8).
    pub scope_rules: String,
    /// What record ids are keyed with. `None`: made once at random by the first node, and kept in
    /// the database.
    pub secret: Option<Vec<u8>>,
    /// How long one operation may take, from asking for a connection to the answer; five seconds by
    /// default. The server gives a statement up after four fifths of it.
    pub store_timeout: Duration,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            clock_offset: ClockOffset::default(),
            connections_max: 16,
            listen_url: None,
            migrate: true,
            pooled: false,
            schema: SCHEMA.to_owned(),
            scope_rules: String::new(),
            secret: None,
            store_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for PgOptions {
    /// Leaves out the secret and the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("clock_offset", &self.clock_offset)
            .field("connections_max", &self.connections_max)
            .field("migrate", &self.migrate)
            .field("pooled", &self.pooled)
            .field("schema", &self.schema)
            .field("scope_rules", &self.scope_rules)
            .field("store_timeout", &self.store_timeout)
            .finish_non_exhaustive()
    }
}

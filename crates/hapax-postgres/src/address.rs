//! Where the store is: its address read, and how sessions there are made.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::error::OpenError;
use crate::open::unavailable;
use crate::options::PgOptions;

/// Room for the suffix that partitions and indexes add within the server's 63 bytes.
const SCHEMA_BYTES_MAX: usize = 40;

/// Where the store is.
pub(crate) struct Address {
    pub(crate) options: PgConnectOptions,
    /// Server and database, for messages.
    pub(crate) text: String,
    timeout: Duration,
}

impl Address {
    pub(crate) fn parse(url: &str, options: &PgOptions) -> Result<Self, OpenError> {
        check_schema(&options.schema)?;
        // The library takes any scheme for its own.
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(OpenError::Address { reason: "its scheme is not `postgres`".to_owned() });
        }
        let parsed = PgConnectOptions::from_str(url)
            .map_err(|error| OpenError::Address { reason: error.to_string() })?
            // Statements carry answers of the upstream, which belong into no log.
            .disable_statement_logging();
        let database = parsed.get_database().unwrap_or_default();
        // The library hands the brackets of a literal to the resolver, which knows no such name.
        let literal = parsed.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = literal.unwrap_or(parsed.get_host()).to_owned();
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let text = format!("postgres://{shown}:{}/{database}", parsed.get_port());
        Ok(Self { options: parsed.host(&host), text, timeout: options.store_timeout })
    }

    pub(crate) async fn connect_for_migration(&self) -> Result<PgConnection, OpenError> {
        // A pooler may not know this setting; nothing here needs it.
        let options = self.options.clone().extra_float_digits(None);
        match tokio::time::timeout(self.timeout, options.connect()).await {
            Ok(connected) => connected.map_err(|error| unavailable(self, error)),
            Err(_elapsed) => Err(unavailable(self, "it did not answer in time")),
        }
    }

    /// How an operation's connections are made.
    pub(crate) fn session(&self, options: &PgOptions) -> PgConnectOptions {
        let session = self.options.clone().extra_float_digits(None);
        if options.pooled {
            return session;
        }
        // The server gives up first, so that most time-outs end with its word that nothing happened.
        let statement_timeout = options.store_timeout.mul_f64(0.8).as_millis().max(1);
        session.options([
            ("statement_timeout", statement_timeout.to_string()),
            ("default_transaction_isolation", "read committed".to_owned()),
            ("jit", "off".to_owned()),
        ])
    }
}

fn check_schema(schema: &str) -> Result<(), OpenError> {
    let legal = schema.len() <= SCHEMA_BYTES_MAX
        && schema.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if legal { Ok(()) } else { Err(OpenError::Schema { schema: schema.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_names_are_plain() {
        for legal in ["hapax", "_a1", "a"] {
            assert!(check_schema(legal).is_ok(), "{legal}");
        }
        for illegal in ["", "1a", "A", "a-b", "a\"b", "a.b", &"a".repeat(41)] {
            assert!(check_schema(illegal).is_err(), "{illegal}");
        }
    }

    #[test]
    fn addresses_are_shown_without_user_and_password() {
        let address =
            Address::parse("postgres://user:secret@db.example:5433/app", &PgOptions::default());
        assert_eq!(address.unwrap().text, "postgres://db.example:5433/app");
        assert!(Address::parse("file:here", &PgOptions::default()).is_err());
    }

    /// Brackets belong to the address; the resolver knows no host of that name.
    #[test]
    fn a_literal_of_ipv6_is_connected_to_without_brackets_and_shown_with_them() {
        for url in ["postgres://u:p@[::1]:5433/app", "postgres:///app?host=[::1]&port=5433"] {
            let address = Address::parse(url, &PgOptions::default()).unwrap();
            assert_eq!(address.options.get_host(), "::1", "{url}");
            assert_eq!(address.text, "postgres://[::1]:5433/app", "{url}");
        }
    }
}

//! Where the store is: its address read, and how sessions there are made.

use std::str::FromStr as _;
use std::time::Duration;

use hapax::StoreError;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::error::{OpenError, Outage};
use crate::options::PgOptions;
use crate::refusal::failed;

/// Room for the suffix that partitions and indexes add within the server's 63 bytes.
const SCHEMA_BYTES_MAX: usize = 40;

/// Where the store is, or where hints are heard.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) options: PgConnectOptions,
    pooled: bool,
    /// The setting that names it.
    pub(crate) setting: &'static str,
    /// Server and database, for messages.
    pub(crate) text: String,
    timeout: Duration,
}

impl Address {
    /// Where the records are.
    pub(crate) fn parse(url: &str, options: &PgOptions) -> Result<Self, OpenError> {
        Self::parse_setting("store", url, options)
    }

    /// Where to listen for hints.
    pub(crate) fn parse_listening(url: &str, options: &PgOptions) -> Result<Self, OpenError> {
        Self::parse_setting("[postgres] listen_url", url, options)
    }

    fn parse_setting(
        setting: &'static str,
        url: &str,
        options: &PgOptions,
    ) -> Result<Self, OpenError> {
        check_schema(&options.schema)?;
        let wrong = |reason: String| OpenError::Address { setting, reason };
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        // The library takes any scheme for its own.
        let Some(rest) = rest else {
            return Err(wrong("its scheme is not `postgres`".to_owned()));
        };
        // Part of a password would be taken for a port, and the rest of it for the database.
        let place = rest.split('?').next().unwrap_or(rest);
        if place.split_once(['/', '#']).is_some_and(|(_, path)| path.contains('@')) {
            return Err(wrong("it has an `@` behind a `/` or `#`".to_owned()));
        }
        let parsed = PgConnectOptions::from_str(url)
            .map_err(|error| wrong(error.to_string()))?
            // Statements carry answers of the upstream, which belong into no log.
            .disable_statement_logging();
        let database = parsed.get_database().unwrap_or_default();
        // The library hands the brackets of a literal to the resolver, which knows no such name.
        let literal = parsed.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = literal.unwrap_or_else(|| parsed.get_host()).to_owned();
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let text = format!("postgres://{shown}:{}/{database}", parsed.get_port());
        Ok(Self {
            options: parsed.host(&host),
            pooled: options.pooled,
            setting,
            text,
            timeout: options.store_timeout,
        })
    }

    /// Whether it is a socket in a folder rather than a host.
    pub(crate) fn is_socket(&self) -> bool {
        self.options.get_socket().is_some() || self.options.get_host().starts_with('/')
    }

    /// What to do about a pooler that passes something on which it cannot keep.
    pub(crate) fn mend_pooler(&self) -> String {
        if self.pooled || self.setting != "store" {
            return format!(
                "take that parameter out of `{}`, or let the pooler pass it over",
                self.setting
            );
        }
        "a pooler is in between, so set `[postgres] pooled = true`".to_owned()
    }

    pub(crate) async fn connect_for_migration(&self) -> Result<PgConnection, OpenError> {
        // A pooler may not know this setting; nothing here needs it.
        let options = self.options.clone().extra_float_digits(None);
        match tokio::time::timeout(self.timeout, options.connect()).await {
            Ok(connected) => {
                connected.map_err(|error| failed(self, StoreError::none(Outage::Connect(error))))
            }
            Err(_elapsed) => {
                Err(failed(self, StoreError::none(Outage::NoConnection(self.timeout))))
            }
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

    /// A pooler hands the session to others, and passes no such setting on.
    #[test]
    fn the_server_is_told_to_give_up_before_the_store_does() {
        let store_timeout = Duration::from_secs(2);
        let session = |pooled| {
            let options = PgOptions { pooled, store_timeout, ..PgOptions::default() };
            let address = Address::parse("postgres://db/app", &options).unwrap();
            address.session(&options).get_options().unwrap_or_default().to_owned()
        };
        let told = session(false);
        assert!(told.contains("statement_timeout=1600 "), "{told}");
        assert!(!session(true).contains("statement_timeout"));
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

    #[test]
    fn a_password_that_is_not_encoded_is_told_and_not_shown() {
        for password in ["ge/heim", "ge#heim", "1/geheim@x", "1#geheim"] {
            let url = format!("postgres://u:{password}@db/app");
            let refused = Address::parse(&url, &PgOptions::default()).map(|address| address.text);
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("`@` as %40") && text.contains("`store`"), "{text}");
            assert!(!text.contains("heim"), "{text}");
        }
        let url = "postgres://u:ge@heim@db/app";
        let refused = Address::parse_listening(url, &PgOptions::default()).map(|a| a.text);
        assert_eq!(refused.unwrap(), "postgres://db:5432/app");
    }
}

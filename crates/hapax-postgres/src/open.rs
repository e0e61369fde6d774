//! Opening: is the server fit, is the schema up to date, are these the records of this node?

use std::error::Error as StdError;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hapax::{Secret, StoreError};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::call::{Calls, Function, Value};
use crate::connections::Connections;
use crate::decode::Reader;
use crate::error::{OpenError, sqlstate};
use crate::hints::Hints;
use crate::migrate::{self, VERSION};
use crate::options::PgOptions;
use crate::promises::{Promises, Unfit};
use crate::store::PgStore;

/// The format of what the rows hold. Any change of meaning must raise it.
const FORMAT: i32 = 1;

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
        let text = format!("postgres://{}:{}/{database}", parsed.get_host(), parsed.get_port());
        Ok(Self { options: parsed, text, timeout: options.store_timeout })
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
    fn session(&self, options: &PgOptions) -> PgConnectOptions {
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

pub(crate) async fn open(url: &str, options: PgOptions) -> Result<PgStore, OpenError> {
    let address = Address::parse(url, &options)?;
    let calls = Calls::new(&options.schema, options.pooled);
    let connections = Arc::new(Connections::new(
        address.session(&options),
        calls.clone(),
        options.connections_max,
        options.store_timeout,
    ));
    let mut connection = connections.connect().await.map_err(|source| failed(&address, source))?;
    let promises =
        Promises::ask(&mut connection).await.map_err(|error| unavailable(&address, error))?;
    promises.check().map_err(|unfit| match unfit {
        Unfit::Isolation(level) => OpenError::Isolation { address: address.text.clone(), level },
        Unfit::Old(version) => OpenError::Old { address: address.text.clone(), version },
        Unfit::ReadOnly => OpenError::ReadOnly { address: address.text.clone() },
    })?;
    bring_up_to_date(&mut connection, &address, &options).await?;
    connections.adopt(connection);
    let (secret, digest) = identify(&connections, &address, &options).await?;
    let listening = match &options.listen_url {
        Some(url) => Some(Address::parse(url, &options)?.options),
        None => (!options.pooled).then(|| address.options.clone()),
    };
    let guarantees = promises.guarantees(&address.text, listening.is_some());
    let hints = Hints::start(Arc::clone(&connections), &options.schema, listening);
    Ok(PgStore::new(connections, hints, secret, digest, guarantees, options.clock_offset))
}

async fn bring_up_to_date(
    connection: &mut PgConnection,
    address: &Address,
    options: &PgOptions,
) -> Result<(), OpenError> {
    if options.migrate {
        // The statements of a migration may take longer than those of an operation.
        let found = migrate::version(connection, &options.schema).await;
        if !matches!(found, Ok(VERSION)) {
            let mut connection = address.connect_for_migration().await?;
            migrate::migrate_on(&mut connection, address, &options.schema).await?;
        }
        return Ok(());
    }
    let version = migrate::version(connection, &options.schema).await.map_err(|error| {
        match sqlstate(&error).as_deref() {
            Some("42501") => {
                OpenError::Permission { address: address.text.clone(), reason: error.to_string() }
            }
            _ => unavailable(address, error),
        }
    })?;
    match version {
        VERSION => Ok(()),
        version if version > VERSION => {
            Err(OpenError::Newer { address: address.text.clone(), known: VERSION, version })
        }
        _ => Err(OpenError::NotMigrated {
            address: address.text.clone(),
            schema: options.schema.clone(),
        }),
    }
}

/// Says whose node this is, and hears whose records these are; the first node's word stands.
async fn identify(
    connections: &Connections,
    address: &Address,
    options: &PgOptions,
) -> Result<(Secret, [u8; 32]), OpenError> {
    let refused = || OpenError::Refused { address: address.text.clone() };
    let mut made = [0; 32];
    if options.secret.is_none() {
        getrandom::fill(&mut made).map_err(|error| unavailable(address, error.to_string()))?;
    }
    let digest_of =
        |secret: &Secret| secret.digest(b"postgres store", &[options.scope_rules.as_bytes()]);
    let ours = Secret::new(options.secret.as_deref().unwrap_or(&made));
    let digest = digest_of(&ours);
    let kept = options.secret.is_none().then(|| Bytes::copy_from_slice(&made));
    let values = vec![
        Value::Int(Some(FORMAT)),
        Value::Bytes(Some(Bytes::copy_from_slice(&digest))),
        Value::Bytes(kept),
    ];
    let known = async {
        let rows = connections.call(Function::Identify, values).await?;
        let row = rows.first().ok_or_else(|| StoreError::Damaged("no identity".to_owned()))?;
        let mut reader = Reader::new(row);
        Ok((reader.read::<i32>()?, reader.read::<Vec<u8>>()?, reader.bytes()?))
    };
    let (format, known_digest, known_secret) =
        known.await.map_err(|source| failed(address, source))?;
    if format > FORMAT {
        let address = address.text.clone();
        return Err(OpenError::Newer { address, known: FORMAT, version: format });
    }
    // Without a secret of its own, a node uses the one that the first such node made.
    let secret = match (&options.secret, known_secret) {
        (Some(_), _) => ours,
        (None, Some(known)) => Secret::new(&known),
        (None, None) => return Err(refused()),
    };
    let digest = digest_of(&secret);
    if known_digest != digest { Err(refused()) } else { Ok((secret, digest)) }
}

fn check_schema(schema: &str) -> Result<(), OpenError> {
    let legal = schema.len() <= SCHEMA_BYTES_MAX
        && schema.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if legal { Ok(()) } else { Err(OpenError::Schema { schema: schema.to_owned() }) }
}

pub(crate) fn unavailable(
    address: &Address,
    source: impl Into<Box<dyn StdError + Send + Sync>>,
) -> OpenError {
    failed(address, StoreError::none(source))
}

fn failed(address: &Address, source: StoreError) -> OpenError {
    OpenError::Unavailable { address: address.text.clone(), source }
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
}

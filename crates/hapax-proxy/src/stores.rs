//! The configured store, opened: the same four lines for the gateway whatever is behind them.

use std::path::PathBuf;
use std::sync::Arc;

use hapax::{MemoryStore, Secret, Store};
use hapax_fjall::{Durability, FileOptions, FileStore};
use hapax_postgres::{Migrated, PgOptions, PgStore};
use hapax_redis::{RedisOptions, RedisStore};

use crate::assemble::{AssembleError, scope_rules};
use crate::config::{self, Config, PostgresConfig, RedisConfig, StoreConfig, StoreSettings};

/// A store and the secret that belongs to it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The secret that names its records.
    pub secret: Secret,
    /// The store.
    pub store: Arc<dyn Store>,
}

/// Opens the configured store. Must be called within a tokio runtime, which must live as long as
/// the store: connections' background work is done there.
///
/// # Errors
/// [`AssembleError`] names the store and the mend.
pub async fn open(config: &Config) -> Result<Opened, AssembleError> {
    let secret = config.secret.as_ref().map(|secret| secret.reveal().as_bytes().to_vec());
    match &config.store {
        StoreConfig::Memory => open_memory(config, secret),
        StoreConfig::File(path) => open_file(config, path.clone(), secret).await,
        StoreConfig::Postgres(url) => {
            let options = PgOptions {
                migrate: config.migrate,
                scope_rules: scope_rules(config),
                secret,
                store_timeout: config.store_timeout,
                ..postgres_options(&config.postgres)
            };
            let store = PgStore::connect(url.reveal(), options).await.map_err(postgres_failed)?;
            Ok(Opened { secret: store.secret().clone(), store: Arc::new(store) })
        }
        StoreConfig::Redis(address) => {
            let RedisConfig { allow_eviction, connections, prefix, wait_fsync, wait_replicas } =
                config.redis.clone();
            let options = RedisOptions {
                allow_eviction,
                connections,
                prefix,
                scope_rules: scope_rules(config),
                secret,
                store_timeout: config.store_timeout,
                wait_fsync,
                wait_replicas: wait_replicas.unwrap_or(0),
                ..RedisOptions::default()
            };
            let store = RedisStore::connect(address.reveal(), options).await;
            let store = store.map_err(redis_failed)?;
            Ok(Opened { secret: store.secret().clone(), store: Arc::new(store) })
        }
    }
}

/// Brings the database of the settings to the tables of this release; what was done, in a line.
///
/// # Errors
/// [`AssembleError`] names the store and the mend.
pub async fn migrate(settings: &StoreSettings) -> Result<String, AssembleError> {
    let StoreConfig::Postgres(url) = &settings.store else {
        return Err(AssembleError::config(format!(
            "store = \"{}\" has no tables to migrate; name a database with --store postgres://...",
            settings.store
        )));
    };
    let options = postgres_options(&settings.postgres);
    let migrated = hapax_postgres::migrate(url.reveal(), &options).await;
    let Migrated { from, to } = migrated.map_err(postgres_failed)?;
    let (store, schema) = (&settings.store, &settings.postgres.schema);
    Ok(match from {
        from if from == to => format!("{store}: schema {schema} is at version {to} already\n"),
        0 => format!("{store}: made schema {schema} at version {to}\n"),
        from => format!("{store}: brought schema {schema} from version {from} to {to}\n"),
    })
}

fn open_memory(config: &Config, secret: Option<Vec<u8>>) -> Result<Opened, AssembleError> {
    let records_max = usize::try_from(config.records_max).unwrap_or(usize::MAX);
    let secret = secret.map_or_else(random_secret, Ok)?;
    let store = Arc::new(MemoryStore::new(records_max));
    Ok(Opened { secret: Secret::new(&secret), store })
}

async fn open_file(
    config: &Config,
    path: PathBuf,
    secret: Option<Vec<u8>>,
) -> Result<Opened, AssembleError> {
    let options = FileOptions {
        durability: match config.durability {
            config::Durability::Claim => Durability::Claim,
            config::Durability::Full => Durability::Full,
        },
        records_max: config.records_max,
        scope_rules: scope_rules(config),
        secret,
        ..FileOptions::default()
    };
    // Reading a large folder takes a while.
    let opening = tokio::task::spawn_blocking(move || FileStore::open(path, options)).await;
    let opened =
        opening.map_err(|error| AssembleError::unavailable(format!("failed to open: {error}")))?;
    let store = opened.map_err(|error| {
        use hapax_fjall::OpenError;
        let sentence = format!("failed to {error}");
        match error {
            OpenError::InUse { .. } | OpenError::Full { .. } => {
                AssembleError::unavailable(sentence)
            }
            _ => AssembleError::config(sentence),
        }
    })?;
    Ok(Opened { secret: store.secret().clone(), store: Arc::new(store) })
}

fn postgres_options(config: &PostgresConfig) -> PgOptions {
    PgOptions {
        connections_max: config.connections_max,
        listen_url: config.listen_url.as_ref().map(|url| url.reveal().to_owned()),
        pooled: config.pooled,
        schema: config.schema.clone(),
        ..PgOptions::default()
    }
}

fn postgres_failed(error: hapax_postgres::OpenError) -> AssembleError {
    use hapax_postgres::OpenError;
    let sentence = format!("failed to {error}");
    match error {
        OpenError::Unavailable { .. } => AssembleError::unavailable(sentence),
        _ => AssembleError::config(sentence),
    }
}

fn redis_failed(error: hapax_redis::OpenError) -> AssembleError {
    use hapax_redis::OpenError;
    let sentence = format!("failed to {error}");
    match error {
        OpenError::Unavailable { .. } => AssembleError::unavailable(sentence),
        _ => AssembleError::config(sentence),
    }
}

fn random_secret() -> Result<Vec<u8>, AssembleError> {
    let mut secret = vec![0; 32];
    getrandom::fill(&mut secret).map_err(|error| {
        AssembleError::unavailable(format!("failed to make a secret: {error}; set `secret`"))
    })?;
    Ok(secret)
}

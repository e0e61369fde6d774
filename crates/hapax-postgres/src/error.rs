//! Why a store does not open, and what the server's errors mean for an operation.

use std::time::Duration;

use hapax::StoreError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Why a database could not be opened as a store. Nothing in it was changed, but that migrations
/// before a failing one stay applied.
///
/// Messages name server and database, never a password; the role only where the server does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address is none.
    #[error(
        "understand the address in `{setting}`: {reason}; write \
         postgres://USER:PASSWORD@HOST:PORT/DATABASE, and in a password `/` as %2F, `@` as %40, `#` as \
         %23, `?` as %3F, `:` as %3A, `%` as %25"
    )]
    Address {
        /// The setting that it is in.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Sessions start in an isolation level that the steps are not written for.
    #[error(
        "open `{address}`: `default_transaction_isolation` is {level}; set it to 'read committed' for \
         this role"
    )]
    Isolation {
        /// Server and database.
        address: String,
        /// The level.
        level: String,
    },
    /// A newer release made the schema, or the records.
    #[error(
        "open `{address}`: its format is version {version} and this release knows {known}; run the newer release"
    )]
    Newer {
        /// Server and database.
        address: String,
        /// The newest version this release knows.
        known: i32,
        /// Its version.
        version: i32,
    },
    /// The schema is not there or not up to date, and was not to be migrated.
    #[error(
        "open `{address}`: its schema `{schema}` is not up to date; run `hapax migrate`, or leave \
         `migrate` on"
    )]
    NotMigrated {
        /// Server and database.
        address: String,
        /// The schema.
        schema: String,
    },
    /// The server is too old.
    #[error("open `{address}`: it runs PostgreSQL {version}; 14 or later is needed")]
    Old {
        /// Server and database.
        address: String,
        /// The major version.
        version: i32,
    },
    /// The role may not do what it must.
    #[error("open `{address}`: {reason}; {mend}")]
    Permission {
        /// Server and database.
        address: String,
        /// What to do about it.
        mend: String,
        /// What the server said.
        reason: String,
    },
    /// It is a replica, or its sessions start read-only.
    #[error(
        "open `{address}`: it is read-only (a replica, or `default_transaction_read_only` is on); name \
         the primary"
    )]
    ReadOnly {
        /// Server and database.
        address: String,
    },
    /// Its records were made with another secret or under other scope rules.
    #[error(
        "open `{address}`: its records were made with another `secret` or other scope rules \
         (`principal`, `authority`), so they would not be found; set them back, or name another \
         database or schema"
    )]
    Refused {
        /// Server and database.
        address: String,
    },
    /// The schema's name is none.
    #[error("understand schema `{schema}`: use up to 40 lower-case letters, digits and `_`")]
    Schema {
        /// The name.
        schema: String,
    },
    /// It answered that it will not, and will not as long as the settings are these.
    #[error("open `{address}`: {reason}; {mend}")]
    Settings {
        /// Server and database.
        address: String,
        /// Which setting to change, and how.
        mend: String,
        /// What the server said.
        reason: String,
    },
    /// It did not answer, or answered with an error that may pass.
    #[error("open `{address}`: {source}")]
    Unavailable {
        /// Server and database.
        address: String,
        /// Why.
        source: StoreError,
    },
}

/// Why an operation has no answer, in words for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Outage {
    #[error("all connections were in use for {} ms", .0.as_millis())]
    Busy(Duration),
    #[error("no connection could be made: {}", told(.0))]
    Connect(sqlx::Error),
    #[error("the connection was lost: {}", told(.0))]
    Lost(sqlx::Error),
    #[error("no connection could be made within {} ms", .0.as_millis())]
    NoConnection(Duration),
    #[error("the schema is not there ({0}); run `hapax migrate`")]
    NoSchema(String),
    #[error("no answer came within {} ms", .0.as_millis())]
    NoAnswer(Duration),
    #[error("the role may not do it ({0}); grant it what `migrations/role.sql` lists")]
    Permission(String),
    #[error("a pooler is in between ({0}); set `[postgres] pooled = true`")]
    Pooler(String),
    #[error("the server is read-only, a replica perhaps ({0}); name the primary")]
    ReadOnly(String),
    #[error("the server refused the statement: {}", told(.0))]
    Server(sqlx::Error),
}

/// What an error that ended a statement means.
pub(crate) struct Failure {
    pub(crate) error: StoreError,
    /// Whether the connection is as good as before.
    pub(crate) reusable: bool,
}

/// Raised by `hapax.claim` and `hapax.renew` for a node of another identity.
const REFUSED: &str = "HX001";

impl Failure {
    /// The meaning of an error that came after the statement was sent.
    ///
    /// An error of severity ERROR is the server's own word that the transaction, which is this one
    /// statement, was rolled back. Anything else may have come after the commit.
    pub(crate) fn of(error: sqlx::Error) -> Self {
        let told = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>());
        let Some(told) = told else {
            return Self { error: StoreError::unknown(Outage::Lost(error)), reusable: false };
        };
        let code = told.code().to_owned();
        let rolled_back = matches!(told.severity(), PgSeverity::Error);
        if !rolled_back || leaves_doubt(&code) {
            return Self { error: StoreError::unknown(Outage::Lost(error)), reusable: false };
        }
        let text = told.message().to_owned();
        let error = match code.as_str() {
            REFUSED => StoreError::Refused(text),
            "25006" => StoreError::none(Outage::ReadOnly(text)),
            // What one session prepared, another was asked for.
            "26000" | "42P05" => StoreError::none(Outage::Pooler(text)),
            "3F000" | "42883" | "42P01" => StoreError::none(Outage::NoSchema(text)),
            "42501" => StoreError::none(Outage::Permission(text)),
            "53100" => StoreError::Full,
            "XX001" | "XX002" => StoreError::Damaged(text),
            _ => StoreError::none(Outage::Server(error)),
        };
        Self { error, reusable: true }
    }
}

/// Errors that say nothing certain of what became of the transaction: of the connection (08), of
/// somebody who ends sessions (57P), and the one made for it (40003).
fn leaves_doubt(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P") || code == "40003"
}

/// The SQLSTATE of the server's error, if it is one.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// What the server said, and its hint; the library adds a line of the server's own source.
pub(crate) fn told(error: &sqlx::Error) -> String {
    let told = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>());
    match told.map(|told| (told.message(), told.hint())) {
        Some((message, Some(hint))) => format!("{message} ({})", hint.trim_end_matches('.')),
        Some((message, None)) => message.to_owned(),
        None => error.to_string(),
    }
}

//! What keeps a store from opening: a setting, or that the server is not there (now).

use std::io::ErrorKind;

use hapax::StoreError;

use crate::address::Address;
use crate::error::{OpenError, Outage, sqlstate, told};

/// An error of the server's, or of the way there, while the store was being opened.
pub(crate) fn failed(address: &Address, source: StoreError) -> OpenError {
    let outage = match &source {
        StoreError::Unavailable { source, .. } => source.downcast_ref::<Outage>(),
        _ => None,
    };
    let wrong = match outage {
        Some(Outage::Connect(error) | Outage::Lost(error) | Outage::Server(error)) => {
            mend(address, error).map(|mend| (told(error), mend))
        }
        Some(Outage::Pooler(reason)) => Some((reason.clone(), address.mend_pooler())),
        Some(Outage::Permission(reason)) => return lacks_rights(address, reason.clone()),
        Some(
            Outage::Busy(_)
            | Outage::NoConnection(_)
            | Outage::NoSchema(_)
            | Outage::NoAnswer(_)
            | Outage::ReadOnly(_),
        )
        | None => None,
    };
    let shown = address.text.clone();
    match wrong {
        Some((reason, mend)) => OpenError::Settings { address: shown, reason, mend },
        None => OpenError::Unavailable { address: shown, source },
    }
}

/// An error of a statement at opening.
pub(crate) fn refused(address: &Address, error: sqlx::Error) -> OpenError {
    failed(address, StoreError::none(Outage::Server(error)))
}

/// An error of a statement that reads or makes the tables of the schema.
pub(crate) fn schema_refused(address: &Address, schema: &str, error: sqlx::Error) -> OpenError {
    let code = sqlstate(&error);
    let shown = address.text.clone();
    match code.as_deref() {
        Some("25006") => OpenError::ReadOnly { address: shown },
        Some("42501") => lacks_rights(address, told(&error)),
        // A script says what is wrong with what it found, and what helps.
        Some("HX003") => OpenError::Settings {
            address: shown,
            reason: format!("schema `{schema}` cannot be brought up to date"),
            mend: told(&error),
        },
        code if code.is_some_and(is_of_others) || is_of_another_type(&error) => {
            OpenError::Settings {
                address: shown,
                reason: format!("schema `{schema}` is somebody else's ({})", told(&error)),
                mend: "name one that is not there yet as `[postgres] schema`".to_owned(),
            }
        }
        _ => refused(address, error),
    }
}

fn lacks_rights(address: &Address, reason: String) -> OpenError {
    let mend = "grant the role what `migrations/role.sql` lists".to_owned();
    OpenError::Permission { address: address.text.clone(), reason, mend }
}

/// What has the name of something of ours and is not like it: a column that is missing, a type, a
/// function, a table, or a value of another kind.
fn is_of_others(code: &str) -> bool {
    matches!(code, "22P02" | "42703" | "42710" | "42723" | "42804" | "42809" | "42883" | "42P07")
}

fn is_of_another_type(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. })
}

/// What to do about an error that comes again until a setting is another; `None` for those that
/// pass, and for those of which nobody knows.
pub(crate) fn mend(address: &Address, error: &sqlx::Error) -> Option<String> {
    let setting = address.setting;
    let mended = match error {
        sqlx::Error::Database(_) => return mend_of_server(address, error),
        sqlx::Error::Tls(_) => {
            format!("check `sslmode` and the certificates of `{setting}`")
        }
        sqlx::Error::Configuration(_) => format!("check the parameters of `{setting}`"),
        // The way to a host knows no files: these are the certificates.
        sqlx::Error::Io(error) if !address.is_socket() => match error.kind() {
            ErrorKind::InvalidData => format!("check `sslrootcert` of `{setting}`"),
            ErrorKind::IsADirectory | ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                format!(
                    "name files that are there as `sslrootcert`, `sslcert` and `sslkey` of `{setting}`"
                )
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(mended)
}

fn mend_of_server(address: &Address, error: &sqlx::Error) -> Option<String> {
    let setting = address.setting;
    let text = error.as_database_error()?.message();
    let mended = match sqlstate(error)?.as_str() {
        // Of poolers it is their word for any refusal.
        "08P01" if text.contains("startup parameter") => return Some(address.mend_pooler()),
        "08P01" if text.contains("no such database") || is_missing_database(text) => {
            mend_database(setting)
        }
        "08P01" if text.contains("authentication failed") || text.contains("no such user") => {
            mend_password(setting)
        }
        "28P01" => mend_password(setting),
        "28000" => format!(
            "let the server accept this role from here (`pg_hba.conf`), or name another role, host or \
             `sslmode` in `{setting}`"
        ),
        "3D000" => mend_database(setting),
        "42501" => {
            format!("grant the role CONNECT on the database, or name another in `{setting}`")
        }
        _ => return None,
    };
    Some(mended)
}

/// As the server says it to a pooler, which repeats it under a code of its own.
fn is_missing_database(text: &str) -> bool {
    text.starts_with("database ") && text.ends_with(" does not exist")
}

fn mend_database(setting: &str) -> String {
    format!("make the database, or name another in `{setting}`")
}

fn mend_password(setting: &str) -> String {
    format!("set the role's name and password in `{setting}`")
}

#[cfg(test)]
mod tests;

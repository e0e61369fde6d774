//! Where records live: the `store` setting.

use std::fmt;
use std::path::PathBuf;

use super::secret::Secret;
use super::setting::Setting;

/// Which store, and how to reach it. Parsed only: nothing is opened, and whether this build
/// carries the store is for the assembly to say.
///
/// Shown (`Display`, `Debug`) without credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// `file:PATH`: embedded and durable, one process at a time.
    File(PathBuf),
    /// `memory:`: gone with the process.
    Memory,
    /// `postgres://...`: the address as given, credentials and all.
    Postgres(Secret),
    /// `redis://...`, `rediss://...` (TLS) or `redis-cluster://HOST:PORT[,HOST:PORT...]`: the address
    /// as given, credentials and all.
    Redis(Secret),
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
            Self::Postgres(url) | Self::Redis(url) => f.write_str(&redacted(url.reveal())),
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreConfig({self})")
    }
}

impl Setting for StoreConfig {
    const MEND: &'static str = "write \"memory:\", \"file:PATH\", \"postgres://...\", \
         \"redis://...\", \"rediss://...\" or \"redis-cluster://HOST:PORT,HOST:PORT\"";

    fn read(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err("has no store kind in front of a colon".to_owned());
        };
        match scheme {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err("has text after \"memory:\", which keeps nothing anywhere".to_owned()),
            "file" => file(rest),
            "postgres" | "postgresql" => {
                server(rest).map(|()| Self::Postgres(Secret::new(text.to_owned())))
            }
            "redis" | "rediss" => server(rest).map(|()| Self::Redis(Secret::new(text.to_owned()))),
            "redis-cluster" => cluster(rest).map(|()| Self::Redis(Secret::new(text.to_owned()))),
            _ => Err("names no store we know".to_owned()),
        }
    }
}

fn file(path: &str) -> Result<StoreConfig, String> {
    // `file:///var/lib/hapax` is the URL form of an absolute path; `file://data` would name a host.
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err("has a host name where the path should start".to_owned()),
        None => path,
    };
    if path.is_empty() {
        return Err("has no path".to_owned());
    }
    Ok(StoreConfig::File(PathBuf::from(path)))
}

/// What follows the scheme must name a server; the rest is for the driver to read.
fn server(rest: &str) -> Result<(), String> {
    let authority =
        rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?']).next()).unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // PostgreSQL may name a socket directory in the query: `postgres:///db?host=/run/postgresql`.
    if host.is_empty() && !rest.contains("host=") {
        return Err("has no server name after \"//\"".to_owned());
    }
    Ok(())
}

/// Any of the nodes will do to learn the others from.
fn cluster(rest: &str) -> Result<(), String> {
    let Some(rest) = rest.strip_prefix("//") else {
        return Err("has no server name after \"//\"".to_owned());
    };
    let list = rest.rsplit_once('@').map_or(rest, |(_, list)| list);
    let list = list.split('?').next().unwrap_or(list);
    for node in list.trim_end_matches('/').split(',') {
        let port = node.rsplit_once(':').and_then(|(host, port)| {
            (!host.is_empty()).then(|| port.parse::<u16>().ok()).flatten()
        });
        if port.is_none() {
            return Err("has a node that is not HOST:PORT".to_owned());
        }
    }
    Ok(())
}

/// The address with whatever stands before `@`, and every query value, replaced.
///
/// A driver may take a password from the query as well (`?password=...`).
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, query) = match rest.split_once('?') {
        Some((place, _)) => (place, "?redacted"),
        None => (rest, ""),
    };
    let (user, place) = match place.rsplit_once('@') {
        Some((_, place)) => ("redacted@", place),
        None => ("", place),
    };
    format!("{scheme}://{user}{place}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_store_is_read() {
        assert_eq!(StoreConfig::read("memory:").unwrap(), StoreConfig::Memory);
        for (text, path) in [
            ("file:./hapax-data", "./hapax-data"),
            ("file:/var/lib/hapax", "/var/lib/hapax"),
            ("file:///var/lib/hapax", "/var/lib/hapax"),
        ] {
            assert_eq!(StoreConfig::read(text).unwrap(), StoreConfig::File(PathBuf::from(path)));
        }
        for text in ["postgres://db/hapax", "postgresql://u:p@db:5432/x?sslmode=require"] {
            let StoreConfig::Postgres(url) = StoreConfig::read(text).unwrap() else {
                panic!("{text} is PostgreSQL");
            };
            assert_eq!(url.reveal(), text);
        }
        for text in [
            "redis://127.0.0.1:6379",
            "rediss://:pw@cache:6380/1",
            "redis-cluster://app:pw@a:1,[::1]:2",
            "redis-cluster://a:1?tls=true",
        ] {
            let StoreConfig::Redis(address) = StoreConfig::read(text).unwrap() else {
                panic!("{text} is Redis");
            };
            assert_eq!(address.reveal(), text);
        }
    }

    #[test]
    fn malformed_stores_are_refused() {
        for text in [
            "",
            "memory",
            "memory:x",
            "file:",
            "file://data",
            "file://",
            "mysql://db",
            "postgres://",
            "postgres:db",
            "redis:///0",
            "redis-cluster://",
            "redis-cluster://a",
            "redis-cluster://a:1,,b:2",
            "redis-cluster:a:1",
        ] {
            assert!(StoreConfig::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for (text, shown) in [
            ("postgres://u:geheim@db/x", "postgres://redacted@db/x"),
            ("postgres://db/x?password=geheim", "postgres://db/x?redacted"),
            ("redis://:ge@heim@h:1", "redis://redacted@h:1"),
            ("redis-cluster://u:geheim@h:1", "redis-cluster://redacted@h:1"),
            ("file:./data", "file:./data"),
        ] {
            let store = StoreConfig::read(text).unwrap();
            assert_eq!(store.to_string(), shown);
            assert!(!format!("{store:?}").contains("heim"), "{text}");
        }
    }
}

//! Where records live: the `store` setting.

use std::fmt;
use std::path::PathBuf;

use super::secret::Secret;
use super::setting::Setting;

/// What may stand behind the `?` of `postgres://`. PostgreSQL's own clients know more.
const POSTGRES_PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// The same for `redis://` and `rediss://`.
const REDIS_PARAMETERS: &[&str] = &["protocol"];

/// The same for `redis-cluster://`.
const CLUSTER_PARAMETERS: &[&str] = &["tls"];

/// Those of all stores that say nothing that others may not read.
const SHOWN_PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "protocol",
    "sslmode",
    "sslrootcert",
    "tls",
];

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
                server(rest)?;
                parameters(rest, POSTGRES_PARAMETERS)?;
                Ok(Self::Postgres(Secret::new(text.to_owned())))
            }
            "redis" | "rediss" => {
                server(rest)?;
                parameters(rest, REDIS_PARAMETERS)?;
                Ok(Self::Redis(Secret::new(text.to_owned())))
            }
            "redis-cluster" => {
                cluster(rest)?;
                parameters(rest, CLUSTER_PARAMETERS)?;
                Ok(Self::Redis(Secret::new(text.to_owned())))
            }
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

/// Drivers pass over a parameter that they do not know, at best with a line in the log that repeats
/// its value. Who misspells `sslmode` is to hear of it, rather than to go on without encryption.
fn parameters(rest: &str, known: &[&str]) -> Result<(), String> {
    let Some((_, query)) = rest.split_once('?') else { return Ok(()) };
    if query.contains('@') {
        // Most likely a password with a `?` in it: nothing of it is repeated.
        return Err(
            "has an \"@\" behind a \"?\"; in a user name, a password and a parameter write \
                    \"?\" as %3F and \"@\" as %40"
                .to_owned(),
        );
    }
    let names = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let Some(name) = names.into_iter().find(|name| !known.contains(name)) else { return Ok(()) };
    let known = known.join(", ");
    Err(format!("has an unknown parameter \"{name}\"; what it may have is {known}"))
}

/// The address without credentials, for people to read: what stands before `@` is replaced, and so
/// is every parameter that could hold a secret (`?password=...`).
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, query) = match rest.split_once('?') {
        // A password that has a `?` in it, or a parameter that has an `@`: nobody knows which.
        Some((_, query)) if query.contains('@') => return format!("{scheme}://redacted"),
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let (user, place) = match place.rsplit_once('@') {
        Some((_, place)) => ("redacted@", place),
        None => ("", place),
    };
    let is_shown =
        |pair: &str| pair.split_once('=').is_some_and(|(name, _)| SHOWN_PARAMETERS.contains(&name));
    let query = match query {
        None => String::new(),
        Some(query) if query.split('&').all(is_shown) => format!("?{query}"),
        Some(_) => "?redacted".to_owned(),
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

    /// The library would pass them over and go on without what they ask for.
    #[test]
    fn parameters_that_nobody_heeds_are_refused() {
        for (text, name) in [
            ("postgres://db/x?sslmod=require", "sslmod"),
            ("postgres://db/x?sslmode=require&channel_binding=require", "channel_binding"),
            ("postgres://db/x?sslpassword=geheim", "sslpassword"),
            ("redis://h:1?tls=true", "tls"),
            ("rediss://h:1/0?password=geheim", "password"),
            ("redis-cluster://h:1?protocol=resp3", "protocol"),
        ] {
            let problem = StoreConfig::read(text).unwrap_err();
            let start = format!("has an unknown parameter \"{name}\"");
            assert!(problem.starts_with(&start) && !problem.contains("heim"), "{text}: {problem}");
        }
        for text in ["postgres://u:ge?heim@db/x", "redis://:ge?heim&a=@h:1"] {
            let problem = StoreConfig::read(text).unwrap_err();
            assert!(problem.contains("%3F") && !problem.contains("heim"), "{text}: {problem}");
        }
        for text in [
            "postgres://db/x?sslmode=verify-full&sslrootcert=/ca.pem&application_name=hapax",
            "postgres:///x?host=/run/postgresql&user=u&password=p&options=-cwork_mem=1MB",
            "redis://h:1/2?protocol=resp3",
            "redis-cluster://h:1?tls=true",
        ] {
            assert!(StoreConfig::read(text).is_ok(), "{text}");
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
        // A refusal shows the address too.
        for (text, shown) in [
            ("postgres://u:ge?heim@db/x", "postgres://redacted"),
            ("redis://:ge?heim?@h:1", "redis://redacted"),
            ("postgres://db/x?user=geheim@db", "postgres://redacted"),
            ("postgres://db/x?geheim", "postgres://db/x?redacted"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn parameters_without_secrets_are_shown_and_read_back() {
        for text in [
            "postgres://db/x?sslmode=verify-full&sslrootcert=/ca.pem",
            "postgres:///x?host=/run/postgresql",
            "redis-cluster://a:1?tls=true",
        ] {
            assert_eq!(redacted(text), text);
        }
        assert_eq!(
            redacted("postgres://u:p@db/x?sslmode=require&password=geheim"),
            "postgres://redacted@db/x?redacted",
        );
    }
}

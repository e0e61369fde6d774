//! Where the store is.

use std::fmt;

use percent_encoding::percent_decode_str;
use redis::{
    Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo,
};

use crate::error::OpenError;

/// One server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// The server, or servers of a cluster to learn the others from, and how to talk to them.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) cluster: bool,
    /// At least one.
    pub(crate) hosts: Vec<Host>,
    settings: RedisConnectionInfo,
    tls: bool,
}

impl Address {
    /// Reads `redis://`, `rediss://` (or `valkey://`, `valkeys://`) and `redis-cluster://`.
    pub(crate) fn parse(text: &str) -> Result<Self, OpenError> {
        let parsed = match text.strip_prefix("redis-cluster://") {
            Some(rest) => Self::parse_cluster(rest),
            None => Self::parse_standalone(text),
        };
        let mut address = parsed.map_err(|reason| OpenError::Address { reason })?;
        // What scripts answer has the older form anyway, and every server and proxy speaks it.
        address.settings = address
            .settings
            .set_protocol(ProtocolVersion::RESP2)
            .set_lib_name("hapax", env!("CARGO_PKG_VERSION"));
        if address.tls {
            // Fails if the process has one, which then is used.
            let _present = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(address)
    }

    fn parse_standalone(text: &str) -> Result<Self, String> {
        let info = text.into_connection_info().map_err(|error| error.to_string())?;
        let (host, tls) = match info.addr() {
            ConnectionAddr::Tcp(name, port) => (Host { name: name.clone(), port: *port }, false),
            ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
                (Host { name: host.clone(), port: *port }, true)
            }
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err("it asks not to verify the server's certificate".to_owned());
            }
            _ => return Err("its scheme is neither `redis` nor `rediss`".to_owned()),
        };
        let settings = info.redis_settings().clone();
        Ok(Self { cluster: false, hosts: vec![host], settings, tls })
    }

    /// `[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?tls=true]`.
    fn parse_cluster(rest: &str) -> Result<Self, String> {
        let (rest, tls) = match rest.split_once('?') {
            None => (rest, false),
            Some((rest, "tls=true")) => (rest, true),
            Some((rest, "tls=false")) => (rest, false),
            Some(_) => return Err("behind `?` it may only say tls=true".to_owned()),
        };
        let mut settings = RedisConnectionInfo::default();
        let hosts = match rest.rsplit_once('@') {
            Some((credentials, hosts)) => {
                let (user, password) = credentials.split_once(':').unwrap_or(("", credentials));
                if !user.is_empty() {
                    settings = settings.set_username(decoded(user)?);
                }
                settings = settings.set_password(decoded(password)?);
                hosts
            }
            None => rest,
        };
        let hosts = hosts.trim_end_matches('/').split(',').map(Host::parse);
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { cluster: true, hosts, settings, tls })
    }

    /// What connects to one of the servers.
    pub(crate) fn client(&self, host: &Host) -> redis::RedisResult<Client> {
        let Host { name, port } = host.clone();
        let address = if self.tls {
            ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(name, port)
        };
        let info = address.into_connection_info()?;
        Client::open(info.set_redis_settings(self.settings.clone()))
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_error| "its credentials are not UTF-8".to_owned())?.into_owned())
}

impl Host {
    /// Reads `HOST:PORT`, where `HOST` may be an IPv6 address, with brackets or without.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, port) =
            text.rsplit_once(':').ok_or_else(|| "a node is not HOST:PORT".to_owned())?;
        let port = port.parse().map_err(|_error| "a node is not HOST:PORT".to_owned())?;
        let name = name.trim_start_matches('[').trim_end_matches(']');
        if name.is_empty() {
            return Err("a node has no name".to_owned());
        }
        Ok(Self { name: name.to_owned(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for Address {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.cluster, self.tls) {
            (true, _) => "redis-cluster",
            (false, true) => "rediss",
            (false, false) => "redis",
        };
        write!(f, "{scheme}://")?;
        for (n, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if n == 0 { "" } else { "," })?;
        }
        match self.settings.db() {
            0 => Ok(()),
            db => write!(f, "/{db}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_user_and_password() {
        for (text, shown) in [
            ("redis://user:secret@db.example:7000/3", "redis://db.example:7000/3"),
            ("redis://db.example", "redis://db.example:6379"),
            ("rediss://:secret@db.example", "rediss://db.example:6379"),
            ("redis-cluster://u:se%40cret@a:1,[::1]:2?tls=true", "redis-cluster://a:1,[::1]:2"),
            ("redis-cluster://a:1", "redis-cluster://a:1"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("cret"));
        }
    }

    #[test]
    fn clusters_credentials_are_decoded() {
        let address = Address::parse("redis-cluster://u:se%40c:ret@a:1").unwrap();
        assert_eq!(address.settings.username(), Some("u"));
        assert_eq!(address.settings.password(), Some("se@c:ret"));
        let address = Address::parse("redis-cluster://secret@a:1?tls=true").unwrap();
        assert_eq!((address.settings.username(), address.tls), (None, true));
    }

    #[test]
    fn what_is_no_address_is_told() {
        for text in [
            "file:here",
            "http://h:1",
            "redis+unix:///run/redis",
            "rediss://h:1/#insecure",
            "redis-cluster://",
            "redis-cluster://a",
            "redis-cluster://a:1,,b:2",
            "redis-cluster://a:1?db=1",
        ] {
            assert!(matches!(Address::parse(text), Err(OpenError::Address { .. })), "{text}");
        }
    }
}

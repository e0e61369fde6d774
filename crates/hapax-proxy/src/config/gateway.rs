//! The settings as a whole.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use super::address::upstream;
use super::error::ConfigErrors;
use super::layers::Sources;
use super::route::RouteConfig;
use super::secret::Secret;
use super::servers::{PostgresConfig, RedisConfig};
use super::setting::{Setting, Threads, choice, list, optional, setting};
use super::store::StoreConfig;
use super::{print, read};
use crate::upstream::Http2;

/// Everything the gateway was told, complete and checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients connect.
    #[serde(deserialize_with = "setting")]
    pub listen: SocketAddr,
    /// Scheme, host and port of the API behind the gateway; `http` or `https`, no path.
    #[serde(deserialize_with = "upstream")]
    pub upstream: Uri,
    /// Where records live.
    #[serde(deserialize_with = "setting")]
    pub store: StoreConfig,
    /// How long one operation of the store may take; past it: 503.
    #[serde(deserialize_with = "setting")]
    pub store_timeout: Duration,
    /// What the file store syncs.
    #[serde(deserialize_with = "setting")]
    pub durability: Durability,
    /// Keys the hashes of lookup ids; none: made once and kept with the store (ruling 8).
    #[serde(default, deserialize_with = "optional")]
    pub secret: Option<Secret>,
    /// Whether `serve` brings a database to this release's tables.
    #[serde(deserialize_with = "setting")]
    pub migrate: bool,
    /// How long running operations may go on after a signal to stop (ruling 18).
    #[serde(deserialize_with = "setting")]
    pub drain: Duration,
    /// How many threads serve.
    #[serde(deserialize_with = "setting")]
    pub threads: Threads,
    /// Client connections at once.
    #[serde(deserialize_with = "setting")]
    pub connections_max: usize,
    /// Keyed operations at once, then 503.
    #[serde(deserialize_with = "setting")]
    pub in_flight_max: usize,
    /// Live records, then 503 `store-full` (TTL-07).
    #[serde(deserialize_with = "setting")]
    pub records_max: u64,
    /// A PEM file with the only certificates to trust in an `https` upstream; none: the roots of
    /// the operating system.
    #[serde(default, deserialize_with = "optional")]
    pub upstream_ca: Option<PathBuf>,
    /// Which HTTP is spoken to the upstream.
    #[serde(deserialize_with = "setting")]
    pub upstream_http2: Http2,
    /// How long a connection to the upstream may take to stand, TLS included.
    #[serde(deserialize_with = "setting")]
    pub upstream_connect_timeout: Duration,
    /// How long an unused connection to the upstream is kept.
    #[serde(deserialize_with = "setting")]
    pub upstream_idle_timeout: Duration,
    /// What a problem's `type` starts with, without a slash at the end (ruling 7).
    #[serde(deserialize_with = "setting")]
    pub problem_base: String,
    /// Origins whose pages may read answers: `*` or `https://host[:port]`.
    #[serde(deserialize_with = "list")]
    pub cors_origins: Vec<String>,
    /// How log lines look.
    #[serde(deserialize_with = "setting")]
    pub log_format: LogFormat,
    /// Certificate and key for `listen`; none: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// How tokens are verified; always there when a route's principal is a claim.
    pub jwt: Option<JwtConfig>,
    /// The admin listener.
    pub admin: AdminConfig,
    /// For a store in PostgreSQL.
    pub postgres: PostgresConfig,
    /// For a store in Redis or Valkey.
    pub redis: RedisConfig,
    /// The routes in their order. Never empty: the last one is the implicit catch-all, which
    /// carries `[defaults]` alone.
    #[serde(skip)]
    pub routes: Vec<RouteConfig>,
}

/// What work on a store needs that needs no gateway.
#[derive(Debug, Clone, Deserialize)]
pub struct StoreSettings {
    /// Where records live.
    #[serde(deserialize_with = "setting")]
    pub store: StoreConfig,
    /// For a store in PostgreSQL.
    pub postgres: PostgresConfig,
}

/// The admin listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where it listens; beyond loopback only with a token (ADM-01).
    #[serde(deserialize_with = "setting")]
    pub listen: SocketAddr,
    /// What a caller has to show, in visible ASCII.
    #[serde(default, deserialize_with = "optional")]
    pub token: Option<Secret>,
    /// Host names it answers to besides loopback, in lower case and without port.
    #[serde(deserialize_with = "list")]
    pub hosts: Vec<String>,
}

/// Verification of tokens for `principal = "jwt:CLAIM"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// A file with the issuer's public keys (RFC 7517).
    #[serde(deserialize_with = "path")]
    pub jwks: PathBuf,
    /// The only `iss` taken, when given.
    #[serde(default, deserialize_with = "optional")]
    pub issuer: Option<String>,
}

/// Certificate and key for the data listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file with the certificate chain.
    #[serde(deserialize_with = "path")]
    pub cert: PathBuf,
    /// A PEM file with the private key.
    #[serde(deserialize_with = "path")]
    pub key: PathBuf,
}

/// What the file store syncs before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Claims only: an answer kept may be lost with the machine, and is then in doubt.
    Claim,
    /// Claims and answers.
    Full,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Config {
    /// Reads the file, the variables and the flags of `sources`, and checks them together.
    ///
    /// Opens the file of settings and nothing else.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigErrors> {
        read::config(&sources.layers()?)
    }

    /// As [`Config::load`] from a text in place of a file, without variables and flags.
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        read::config(&Sources::default().layers_over(text)?)
    }

    /// The effective settings as TOML that reads back: what is a default is marked as one, and
    /// secrets are left out.
    ///
    /// Fails where [`Config::load`] does.
    pub fn print(sources: &Sources<'_>) -> Result<String, ConfigErrors> {
        let layers = sources.layers()?;
        read::config(&layers)?;
        Ok(print::print(&layers))
    }
}

impl LogFormat {
    /// The word in the file and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

impl StoreSettings {
    /// Reads these settings alone: there need be no upstream.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigErrors> {
        read::store(&sources.layers()?)
    }
}

impl Setting for Durability {
    const MEND: &'static str = "write \"full\" or \"claim\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("claim", Self::Claim), ("full", Self::Full)])
    }
}

impl Setting for LogFormat {
    const MEND: &'static str = "write \"text\" or \"json\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("json", Self::Json), ("text", Self::Text)])
    }
}

impl Setting for Http2 {
    const MEND: &'static str = "write \"auto\", \"never\" or \"prior\"";

    fn read(text: &str) -> Result<Self, String> {
        choice(text, &[("auto", Self::Auto), ("never", Self::Never), ("prior", Self::Prior)])
    }
}

impl Setting for PathBuf {
    const MEND: &'static str = "write the path of a file";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(Path::new(text).to_owned()) }
    }
}

fn path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    setting(deserializer)
}

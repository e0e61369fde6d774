//! The settings of the gateway: read, layered, typed and checked, with nothing bound or opened.
//!
//! A flag wins over an environment variable, that over the file, that over the defaults (which
//! are a file themselves, `defaults.toml`). `${NAME}` inside a string of the file stands for an
//! environment variable. Everything wrong is said at once, a sentence each: see [`ConfigErrors`].

mod address;
mod check;
mod error;
mod failures;
mod gateway;
mod layers;
mod place;
mod policy;
mod print;
mod read;
mod route;
mod secret;
mod servers;
mod setting;
mod source;
mod store;
mod substitute;
mod suggest;
#[cfg(test)]
mod tests;
mod units;

pub use error::{ConfigError, ConfigErrors};
pub use failures::{Failures, Preset, StatusMatch, Verdict};
pub use gateway::{
    AdminConfig, Config, Durability, JwtConfig, LogFormat, StoreSettings, TlsConfig,
};
pub use layers::{Override, Sources};
pub use policy::{
    Concurrent, FingerprintMode, KeyMode, Mode, Retention, StoreOutage, Syntax, Unknown,
};
pub use route::RouteConfig;
pub use secret::Secret;
pub use servers::{PostgresConfig, RedisConfig};
pub use setting::Threads;
pub use source::{AuthoritySource, JsonPointer, KeySource, PrincipalSource};
pub use store::StoreConfig;

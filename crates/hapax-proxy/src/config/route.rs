//! What holds on one route: `[defaults]` with what `[[route]]` says on top.

use std::time::Duration;

use http::{Method, Uri};
use serde::Deserialize;

use super::address::probe_url;
use super::failures::Failures;
use super::policy::{
    Concurrent, FingerprintMode, KeyMode, Mode, Retention, StoreOutage, Syntax, Unknown,
};
use super::setting::{bytes, list, setting};
use super::source::{AuthoritySource, KeySource, PrincipalSource};
use crate::route::Pattern;

/// Every setting of one route, complete: nothing is left to a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Which paths, by ruling 17. The last route of a configuration is the catch-all.
    #[serde(rename = "match", deserialize_with = "setting")]
    pub matching: Pattern,
    /// Which methods are covered; never empty, never a safe method (KEY-12).
    #[serde(deserialize_with = "list")]
    pub methods: Vec<Method>,
    /// Whether a key is asked for.
    #[serde(deserialize_with = "setting")]
    pub key: KeyMode,
    /// Where the key is found.
    #[serde(deserialize_with = "setting")]
    pub key_source: KeySource,
    /// How a key in a header field is spelled.
    #[serde(deserialize_with = "setting")]
    pub syntax: Syntax,
    /// Who the caller is.
    #[serde(deserialize_with = "setting")]
    pub principal: PrincipalSource,
    /// What the caller addressed.
    #[serde(deserialize_with = "setting")]
    pub authority: AuthoritySource,
    /// What makes two requests the same.
    #[serde(deserialize_with = "setting")]
    pub fingerprint: FingerprintMode,
    /// How long a settled record is kept.
    #[serde(deserialize_with = "setting")]
    pub retention: Retention,
    /// How long a record in doubt is kept.
    #[serde(deserialize_with = "setting")]
    pub unknown_retention: Retention,
    /// What becomes of the key when the upstream fails.
    pub failures: Failures,
    /// What becomes of a key whose outcome nobody knows.
    #[serde(deserialize_with = "setting")]
    pub unknown: Unknown,
    /// Whether the upstream itself runs a forwarded key once.
    #[serde(deserialize_with = "setting")]
    pub upstream_honours_key: bool,
    /// Runs in all under `re-execute`.
    #[serde(deserialize_with = "setting")]
    pub max_attempts: u32,
    /// Whom `probe` asks; always there when `unknown` is [`Unknown::Probe`].
    #[serde(deserialize_with = "probe_url")]
    pub probe_url: Option<Uri>,
    /// What a duplicate of a running operation gets.
    #[serde(deserialize_with = "setting")]
    pub concurrent: Concurrent,
    /// How long it waits.
    #[serde(deserialize_with = "setting")]
    pub wait: Duration,
    /// How many may wait on one key.
    #[serde(deserialize_with = "setting")]
    pub waiters_max: usize,
    /// How long a claim stands without renewal.
    #[serde(deserialize_with = "setting")]
    pub lease: Duration,
    /// From the last byte of a keyed request to the last byte of its answer.
    #[serde(deserialize_with = "setting")]
    pub upstream_timeout: Duration,
    /// How long after the time-out an answer still settles the record.
    #[serde(deserialize_with = "setting")]
    pub late_answer: Duration,
    /// Bytes of a keyed request body, beyond which it is refused.
    #[serde(deserialize_with = "bytes")]
    pub request_body_max: usize,
    /// Bytes of an answer's body, beyond which it is not kept.
    #[serde(deserialize_with = "bytes")]
    pub response_body_max: usize,
    /// Whether `Set-Cookie` is replayed.
    #[serde(deserialize_with = "setting")]
    pub set_cookie: bool,
    /// What happens to keyed requests while the store is away.
    #[serde(deserialize_with = "setting")]
    pub store_outage: StoreOutage,
    /// Whether the route acts or only reports.
    #[serde(deserialize_with = "setting")]
    pub mode: Mode,
}

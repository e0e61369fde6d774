//! From settings to running parts: nothing is bound here, and nothing listens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hapax::{
    Concurrent, Disposition, Failures, FingerprintSpec, Guard, MemoryStore, Observer, OnUnknown,
    Policy, Preset, Retention, Secret, Store, StoreOutage, Syntax,
};
use hapax_fjall::{Durability, FileOptions, FileStore, OpenError};
use hapax_tower::{
    Authority, IdempotencyLayer, Identify, Identity, KeyMode, KeySource, Mode, PrincipalSource,
    Rules,
};
use http::request::Parts;
use http::{HeaderName, header};

use crate::cli::exit;
use crate::config::{self, Config, RouteConfig, StoreConfig};
use crate::forward::{ForwardConfig, RequestLimits};
use crate::gateway::{Cors, ProbeTarget, Protection, Site, WellKnown};
use crate::jwt::JwtVerifier;
use crate::route::Routes;
use crate::upstream::{TlsRoots, Upstream, UpstreamConfig};

/// The longest target of a request, in bytes (HTP-14).
const URI_BYTES_MAX: usize = 16 * 1024;

/// Why the parts cannot be put together: one sentence for the operator, and the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct AssembleError {
    /// 69 where a service is missing, 78 where a setting is wrong.
    pub exit_code: u8,
    sentence: String,
}

impl AssembleError {
    pub(crate) fn config(sentence: impl Into<String>) -> Self {
        Self { exit_code: exit::CONFIG, sentence: sentence.into() }
    }

    pub(crate) fn unavailable(sentence: impl Into<String>) -> Self {
        Self { exit_code: exit::UNAVAILABLE, sentence: sentence.into() }
    }
}

/// A store and the secret that belongs to it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The secret that names its records.
    pub secret: Secret,
    /// The store.
    pub store: Arc<dyn Store>,
}

/// Opens the configured store. Blocks while a file store reads its folder.
///
/// # Errors
/// [`AssembleError`] names the store and the mend.
pub fn open_store(config: &Config) -> Result<Opened, AssembleError> {
    let configured = config.secret.as_ref().map(|secret| secret.reveal().as_bytes().to_vec());
    match &config.store {
        StoreConfig::Memory => {
            let records_max = usize::try_from(config.records_max).unwrap_or(usize::MAX);
            let secret = configured.map_or_else(random_secret, Ok)?;
            let store = Arc::new(MemoryStore::new(records_max));
            Ok(Opened { secret: Secret::new(&secret), store })
        }
        StoreConfig::File(path) => open_file(config, path.clone(), configured),
        StoreConfig::Postgres(_) | StoreConfig::Redis(_) | StoreConfig::RedisCluster { .. } => {
            Err(AssembleError::config(
                "store: this build holds no PostgreSQL and no Redis store; use \"file:PATH\" or \
                 \"memory:\"",
            ))
        }
    }
}

fn open_file(
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
    let store = FileStore::open(path, options).map_err(|error| {
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

fn random_secret() -> Result<Vec<u8>, AssembleError> {
    let mut secret = vec![0; 32];
    getrandom::fill(&mut secret).map_err(|error| {
        AssembleError::unavailable(format!("failed to make a secret: {error}; set `secret`"))
    })?;
    Ok(secret)
}

/// What scopes are made of, in a fixed wording: the defaults, and each route that differs. A store
/// keeps its digest, and refuses a gateway that would look for its records elsewhere (ruling 8).
#[must_use]
pub fn scope_rules(config: &Config) -> String {
    let wording = |route: &RouteConfig| format!("{:?} {:?}", route.principal, route.authority);
    let default = config.routes.last().map(wording).unwrap_or_default();
    let mut rules = default.clone();
    let mut others: Vec<String> = config
        .routes
        .iter()
        .filter(|route| wording(route) != default)
        .map(|route| format!("\n{} {}", route.matching.as_str(), wording(route)))
        .collect();
    others.sort();
    rules.extend(others);
    rules
}

/// What each route does, in the order of the configuration; the last is for all other paths.
///
/// # Errors
/// [`AssembleError`] names the setting and the mend.
pub fn rules(config: &Config) -> Result<Vec<Rules>, AssembleError> {
    let jwt = match &config.jwt {
        None => None,
        Some(jwt) => {
            let verifier = JwtVerifier::from_file(&jwt.jwks, jwt.issuer.as_deref());
            let verifier = verifier.map_err(|error| {
                let path = jwt.jwks.display();
                AssembleError::config(format!("jwt.jwks = \"{path}\": {error}"))
            })?;
            Some(Arc::new(verifier))
        }
    };
    config.routes.iter().map(|route| rules_of(config, route, jwt.as_ref())).collect()
}

/// The site that all cores serve.
///
/// # Errors
/// [`AssembleError`] names the setting and the mend.
pub fn site(
    config: &Config,
    opened: &Opened,
    rules: &[Rules],
    observer: Arc<dyn Observer>,
) -> Result<Site, AssembleError> {
    let guard = Guard::builder(Arc::clone(&opened.store))
        .in_flight_max(config.in_flight_max)
        .observer(observer)
        .store_timeout(config.store_timeout)
        .build();
    let mut protections = Vec::new();
    for (route, rules) in config.routes.iter().zip(rules) {
        protections.push(Protection {
            layer: IdempotencyLayer::new(guard.clone(), opened.secret.clone(), rules.clone()),
            probe: probe(route, rules)?,
            upstream_timeout: route.upstream_timeout,
        });
    }
    let routes = config.routes.iter();
    let routes = routes.map(|route| (route.matching.clone(), route.methods.clone())).collect();
    Ok(Site {
        cors: Cors::new(&config.cors_origins),
        forward: ForwardConfig::default(),
        guard,
        limits: RequestLimits { protected: Vec::new(), uri_bytes_max: URI_BYTES_MAX },
        problem_base: config.problem_base.as_str().into(),
        protections,
        routes: Routes::new(routes),
        unprotected_timeout: config
            .routes
            .last()
            .map_or(Duration::from_secs(30), |route| route.upstream_timeout),
        upstream: upstream(config)?,
        well_known: WellKnown::new(rules, opened.secret.clone()),
    })
}

fn upstream(config: &Config) -> Result<Upstream, AssembleError> {
    let mut settings = UpstreamConfig::new(config.upstream.clone());
    settings.connect_timeout = config.upstream_connect_timeout;
    settings.http2 = config.upstream_http2;
    settings.idle_timeout = config.upstream_idle_timeout;
    if let Some(path) = &config.upstream_ca {
        settings.tls_roots = TlsRoots::PemFile(path.clone());
    }
    Upstream::new(settings).map_err(|error| AssembleError::config(format!("upstream: {error}")))
}

fn probe(route: &RouteConfig, rules: &Rules) -> Result<Option<ProbeTarget>, AssembleError> {
    let (config::Unknown::Probe, Some(address)) = (route.unknown, &route.probe_url) else {
        return Ok(None);
    };
    let mut forwarded = vec![hapax_tower::KEY, header::AUTHORIZATION, header::COOKIE];
    forwarded.push(HeaderName::from_static("x-api-key"));
    if let KeySource::Header(name) | KeySource::Joined(name) = &rules.key_source {
        forwarded.push(name.clone());
    }
    if let PrincipalSource::Header(name) = &rules.principal {
        forwarded.push(name.clone());
    }
    forwarded.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    forwarded.dedup();
    let target = ProbeTarget::new(address.clone(), forwarded);
    target
        .map(Some)
        .map_err(|error| AssembleError::config(format!("probe_url = \"{address}\": {error}")))
}

fn rules_of(
    config: &Config,
    route: &RouteConfig,
    jwt: Option<&Arc<JwtVerifier>>,
) -> Result<Rules, AssembleError> {
    Ok(Rules {
        authority: match &route.authority {
            config::AuthoritySource::Fixed(name) => Authority::Fixed(name.as_str().into()),
            config::AuthoritySource::Host => Authority::Host,
        },
        fingerprint: match route.fingerprint {
            config::FingerprintMode::Bytes => FingerprintSpec::Bytes,
            config::FingerprintMode::Json => FingerprintSpec::Json,
            config::FingerprintMode::Key => FingerprintSpec::Key,
        },
        key: match route.key {
            config::KeyMode::Off => KeyMode::Off,
            config::KeyMode::Optional => KeyMode::Optional,
            config::KeyMode::Required => KeyMode::Required,
        },
        key_source: match &route.key_source {
            config::KeySource::Body(pointer) => KeySource::Body(pointer.as_str().into()),
            config::KeySource::Content => KeySource::Content,
            config::KeySource::Header(name) => KeySource::Header(name.clone()),
            config::KeySource::Issued => KeySource::Issued,
            config::KeySource::Joined(name) => KeySource::Joined(name.clone()),
        },
        methods: route.methods.clone(),
        mode: match route.mode {
            config::Mode::Enforce => Mode::Enforce,
            config::Mode::Shadow => Mode::Shadow,
        },
        policy: Arc::new(policy(route)),
        principal: principal(route, jwt)?,
        problem_base: config.problem_base.as_str().into(),
        request_body_max: route.request_body_max,
        response_body_max: route.response_body_max,
        route: route.matching.as_str().into(),
        set_cookie: route.set_cookie,
        syntax: match route.syntax {
            config::Syntax::Lenient => Syntax::Lenient,
            config::Syntax::Strict => Syntax::Strict,
        },
        ..Rules::default()
    })
}

fn principal(
    route: &RouteConfig,
    jwt: Option<&Arc<JwtVerifier>>,
) -> Result<PrincipalSource, AssembleError> {
    Ok(match &route.principal {
        config::PrincipalSource::Authorization => PrincipalSource::Authorization,
        config::PrincipalSource::Cookie(name) => PrincipalSource::Cookie(name.as_str().into()),
        config::PrincipalSource::Header(name) => PrincipalSource::Header(name.clone()),
        config::PrincipalSource::Shared => PrincipalSource::Shared,
        config::PrincipalSource::Jwt(claim) => {
            let verifier = jwt.cloned().ok_or_else(|| {
                AssembleError::config(format!(
                    "principal = \"jwt:{claim}\" needs the key set in [jwt] jwks"
                ))
            })?;
            PrincipalSource::Custom(Arc::new(JwtPrincipal { claim: claim.clone(), verifier }))
        }
    })
}

/// The caller by a claim of the verified token.
#[derive(Debug)]
struct JwtPrincipal {
    claim: String,
    verifier: Arc<JwtVerifier>,
}

impl Identify for JwtPrincipal {
    fn identify(&self, parts: &Parts) -> Result<Identity, String> {
        let mut lines = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return match parts.headers.contains_key(header::AUTHORIZATION) {
                true => Err("Authorization was sent more than once".to_owned()),
                false => Ok(Identity::Anonymous),
            };
        };
        let line = line.to_str().map_err(|_error| "the token is not ASCII".to_owned())?;
        let principal =
            self.verifier.verify(line, &self.claim).map_err(|error| error.to_string())?;
        Ok(Identity::Named { source: format!("jwt:{}", self.claim), value: principal.into_bytes() })
    }
}

fn policy(route: &RouteConfig) -> Policy {
    let retention = |retention| match retention {
        config::Retention::For(duration) => Retention::For(duration),
        config::Retention::Never => Retention::Never,
    };
    Policy {
        attempts_max: route.max_attempts,
        concurrent: match route.concurrent {
            config::Concurrent::Reject => Concurrent::Reject,
            config::Concurrent::Wait => Concurrent::Wait(route.wait),
        },
        failures: failures(&route.failures),
        late_answer: route.late_answer,
        lease: route.lease,
        retention: retention(route.retention),
        store_outage: match route.store_outage {
            config::StoreOutage::Closed => StoreOutage::Closed,
            config::StoreOutage::Open => StoreOutage::Open,
        },
        unknown: match route.unknown {
            config::Unknown::Hold => OnUnknown::Hold,
            config::Unknown::Probe => OnUnknown::Probe,
            config::Unknown::ReExecute => OnUnknown::ReExecute,
            config::Unknown::Transactional => OnUnknown::Transactional,
        },
        unknown_retention: match route.unknown_retention {
            config::Retention::For(duration) => Some(duration),
            config::Retention::Never => None,
        },
        upstream_timeout: route.upstream_timeout,
        waiters_max: u32::try_from(route.waiters_max).unwrap_or(u32::MAX),
    }
}

fn failures(failures: &config::Failures) -> Failures {
    let mut by_status = BTreeMap::new();
    let mut by_class = BTreeMap::new();
    for (statuses, verdict) in &failures.per_status {
        let disposition = match verdict {
            config::Verdict::Free => Disposition::Free,
            config::Verdict::Keep => Disposition::Keep,
            config::Verdict::Unknown => Disposition::Unknown,
        };
        match statuses {
            config::StatusMatch::Class(class) => {
                by_class.insert(*class, disposition);
            }
            config::StatusMatch::Code(status) => {
                by_status.insert(*status, disposition);
            }
        }
    }
    let preset = match failures.preset {
        config::Preset::Retry5xx => Preset::Retry5xx,
        config::Preset::Standard => Preset::Standard,
        config::Preset::StoreAll => Preset::StoreAll,
        config::Preset::Strict => Preset::Strict,
        config::Preset::SuccessOnly => Preset::SuccessOnly,
    };
    Failures { by_class, by_status, preset }
}

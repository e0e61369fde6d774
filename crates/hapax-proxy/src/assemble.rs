//! From settings to running parts: nothing is bound here, and nothing listens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hapax::{
    Concurrent, Disposition, Failures, FingerprintSpec, Guard, Observer, OnUnknown, Policy, Preset,
    Retention, StoreOutage, Syntax,
};
use hapax_tower::{
    Authority, IdempotencyLayer, Identify, Identity, KeyMode, KeySource, Mode, PrincipalSource,
    Rules,
};
use http::request::Parts;
use http::{HeaderName, header};

use crate::cli::exit;
use crate::config::{self, Config, RouteConfig};
use crate::forward::{ForwardConfig, RequestLimits};
use crate::gateway::{Cors, ProbeTarget, Protection, Site, WellKnown};
use crate::jwt::JwtVerifier;
use crate::route::Routes;
use crate::stores::Opened;
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

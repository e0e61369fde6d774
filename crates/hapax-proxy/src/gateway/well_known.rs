//! `/.well-known/idempotency`: the policy in force, what the problems mean, and issued keys (TTL-05).

use std::time::Duration;

use hapax::{
    Clock, Concurrent, KEY_BYTES_MAX, OnUnknown, Preset, Problem, Retention, Secret, SystemClock,
};
use hapax_tower::{IssuedKeys, KeyMode, KeySource, Mode, PrincipalSource, ResponseBody, Rules};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{Answered, Site};

const BASE: &str = "/.well-known/idempotency";
const KEYS: &str = "/.well-known/idempotency/keys";
/// Issued keys are good for this long at most, and never longer than what they protect is kept.
const ISSUED_LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the gateway publishes of itself.
#[derive(Debug)]
pub struct WellKnown {
    policy: String,
    secret: Secret,
}

impl WellKnown {
    /// Publishes these routes' rules.
    #[must_use]
    pub fn new(rules: &[Rules], secret: Secret) -> Self {
        let routes: Vec<Value> = rules.iter().map(describe).collect();
        let policy = json!({
            "key": {
                "field": "Idempotency-Key",
                "length": { "minimum": 1, "maximum": KEY_BYTES_MAX },
                "quoted": "RFC 9651 string",
            },
            "offers": ["outcome-header"],
            "replay-marker": "Idempotent-Replayed: true",
            "problems": Problem::ALL.map(|problem| json!({
                "code": problem.code(),
                "status": problem.status(),
                "title": problem.title(),
            })),
            "routes": routes,
        });
        Self { policy: policy.to_string(), secret }
    }

    /// The answer, if the request is for what is published here.
    pub(super) fn answer(&self, site: &Site, parts: &Parts) -> Option<Answered> {
        let path = parts.uri.path();
        if !path.starts_with("/.well-known/") && !path.starts_with(&*site.problem_base) {
            return None;
        }
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        if path == BASE {
            return Some(if is_read {
                page("application/json", self.policy.clone())
            } else {
                not_allowed(site, "GET, HEAD")
            });
        }
        if path == KEYS {
            return Some(if parts.method == Method::POST {
                self.issue(site, parts)
            } else {
                not_allowed(site, "POST")
            });
        }
        let code = path.strip_prefix(&*site.problem_base)?.strip_prefix('/')?;
        let problem = Problem::parse(code)?;
        is_read.then(|| page("text/plain; charset=utf-8", explain(problem)))
    }

    /// Issues a key for the route that `?route=` names, or the only one that takes issued keys.
    fn issue(&self, site: &Site, parts: &Parts) -> Answered {
        let mut routes = site
            .protections
            .iter()
            .map(|protection| protection.layer.rules())
            .filter(|rules| rules.key_source == KeySource::Issued);
        let named = parts.uri.query().and_then(|query| query.strip_prefix("route="));
        let named = named.map(|route| {
            percent_encoding::percent_decode_str(route).decode_utf8_lossy().into_owned()
        });
        let found = match &named {
            Some(route) => routes.find(|rules| *rules.route == **route),
            None => match (routes.next(), routes.next()) {
                (Some(only), None) => Some(only),
                (None | Some(_), _) => None,
            },
        };
        let Some(rules) = found else {
            return site.refuse(
                "No key was issued: name a route that takes issued keys, as in ?route=/v1/orders.",
            );
        };
        let scope = match rules.caller(&self.secret, parts) {
            Ok(scope) => scope,
            Err(detail) => return site.refuse(&detail),
        };
        let lifetime = match rules.policy.retention {
            Retention::For(retention) => retention.min(ISSUED_LIFETIME_MAX),
            Retention::Never => ISSUED_LIFETIME_MAX,
        };
        let issued = IssuedKeys::new(self.secret.clone()).issue(
            &scope,
            &rules.route,
            SystemClock.now(),
            lifetime,
        );
        let Ok((key, expires)) = issued else {
            return site.refuse("No key was issued: the system has no randomness.");
        };
        let expires = hapax_tower::http_date(expires);
        let expires = expires.as_ref().and_then(|at| at.to_str().ok()).unwrap_or_default();
        let body = json!({ "key": key.as_str(), "expires": expires }).to_string();
        let mut response = page("application/json", body);
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn describe(rules: &Rules) -> Value {
    let policy = &rules.policy;
    json!({
        "match": &*rules.route,
        "methods": rules.methods.iter().map(Method::as_str).collect::<Vec<_>>(),
        "key": match rules.key {
            KeyMode::Off => "off",
            KeyMode::Optional => "optional",
            KeyMode::Required => "required",
        },
        "key-source": match &rules.key_source {
            KeySource::Body(pointer) => format!("body:{pointer}"),
            KeySource::Content => "content".to_owned(),
            KeySource::Header(name) => format!("header:{name}"),
            KeySource::Issued => "issued".to_owned(),
            KeySource::Joined(name) => format!("joined:{name}"),
        },
        "scope": match &rules.principal {
            PrincipalSource::Authorization => "authorization".to_owned(),
            PrincipalSource::Cookie(name) => format!("cookie:{name}"),
            PrincipalSource::Custom(_) => "verified claim".to_owned(),
            PrincipalSource::Header(name) => format!("header:{name}"),
            PrincipalSource::Shared => "shared".to_owned(),
        },
        "fingerprint": match rules.fingerprint {
            hapax::FingerprintSpec::Bytes => "bytes",
            hapax::FingerprintSpec::Json => "json",
            hapax::FingerprintSpec::Key => "key",
        },
        "idempotency-key-lifetime": match policy.retention {
            Retention::For(retention) => Value::from(format!("PT{}S", retention.as_secs())),
            Retention::Never => Value::Null,
        },
        "failures": match policy.failures.preset {
            Preset::Retry5xx => "retry-5xx",
            Preset::Standard => "standard",
            Preset::StoreAll => "store-all",
            Preset::Strict => "strict",
            Preset::SuccessOnly => "success-only",
        },
        "unknown": match policy.unknown {
            OnUnknown::Hold => "hold",
            OnUnknown::Probe => "probe",
            OnUnknown::ReExecute => "re-execute",
            OnUnknown::Transactional => "transactional",
        },
        "concurrent": match policy.concurrent {
            Concurrent::Reject => "reject",
            Concurrent::Wait(_) => "wait",
        },
        "mode": match rules.mode {
            Mode::Enforce => "enforce",
            Mode::Shadow => "shadow",
        },
        "request-body-max": rules.request_body_max,
        "response-body-max": rules.response_body_max,
    })
}

fn explain(problem: Problem) -> String {
    format!(
        "{} ({}, {})\n\n{}\n\nThe policy in force is at {BASE}.\n",
        problem.title(),
        problem.status(),
        problem.code(),
        problem.detail()
    )
}

fn page(media_type: &'static str, body: String) -> Answered {
    let mut response = Response::new(ResponseBody::whole(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn not_allowed(site: &Site, allow: &'static str) -> Answered {
    let mut response = site.refuse(&format!("Nothing was executed: this takes {allow} only."));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

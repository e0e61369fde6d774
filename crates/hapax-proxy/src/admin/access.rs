//! Who may ask, and what surrounds every answer (ADM-01, SEC-04).
//!
//! A page in an operator's browser can make that browser send requests here: through a name of its
//! own that leads to loopback (so `Host` is checked), or across origins (so `Origin` and
//! `Sec-Fetch-Site` are). The token is compared in a time that does not depend on where it differs.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::{AdminState, Shared};

/// How long one request may take, its body included; a stream of events up to its head.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a path asks of who calls it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Guarded {
    /// Everything: records and decisions.
    Api,
    /// Nothing: an orchestrator probes by address and has no token.
    Health,
    /// A token; scrapers address it by whatever name they know.
    Metrics,
    /// A known name: the page is the same for everybody, and a browser cannot show a token for it.
    Page,
}

impl Guarded {
    fn of(path: &str) -> Self {
        match path {
            "/" => Self::Page,
            "/livez" | "/readyz" => Self::Health,
            "/metrics" => Self::Metrics,
            _ => Self::Api,
        }
    }
}

pub(super) async fn check(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match shared.admit(&parts) {
        Ok(()) => {
            let request = Request::from_parts(parts, body);
            match tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await {
                Ok(response) => response,
                Err(_elapsed) => Problem::timed_out().into_response(),
            }
        }
        Err(problem) => {
            tracing::debug!(code = problem.code, "refused an admin request");
            problem.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

impl AdminState {
    fn admit(&self, parts: &Parts) -> Result<(), Problem> {
        let guarded = Guarded::of(parts.uri.path());
        if guarded == Guarded::Health {
            return Ok(());
        }
        if guarded != Guarded::Metrics && !self.is_addressed(parts) {
            return Err(Problem::foreign_host());
        }
        // A link on another page may lead to ours: it is the same for everybody.
        let is_visit = guarded == Guarded::Page
            && parts.headers.get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
        if !is_visit && !is_own_origin(parts) {
            return Err(Problem::foreign_origin());
        }
        match (&self.token, guarded) {
            (_, Guarded::Page) => Ok(()),
            (None, _) if self.is_loopback => Ok(()),
            (None, _) => Err(Problem::token_needed()),
            (Some(_), _) if self.has_token(&parts.headers) => Ok(()),
            (Some(_), _) => Err(Problem::unauthorized()),
        }
    }

    /// Whether a token is configured and the request shows it.
    pub(super) fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return false };
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return false };
        let Some((scheme, shown)) = line.to_str().ok().and_then(|line| line.split_once(' ')) else {
            return false;
        };
        // Digests have one length, whatever was shown.
        let (shown, token) = (Sha256::digest(shown.trim()), Sha256::digest(token.reveal()));
        scheme.eq_ignore_ascii_case("bearer") && bool::from(shown.ct_eq(&token))
    }

    fn is_addressed(&self, parts: &Parts) -> bool {
        let in_target = parts.uri.authority().map(http::uri::Authority::as_str);
        let Some(host) = host_line(&parts.headers) else { return false };
        self.is_ours(host) && in_target.is_none_or(|target| self.is_ours(target))
    }

    fn is_ours(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        let bare = host.trim_matches(['[', ']']);
        let is_loopback = host == "localhost"
            || bare.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
            || bare.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
        is_loopback || self.hosts.iter().any(|name| name.trim_matches(['[', ']']) == bare)
    }
}

fn host_line(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(header::HOST).iter();
    match (lines.next(), lines.next()) {
        (Some(host), None) => host.to_str().ok(),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// An authority without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

/// Whether no page of another origin asks: browsers say so, and nobody else has to say anything.
fn is_own_origin(parts: &Parts) -> bool {
    let is_own_site = parts
        .headers
        .get_all(SEC_FETCH_SITE)
        .iter()
        .all(|site| site == "same-origin" || site == "none");
    let host = host_line(&parts.headers).unwrap_or("");
    let is_own = |origin: &HeaderValue| {
        let (scheme, authority) = origin.to_str().ok()?.split_once("://")?;
        let default = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let bare = |authority: &str| {
            let lower = authority.to_ascii_lowercase();
            lower.strip_suffix(default).map(str::to_owned).unwrap_or(lower)
        };
        (bare(authority) == bare(host)).then_some(())
    };
    is_own_site
        && parts.headers.get_all(header::ORIGIN).iter().all(|origin| is_own(origin).is_some())
}

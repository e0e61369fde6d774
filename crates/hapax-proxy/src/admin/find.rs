//! From what a caller sent to its record (ADM-02): the key, and who the caller was.
//!
//! Ids are keyed hashes, so they cannot be looked up by eye; this computes them as the data port does.
//! Keys and credentials come in a body and are neither logged nor audited (SEC-04).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use hapax::{Key, RecordId, Syntax};
use hapax_tower::{Authority, PrincipalSource, Rules};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use serde_json::Value;

use super::problem::Problem;
use super::{AdminState, Shared, input, view};

const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Records looked up for one search.
const CANDIDATES_MAX: usize = 64;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a caller sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    /// The host that it addressed.
    authority: Option<String>,
    authorization: Option<String>,
    key: String,
    /// The value of the field or cookie that names callers on routes that say so.
    principal: Option<String>,
    /// The route's name; all are tried without it.
    route: Option<String>,
    x_api_key: Option<String>,
}

pub(super) async fn find(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let sent: Sent = input::json(request, REQUEST_BYTES_MAX).await?;
    for id in shared.candidates(&sent)? {
        if let Some(seen) = shared.live(&id).await?
            && let Some(detail) = view::detail(&seen.record, seen.now)
        {
            return Ok(Json(detail));
        }
    }
    Err(Problem::no_record())
}

impl AdminState {
    /// Every record that it could be: by route, and by host where none is named.
    fn candidates(&self, sent: &Sent) -> Result<BTreeSet<RecordId>, Problem> {
        let key = Key::parse(sent.key.as_bytes(), Syntax::Lenient)
            .or_else(|_malformed| Key::from_text(&sent.key))
            .map_err(|error| Problem::bad_request(format!("The key is not one: {error}.")))?;
        let named = |rules: &&Rules| sent.route.as_deref().is_none_or(|name| name == &*rules.route);
        let mut rules = self.rules.iter().filter(named).peekable();
        if rules.peek().is_none() {
            return Err(Problem::bad_request("There is no route of this name."));
        }
        let (mut found, mut refusal) = (BTreeSet::new(), None);
        for rules in rules {
            match self.records(rules, sent, &key) {
                Ok(records) => found.extend(records),
                Err(problem) => refusal = Some(problem),
            }
            if found.len() > CANDIDATES_MAX {
                return Err(Problem::bad_request("It could be too many records; name the route."));
            }
        }
        match refusal {
            Some(problem) if found.is_empty() => Err(problem),
            Some(_) | None => Ok(found),
        }
    }

    /// The record under these rules, for each host that the caller may have addressed.
    fn records(&self, rules: &Rules, sent: &Sent, key: &Key) -> Result<Vec<RecordId>, Problem> {
        let hosts: Vec<&str> = match (&rules.authority, &sent.authority) {
            (Authority::Fixed(_), _) => vec![""],
            (Authority::Host, Some(host)) => vec![host.trim()],
            (Authority::Host, None) => self.authorities.iter().map(String::as_str).collect(),
        };
        if hosts.is_empty() {
            return Err(Problem::bad_request("Say which host was addressed: authority."));
        }
        let record = |host: &&str| {
            let parts = sent.parts(rules, host)?;
            rules.record_id(&self.secret, &parts, key).map_err(Problem::bad_request)
        };
        hosts.iter().map(record).collect()
    }
}

impl Sent {
    /// The head of a request with these credentials, for whoever identifies by it.
    fn parts(&self, rules: &Rules, host: &str) -> Result<Parts, Problem> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        put(&mut parts.headers, header::HOST, Some(host))?;
        put(&mut parts.headers, header::AUTHORIZATION, self.authorization.as_deref())?;
        put(&mut parts.headers, API_KEY, self.x_api_key.as_deref())?;
        match (&rules.principal, &self.principal) {
            (PrincipalSource::Header(name), Some(value)) => {
                put(&mut parts.headers, name.clone(), Some(value))?;
            }
            (PrincipalSource::Cookie(name), Some(value)) => {
                let cookie = format!("{name}={value}");
                put(&mut parts.headers, header::COOKIE, Some(&cookie))?;
            }
            (
                PrincipalSource::Authorization
                | PrincipalSource::Cookie(_)
                | PrincipalSource::Custom(_)
                | PrincipalSource::Header(_)
                | PrincipalSource::Shared,
                _,
            ) => {}
        }
        Ok(parts)
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) -> Result<(), Problem> {
    if let Some(value) = value {
        let wrong = |_error| Problem::bad_request(format!("No {name} field can hold this value."));
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(wrong)?;
        headers.insert(name, value);
    }
    Ok(())
}

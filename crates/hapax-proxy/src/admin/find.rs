//! From what a caller sent to its record (ADM-02): the key, and who the caller was.
//!
//! Ids are keyed hashes, so they cannot be looked up by eye; this computes them as the data port does.
//! Keys and credentials come in a body and are neither logged nor audited (SEC-04).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use hapax::{Key, Principal, RecordId, Scope, Syntax};
use hapax_tower::{Authority, Identity, KeySource, Mode, PrincipalSource, Rules};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use serde_json::Value;

use super::problem::Problem;
use super::{AdminState, Shared, input, view};

const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Records looked up for one search.
const CANDIDATES_MAX: usize = 64;
/// Where the layer keeps what it only watches.
const SHADOW_SPACE: &[u8] = b"shadow";

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
            match self.scopes(rules, sent) {
                Ok(scopes) => found.extend(
                    scopes.iter().map(|scope| self.secret.record_id_in(scope, &space(rules), &key)),
                ),
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

    fn scopes(&self, rules: &Rules, sent: &Sent) -> Result<Vec<Scope>, Problem> {
        let parts = sent.parts(rules)?;
        let caller = caller(rules, &parts, sent)?;
        let authorities: Vec<String> = match (&rules.authority, &sent.authority) {
            (Authority::Fixed(name), _) => vec![name.to_string()],
            (Authority::Host, Some(host)) => vec![normal(host)],
            (Authority::Host, None) if self.authorities.is_empty() => {
                return Err(Problem::bad_request("Say which host was addressed: authority."));
            }
            (Authority::Host, None) => self.authorities.iter().map(|host| normal(host)).collect(),
        };
        Ok(authorities.iter().map(|host| self.secret.scope(caller.principal(), host)).collect())
    }
}

/// The caller, as the layer tells callers apart.
enum Caller<'a> {
    Anonymous,
    Credential { kind: &'static str, value: &'a [u8] },
    Named { source: String, value: Vec<u8> },
    Shared,
}

impl Caller<'_> {
    fn principal(&self) -> Principal<'_> {
        match self {
            Self::Anonymous => Principal::Anonymous,
            Self::Credential { kind, value } => Principal::Credential { kind, value },
            Self::Named { source, value } => Principal::Named { source, value },
            Self::Shared => Principal::Shared,
        }
    }
}

fn caller<'a>(rules: &Rules, parts: &'a Parts, sent: &Sent) -> Result<Caller<'a>, Problem> {
    let named = |source: String| match &sent.principal {
        None => Caller::Anonymous,
        Some(value) => Caller::Named { source, value: value.trim_ascii().as_bytes().to_vec() },
    };
    Ok(match &rules.principal {
        PrincipalSource::Shared => Caller::Shared,
        PrincipalSource::Authorization => {
            let credential = |name: &HeaderName, kind| {
                let value = parts.headers.get(name)?.as_bytes().trim_ascii();
                (!value.is_empty()).then_some(Caller::Credential { kind, value })
            };
            credential(&header::AUTHORIZATION, "authorization")
                .or_else(|| credential(&API_KEY, "x-api-key"))
                .unwrap_or(Caller::Anonymous)
        }
        PrincipalSource::Header(name) => named(format!("header:{name}")),
        PrincipalSource::Cookie(name) => named(format!("cookie:{name}")),
        PrincipalSource::Custom(identify) => match identify.identify(parts) {
            Ok(Identity::Anonymous) => Caller::Anonymous,
            Ok(Identity::Named { source, value }) => Caller::Named { source, value },
            Err(why) => {
                return Err(Problem::bad_request(format!("The caller cannot be told: {why}.")));
            }
        },
    })
}

impl Sent {
    /// The head of a request with these credentials, for whoever identifies by it.
    fn parts(&self, rules: &Rules) -> Result<Parts, Problem> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        put(&mut parts.headers, header::AUTHORIZATION, self.authorization.as_deref())?;
        put(&mut parts.headers, API_KEY, self.x_api_key.as_deref())?;
        if let PrincipalSource::Header(name) = &rules.principal {
            put(&mut parts.headers, name.clone(), self.principal.as_deref())?;
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

/// The space of names that the layer uses on this route.
fn space(rules: &Rules) -> Vec<u8> {
    let space = match rules.mode {
        Mode::Enforce => b"".as_slice(),
        Mode::Shadow => SHADOW_SPACE,
    };
    match &rules.key_source {
        KeySource::Joined(_) => [space, b"joined:", rules.route.as_bytes()].concat(),
        KeySource::Body(_) | KeySource::Content | KeySource::Header(_) | KeySource::Issued => {
            space.to_vec()
        }
    }
}

/// A host in lower case and without a default port, as scopes carry it.
fn normal(host: &str) -> String {
    let host = host.trim().to_ascii_lowercase();
    let bare = host.strip_suffix(":80").or_else(|| host.strip_suffix(":443"));
    bare.unwrap_or(&host).to_owned()
}

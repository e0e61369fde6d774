//! Admission: from the head of a request to a caller and a key, or to what is wrong with it. Pure;
//! the body has not been read.

use std::borrow::Cow;

use hapax::{Key, KeyError, Principal, Problem, RecordId, Scope, Secret, Timestamp};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::headers;
use crate::issued::{IssueError, IssuedKeys};
use crate::rules::{Authority, Identity, KeyMode, KeySource, Mode, PrincipalSource, Rules};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What becomes of a request.
pub(crate) enum Admitted {
    /// It is protected.
    Keyed(Admission),
    /// It is none of the layer's business.
    Pass,
    /// It is wrong.
    Refused(Refusal),
}

/// A protected request.
pub(crate) struct Admission {
    pub(crate) key: KeyPart,
    /// The cookies of an anonymous caller: part of the fingerprint (ruling 4).
    pub(crate) private: Vec<u8>,
    pub(crate) scope: Scope,
}

/// The key, or where in the body it will be.
pub(crate) enum KeyPart {
    Content,
    InBody(std::sync::Arc<str>),
    Known(Key),
}

/// What is wrong with a request, and how to tell it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) detail: Option<Cow<'static, str>>,
    pub(crate) problem: Problem,
    pub(crate) status: Option<StatusCode>,
}

impl Refusal {
    pub(crate) const fn new(problem: Problem) -> Self {
        Self { detail: None, problem, status: None }
    }

    pub(crate) fn with(problem: Problem, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), problem, status: None }
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        Self::with(Problem::InvalidKey, format!("Nothing was executed: {error}."))
    }
}

impl Rules {
    /// Whether a request with this head is protected, or would be refused. All others pass.
    #[must_use]
    pub fn concern(&self, parts: &Parts) -> bool {
        if self.key == KeyMode::Off || !self.methods.contains(&parts.method) {
            return false;
        }
        if is_grpc(parts) {
            // Refused there rather than let through unprotected.
            return self.key == KeyMode::Required;
        }
        match self.key_header() {
            Some(name) => self.key == KeyMode::Required || parts.headers.contains_key(name),
            None => true,
        }
    }

    pub(crate) fn admit(&self, secret: &Secret, parts: &Parts, now: Timestamp) -> Admitted {
        if !self.concern(parts) {
            return Admitted::Pass;
        }
        match self.admit_keyed(secret, parts, now) {
            Ok(admission) => Admitted::Keyed(admission),
            Err(refusal) => Admitted::Refused(refusal),
        }
    }

    /// The scope of the caller of a request with this head.
    ///
    /// # Errors
    /// One sentence for the client's developer, where the head is ambiguous about its caller.
    pub fn caller(&self, secret: &Secret, parts: &Parts) -> Result<Scope, String> {
        self.scope(secret, parts).map(|(scope, _anonymous)| scope).map_err(|refusal| {
            refusal.detail.map_or_else(|| refusal.problem.detail().to_owned(), Cow::into_owned)
        })
    }

    /// The record of `key`, as sent by the caller of a request with this head.
    ///
    /// # Errors
    /// One sentence, where the head is ambiguous about its caller.
    pub fn record_id(&self, secret: &Secret, parts: &Parts, key: &Key) -> Result<RecordId, String> {
        let scope = self.caller(secret, parts)?;
        Ok(secret.record_id_in(&scope, &self.space(), key))
    }

    /// What keeps this route's keys apart from others' of the same scope.
    pub(crate) fn space(&self) -> Vec<u8> {
        let mode = match self.mode {
            Mode::Enforce => b"".as_slice(),
            Mode::Shadow => b"shadow",
        };
        match &self.key_source {
            // The client's id alone is too common a name: the route is part of it.
            KeySource::Joined(_) => [mode, b"joined:", self.route.as_bytes()].concat(),
            KeySource::Body(_) | KeySource::Content | KeySource::Header(_) | KeySource::Issued => {
                mode.to_vec()
            }
        }
    }

    /// The caller's scope, and whether it is nobody's.
    ///
    /// # Errors
    /// [`Refusal`] where the request is ambiguous about its caller.
    pub(crate) fn scope(&self, secret: &Secret, parts: &Parts) -> Result<(Scope, bool), Refusal> {
        let authority = match &self.authority {
            Authority::Fixed(name) => Cow::Borrowed(&**name),
            Authority::Host => Cow::Owned(effective_host(parts)),
        };
        let identity = self.identity(parts)?;
        let anonymous = matches!(identity, Caller::Anonymous);
        let scope = match &identity {
            Caller::Anonymous => secret.scope(Principal::Anonymous, &authority),
            Caller::Credential { kind, value } => {
                secret.scope(Principal::Credential { kind, value }, &authority)
            }
            Caller::Named { source, value } => {
                secret.scope(Principal::Named { source, value }, &authority)
            }
            Caller::Shared => secret.scope(Principal::Shared, &authority),
        };
        Ok((scope, anonymous))
    }

    fn admit_keyed(
        &self,
        secret: &Secret,
        parts: &Parts,
        now: Timestamp,
    ) -> Result<Admission, Refusal> {
        if is_grpc(parts) {
            return Err(Refusal::with(
                Problem::InvalidRequest,
                "Nothing was executed: this route takes only requests that can be protected, and \
                 gRPC calls cannot.",
            ));
        }
        self.check_connection(parts)?;
        let (scope, anonymous) = self.scope(secret, parts)?;
        let key = match &self.key_source {
            KeySource::Content => KeyPart::Content,
            KeySource::Body(pointer) => KeyPart::InBody(std::sync::Arc::clone(pointer)),
            KeySource::Header(name) | KeySource::Joined(name) => {
                KeyPart::Known(self.header_key(parts, name)?)
            }
            KeySource::Issued => {
                let key = self.header_key(parts, &headers::KEY_FIELD)?;
                self.check_issued(secret, &key, &scope, now)?;
                KeyPart::Known(key)
            }
        };
        Ok(Admission { key, private: self.private_part(parts, anonymous), scope })
    }

    fn header_key(&self, parts: &Parts, name: &HeaderName) -> Result<Key, Refusal> {
        let mut lines = parts.headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Err(Refusal::new(Problem::MissingKey)),
            (Some(_), Some(_)) => Err(Refusal::with(
                Problem::InvalidKey,
                format!("Nothing was executed: {name} was sent more than once; send it once."),
            )),
            (Some(value), None) => Ok(Key::parse(value.as_bytes(), self.syntax)?),
        }
    }

    fn check_issued(
        &self,
        secret: &Secret,
        key: &Key,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        IssuedKeys::new(secret.clone()).verify(key, scope, &self.route, now).map_err(|error| {
            match error {
                IssueError::Expired => Refusal::new(Problem::KeyExpired),
                IssueError::Foreign => Refusal::with(
                    Problem::InvalidKey,
                    "Nothing was executed: this route takes only keys that were issued for this \
                     caller and route; POST to /.well-known/idempotency/keys for one.",
                ),
            }
        })
    }

    /// A protected field named in `Connection` would be gone before the next hop (KEY-13).
    fn check_connection(&self, parts: &Parts) -> Result<(), Refusal> {
        if !parts.headers.contains_key(header::CONNECTION) {
            return Ok(());
        }
        let options = headers::connection_options(&parts.headers);
        let mut protected = vec![headers::KEY, header::AUTHORIZATION, API_KEY, header::COOKIE];
        protected.extend(self.key_header().cloned());
        if let PrincipalSource::Header(name) = &self.principal {
            protected.push(name.clone());
        }
        match protected.iter().find(|name| options.iter().any(|option| option == name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Refusal::with(
                Problem::InvalidRequest,
                format!("Nothing was executed: Connection names the protected field {name}."),
            )),
        }
    }

    fn key_header(&self) -> Option<&HeaderName> {
        match &self.key_source {
            KeySource::Body(_) | KeySource::Content => None,
            KeySource::Header(name) | KeySource::Joined(name) => Some(name),
            KeySource::Issued => Some(&headers::KEY_FIELD),
        }
    }

    fn private_part(&self, parts: &Parts, anonymous: bool) -> Vec<u8> {
        let mut private = Vec::new();
        if anonymous {
            for cookie in parts.headers.get_all(header::COOKIE) {
                private.extend_from_slice(cookie.as_bytes());
                private.push(b'\n');
            }
        }
        private
    }

    fn identity<'a>(&'a self, parts: &'a Parts) -> Result<Caller<'a>, Refusal> {
        match &self.principal {
            PrincipalSource::Shared => Ok(Caller::Shared),
            PrincipalSource::Authorization => {
                match credential(parts, &header::AUTHORIZATION, "authorization")? {
                    Caller::Anonymous => credential(parts, &API_KEY, "x-api-key"),
                    found => Ok(found),
                }
            }
            PrincipalSource::Header(name) => Ok(match one_line(parts, name)? {
                None => Caller::Anonymous,
                Some(value) => Caller::Named {
                    source: format!("header:{name}"),
                    value: Cow::Borrowed(value.as_bytes().trim_ascii()),
                },
            }),
            PrincipalSource::Cookie(name) => Ok(match cookie(parts, name)? {
                None => Caller::Anonymous,
                Some(value) => {
                    Caller::Named { source: format!("cookie:{name}"), value: Cow::Borrowed(value) }
                }
            }),
            PrincipalSource::Custom(identify) => match identify.identify(parts) {
                Ok(Identity::Anonymous) => Ok(Caller::Anonymous),
                Ok(Identity::Named { source, value }) => {
                    Ok(Caller::Named { source, value: Cow::Owned(value) })
                }
                Err(why) => Err(Refusal {
                    detail: Some(format!("Nothing was executed: {why}.").into()),
                    problem: Problem::InvalidRequest,
                    status: Some(StatusCode::UNAUTHORIZED),
                }),
            },
        }
    }
}

enum Caller<'a> {
    Anonymous,
    Credential { kind: &'static str, value: &'a [u8] },
    Named { source: String, value: Cow<'a, [u8]> },
    Shared,
}

/// Whether it is a gRPC call, whose outcome is in its trailers: not intercepted (HTP-09).
fn is_grpc(parts: &Parts) -> bool {
    const ESSENCE: &[u8] = b"application/grpc";
    let value = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let value = value.unwrap_or_default().trim_ascii_start();
    let (essence, rest) = value.split_at(value.len().min(ESSENCE.len()));
    essence.eq_ignore_ascii_case(ESSENCE)
        && matches!(rest.first(), None | Some(b'+' | b'-' | b';' | b' ' | b'\t'))
}

fn credential<'a>(
    parts: &'a Parts,
    name: &HeaderName,
    kind: &'static str,
) -> Result<Caller<'a>, Refusal> {
    Ok(match one_line(parts, name)?.map(|value| value.as_bytes().trim_ascii()) {
        None | Some(b"") => Caller::Anonymous,
        Some(value) => Caller::Credential { kind, value },
    })
}

fn one_line<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut lines = parts.headers.get_all(name).iter();
    let first = lines.next();
    if lines.next().is_some() {
        return Err(Refusal::with(
            Problem::InvalidRequest,
            format!("Nothing was executed: {name} was sent more than once; send it once."),
        ));
    }
    Ok(first)
}

fn cookie<'a>(parts: &'a Parts, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
    let mut found = None;
    for line in parts.headers.get_all(header::COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let value = pair
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
                .filter(|value| !value.is_empty());
            if let Some(value) = value
                && found.replace(value).is_some_and(|earlier| earlier != value)
            {
                return Err(Refusal::with(
                    Problem::InvalidRequest,
                    format!("Nothing was executed: the cookie {name} has two values."),
                ));
            }
        }
    }
    Ok(found)
}

/// The host that the request is for (RFC 9110, section 7.1): lower case, default port removed.
fn effective_host(parts: &Parts) -> String {
    let in_target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = in_target.or_else(|| parts.headers.get(header::HOST).map(HeaderValue::as_bytes));
    let host = String::from_utf8_lossy(host.unwrap_or_default()).to_ascii_lowercase();
    let host = host.rsplit_once('@').map_or(host.as_str(), |(_user, host)| host);
    let bare = host.strip_suffix(":80").or_else(|| host.strip_suffix(":443"));
    bare.unwrap_or(host).to_owned()
}

#[cfg(test)]
mod tests;

//! The rules of one route: everything that can be configured of the layer, as plain data.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hapax::{FingerprintSpec, Policy, Syntax};
use http::request::Parts;
use http::{HeaderName, Method};

use crate::headers;

/// What the layer does on one route. `Rules::default()` is what `interface.md` calls the defaults.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where a scope's authority comes from.
    pub authority: Authority,
    /// How long the request body may take to arrive; then 408 (HTP-14).
    pub body_timeout: Duration,
    /// What makes two requests the same.
    pub fingerprint: FingerprintSpec,
    /// Whether a key is needed.
    pub key: KeyMode,
    /// Where the key comes from.
    pub key_source: KeySource,
    /// The methods that are protected; all others pass untouched (KEY-12).
    pub methods: Vec<Method>,
    /// Whether the layer acts or only watches.
    pub mode: Mode,
    /// What the route promises.
    pub policy: Arc<Policy>,
    /// Where a scope's principal comes from.
    pub principal: PrincipalSource,
    /// What problem types start with.
    pub problem_base: Arc<str>,
    /// Bytes of a request body that can be protected; then 413 (EXE-09).
    pub request_body_max: usize,
    /// Bytes of an answer that can be kept; past it the answer streams on (REP-12).
    pub response_body_max: usize,
    /// The route's name, for people and metrics.
    pub route: Arc<str>,
    /// Whether `Set-Cookie` is kept and replayed (REP-05).
    pub set_cookie: bool,
    /// Which spellings of the key are accepted.
    pub syntax: Syntax,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            authority: Authority::Host,
            body_timeout: Duration::from_secs(30),
            fingerprint: FingerprintSpec::default(),
            key: KeyMode::Optional,
            key_source: KeySource::Header(headers::KEY),
            methods: vec![Method::POST, Method::PATCH],
            mode: Mode::Enforce,
            policy: Arc::new(Policy::default()),
            principal: PrincipalSource::Authorization,
            problem_base: "/.well-known/idempotency/problems".into(),
            request_body_max: 1 << 20,
            response_body_max: 1 << 20,
            route: "default".into(),
            set_cookie: false,
            syntax: Syntax::default(),
        }
    }
}

/// Where a scope's authority comes from (ruling 4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authority {
    /// A name of the route's.
    Fixed(Arc<str>),
    /// The effective host of the request, in lower case, without the default port.
    Host,
}

/// Whether a key is needed (M02).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyMode {
    /// Keys mean nothing here.
    Off,
    /// With a key it is protected, without one it passes.
    Optional,
    /// Without a key it is refused.
    Required,
}

/// Where the key comes from (M12, ruling 15).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// A member of the JSON body, by its JSON Pointer (RFC 6901).
    Body(Arc<str>),
    /// The body's bytes themselves.
    Content,
    /// A header field.
    Header(HeaderName),
    /// `Idempotency-Key`, and only keys that were issued for this caller and route.
    Issued,
    /// The client's own request id in a header field, scoped by principal and route.
    Joined(HeaderName),
}

/// Whether the layer acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// It does.
    Enforce,
    /// It reports what it would have done and changes nothing (ruling 16).
    Shadow,
}

/// Where a scope's principal comes from (ruling 4).
#[derive(Clone)]
pub enum PrincipalSource {
    /// The bytes of `Authorization`, or of `X-API-Key` where there is none.
    Authorization,
    /// The value of a cookie.
    Cookie(Arc<str>),
    /// Whatever the caller's own code verifies.
    Custom(Arc<dyn Identify>),
    /// A header that a trusted hop sets.
    Header(HeaderName),
    /// All callers are one.
    Shared,
}

impl fmt::Debug for PrincipalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("Authorization"),
            Self::Cookie(name) => write!(f, "Cookie({name})"),
            Self::Custom(identify) => write!(f, "Custom({identify:?})"),
            Self::Header(name) => write!(f, "Header({name})"),
            Self::Shared => f.write_str("Shared"),
        }
    }
}

/// Finds out who calls, by means that the layer itself can trust (SCO-04).
pub trait Identify: fmt::Debug + Send + Sync {
    /// The caller of this request.
    ///
    /// # Errors
    /// One sentence for the client's developer, where the request claims an identity that does not
    /// hold; answered 401.
    fn identify(&self, parts: &Parts) -> Result<Identity, String>;
}

/// A caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// The request names nobody.
    Anonymous,
    /// Somebody.
    Named {
        /// What vouches for the name.
        source: String,
        /// The name.
        value: Vec<u8>,
    },
}

//! Cross-origin reading: pages of the configured origins may read what the layer says (HTP-12).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What a page needs to see of an answer to retry well.
const EXPOSED: &str =
    "Age, Content-Type, Date, Idempotency-Expires, Idempotent-Replayed, Location, Retry-After";

/// The origins whose pages may read answers.
#[derive(Clone, Debug, Default)]
pub struct Cors(Vec<HeaderValue>);

impl Cors {
    /// Allows these origins; the configuration has made sure that they are origins.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    /// The allowed origin that a request comes from.
    #[must_use]
    pub fn origin_of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.0.is_empty() {
            return None;
        }
        headers.get(header::ORIGIN).filter(|origin| self.0.contains(origin)).cloned()
    }

    /// Lets pages of `origin` read the answer; what the upstream says of the origin stands.
    pub fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        headers.append(
            HeaderName::from_static("access-control-expose-headers"),
            HeaderValue::from_static(EXPOSED),
        );
        if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}

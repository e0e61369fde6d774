//! Header names, and which header lines of an answer are worth keeping.

use std::time::{Duration, SystemTime};

use hapax::{Field, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The key.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks a replay (REP-02).
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// When a retry stops being safe.
pub const EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");
/// What the upstream says of one answer (FAI-06).
pub const OUTCOME: HeaderName = HeaderName::from_static("hapax-outcome");
/// Says that a request ran although the store was not there (SEC-06).
pub const UNPROTECTED: HeaderName = HeaderName::from_static("hapax-unprotected");

/// [`KEY`], to borrow.
pub(crate) static KEY_FIELD: HeaderName = KEY;

/// Fields of one connection (RFC 9110, section 7.6.1), and the framing that is made anew (REP-03).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that describe the first exchange only (REP-06), and those that a replay makes anew.
const FIRST_EXCHANGE: [HeaderName; 9] = [
    header::AGE,
    header::ALT_SVC,
    header::TRAILER,
    header::WWW_AUTHENTICATE,
    EXPIRES,
    REPLAYED,
    UNPROTECTED,
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("traceresponse"),
];

/// The header lines to keep, in their order (REP-07).
pub(crate) fn kept(headers: &HeaderMap, set_cookie: bool) -> Vec<Field> {
    let connection = connection_options(headers);
    let mut fields = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let text = name.as_str();
        let dropped = HOP_BY_HOP.contains(name)
            || FIRST_EXCHANGE.contains(name)
            || (name == header::SET_COOKIE && !set_cookie)
            || text.starts_with("ratelimit")
            || text.starts_with("x-ratelimit-")
            || text.starts_with("hapax-")
            || connection.iter().any(|option| option == text);
        if !dropped {
            fields.push(field(name, value));
        }
    }
    fields
}

/// All lines, for trailers.
pub(crate) fn all(headers: &HeaderMap) -> Vec<Field> {
    headers.iter().map(|(name, value)| field(name, value)).collect()
}

fn field(name: &HeaderName, value: &HeaderValue) -> Field {
    Field::new(name.as_str().to_owned(), value.as_bytes().to_vec())
}

/// Kept lines as headers again; a line that has become illegal is left out.
pub(crate) fn restored(fields: &[Field]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(fields.len() + 2);
    for field in fields {
        let name = HeaderName::from_bytes(&field.name);
        let value = HeaderValue::from_maybe_shared(field.value.clone());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Says that the store was not there (SEC-06).
pub(crate) fn mark_unprotected(headers: &mut HeaderMap) {
    headers.insert(UNPROTECTED, HeaderValue::from_static("store-unavailable"));
}

/// The names of `trailers` as the `Trailer` field lists them.
pub(crate) fn names(trailers: &HeaderMap) -> Option<HeaderValue> {
    let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}

/// The options of `Connection`, in lower case.
pub(crate) fn connection_options(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
        .filter(|option| !option.is_empty())
        .collect()
}

/// A time as HTTP writes it (RFC 9110, section 5.6.7).
#[must_use]
pub fn http_date(at: Timestamp) -> Option<HeaderValue> {
    // Past the year 9999 there is no such date; "for ever" is the truth then.
    let latest = 253_402_300_799;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_secs().min(latest));
    HeaderValue::from_str(&httpdate::fmt_http_date(at)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn rep_03_05_06_connection_cookie_and_first_exchange_fields_are_not_kept() {
        let all = headers(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("set-cookie", "a=1"),
            ("www-authenticate", "Basic"),
            ("ratelimit-remaining", "1"),
            ("x-ratelimit-limit", "1"),
            ("server-timing", "x"),
            ("hapax-outcome", "final"),
            ("location", "/x"),
        ]);
        assert_eq!(kept(&all, false), [Field::new("location", "/x")]);
        assert_eq!(kept(&all, true).len(), 2);
    }

    #[test]
    fn rep_07_repeated_lines_keep_order_and_count() {
        let all = headers(&[("link", "<a>, <b>"), ("link", "\"c,\""), ("etag", "\"x\"")]);
        let again = restored(&kept(&all, false));
        assert_eq!(again.get_all("link").iter().collect::<Vec<_>>(), ["<a>, <b>", "\"c,\""]);
        assert_eq!(again, all);
    }
}

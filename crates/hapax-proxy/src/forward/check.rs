//! Requests that must not be passed on, and would not all be refused by the server library.

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, Method, Version};

/// What a request may ask for.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// The longest target in bytes. Past it: 414.
    pub uri_bytes_max: usize,
    /// Fields that `Connection` must not name: naming them would take them off the request on its
    /// way, and with them what makes it protected (KEY-13).
    pub protected: Vec<HeaderName>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More than one `Host` line.
    #[error("the request has more than one Host field")]
    DoubledHost,
    /// `Host` is no host name with an optional port.
    #[error("the Host field is not a host with an optional port")]
    InvalidHost,
    /// No `Host` line in HTTP/1.x, or no authority in HTTP/2.
    #[error("the request has no Host field")]
    MissingHost,
    /// `Connection` names a field that must reach the upstream.
    #[error("the Connection field names {0}, which may not be taken off")]
    ProtectedField(HeaderName),
    /// A `Transfer-Encoding` other than `chunked` alone, which would be lost on the way.
    #[error("the request has a Transfer-Encoding other than chunked")]
    TransferCoding,
    /// The target is longer than `uri_bytes_max`.
    #[error("the target is longer than {bytes_max} bytes")]
    UriTooLong {
        /// The limit.
        bytes_max: usize,
    },
}

/// Checks what has to hold before a request is routed (HTP-02, KEY-13, HTP-14).
///
/// # Errors
///
/// [`Malformed`] says what is wrong; the answer is 414 for [`Malformed::UriTooLong`], else 400.
pub fn check_request(parts: &Parts, limits: &RequestLimits) -> Result<(), Malformed> {
    check_host(parts)?;
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.uri_bytes_max {
        return Err(Malformed::UriTooLong { bytes_max: limits.uri_bytes_max });
    }
    for coding in parts.headers.get_all(TRANSFER_ENCODING) {
        if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed::TransferCoding);
        }
    }
    for line in parts.headers.get_all(CONNECTION) {
        for option in line.as_bytes().split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            let named = limits
                .protected
                .iter()
                .find(|name| name.as_str().as_bytes().eq_ignore_ascii_case(option));
            if let Some(name) = named {
                return Err(Malformed::ProtectedField(name.clone()));
            }
        }
    }
    Ok(())
}

/// The host a request is meant for: the authority of its target before its `Host` (ruling 4). `None` if it
/// has neither or if `Host` is not ASCII.
#[must_use]
pub fn effective_host(parts: &Parts) -> Option<&str> {
    match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(HOST)?.to_str().ok(),
    }
}

fn check_host(parts: &Parts) -> Result<(), Malformed> {
    let mut lines = parts.headers.get_all(HOST).iter();
    let host = lines.next();
    if lines.next().is_some() {
        return Err(Malformed::DoubledHost);
    }
    let is_http2 = parts.version >= Version::HTTP_2;
    match (host, parts.uri.authority()) {
        // HTTP/1.1 wants the field even where the target names the host (RFC 9112, 3.2).
        (None, Some(named)) if is_http2 || parts.method == Method::CONNECT => {
            if is_host(named.as_str()) { Ok(()) } else { Err(Malformed::InvalidHost) }
        }
        (None, _) => Err(Malformed::MissingHost),
        (Some(host), authority) => {
            let host = host.to_str().map_err(|_bytes| Malformed::InvalidHost)?;
            let is_good = is_host(host) && authority.is_none_or(|named| is_host(named.as_str()));
            if is_good { Ok(()) } else { Err(Malformed::InvalidHost) }
        }
    }
}

/// A host with an optional port, and nothing else. Narrower than RFC 3986, whose names may hold commas and
/// other marks that no host has, and by looking only: this runs for every request.
fn is_host(text: &str) -> bool {
    let (is_name, rest) = if let Some(literal) = text.strip_prefix('[') {
        match literal.split_once(']') {
            Some((address, rest)) => (address.parse::<std::net::Ipv6Addr>().is_ok(), rest),
            None => (false, ""),
        }
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let is_mark = |byte| matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%');
        let is_good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte));
        (!name.is_empty() && is_good, rest)
    };
    is_name
        && match rest.strip_prefix(':') {
            Some(port) => {
                port.is_empty()
                    || (port.bytes().all(|byte| byte.is_ascii_digit())
                        && port.parse::<u16>().is_ok())
            }
            None => rest.is_empty(),
        }
}

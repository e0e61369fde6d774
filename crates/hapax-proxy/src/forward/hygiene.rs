//! Header hygiene as pure functions: what belongs to one hop comes off, where a request came from goes on.

use http::header::{
    CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::request::Parts;
use http::{Method, Version};

use super::check::effective_host;
use crate::listen::ConnInfo;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The prefix of the fields that only the gateway itself may send upstream.
const OWN_PREFIX: &str = "hapax-";

/// How requests are passed on.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// Keep the client's `Host` (default), as applications behind a reverse proxy expect that build
    /// links or choose a tenant by it. Else the upstream's own authority is sent and the client's is
    /// left in `X-Forwarded-Host`.
    pub preserve_host: bool,
    /// The hop in front of the gateway is trusted: its `X-Forwarded-Proto` and `-Host` are kept.
    /// Otherwise (default) they are replaced by what the gateway sees. `X-Forwarded-For` and `Forwarded`
    /// are lists and are appended to in both cases; only their last element is the gateway's word.
    pub trust_forwarded: bool,
    /// The name of the gateway in `Via`.
    pub via_name: &'static str,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self { preserve_host: true, trust_forwarded: false, via_name: "hapax" }
    }
}

/// Makes the head of a client's request fit for the upstream (HTP-01, HTP-10): takes off the hop-by-hop
/// fields with those that `Connection` names, `Expect` (the server library answers it), and the
/// client's own `Hapax-*`; adds `Via` and the `X-Forwarded-*` fields; sets `Host` to the effective host or
/// to `upstream_host`. `Upgrade` goes too; [`keep_upgrade`] is for those who pass it on.
pub fn prepare_request(
    parts: &mut Parts,
    connection: &ConnInfo,
    config: &ForwardConfig,
    upstream_host: &str,
) {
    let host = effective_host(parts).and_then(|host| HeaderValue::from_str(host).ok());
    let takes_trailers = says_trailers(&parts.headers);
    let version = parts.version;
    let headers = &mut parts.headers;
    strip(headers, true);
    if takes_trailers {
        // The one coding of TE with a meaning of its own (gRPC insists on it); as a field of this hop it
        // has to be named.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if version == Version::HTTP_2 {
        join_cookies(headers);
    }
    add_via(headers, version, config.via_name);
    add_forwarded(headers, connection, config, host.as_ref());
    let sent = if config.preserve_host { host } else { HeaderValue::from_str(upstream_host).ok() };
    if let Some(sent) = sent {
        headers.insert(HOST, sent);
    }
}

/// Takes the hop-by-hop fields off an answer, with those that `Connection` names (HTP-01, REP-03).
/// `Hapax-*` stays for the keyed flow to read; [`strip_own`] removes it.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers, false);
}

/// Takes the `Hapax-*` fields off, which are between the gateway and the upstream.
pub fn strip_own(headers: &mut HeaderMap) {
    let own: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(OWN_PREFIX)).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

/// The protocol a client asks to switch to, if it is one that can be passed on. HTTP/2 in clear text
/// is not: it would make the gateway blind.
#[must_use]
pub fn upgrade_of(parts: &Parts) -> Option<HeaderValue> {
    let value = parts.headers.get(UPGRADE)?;
    let is_named =
        parts.headers.get_all(CONNECTION).iter().any(|line| has_option(line, b"upgrade"));
    let is_http = value.as_bytes().get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"));
    (is_named && !is_http && parts.version == Version::HTTP_11).then(|| value.clone())
}

/// Puts `Upgrade` on a prepared head.
pub fn keep_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(UPGRADE, protocol);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// Whether a head asks for a tunnel.
#[must_use]
pub fn is_tunnel(parts: &Parts) -> bool {
    parts.method == Method::CONNECT
}

fn has_option(line: &HeaderValue, option: &[u8]) -> bool {
    line.as_bytes()
        .split(|byte| *byte == b',')
        .any(|named| named.trim_ascii().eq_ignore_ascii_case(option))
}

fn says_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|line| {
        line.as_bytes().split(|byte| *byte == b',').any(|coding| {
            let name = coding.split(|byte| *byte == b';').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"trailers")
        })
    })
}

/// One look at each name; most messages have nothing to take off, and then nothing is allocated.
fn strip(headers: &mut HeaderMap, is_request: bool) {
    let mut doomed: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        let is_doomed = is_hop_by_hop(name)
            || (is_request && (*name == EXPECT || name.as_str().starts_with(OWN_PREFIX)));
        if is_doomed {
            doomed.push(name.clone());
        }
    }
    if doomed.contains(&CONNECTION) {
        for line in headers.get_all(CONNECTION) {
            for option in line.as_bytes().split(|byte| *byte == b',') {
                // What says where the message goes and how long it is cannot be a field of one hop.
                match HeaderName::from_bytes(option.trim_ascii()) {
                    Ok(name) if name != HOST && name != http::header::CONTENT_LENGTH => {
                        doomed.push(name);
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }
    for name in doomed {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == TE
        || *name == UPGRADE
        || *name == HTTP2_SETTINGS
        || matches!(
            name.as_str(),
            "keep-alive"
                | "proxy-authenticate"
                | "proxy-authentication-info"
                | "proxy-authorization"
                | "proxy-connection"
        )
}

/// HTTP/2 may split `Cookie` into lines; HTTP/1.1 and most applications want one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn add_via(headers: &mut HeaderMap, version: Version, name: &str) {
    let received = if version == Version::HTTP_2 {
        "2"
    } else if version == Version::HTTP_10 {
        "1.0"
    } else {
        "1.1"
    };
    let value = match (received, name) {
        ("1.1", "hapax") => Ok(HeaderValue::from_static("1.1 hapax")),
        ("2", "hapax") => Ok(HeaderValue::from_static("2 hapax")),
        (received, name) => HeaderValue::try_from(format!("{received} {name}")),
    };
    if let Ok(value) = value {
        headers.append(VIA, value);
    }
}

fn add_forwarded(
    headers: &mut HeaderMap,
    connection: &ConnInfo,
    config: &ForwardConfig,
    host: Option<&HeaderValue>,
) {
    let proto = if connection.tls { "https" } else { "http" };
    headers.append(X_FORWARDED_FOR, connection.peer_value.clone());
    if !(config.trust_forwarded && headers.contains_key(X_FORWARDED_PROTO)) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if !(config.trust_forwarded && headers.contains_key(X_FORWARDED_HOST)) {
        match host {
            Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
            None => headers.remove(X_FORWARDED_HOST),
        };
    }
    // The standard field only continues what a hop before us began: an upstream that reads it must not
    // find a client's word at its end.
    if headers.contains_key(FORWARDED) {
        let peer = connection.peer.ip().to_canonical();
        let element = match (peer, host.and_then(|host| host.to_str().ok())) {
            (std::net::IpAddr::V4(ip), Some(host)) => {
                format!("for={ip};host=\"{host}\";proto={proto}")
            }
            (std::net::IpAddr::V6(ip), Some(host)) => {
                format!("for=\"[{ip}]\";host=\"{host}\";proto={proto}")
            }
            (std::net::IpAddr::V4(ip), None) => format!("for={ip};proto={proto}"),
            (std::net::IpAddr::V6(ip), None) => format!("for=\"[{ip}]\";proto={proto}"),
        };
        if let Ok(element) = HeaderValue::try_from(element) {
            headers.append(FORWARDED, element);
        }
    }
}

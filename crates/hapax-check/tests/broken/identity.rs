//! Whose key, which key, and which request: parsed, scoped and digested.

use http::request::Parts;
use sha2::{Digest, Sha256};

use super::{Defect, Rules};

/// The key of a request, if it has one; an error is the reason of a refusal.
pub(crate) fn key(parts: &Parts, rules: &Rules, defect: Defect) -> Result<Option<String>, String> {
    let lines: Vec<&[u8]> =
        parts.headers.get_all("idempotency-key").iter().map(http::HeaderValue::as_bytes).collect();
    let value = match lines.as_slice() {
        [] => return Ok(None),
        [value, ..] if defect == Defect::FirstKeyWins => value.trim_ascii(),
        [value] => value.trim_ascii(),
        _ => return Err("two keys".to_owned()),
    };
    let mut key = parse(value, rules.strict_syntax, defect)?;
    if defect == Defect::FoldsCase {
        key = key.to_ascii_lowercase();
    }
    if defect == Defect::TrimsKeys {
        key = key.trim().to_owned();
    }
    match key.len() {
        0 => Err("empty".to_owned()),
        1..=255 => Ok(Some(key)),
        _ => Err("too long".to_owned()),
    }
}

fn parse(value: &[u8], strict: bool, defect: Defect) -> Result<String, String> {
    if value.iter().any(|byte| !(0x20..0x7f).contains(byte)) {
        return Err("not printable ASCII".to_owned());
    }
    let text = std::str::from_utf8(value).unwrap();
    let Some(rest) = text.strip_prefix('"') else {
        if strict || defect == Defect::QuotedOnly || text.contains(['"', ',', ' ']) {
            return Err("not quoted".to_owned());
        }
        let differs = defect == Defect::QuotedDiffers && !text.is_empty();
        return Ok(if differs { format!("bare {text}") } else { text.into() });
    };
    let mut key = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next() {
            None => return Err("unterminated".to_owned()),
            Some('"') => break,
            Some('\\') => match letters.next() {
                Some(letter @ ('"' | '\\')) => key.push(letter),
                _ => return Err("illegal escape".to_owned()),
            },
            Some(letter) => key.push(letter),
        }
    }
    let tail = letters.as_str();
    if defect == Defect::CountsParameters {
        key.push_str(tail);
    }
    if tail.is_empty() || tail.starts_with(';') { Ok(key) } else { Err("more".to_owned()) }
}

/// The effective host, in lower case and without the default port.
pub(crate) fn authority(parts: &Parts) -> Result<String, String> {
    let mut hosts = parts.headers.get_all("host").iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).map(str::to_owned);
    if hosts.next().is_some() {
        return Err("two hosts".to_owned());
    }
    let named = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    if host.is_none() && (parts.version == http::Version::HTTP_11 || named.is_none()) {
        return Err("no host".to_owned());
    }
    let host = named.or(host).unwrap_or_default().to_ascii_lowercase();
    Ok(host.strip_suffix(":80").unwrap_or(&host).to_owned())
}

/// The record's name: caller, authority and key, each with its length.
pub(crate) fn record(parts: &Parts, key: &str, defect: Defect) -> Result<String, String> {
    let mut callers = parts.headers.get_all("authorization").iter();
    let caller = callers.next().or_else(|| parts.headers.get("x-api-key"));
    if callers.next().is_some() {
        return Err("two credentials".to_owned());
    }
    let caller = caller.map(|caller| caller.as_bytes().trim_ascii()).unwrap_or_default();
    let mut authority = authority(parts)?;
    if defect == Defect::IgnoresHost {
        authority.clear();
    }
    let claims = caller.splitn(3, |byte| *byte == b'.').nth(1);
    let caller = claims.filter(|_| defect == Defect::TrustsClaims).unwrap_or(caller);
    let key = if defect == Defect::CutKeys { &key[..key.len().min(64)] } else { key };
    let mut digest = Sha256::new();
    match defect {
        Defect::Unscoped => digest.update(key),
        Defect::JoinsScope => {
            digest.update(authority.as_bytes());
            digest.update(caller);
            digest.update(b":");
            digest.update(key);
        }
        _ => {
            for part in [caller, authority.as_bytes(), key.as_bytes()] {
                digest.update(part.len().to_be_bytes());
                digest.update(part);
            }
        }
    }
    Ok(hex(&digest.finalize()))
}

/// The request's digest: method, target, media type and content.
pub(crate) fn fingerprint(parts: &Parts, body: &[u8], defect: Defect) -> String {
    let kind = parts.headers.get("content-type").map(|kind| kind.as_bytes().to_vec());
    let kind = String::from_utf8_lossy(&kind.unwrap_or_default()).into_owned();
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update(bytes.len().to_be_bytes());
        digest.update(bytes);
    };
    if defect != Defect::IgnoresMethod {
        part(parts.method.as_str().as_bytes());
    }
    part(match defect {
        Defect::IgnoresQuery => parts.uri.path().as_bytes(),
        _ => parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes(),
    });
    let counted = match defect {
        Defect::CountsFraming => parts.headers.get("transfer-encoding"),
        Defect::CountsUserAgent => parts.headers.get("user-agent"),
        _ => None,
    };
    part(counted.map_or(b"", |value| value.as_bytes()));
    let named = ["authorization", "x-api-key"].iter().any(|name| parts.headers.contains_key(*name));
    if defect != Defect::IgnoresCookie && !named {
        part(parts.headers.get("cookie").map_or(b"", |cookie| cookie.as_bytes()));
    }
    let form = kind.starts_with("multipart/form-data") && defect != Defect::BoundaryCounts;
    let json =
        serde_json::from_slice::<std::collections::BTreeMap<String, serde_json::Value>>(body);
    match kind.split_once("boundary=").filter(|_| form) {
        Some((_, boundary)) => {
            let mut whole = b"\r\n".to_vec();
            whole.extend_from_slice(body);
            let mark = format!("\r\n--{boundary}");
            for piece in split(&whole, mark.as_bytes()) {
                part(piece);
            }
        }
        None => {
            if defect != Defect::IgnoresMediaType {
                part(kind.as_bytes());
            }
            match json {
                Ok(json) if defect == Defect::ComparesJson => part(format!("{json:?}").as_bytes()),
                _ => part(body),
            }
        }
    }
    hex(&digest.finalize())
}

fn split<'a>(mut rest: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        pieces.push(&rest[..at]);
        rest = &rest[at + mark.len()..];
    }
    pieces.push(rest);
    pieces
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

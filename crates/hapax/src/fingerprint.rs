//! The fingerprint: what makes two requests the same request.
//!
//! SHA-256 over length-prefixed parts, with the version of its rules in front, so that two releases
//! agree or say "mismatch", never execute (FPR-09). Framing, header order and transport are not part
//! of it (FPR-04).

mod json;
mod multipart;

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::hex;

/// The version of the rules in this file. Any change to what is hashed must raise it.
pub const FINGERPRINT_VERSION: u8 = 1;

/// A digest of the parts of a request that count.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Fingerprint {
    digest: [u8; 32],
    version: u8,
}

/// Which parts count. Method, path and query do in all but `Key`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FingerprintSpec {
    /// Method, path, query, media type and the body's bytes; multipart boundaries normalised.
    #[default]
    Bytes,
    /// As `Bytes`, but JSON bodies count by value: members in any order, white space as it likes.
    /// Numbers count by their text (`1` is not `1.0`); a body that is not unambiguous JSON counts by
    /// its bytes (FPR-06).
    Json,
    /// Method and path alone: for keys that the body itself carries (ruling 15).
    Key,
}

/// The parts of a request, as received and with no normalisation by anyone else (FPR-05).
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// The whole body; absent is the same as empty (FPR-08).
    pub body: &'a [u8],
    /// The value of `Content-Type`, if any.
    pub media_type: Option<&'a [u8]>,
    /// The method, as sent.
    pub method: &'a str,
    /// The path, percent-encoded as sent.
    pub path: &'a str,
    /// What else tells callers apart: the cookies of an anonymous request (ruling 4).
    pub private: &'a [u8],
    /// The query, without its question mark.
    pub query: Option<&'a str>,
}

impl FingerprintSpec {
    /// The fingerprint of a request under this specification.
    #[must_use]
    pub fn digest(self, parts: &Parts<'_>) -> Fingerprint {
        let mut hasher = Hasher::new(self);
        hasher.part(parts.method.as_bytes());
        hasher.part(parts.path.as_bytes());
        hasher.part(parts.private);
        if self != Self::Key {
            // "No query" and "empty query" are different targets.
            hasher.part(if parts.query.is_some() { b"?".as_slice() } else { b"" });
            hasher.part(parts.query.unwrap_or("").as_bytes());
            self.digest_content(parts, &mut hasher);
        }
        hasher.finish()
    }

    fn digest_content(self, parts: &Parts<'_>, hasher: &mut Hasher) {
        let media_type = MediaType::parse(parts.media_type.unwrap_or(b""));
        if let Some(boundary) = media_type.boundary()
            && let Some(segments) = multipart::segments(parts.body, boundary)
        {
            hasher.part(&media_type.without_boundary());
            hasher.part(b"multipart");
            for segment in segments {
                hasher.part(segment);
            }
            return;
        }
        hasher.part(&media_type.normal());
        if self == Self::Json
            && media_type.is_json()
            && let Some(canonical) = json::canonical(parts.body)
        {
            hasher.part(b"json");
            hasher.part(&canonical);
            return;
        }
        hasher.part(b"bytes");
        hasher.part(parts.body);
    }
}

struct Hasher(Sha256);

impl Hasher {
    fn new(spec: FingerprintSpec) -> Self {
        let mut inner = Sha256::new();
        inner.update([FINGERPRINT_VERSION, spec as u8]);
        Self(inner)
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> Fingerprint {
        Fingerprint { digest: self.0.finalize().into(), version: FINGERPRINT_VERSION }
    }
}

/// A media type split at its semicolons: the essence, then parameters.
struct MediaType<'a> {
    essence: Vec<u8>,
    parameters: Vec<(Vec<u8>, &'a [u8])>,
}

impl<'a> MediaType<'a> {
    fn parse(value: &'a [u8]) -> Self {
        let mut pieces = split_outside_quotes(value).into_iter();
        let essence = pieces.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let parameters = pieces
            .map(|piece| {
                let piece = piece.trim_ascii();
                let at = piece.iter().position(|byte| *byte == b'=').unwrap_or(piece.len());
                (piece[..at].to_ascii_lowercase(), piece.get(at + 1..).unwrap_or_default())
            })
            .collect();
        Self { essence, parameters }
    }

    fn boundary(&self) -> Option<&'a [u8]> {
        if !self.essence.starts_with(b"multipart/") {
            return None;
        }
        let (_, value) = self.parameters.iter().find(|(name, _)| name == b"boundary")?;
        let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        // RFC 2046 allows 70 characters; a longer one is compared as bytes.
        (1..=70).contains(&value.len()).then_some(value)
    }

    fn is_json(&self) -> bool {
        self.essence == b"application/json" || self.essence.ends_with(b"+json")
    }

    fn normal(&self) -> Vec<u8> {
        self.render(|_| true)
    }

    fn without_boundary(&self) -> Vec<u8> {
        self.render(|name| name != b"boundary")
    }

    fn render(&self, keep: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut text = self.essence.clone();
        for (name, value) in self.parameters.iter().filter(|(name, _)| keep(name)) {
            text.push(b';');
            text.extend_from_slice(name);
            text.push(b'=');
            text.extend_from_slice(value);
        }
        text
    }
}

fn split_outside_quotes(value: &[u8]) -> Vec<&[u8]> {
    let mut quoted = false;
    value
        .split(move |byte| {
            quoted ^= *byte == b'"';
            *byte == b';' && !quoted
        })
        .collect()
}

impl Fingerprint {
    /// A fingerprint read back from a store.
    #[must_use]
    pub const fn from_parts(version: u8, digest: [u8; 32]) -> Self {
        Self { digest, version }
    }

    /// The fingerprint of bytes that are not an HTTP request, such as a message's payload.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(FingerprintSpec::Bytes);
        hasher.part(bytes);
        hasher.finish()
    }

    /// The digest alone.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The version of the rules it was made by.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// The first eight bytes in hexadecimal: enough to compare by eye (ADM-02).
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.digest[..8])
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint(v{} {})", self.version, self.short())
    }
}

#[cfg(test)]
mod tests;

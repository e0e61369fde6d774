//! Whose key it is, and the name of its record.
//!
//! A key means nothing without its caller: the same key of two callers is two operations (SCO-01).
//! Records are named by keyed hashes (HMAC-SHA-256, RFC 2104) of length-prefixed parts, so that the
//! composite is injective (SCO-03) and the store shows neither keys nor credentials (SEC-04).

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::hex;
use crate::key::Key;

/// Bytes of a [`Scope`] at the head of every [`RecordId`].
pub const SCOPE_BYTES: usize = 8;

/// What all lookup ids are keyed with. Nodes that share a store share it (ruling 8).
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// Who calls: as the layer itself verified it, or as a trusted hop said (SCO-04).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Principal<'a> {
    /// Nobody said; never meets a caller who did (SCO-06).
    Anonymous,
    /// The bytes of a credential, of the kind named (`authorization`, `x-api-key`).
    Credential {
        /// The field or cookie it came in, in lower case.
        kind: &'a str,
        /// The value as received, trimmed.
        value: &'a [u8],
    },
    /// Somebody by name: a verified claim, a trusted header.
    Named {
        /// What vouches for the name: `jwt:sub`, `header:x-tenant`.
        source: &'a str,
        /// The name.
        value: &'a [u8],
    },
    /// All callers are one: the written opt-out.
    Shared,
}

/// A caller at an authority, hashed.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope([u8; 32]);

/// The name of a record: the head of its scope's hash, then a hash of scope and key.
///
/// Records of one scope are neighbours in any ordered store. Two keys meet only where 192 bits of a
/// keyed hash do.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RecordId([u8; 32]);

impl Secret {
    /// A secret from any bytes; at least 16 random ones are wise.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        // Hashing first gives a key of exactly the digest's size, which HMAC always accepts.
        let key = Sha256::digest(bytes);
        Self(Hmac::new(&pad(key.as_slice())))
    }

    /// The scope of `principal` at `authority` (lower case, default port removed).
    #[must_use]
    pub fn scope(&self, principal: Principal<'_>, authority: &str) -> Scope {
        let (tag, kind, value): (u8, &str, &[u8]) = match principal {
            Principal::Anonymous => (0, "", b""),
            Principal::Credential { kind, value } => (1, kind, value),
            Principal::Named { source, value } => (2, source, value),
            Principal::Shared => (3, "", b""),
        };
        Scope(self.digest(b"scope", &[&[tag], kind.as_bytes(), value, authority.as_bytes()]))
    }

    /// The record of `key` in `scope`.
    #[must_use]
    pub fn record_id(&self, scope: &Scope, key: &Key) -> RecordId {
        self.record_id_in(scope, b"", key)
    }

    /// The record of `key` in `scope` within a `space` of its own, such as shadow mode's.
    #[must_use]
    pub fn record_id_in(&self, scope: &Scope, space: &[u8], key: &Key) -> RecordId {
        let mut id = self.digest(b"record", &[&scope.0, space, key.as_str().as_bytes()]);
        id[..SCOPE_BYTES].copy_from_slice(&scope.0[..SCOPE_BYTES]);
        RecordId(id)
    }

    /// A keyed hash of length-prefixed parts under a purpose of the caller's.
    #[must_use]
    pub fn digest(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in std::iter::once(&purpose).chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

fn pad(digest: &[u8]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..digest.len()].copy_from_slice(digest);
    block
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Scope {
    /// The whole hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The head of the hash, in hexadecimal: what administration filters by.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..SCOPE_BYTES])
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.short())
    }
}

impl RecordId {
    /// The record with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes a store keeps.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The record that `text` (its [`Display`](fmt::Display)) names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// The head that all records of one scope share.
    #[must_use]
    pub fn scope_head(&self) -> [u8; SCOPE_BYTES] {
        let mut head = [0; SCOPE_BYTES];
        head.copy_from_slice(&self.0[..SCOPE_BYTES]);
        head
    }

    /// That head in hexadecimal.
    #[must_use]
    pub fn scope_short(&self) -> String {
        hex::encode(&self.0[..SCOPE_BYTES])
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(value: &str) -> Principal<'_> {
        Principal::Named { source: "header:x", value: value.as_bytes() }
    }

    #[test]
    fn sco_03_parts_do_not_run_into_each_other() {
        let secret = Secret::new(b"s");
        let id = |principal, key| {
            secret.record_id(&secret.scope(named(principal), "h"), &Key::from_text(key).unwrap())
        };
        assert_ne!(id("a", "b:c"), id("a:b", "c"));
        assert_ne!(secret.scope(named("a"), "bh"), secret.scope(named("ab"), "h"));
    }

    #[test]
    fn sco_06_kinds_of_principal_never_meet() {
        let secret = Secret::new(b"s");
        let all = [
            Principal::Anonymous,
            Principal::Credential { kind: "authorization", value: b"v" },
            Principal::Credential { kind: "x-api-key", value: b"v" },
            Principal::Named { source: "authorization", value: b"v" },
            Principal::Shared,
        ];
        for (n, one) in all.iter().enumerate() {
            for other in &all[n + 1..] {
                assert_ne!(secret.scope(*one, "h"), secret.scope(*other, "h"));
            }
        }
    }

    #[test]
    fn ids_depend_on_the_secret_and_share_their_scope_head() {
        let (one, two) = (Secret::new(b"1"), Secret::new(b"2"));
        let scope = one.scope(Principal::Shared, "h");
        let id = |key: &str| one.record_id(&scope, &Key::from_text(key).unwrap());
        assert_ne!(scope, two.scope(Principal::Shared, "h"));
        assert_eq!(id("a").scope_head(), id("b").scope_head());
        assert_ne!(id("a"), id("b"));
        assert_eq!(RecordId::parse(&id("a").to_string()), Some(id("a")));
    }
}

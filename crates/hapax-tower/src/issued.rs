//! Issued keys (M12, ruling 15): made by the server for one caller and route until a time, and
//! known again without having been stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hapax::{Key, KeyError, Scope, Secret, Timestamp};
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// Bytes of the random part: two keys never meet by chance.
const NONCE_BYTES: usize = 16;
/// Bytes of the MAC that are sent.
const MAC_BYTES: usize = 16;
const KEY_BYTES: usize = 8 + NONCE_BYTES + MAC_BYTES;

/// Issues keys and knows them again. All nodes with the same secret do.
#[derive(Clone, Debug)]
pub struct IssuedKeys(Secret);

/// Why a key is not one that was issued here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IssueError {
    /// It was, and its time is over (412).
    #[error("the key was issued for a time that is over")]
    Expired,
    /// It was not, or for another caller or route (400).
    #[error("the key was not issued for this caller and route")]
    Foreign,
}

impl IssuedKeys {
    /// Issues with `secret`.
    #[must_use]
    pub const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// A new key for `scope` on `route`, good for `lifetime` from `now`.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn issue(
        &self,
        scope: &Scope,
        route: &str,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<(Key, Timestamp), getrandom::Error> {
        // Whole seconds, as the answer shows them.
        let expires = Timestamp::from_micros(now.plus(lifetime).as_secs() * 1_000_000);
        let mut bytes = [0; KEY_BYTES];
        bytes[..8].copy_from_slice(&expires.as_micros().to_le_bytes());
        getrandom::fill(&mut bytes[8..8 + NONCE_BYTES])?;
        let mac = self.mac(scope, route, &bytes[..8 + NONCE_BYTES]);
        bytes[8 + NONCE_BYTES..].copy_from_slice(&mac);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        // 40 bytes are 54 characters: always a legal key.
        Key::from_text(&text)
            .map(|key| (key, expires))
            .map_err(|_never: KeyError| getrandom::Error::UNEXPECTED)
    }

    /// Whether `key` was issued for `scope` on `route` and is still good at `now`.
    ///
    /// # Errors
    /// [`IssueError`]; the comparison takes the same time wherever they differ.
    pub fn verify(
        &self,
        key: &Key,
        scope: &Scope,
        route: &str,
        now: Timestamp,
    ) -> Result<(), IssueError> {
        let bytes = URL_SAFE_NO_PAD.decode(key.as_str()).map_err(|_error| IssueError::Foreign)?;
        let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_other| IssueError::Foreign)?;
        let mac = self.mac(scope, route, &bytes[..8 + NONCE_BYTES]);
        if !bool::from(mac.ct_eq(&bytes[8 + NONCE_BYTES..])) {
            return Err(IssueError::Foreign);
        }
        let mut expires = [0; 8];
        expires.copy_from_slice(&bytes[..8]);
        if Timestamp::from_micros(u64::from_le_bytes(expires)) <= now {
            return Err(IssueError::Expired);
        }
        Ok(())
    }

    fn mac(&self, scope: &Scope, route: &str, head: &[u8]) -> [u8; MAC_BYTES] {
        let digest = self.0.digest(b"issued", &[scope.as_bytes(), route.as_bytes(), head]);
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&digest[..MAC_BYTES]);
        mac
    }
}

#[cfg(test)]
mod tests {
    use hapax::Principal;

    use super::*;

    #[test]
    fn m12_issued_keys_are_known_again_until_their_time_and_only_where_issued() {
        let secret = Secret::new(b"s");
        let keys = IssuedKeys::new(secret.clone());
        let scope = secret.scope(Principal::Shared, "h");
        let other = secret.scope(Principal::Anonymous, "h");
        let now = Timestamp::from_micros(1_000_000_000);
        let (key, expires) = keys.issue(&scope, "/a", now, Duration::from_secs(60)).unwrap();
        assert_eq!(expires, now.plus(Duration::from_secs(60)));
        assert_eq!(keys.verify(&key, &scope, "/a", now), Ok(()));
        assert_eq!(keys.verify(&key, &scope, "/a", expires), Err(IssueError::Expired));
        assert_eq!(keys.verify(&key, &scope, "/b", now), Err(IssueError::Foreign));
        assert_eq!(keys.verify(&key, &other, "/a", now), Err(IssueError::Foreign));
        let strange = Key::from_text("8e03978e-40d5-43e8-bc93-6894a57f9324").unwrap();
        assert_eq!(keys.verify(&strange, &scope, "/a", now), Err(IssueError::Foreign));
    }
}

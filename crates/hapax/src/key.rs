//! The key: what the client calls its intent.
//!
//! `Idempotency-Key` is an RFC 9651 Item whose value is a String
//! (draft-ietf-httpapi-idempotency-key-header-07, section 2.1). Nearly all deployments send it bare,
//! so the lenient syntax takes both, as one identity. A value that is neither is an error, never
//! "no key": a client that believes itself protected must not run unprotected (KEY-05).

use std::fmt;

use sfv::BareItem;
use sha2::{Digest as _, Sha256};

use crate::hex;

/// The longest key, in bytes after decoding (KEY-09).
pub const KEY_BYTES_MAX: usize = 255;

/// A legal key: 1 to [`KEY_BYTES_MAX`] bytes, compared byte by byte (KEY-10).
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Key(Box<str>);

/// Which spellings of the header are accepted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Syntax {
    /// Quoted or bare; `"k"` and `k` are one key (KEY-03, KEY-04).
    #[default]
    Lenient,
    /// Quoted only, as the draft has it.
    Strict,
}

/// Why a value is no key. The client is to blame, and nothing has been looked up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A bare value where only a quoted one is accepted.
    #[error("the key is not quoted; send it as a structured-field string, \"like this\"")]
    Bare,
    /// Nothing, or nothing between the quotes (KEY-07).
    #[error("the key is empty; send a unique value such as a UUID")]
    Empty,
    /// More than [`KEY_BYTES_MAX`] bytes.
    #[error("the key is longer than 255 bytes; send a shorter one such as a UUID")]
    Long,
    /// Neither a structured-field string nor a plain bare value.
    #[error(
        "the key is malformed; send one quoted string, or one bare value of printable ASCII \
         without spaces, commas and quotes"
    )]
    Malformed,
}

impl Key {
    /// Reads one field value. The caller has made sure that there is exactly one field line
    /// (KEY-08).
    ///
    /// # Errors
    /// [`KeyError`] says what to send instead.
    pub fn parse(value: &[u8], syntax: Syntax) -> Result<Self, KeyError> {
        let value = value.trim_ascii();
        match (value.first(), syntax) {
            (None, _) => Err(KeyError::Empty),
            (Some(b'"'), _) => Self::parse_quoted(value),
            (Some(_), Syntax::Strict) => Err(KeyError::Bare),
            (Some(_), Syntax::Lenient) => Self::parse_bare(value),
        }
    }

    /// Takes a value that is text already: a member of a JSON body, a message's id.
    ///
    /// # Errors
    /// [`KeyError::Empty`] or [`KeyError::Long`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            1..=KEY_BYTES_MAX => Ok(Self(text.into())),
            _ => Err(KeyError::Long),
        }
    }

    /// A key made from what it stands for, such as a body: the same content, the same key.
    #[must_use]
    pub fn from_content(content: &[u8]) -> Self {
        Self(hex::encode(&Sha256::digest(content)).into())
    }

    /// A key for `step` of the operation that `parent` names.
    pub(crate) fn derived(parent: &[u8; 32], step: &str) -> Self {
        let digest = Sha256::new().chain_update(parent).chain_update(step.as_bytes()).finalize();
        Self(hex::encode(&digest[..16]).into())
    }

    /// The decoded key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse_quoted(value: &[u8]) -> Result<Self, KeyError> {
        // Parameters are parsed and ignored (KEY-06); anything else after the quote is an error.
        let item: sfv::Item =
            sfv::Parser::new(value).parse().map_err(|_error| KeyError::Malformed)?;
        match item.bare_item {
            BareItem::String(text) => Self::from_text(text.as_str()),
            _ => Err(KeyError::Malformed),
        }
    }

    fn parse_bare(value: &[u8]) -> Result<Self, KeyError> {
        let plain = |byte: &u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b',');
        if !value.iter().all(plain) {
            return Err(KeyError::Malformed);
        }
        std::str::from_utf8(value).map_or(Err(KeyError::Malformed), Self::from_text)
    }
}

impl fmt::Debug for Key {
    /// Does not show the key: keys are not logged (SEC-04).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lenient(value: &str) -> Result<String, KeyError> {
        Key::parse(value.as_bytes(), Syntax::Lenient).map(|key| key.as_str().to_owned())
    }

    #[test]
    fn key_02_quoted_values_are_decoded() {
        assert_eq!(lenient(r#""abc""#), Ok("abc".into()));
        assert_eq!(lenient(r#""a\"b""#), Ok("a\"b".into()));
        assert_eq!(lenient(r#""a\\b""#), Ok("a\\b".into()));
        assert_eq!(lenient(r#""a\b""#), Err(KeyError::Malformed));
    }

    #[test]
    fn key_03_bare_values_are_opaque() {
        for value in
            ["8e03978e-40d5-43e8-bc93-6894a57f9324", "12345", "?1", "YWJj+/=", "order:17_a"]
        {
            assert_eq!(lenient(value), Ok(value.into()));
        }
    }

    #[test]
    fn key_04_quoted_and_bare_are_one_key() {
        assert_eq!(lenient("\"k-1\""), lenient("k-1"));
    }

    #[test]
    fn key_05_malformed_values_are_refused() {
        for value in
            ["\"open", "\"k\"x", "\"k\" , \"l\"", "a b", "a,b", "a\"b", "k\u{7f}", "\u{e9}"]
        {
            assert_eq!(lenient(value), Err(KeyError::Malformed), "{value:?}");
        }
        assert_eq!(Key::parse(b"k\0", Syntax::Lenient), Err(KeyError::Malformed));
        assert_eq!(Key::parse(b"bare", Syntax::Strict), Err(KeyError::Bare));
    }

    #[test]
    fn key_06_parameters_are_ignored() {
        assert_eq!(lenient("\"k\";v=1"), lenient("\"k\""));
    }

    #[test]
    fn key_07_empty_values_are_refused() {
        assert_eq!(lenient(""), Err(KeyError::Empty));
        assert_eq!(lenient("  "), Err(KeyError::Empty));
        assert_eq!(lenient("\"\""), Err(KeyError::Empty));
    }

    #[test]
    fn key_09_length_counts_decoded_bytes() {
        assert!(lenient(&format!("\"{}\"", "\\\"".repeat(255))).is_ok());
        assert_eq!(lenient(&"k".repeat(256)), Err(KeyError::Long));
    }

    #[test]
    fn key_10_case_and_inner_space_count_and_outer_space_does_not() {
        assert_ne!(lenient("ABC"), lenient("abc"));
        assert_eq!(lenient(" \"a b\"\t"), Ok("a b".into()));
    }

    #[test]
    fn sec_04_debug_does_not_show_the_key() {
        let key = Key::from_text("secret").unwrap();
        assert!(!format!("{key:?}").contains("secret"));
    }
}

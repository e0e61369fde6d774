//! Who a caller is by a claim of its token (SCO-04, SCO-05).
//!
//! The gateway verifies the token itself, so that a refreshed token is the same caller and a forged
//! one is nobody. Only keys of the configured file count: what a token says about keys (`jwk`,
//! `jku`, `x5c`) is not looked at.

use std::fs;
use std::path::Path;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

/// Verifies tokens with the keys of one issuer.
#[derive(Debug)]
pub struct JwtVerifier {
    issuer: Option<String>,
    keys: Vec<VerifyingKey>,
}

#[derive(Debug)]
struct VerifyingKey {
    /// What this key may verify, by its own type and never by what a token asks for.
    algorithms: Vec<Algorithm>,
    id: Option<String>,
    key: DecodingKey,
}

/// Why the keys cannot be used; the message goes on from the file.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// No key in it can verify a signature.
    #[error("holds no key that verifies signatures (RSA, P-256, P-384, Ed25519 or oct)")]
    NoKeys,
    /// It is not a set of keys.
    #[error("is not a JSON Web Key Set ({0})")]
    NotKeys(serde_json::Error),
    /// It cannot be read.
    #[error("cannot be read ({0})")]
    Unreadable(std::io::Error),
}

/// Why a caller has no principal. The caller is to blame, and nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// The token is past its `exp`, or has none.
    #[error("the token is past its time")]
    Expired,
    /// The signature does not fit, or its algorithm does not fit the key.
    #[error("the token's signature does not hold")]
    Forged,
    /// It is not a token, or one that asks for what we do not know (`crit`).
    #[error("the token cannot be read")]
    Malformed,
    /// The claim is not there, or neither text nor a whole number.
    #[error("the token lacks the claim that names the caller")]
    MissingClaim,
    /// No `Bearer` credentials.
    #[error("no bearer token was sent")]
    NotBearer,
    /// Its `nbf` is still to come.
    #[error("the token's time has not come")]
    NotYetValid,
    /// No key of the file has the token's `kid` and type.
    #[error("the token names a key that is not ours")]
    UnknownKey,
    /// Another issuer than the configured one.
    #[error("the token comes from another issuer")]
    WrongIssuer,
}

impl JwtVerifier {
    /// How far the issuer's clock may be off.
    const LEEWAY: Duration = Duration::from_secs(30);

    /// Reads a JSON Web Key Set (RFC 7517). Keys for encryption and of types we do not know are
    /// passed over; one that verifies has to remain.
    pub fn from_file(jwks: &Path, issuer: Option<&str>) -> Result<Self, JwksError> {
        Self::from_json(&fs::read_to_string(jwks).map_err(JwksError::Unreadable)?, issuer)
    }

    /// As [`JwtVerifier::from_file`] from the text of the file.
    pub fn from_json(jwks: &str, issuer: Option<&str>) -> Result<Self, JwksError> {
        let set: JwkSet = serde_json::from_str(jwks).map_err(JwksError::NotKeys)?;
        let keys: Vec<_> = set.keys.iter().filter_map(VerifyingKey::from_jwk).collect();
        if keys.is_empty() {
            return Err(JwksError::NoKeys);
        }
        Ok(Self { issuer: issuer.map(str::to_owned), keys })
    }

    /// The principal that `claim` names in the token of an `Authorization` field.
    ///
    /// It is the token's issuer, by its length, and the value of the claim: two issuers never share
    /// a caller, and a refreshed token is the same caller.
    pub fn verify(&self, authorization: &str, claim: &str) -> Result<String, JwtError> {
        self.verify_at(authorization, claim, SystemTime::now())
    }

    /// As [`JwtVerifier::verify`], with the time handed in.
    pub fn verify_at(
        &self,
        authorization: &str,
        claim: &str,
        now: SystemTime,
    ) -> Result<String, JwtError> {
        let claims = self.verified(bearer(authorization)?)?;
        check_time(&claims, now)?;
        let issuer = match claims.get("iss") {
            Some(Value::String(issuer)) => issuer,
            Some(_) => return Err(JwtError::WrongIssuer),
            None => "",
        };
        if self.issuer.as_ref().is_some_and(|configured| configured != issuer) {
            return Err(JwtError::WrongIssuer);
        }
        // The letter keeps the text "7" and the number 7 apart.
        let value = match claims.get(claim) {
            Some(Value::String(text)) if !text.is_empty() => format!("s{text}"),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                format!("n{number}")
            }
            Some(_) | None => return Err(JwtError::MissingClaim),
        };
        Ok(format!("{}:{issuer}{value}", issuer.len()))
    }

    /// The claims of a token that one of our keys signed.
    fn verified(&self, token: &str) -> Result<Map<String, Value>, JwtError> {
        // An algorithm that we do not know, `none` among them, is unreadable too.
        let header = decode_header(token).map_err(|_| JwtError::Malformed)?;
        if header.crit.is_some() {
            return Err(JwtError::Malformed);
        }
        let mut refusal = JwtError::UnknownKey;
        for key in &self.keys {
            let named = header.kid.is_none() || key.id.is_none() || header.kid == key.id;
            if !named || !key.algorithms.contains(&header.alg) {
                continue;
            }
            match decode::<Map<String, Value>>(token, &key.key, &signature_alone(header.alg)) {
                Ok(token) => return Ok(token.claims),
                Err(error) => refusal = refused(error.kind()),
            }
        }
        Err(refusal)
    }
}

impl VerifyingKey {
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            return None;
        }
        let of_type: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKey(_) => AlgorithmFamily::Hmac.algorithms(),
            AlgorithmParameters::OctetKeyPair(key) => match key.curve {
                EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
                _ => return None,
            },
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms(),
            _ => return None,
        };
        let named = jwk.common.key_algorithm.map(|name| Algorithm::from_str(&name.to_string()));
        let algorithms: Vec<_> = match named {
            None => of_type.to_vec(),
            Some(named) => of_type.iter().copied().filter(|a| named.as_ref() == Ok(a)).collect(),
        };
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (!algorithms.is_empty()).then(|| Self { algorithms, id: jwk.common.key_id.clone(), key })
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(authorization: &str) -> Result<&str, JwtError> {
    let (scheme, token) = authorization.trim().split_once(' ').ok_or(JwtError::NotBearer)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim_start())
    } else {
        Err(JwtError::NotBearer)
    }
}

/// We look at the claims ourselves, by a clock that can be handed in.
fn signature_alone(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_aud = false;
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

fn refused(kind: &ErrorKind) -> JwtError {
    match kind {
        ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) => JwtError::Malformed,
        _ => JwtError::Forged,
    }
}

/// `exp` is required: a token without end would be a caller for ever.
fn check_time(claims: &Map<String, Value>, now: SystemTime) -> Result<(), JwtError> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let leeway = JwtVerifier::LEEWAY.as_secs_f64();
    let expires = claims.get("exp").and_then(Value::as_f64).ok_or(JwtError::Expired)?;
    if now >= expires + leeway {
        return Err(JwtError::Expired);
    }
    match claims.get("nbf").map(Value::as_f64) {
        None => Ok(()),
        Some(Some(begins)) if now + leeway >= begins => Ok(()),
        Some(_) => Err(JwtError::NotYetValid),
    }
}

#[cfg(test)]
mod tests;

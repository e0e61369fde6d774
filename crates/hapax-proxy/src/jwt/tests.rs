use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::json;

use super::*;

const ISSUER: &str = "https://login.example";
const NOW_SECS: u64 = 1_800_000_000;

/// Public half of a key that was thrown away after it had signed [`RSA_TOKEN`].
const RSA_MODULUS: &str = "qer_4B7nssAYbJXztd0n7rtMiYzUuSbbhf5Zjymh4iNqGb1Y1_w70TZtaF36UMYJYdVFQpw498QueoMH3om-_BQX\
    5hsFVIGDWDdr2v8sA86-PlXmc92bCdAGBLMAXU01WF4gK6mEpI3UYZA1e54qKfLjjy0ZPlZuFv16GMg6HHC6sIvl\
    sV1bGJ3ueE2f60mrgEmnY19eEoTRb-iaeFdebz3hycQjd5oofWHaFMMNqOFecpP5I90IBDyKggHZITwuQ7PmmlXg\
    -Z5eEmFcucopXsXyv_LmL1iu-1J0DlbPdOH-bMzLPQ8PNr1B3wzinCyrI4lNBH3J6UWwU-9zWPLG2w";

/// RS256, `kid` rsa-1, by our issuer for "anna", until 300 s after [`NOW_SECS`].
const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIn0.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJzdWIi\
    OiJhbm5hIiwiZXhwIjoxODAwMDAwMzAwfQ.DScJg7988Lq0cVhY1On1XeUJDE7xOLZCqoRokLdktOBuFIBX0VEk3\
    kAiTJF6jQ0OCm-KVPCocQZ-v9lGKHsVK0zI1o_VaMxq7d_a28w-adBPVPGMmSiORLzgFvwRO2uSHXJD1020Kouuj\
    IlXJ_X9DDFrOuF4gTf3HPZPReicOae-z6wePNBO2FYlyJZ-e9S5AyfjHfQ9rU9ccGZiKX5U2-RM0M0yGLDFeufRu\
    A9WWUM_VURwo7N3iPx2yiKIKk5RZ74K9e28-wuVnm5lQwHKd-g_wq3N5mA0G3jR5iJC-rqib1q-fOm1XoUSGiS25\
    T-i_WmShlCEt1hk9T_3r-cc8w";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_SECS)
}

/// A key pair with its private half for signing and its public half as a JWK.
struct Signer {
    algorithm: Algorithm,
    id: &'static str,
    jwk: Value,
    key: EncodingKey,
}

impl Signer {
    fn ed25519(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let x = base64url(pair.public_key_raw());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": id, "use": "sig"});
        let key = EncodingKey::from_ed_der(&pair.serialize_der());
        Self { algorithm: Algorithm::EdDSA, id, jwk, key }
    }

    fn p256(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        // An uncompressed point: 4, x, y.
        let (x, y) = pair.public_key_raw()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y),
                         "kid": id, "alg": "ES256"});
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { algorithm: Algorithm::ES256, id, jwk, key }
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        format!("Bearer {}", encode(&header, claims, &self.key).unwrap())
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn verifier(keys: &[&Value]) -> JwtVerifier {
    JwtVerifier::from_json(&json!({"keys": keys}).to_string(), Some(ISSUER)).unwrap()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "anna", "exp": NOW_SECS + 300})
}

fn rsa_jwk() -> Value {
    json!({"kty": "RSA", "n": RSA_MODULUS, "e": "AQAB", "kid": "rsa-1", "alg": "RS256"})
}

#[test]
fn sco_05_a_refreshed_token_is_the_same_caller() {
    for signer in [Signer::ed25519("a"), Signer::p256("a")] {
        let verifier = verifier(&[&signer.jwk]);
        let first = verifier.verify_at(&signer.token(&claims()), "sub", now()).unwrap();
        let mut refreshed = claims();
        refreshed["exp"] = json!(NOW_SECS + 900);
        refreshed["jti"] = json!("another");
        let again = verifier.verify_at(&signer.token(&refreshed), "sub", now()).unwrap();
        assert_eq!(first, "21:https://login.examplesanna");
        assert_eq!(again, first);
    }
}

#[test]
fn rs256_tokens_verify() {
    let verifier = verifier(&[&rsa_jwk()]);
    let token = format!("bearer  {RSA_TOKEN}");
    let principal = verifier.verify_at(&token, "sub", now()).unwrap();
    assert_eq!(principal, "21:https://login.examplesanna");
}

#[test]
fn sco_04_a_forged_token_is_nobody() {
    let (ours, theirs) = (Signer::ed25519("a"), Signer::ed25519("a"));
    let verifier = verifier(&[&ours.jwk]);
    let verify = |token: &str| verifier.verify_at(token, "sub", now());
    assert_eq!(verify(&theirs.token(&claims())), Err(JwtError::Forged));

    // The claims of one token under the signature of another.
    let good = ours.token(&claims());
    let mut other = claims();
    other["sub"] = json!("bert");
    let other = ours.token(&other);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let swapped = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    assert_eq!(verify(&swapped), Err(JwtError::Forged));
    assert_eq!(verify(&format!("{head}.")), Err(JwtError::Forged));
    let rsa = format!("Bearer {}A", &RSA_TOKEN[..RSA_TOKEN.len() - 1]);
    let with_rsa = JwtVerifier::from_json(&json!({"keys": [rsa_jwk()]}).to_string(), None).unwrap();
    assert_eq!(with_rsa.verify_at(&rsa, "sub", now()), Err(JwtError::Forged));
}

#[test]
fn sco_04_a_token_cannot_choose_how_it_is_verified() {
    let signer = Signer::p256("a");
    let verifier = verifier(&[&signer.jwk, &rsa_jwk()]);
    let verify = |token: &str| verifier.verify_at(token, "sub", now());

    // The public key as if it were a shared secret.
    for secret in [RSA_MODULUS.as_bytes(), rsa_jwk().to_string().as_bytes()] {
        for id in ["a", "rsa-1"] {
            let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::HS256) };
            let key = EncodingKey::from_secret(secret);
            let token = encode(&header, &claims(), &key).unwrap();
            assert_eq!(verify(&format!("Bearer {token}")), Err(JwtError::UnknownKey));
        }
    }

    // No signature at all.
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"none","kid":"a"}"#, r#"{"alg":"None"}"#] {
        let (header, claims) =
            (base64url(header.as_bytes()), base64url(claims().to_string().as_bytes()));
        for token in [format!("{header}.{claims}."), format!("{header}.{claims}")] {
            assert_eq!(verify(&format!("Bearer {token}")), Err(JwtError::Malformed));
        }
    }

    // A key that the token brings along.
    let theirs = Signer::ed25519("theirs");
    let header = Header {
        jwk: Some(serde_json::from_value(theirs.jwk.clone()).unwrap()),
        ..Header::new(Algorithm::EdDSA)
    };
    let token = encode(&header, &claims(), &theirs.key).unwrap();
    assert_eq!(verify(&format!("Bearer {token}")), Err(JwtError::UnknownKey));

    // An extension that has to be understood.
    let header = Header {
        kid: Some("a".to_owned()),
        crit: Some(vec!["b64".to_owned()]),
        ..Header::new(Algorithm::ES256)
    };
    let token = encode(&header, &claims(), &signer.key).unwrap();
    assert_eq!(verify(&format!("Bearer {token}")), Err(JwtError::Malformed));
}

#[test]
fn a_shared_secret_counts_only_when_it_is_in_the_file() {
    let secret = b"a secret for this test, and no other use";
    let verifier = verifier(&[&json!({"kty": "oct", "k": base64url(secret), "alg": "HS256"})]);
    let sign = |algorithm, secret| {
        let token = encode(&Header::new(algorithm), &claims(), &EncodingKey::from_secret(secret));
        format!("Bearer {}", token.unwrap())
    };
    let verify = |token: &str| verifier.verify_at(token, "sub", now());
    assert!(verify(&sign(Algorithm::HS256, secret)).is_ok());
    assert_eq!(verify(&sign(Algorithm::HS256, b"another")), Err(JwtError::Forged));
    assert_eq!(verify(&sign(Algorithm::HS512, secret)), Err(JwtError::UnknownKey));
}

#[test]
fn a_key_is_found_by_its_id_or_by_trying() {
    let (first, second) = (Signer::ed25519("first"), Signer::ed25519("second"));
    let both = verifier(&[&first.jwk, &second.jwk]);
    let verify = |token: &str| both.verify_at(token, "sub", now());
    assert!(verify(&second.token(&claims())).is_ok());
    let anonymous = encode(&Header::new(Algorithm::EdDSA), &claims(), &second.key).unwrap();
    assert!(verify(&format!("Bearer {anonymous}")).is_ok());
    let unknown = Signer { id: "third", ..second };
    assert_eq!(verify(&unknown.token(&claims())), Err(JwtError::UnknownKey));
}

#[test]
fn time_and_issuer_are_checked() {
    let signer = Signer::ed25519("a");
    let verifier = verifier(&[&signer.jwk]);
    let token = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        signer.token(&claims)
    };
    let verify = |token: String| verifier.verify_at(&token, "sub", now());
    assert!(verify(token(&|c| c["exp"] = json!(NOW_SECS - 29))).is_ok());
    assert_eq!(verify(token(&|c| c["exp"] = json!(NOW_SECS - 30))), Err(JwtError::Expired));
    assert_eq!(verify(token(&|c| c["exp"] = json!("soon"))), Err(JwtError::Expired));
    assert_eq!(
        verify(token(&|c| drop(c.as_object_mut().unwrap().remove("exp")))),
        Err(JwtError::Expired)
    );
    assert!(verify(token(&|c| c["nbf"] = json!(NOW_SECS + 30))).is_ok());
    assert_eq!(verify(token(&|c| c["nbf"] = json!(NOW_SECS + 31))), Err(JwtError::NotYetValid));
    assert_eq!(verify(token(&|c| c["nbf"] = json!("now"))), Err(JwtError::NotYetValid));
    assert_eq!(verify(token(&|c| c["iss"] = json!("https://evil"))), Err(JwtError::WrongIssuer));
    assert_eq!(verify(token(&|c| c["iss"] = json!([ISSUER]))), Err(JwtError::WrongIssuer));
    assert_eq!(
        verify(token(&|c| drop(c.as_object_mut().unwrap().remove("iss")))),
        Err(JwtError::WrongIssuer)
    );
    let later = now() + Duration::from_secs(331);
    assert_eq!(verifier.verify_at(&token(&|_| ()), "sub", later), Err(JwtError::Expired));
    // With the clock of the system, whose year the fixed times are not written for.
    let long = token(&|c| c["exp"] = json!(u32::MAX));
    assert!(verifier.verify(&long, "sub").is_ok());
}

#[test]
fn the_claim_is_text_or_a_whole_number_and_they_differ() {
    let signer = Signer::ed25519("a");
    let verifier = verifier(&[&signer.jwk]);
    let with = |value: Value| {
        let mut claims = claims();
        claims["account"] = value;
        verifier.verify_at(&signer.token(&claims), "account", now())
    };
    assert_eq!(with(json!("7")).unwrap(), "21:https://login.examples7");
    assert_eq!(with(json!(7)).unwrap(), "21:https://login.examplen7");
    for value in [json!(""), json!(null), json!(true), json!(1.5), json!(["a"]), json!({"a": 1})] {
        assert_eq!(with(value.clone()), Err(JwtError::MissingClaim), "{value}");
    }
    let token = signer.token(&claims());
    assert_eq!(verifier.verify_at(&token, "account", now()), Err(JwtError::MissingClaim));
}

/// SCO-03: issuer `x` with caller `y...` never meets issuer `xy` with caller `...`.
#[test]
fn sco_03_issuer_and_caller_do_not_run_together() {
    let signer = Signer::ed25519("a");
    let jwks = json!({"keys": [signer.jwk]}).to_string();
    let verifier = JwtVerifier::from_json(&jwks, None).unwrap();
    let principal = |issuer: &str, caller: &str| {
        let claims = json!({"iss": issuer, "sub": caller, "exp": NOW_SECS + 1});
        verifier.verify_at(&signer.token(&claims), "sub", now()).unwrap()
    };
    assert_ne!(principal("a", "sb"), principal("as", "b"));
    let claims = json!({"sub": "b", "exp": NOW_SECS + 1});
    assert_eq!(verifier.verify_at(&signer.token(&claims), "sub", now()).unwrap(), "0:sb");
}

#[test]
fn what_is_no_token_is_refused() {
    let verifier = verifier(&[&rsa_jwk()]);
    for (authorization, error) in [
        ("", JwtError::NotBearer),
        ("Bearer", JwtError::NotBearer),
        ("Basic YTpi", JwtError::NotBearer),
        (RSA_TOKEN, JwtError::NotBearer),
        ("Bearer x", JwtError::Malformed),
        ("Bearer a.b.c", JwtError::Malformed),
        ("Bearer ..", JwtError::Malformed),
        ("Bearer \u{e9}.\u{e9}.", JwtError::Malformed),
    ] {
        assert_eq!(verifier.verify_at(authorization, "sub", now()), Err(error), "{authorization}");
    }
    // A good signature over what is no set of claims cannot be had without the key, so the
    // signature is what fails.
    let (_, signature) = RSA_TOKEN.rsplit_once('.').unwrap();
    let header = RSA_TOKEN.split_once('.').unwrap().0;
    let token = format!("Bearer {header}.bm90IGpzb24.{signature}");
    assert_eq!(verifier.verify_at(&token, "sub", now()), Err(JwtError::Forged));
}

#[test]
fn keys_that_verify_nothing_are_refused() {
    let read = |jwks: &str| JwtVerifier::from_json(jwks, None).unwrap_err().to_string();
    assert!(read("{").starts_with("is not a JSON Web Key Set ("));
    assert!(read("[]").starts_with("is not a JSON Web Key Set ("));
    let none = "holds no key that verifies signatures (RSA, P-256, P-384, Ed25519 or oct)";
    for jwks in [
        json!({"keys": []}),
        json!({"keys": [{"kty": "RSA", "n": RSA_MODULUS, "e": "AQAB", "use": "enc"}]}),
        json!({"keys": [{"kty": "RSA", "n": RSA_MODULUS, "e": "AQAB", "alg": "ES256"}]}),
        json!({"keys": [{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}]}),
        json!({"keys": [{"kty": "??"}]}),
    ] {
        assert_eq!(read(&jwks.to_string()), none, "{jwks}");
    }
    let missing = JwtVerifier::from_file(Path::new("no/such.json"), None).unwrap_err();
    assert!(missing.to_string().starts_with("cannot be read ("), "{missing}");
}

#[test]
fn debug_output_shows_no_shared_secret() {
    let jwks = json!({"keys": [{"kty": "oct", "k": base64url(b"geheim")}]}).to_string();
    let shown = format!("{:?}", JwtVerifier::from_json(&jwks, None).unwrap());
    assert!(!shown.contains("geheim") && !shown.contains("103, 101"), "{shown}");
}

//! Hygiene and checks without sockets.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Version};

use super::check::{Malformed, RequestLimits, check_request, effective_host};
use super::hygiene::{strip_own, strip_response, upgrade_of};

fn parts(uri: &str, version: Version, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(uri).version(version);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn limits() -> RequestLimits {
    RequestLimits {
        uri_bytes_max: 16,
        protected: vec![HeaderName::from_static("idempotency-key"), http::header::AUTHORIZATION],
    }
}

#[test]
fn a_protected_field_named_in_connection_is_refused() {
    // KEY-13
    for value in ["idempotency-key", "close , Idempotency-KEY", "authorization"] {
        let parts = parts("/", Version::HTTP_11, &[("host", "a"), ("connection", value)]);
        let refused = check_request(&parts, &limits());
        assert!(matches!(refused, Err(Malformed::ProtectedField(_))), "{value}: {refused:?}");
    }
    let two = [("host", "a"), ("connection", "close"), ("connection", "authorization")];
    assert!(check_request(&parts("/", Version::HTTP_11, &two), &limits()).is_err());
    let harmless = [("host", "a"), ("connection", "close, x-idempotency-key")];
    assert_eq!(check_request(&parts("/", Version::HTTP_11, &harmless), &limits()), Ok(()));
}

#[test]
fn the_host_is_missing_doubled_or_invalid() {
    // HTP-02, ruling 20
    let check = |uri: &str, version, fields: &[(&str, &str)]| {
        check_request(&parts(uri, version, fields), &limits())
    };
    assert_eq!(check("/", Version::HTTP_11, &[]), Err(Malformed::MissingHost));
    assert_eq!(check("/", Version::HTTP_10, &[]), Err(Malformed::MissingHost));
    assert_eq!(check("http://a/", Version::HTTP_11, &[]), Err(Malformed::MissingHost));
    assert_eq!(check("/", Version::HTTP_2, &[]), Err(Malformed::MissingHost));
    assert_eq!(check("http://a/", Version::HTTP_2, &[]), Ok(()));
    let doubled = [("host", "a"), ("host", "a")];
    assert_eq!(check("/", Version::HTTP_11, &doubled), Err(Malformed::DoubledHost));
    for bad in [
        "", "a b", "u@a", "a/b", "a:b", "a:99999", "a,b", ":80", "a:80:80", "a?b", "[::1", "[x]",
        "a:+1",
    ] {
        assert_eq!(
            check("/", Version::HTTP_11, &[("host", bad)]),
            Err(Malformed::InvalidHost),
            "{bad:?}"
        );
    }
    for good in ["a", "a.example:8080", "127.0.0.1:1", "[::1]", "[::1]:80", "a:"] {
        assert_eq!(check("/", Version::HTTP_11, &[("host", good)]), Ok(()), "{good:?}");
    }
}

#[test]
fn the_target_names_the_effective_host_before_the_field() {
    // Ruling 4
    let host = |uri: &str| {
        let parts = parts(uri, Version::HTTP_11, &[("host", "field")]);
        effective_host(&parts).map(str::to_owned)
    };
    assert_eq!(host("/"), Some("field".to_owned()));
    assert_eq!(host("http://target:81/"), Some("target:81".to_owned()));
}

#[test]
fn a_long_target_is_told_apart() {
    // HTP-14
    let long = parts("/23456789/234567", Version::HTTP_11, &[("host", "a")]);
    assert_eq!(check_request(&long, &limits()), Ok(()));
    let longer = parts("/23456789/2345678", Version::HTTP_11, &[("host", "a")]);
    assert_eq!(check_request(&longer, &limits()), Err(Malformed::UriTooLong { bytes_max: 16 }));
}

#[test]
fn an_answer_keeps_its_end_to_end_fields() {
    // REP-03, REP-07
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-a", "1"),
        ("connection", "X-Hop, content-length"),
        ("x-hop", "1"),
        ("content-length", "3"),
        ("x-a", "2, 3"),
        ("transfer-encoding", "chunked"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("hapax-outcome", "final"),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    strip_response(&mut headers);
    let mut left: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    // Only the order of lines with one name means anything; the sort is stable.
    left.sort_by_key(|(name, _)| *name);
    assert_eq!(
        left,
        [("content-length", "3"), ("hapax-outcome", "final"), ("x-a", "1"), ("x-a", "2, 3")]
    );
    strip_own(&mut headers);
    assert!(!headers.contains_key("hapax-outcome"));
    assert_eq!(headers.len(), 3);
}

#[test]
fn an_upgrade_needs_its_connection_option_and_http11() {
    // HTP-07
    let ask = |version, fields: &[(&str, &str)]| upgrade_of(&parts("/", version, fields)).is_some();
    let good = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
    assert!(ask(Version::HTTP_11, &good));
    assert!(!ask(Version::HTTP_10, &good));
    assert!(!ask(Version::HTTP_11, &[("upgrade", "websocket")]));
    assert!(!ask(Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "h2c")]));
    assert!(!ask(Version::HTTP_11, &[("connection", "upgrade")]));
}

#[test]
fn a_transfer_coding_that_would_be_lost_is_refused() {
    // HTP-02
    for (coding, is_good) in [("chunked", true), ("Chunked", true), ("gzip, chunked", false)] {
        let fields = [("host", "a"), ("transfer-encoding", coding)];
        let checked = check_request(&parts("/", Version::HTTP_11, &fields), &limits());
        assert_eq!(checked.is_ok(), is_good, "{coding}: {checked:?}");
    }
}

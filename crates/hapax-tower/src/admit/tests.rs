//! KEY and SCO rows that are decided by a request's head.

use std::sync::Arc;

use hapax::Syntax;
use http::{Method, Request};

use super::*;

fn parts(method: &str, target: &str, lines: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn post(lines: &[(&str, &str)]) -> Parts {
    parts("POST", "/a", lines)
}

fn admit(rules: &Rules, parts: &Parts) -> Result<Option<(String, Scope)>, Problem> {
    match rules.admit(&Secret::new(b"s"), parts, Timestamp::EPOCH) {
        Admitted::Keyed(admission) => {
            let key = match admission.key {
                KeyPart::Content => "(content)".to_owned(),
                KeyPart::InBody(pointer) => pointer.to_string(),
                KeyPart::Known(key) => key.as_str().to_owned(),
            };
            Ok(Some((key, admission.scope)))
        }
        Admitted::Pass => Ok(None),
        Admitted::Refused(refusal) => Err(refusal.problem),
    }
}

fn key(rules: &Rules, lines: &[(&str, &str)]) -> Result<Option<String>, Problem> {
    admit(rules, &post(lines)).map(|found| found.map(|(key, _)| key))
}

fn scope(rules: &Rules, lines: &[(&str, &str)]) -> Scope {
    let mut lines = lines.to_vec();
    lines.push(("idempotency-key", "k"));
    admit(rules, &post(&lines)).unwrap().unwrap().1
}

#[test]
fn key_08_two_lines_or_a_list_are_refused() {
    let rules = Rules::default();
    let two = [("idempotency-key", "k"), ("idempotency-key", "k")];
    assert_eq!(key(&rules, &two), Err(Problem::InvalidKey));
    assert_eq!(key(&rules, &[("idempotency-key", "\"k\", \"k\"")]), Err(Problem::InvalidKey));
}

#[test]
fn key_11_absence_is_refused_only_where_a_key_is_required() {
    let rules = Rules::default();
    assert_eq!(key(&rules, &[]), Ok(None));
    let required = Rules { key: KeyMode::Required, ..rules };
    assert_eq!(key(&required, &[]), Err(Problem::MissingKey));
    let off = Rules { key: KeyMode::Off, ..required };
    assert_eq!(key(&off, &[("idempotency-key", "k")]), Ok(None));
}

#[test]
fn key_12_only_protected_methods_are_concerned() {
    let rules = Rules { key: KeyMode::Required, ..Rules::default() };
    let line = [("idempotency-key", "k")];
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert_eq!(admit(&rules, &parts(method, "/a", &line)), Ok(None), "{method}");
    }
    assert!(admit(&rules, &parts("PATCH", "/a", &line)).unwrap().is_some());
    let put = Rules { methods: vec![Method::PUT], ..rules };
    assert!(admit(&put, &parts("PUT", "/a", &line)).unwrap().is_some());
}

#[test]
fn key_13_connection_may_not_name_protected_fields() {
    let rules = Rules::default();
    for option in ["idempotency-key", "close, Authorization", "Cookie"] {
        let lines = [("idempotency-key", "k"), ("connection", option)];
        assert_eq!(key(&rules, &lines), Err(Problem::InvalidRequest), "{option}");
    }
    let lines = [("idempotency-key", "k"), ("connection", "keep-alive, x-other")];
    assert_eq!(key(&rules, &lines), Ok(Some("k".into())));
}

#[test]
fn key_05_strict_routes_take_quoted_keys_only() {
    let rules = Rules { syntax: Syntax::Strict, ..Rules::default() };
    assert_eq!(key(&rules, &[("idempotency-key", "k")]), Err(Problem::InvalidKey));
    assert_eq!(key(&rules, &[("idempotency-key", "\"k\"")]), Ok(Some("k".into())));
}

#[test]
fn key_14_other_headers_can_carry_the_key() {
    let name = HeaderName::from_static("x-request-id");
    let rules = Rules { key_source: KeySource::Joined(name), ..Rules::default() };
    assert_eq!(key(&rules, &[("x-request-id", "r-1")]), Ok(Some("r-1".into())));
    assert_eq!(key(&rules, &[("idempotency-key", "k")]), Ok(None));
}

#[test]
fn sco_01_callers_and_hosts_are_apart() {
    let rules = Rules::default();
    let all = [
        scope(&rules, &[]),
        scope(&rules, &[("authorization", "Bearer a")]),
        scope(&rules, &[("authorization", "Bearer b")]),
        scope(&rules, &[("x-api-key", "Bearer a")]),
        scope(&rules, &[("authorization", "Bearer a"), ("host", "other")]),
    ];
    for (n, one) in all.iter().enumerate() {
        assert!(!all[n + 1..].contains(one), "{n}");
    }
    assert_eq!(all[1], scope(&rules, &[("authorization", " Bearer a")]));
}

#[test]
fn ruling_4_two_credentials_are_refused() {
    let rules = Rules::default();
    for name in ["authorization", "x-api-key"] {
        let lines = [("idempotency-key", "k"), (name, "a"), (name, "a")];
        assert_eq!(key(&rules, &lines), Err(Problem::InvalidRequest), "{name}");
    }
}

#[test]
fn ruling_4_the_effective_host_is_normalised() {
    let rules = Rules::default();
    let host = |value: &str| scope(&rules, &[("host", value)]);
    assert_eq!(host("API.example:80"), host("api.example"));
    assert_ne!(host("api.example:8080"), host("api.example"));
    let absolute =
        parts("POST", "http://api.example/a", &[("idempotency-key", "k"), ("host", "other")]);
    assert_eq!(admit(&rules, &absolute).unwrap().unwrap().1, host("api.example"));
    let fixed = Rules { authority: Authority::Fixed("one".into()), ..Rules::default() };
    assert_eq!(scope(&fixed, &[("host", "a")]), scope(&fixed, &[("host", "b")]));
}

#[test]
fn sco_04_a_custom_identity_that_does_not_hold_is_refused() {
    #[derive(Debug)]
    struct Forged;
    impl crate::rules::Identify for Forged {
        fn identify(&self, _parts: &Parts) -> Result<Identity, String> {
            Err("the signature does not hold".into())
        }
    }
    let principal = PrincipalSource::Custom(Arc::new(Forged));
    let rules = Rules { principal, ..Rules::default() };
    assert_eq!(key(&rules, &[("idempotency-key", "k")]), Err(Problem::InvalidRequest));
}

#[test]
fn sco_06_cookies_of_anonymous_callers_are_part_of_the_request() {
    let rules = Rules::default();
    let private = |lines: &[(&str, &str)]| {
        let mut all = vec![("idempotency-key", "k")];
        all.extend(lines);
        match rules.admit(&Secret::new(b"s"), &post(&all), Timestamp::EPOCH) {
            Admitted::Keyed(admission) => admission.private,
            Admitted::Pass | Admitted::Refused(_) => panic!("not admitted"),
        }
    };
    assert_ne!(private(&[("cookie", "sid=1")]), private(&[("cookie", "sid=2")]));
    assert!(private(&[("cookie", "sid=1"), ("authorization", "a")]).is_empty());
}

#[test]
fn cookies_can_name_the_caller() {
    let rules = Rules { principal: PrincipalSource::Cookie("sid".into()), ..Rules::default() };
    let one = scope(&rules, &[("cookie", "x=1; sid=a")]);
    assert_eq!(one, scope(&rules, &[("cookie", "sid=a; y=2")]));
    assert_ne!(one, scope(&rules, &[("cookie", "sid=b")]));
    assert_ne!(one, scope(&rules, &[("cookie", "xsid=a")]));
    let two = [("idempotency-key", "k"), ("cookie", "sid=a; sid=b")];
    assert_eq!(key(&rules, &two), Err(Problem::InvalidRequest));
}

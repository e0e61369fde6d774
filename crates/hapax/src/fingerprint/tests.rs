//! FPR rows of the semantics.

use proptest::prelude::*;

use super::*;

fn parts<'a>(media_type: &'a str, body: &'a [u8]) -> Parts<'a> {
    Parts {
        body,
        media_type: (!media_type.is_empty()).then_some(media_type.as_bytes()),
        method: "POST",
        path: "/a",
        ..Parts::default()
    }
}

fn same(spec: FingerprintSpec, one: &Parts<'_>, other: &Parts<'_>) -> bool {
    spec.digest(one) == spec.digest(other)
}

fn json(one: &str, other: &str) -> bool {
    let media_type = "application/json";
    same(
        FingerprintSpec::Json,
        &parts(media_type, one.as_bytes()),
        &parts(media_type, other.as_bytes()),
    )
}

#[test]
fn fpr_05_method_path_query_media_type_and_body_count() {
    let base = Parts { query: Some("a=1&b=2"), ..parts("application/json", b"{}") };
    let others = [
        Parts { method: "PATCH", ..base },
        Parts { path: "/a%2Fb", ..base },
        Parts { path: "/a/b", ..base },
        Parts { query: Some("b=2&a=1"), ..base },
        Parts { query: None, ..base },
        Parts { query: Some(""), ..base },
        Parts { media_type: Some(b"text/plain"), ..base },
        Parts { media_type: None, ..base },
        Parts { body: b"{} ", ..base },
        Parts { private: b"sid=1", ..base },
    ];
    for (n, other) in others.iter().enumerate() {
        assert!(!same(FingerprintSpec::Bytes, &base, other), "{n}");
        assert!(!others[..n].iter().any(|earlier| same(FingerprintSpec::Bytes, earlier, other)));
    }
    let spelled = Parts { media_type: Some(b"Application/JSON"), ..base };
    assert!(same(FingerprintSpec::Bytes, &base, &spelled));
}

#[test]
fn fpr_06_bytes_are_exact_and_json_is_by_value() {
    let media_type = "application/json";
    assert!(!same(
        FingerprintSpec::Bytes,
        &parts(media_type, br#"{"a":1,"b":2}"#),
        &parts(media_type, br#"{"b":2,"a":1}"#)
    ));
    assert!(json(r#"{"a":1,"b":[1, 2]}"#, r#" {"b":[1,2],"a":1}"#));
    assert!(json(r#"{"a":"A"}"#, r#"{"a":"A"}"#));
    for (one, other) in [
        ("9007199254740993", "9007199254740992"),
        ("1", "1.0"),
        ("[1,2]", "[2,1]"),
        ("[1,[2]]", "[[1],2]"),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
        (r#"{"a":"1"}"#, r#"{"a":1}"#),
        ("{", "{ "),
        (r#"{"a":null}"#, "{}"),
        (r#"[""]"#, "[]"),
    ] {
        assert!(!json(one, other), "{one} {other}");
    }
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let spaced = format!("{}1 {}", "[".repeat(100), "]".repeat(100));
    assert!(!json(&deep, &spaced), "past the depth limit bytes count");
}

#[test]
fn fpr_07_a_fresh_multipart_boundary_is_the_same_request() {
    fn form(boundary: &str, value: &str) -> (String, Vec<u8>) {
        let body = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n{value}\r\n\
             --{boundary}\r\ncontent-disposition: form-data; name=\"b\"\r\n\r\n\r\n--{boundary}--\r\n"
        );
        (format!("multipart/form-data; boundary={boundary}"), body.into_bytes())
    }
    let digest = |(media_type, body): (String, Vec<u8>)| {
        FingerprintSpec::Bytes.digest(&parts(&media_type, &body))
    };
    assert_eq!(digest(form("one", "x")), digest(form("two-222", "x")));
    assert_ne!(digest(form("one", "x")), digest(form("one", "y")));
    let (media_type, mut body) = form("one", "x");
    let whole = digest((media_type.clone(), body.clone()));
    body.truncate(body.len() - 8);
    assert_ne!(whole, digest((media_type, body)));
    let quoted = "multipart/form-data; boundary=\"three\"".to_owned();
    assert_eq!(whole, digest((quoted, form("three", "x").1)));
}

#[test]
fn fpr_08_an_absent_body_is_an_empty_body() {
    let empty = parts("", b"");
    for body in [&b"{}"[..], b"null"] {
        assert!(!same(FingerprintSpec::Bytes, &empty, &parts("", body)));
    }
    assert!(same(FingerprintSpec::Bytes, &empty, &Parts { body: b"", ..empty }));
}

#[test]
fn fpr_09_specifications_never_agree_with_each_other() {
    let request = parts("application/json", b"{}");
    let all = [FingerprintSpec::Bytes, FingerprintSpec::Json, FingerprintSpec::Key];
    for (n, one) in all.iter().enumerate() {
        for other in &all[n + 1..] {
            assert_ne!(one.digest(&request), other.digest(&request));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_have_a_fingerprint(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for media_type in ["", "application/json", "multipart/form-data; boundary=\"", "multipart/x; boundary=-"] {
            for spec in [FingerprintSpec::Bytes, FingerprintSpec::Json, FingerprintSpec::Key] {
                let request = parts(media_type, &body);
                prop_assert_eq!(spec.digest(&request), spec.digest(&request));
            }
        }
    }

    #[test]
    fn different_bytes_have_different_fingerprints(
        one in proptest::collection::vec(any::<u8>(), 0..40),
        other in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        prop_assume!(one != other);
        for media_type in ["", "multipart/x; boundary=-"] {
            prop_assert!(!same(FingerprintSpec::Bytes, &parts(media_type, &one), &parts(media_type, &other)));
        }
    }
}

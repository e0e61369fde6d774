use proptest::prelude::*;

use super::*;

fn routes(patterns: &[&str]) -> Routes {
    let mut routes: Vec<_> = patterns
        .iter()
        .map(|pattern| (Pattern::parse(pattern).unwrap(), vec![Method::POST]))
        .collect();
    routes.push((Pattern::catch_all(), vec![Method::POST, Method::PATCH]));
    Routes::new(routes)
}

fn find(routes: &Routes, path: &str) -> Result<Option<usize>, BadPath> {
    routes.find(path, &Method::POST)
}

#[test]
fn first_match_wins_and_the_rest_falls_to_the_catch_all() {
    let routes = routes(&["/v1/payments/**", "/v1/*/refunds", "/v1/payments/7", "/status", "/"]);
    for (path, route) in [
        ("/v1/payments", 0),
        ("/v1/payments/", 0),
        ("/v1/payments/7", 0),
        ("/v1/payments/7/capture", 0),
        ("/v1/orders/refunds", 1),
        ("/v1/orders/refunds/", 1),
        ("/v1/orders/x/refunds", 5),
        ("/v1/refunds", 5),
        ("/v1/paymentsx", 5),
        ("/V1/payments", 5),
        ("/status", 3),
        ("/status/more", 5),
        ("/", 4),
        ("", 4),
        ("//", 4),
        ("*", 5),
    ] {
        assert_eq!(find(&routes, path), Ok(Some(route)), "{path}");
    }
}

#[test]
fn spellings_of_a_path_are_one_path() {
    let routes = routes(&["/v1/payments/**", "/caf%C3%A9", "/a%2Ab"]);
    for path in [
        "//v1///payments",
        "/v1/./payments",
        "/v1/x/../payments/7",
        "/v1/%2e%2e/v1/payments",
        "/%76%31/p%61yments",
        "/../../v1/payments",
        "/v1/payments/%2E",
        "/v1/orders/%2e./payments",
    ] {
        assert_eq!(find(&routes, path), Ok(Some(0)), "{path}");
    }
    assert_eq!(find(&routes, "/caf%c3%a9"), Ok(Some(1)));
    assert_eq!(find(&routes, "/caf\u{e9}"), Ok(Some(1)));
    assert_eq!(find(&routes, "/a*b"), Ok(Some(2)));
}

#[test]
fn a_plain_path_is_compared_where_it_stands() {
    for path in ["/v1/payments/7", "//v1/./x/", "/v1/a..b/...", "/~a/b-c_d;e=f@:g"] {
        assert!(matches!(decode(path.as_bytes(), UNMATCHED), Cow::Borrowed(_)), "{path}");
    }
}

#[test]
fn a_way_out_of_a_route_is_taken() {
    let routes = routes(&["/v1/payments/**"]);
    for path in [
        "/v1/%2e%2e/payments",
        "/v1/payments/../orders",
        "/v1/payments/%2e%2e/orders",
        "/v1/payments/%252e%252e/../..",
    ] {
        assert_eq!(find(&routes, path), Ok(Some(1)), "{path}");
    }
}

#[test]
fn a_doubly_encoded_path_is_decoded_once() {
    let routes = routes(&["/v1/payments/**"]);
    assert_eq!(find(&routes, "/v1/%2570ayments"), Ok(Some(1)));
    assert_eq!(find(&routes, "/v1/payments/%252e%252e"), Ok(Some(0)));
    assert_eq!(find(&routes, "/v1/payments/%252F"), Ok(Some(0)));
    assert_eq!(find(&routes, "/v1/payments/%zz%"), Ok(Some(0)));
}

#[test]
fn ambiguous_separators_under_a_route_are_refused() {
    let routes = routes(&["/v1/payments/**", "/*/pay", "/exact"]);
    for path in [
        "/v1/payments%2F..",
        "/v1/payments%2f7",
        "/v1/payments/a%2Fb",
        "/v1%2Fpayments",
        "/v1\\payments",
        "/v1%5Cpayments",
        "/v1/payments%00",
        "/v1/payments%00.png",
        "/public/x%2F..%2F..%2Fv1%2Fpayments",
        "/public/..%5c..%5cv1/payments",
        "/v1/payments/%2e%2e%2Forders",
        "/a%2Fb/pay",
        "/exact%2F",
        "/exact%2fmore",
        "\\v1\\payments",
    ] {
        assert_eq!(find(&routes, path), Err(BadPath), "{path}");
    }
}

#[test]
fn ambiguous_separators_elsewhere_pass() {
    let routes = routes(&["/v1/payments/**", "/"]);
    for path in ["/projects/a%2Fb", "/files\\x", "/x%00", "/v1/a%2F..", "/v1%2Fpayment"] {
        assert_eq!(find(&routes, path), Ok(Some(2)), "{path}");
    }
}

#[test]
fn a_configured_route_for_everything_refuses_them_all() {
    let routes = routes(&["/**"]);
    assert_eq!(find(&routes, "/projects/a%2Fb"), Err(BadPath));
    assert_eq!(find(&routes, "/projects/a"), Ok(Some(0)));
}

#[test]
fn methods_no_route_covers_are_not_protected() {
    let routes = routes(&["/v1/payments/**"]);
    assert_eq!(routes.find("/v1/payments", &Method::GET), Ok(None));
    assert_eq!(routes.find("/v1/payments/a%2Fb", &Method::GET), Ok(None));
    assert_eq!(routes.find("/v1/payments", &Method::PATCH), Ok(Some(1)));
}

#[test]
fn patterns_that_could_never_match_are_refused() {
    for (pattern, error) in [
        ("", PatternError::NoSlash),
        ("v1", PatternError::NoSlash),
        ("**", PatternError::NoSlash),
        ("/v1/pay*", PatternError::Star),
        ("/**/v1", PatternError::Star),
        ("/v1**", PatternError::Star),
        ("/v1/***", PatternError::Star),
        ("/v1/../v2", PatternError::Dots),
        ("/v1/%2e", PatternError::Dots),
        ("/a%2Fb", PatternError::Forbidden),
        ("/a\\b", PatternError::Forbidden),
        ("/a?b", PatternError::Forbidden),
    ] {
        assert_eq!(Pattern::parse(pattern), Err(error), "{pattern}");
    }
    assert_eq!(Pattern::parse("/v1/payments/**").unwrap().as_str(), "/v1/payments/**");
}

/// The canonical spelling of what a path means to us.
fn normalised(path: &str) -> String {
    let mut text = String::new();
    for segment in resolve(&decode(path.as_bytes(), UNMATCHED)) {
        text.push('/');
        for byte in segment {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(*byte));
                }
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    text
}

fn nasty_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("v1"),
        Just("payments"),
        Just("/"),
        Just("//"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2E%2e"),
        Just("%252e"),
        Just("%2F"),
        Just("%5c"),
        Just("\\"),
        Just("%00"),
        Just("%"),
        Just("%7"),
        Just("%76"),
        Just("*"),
        Just("\u{e9}"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn any_path_finds_a_route_or_is_refused(path in "\\PC{0,60}") {
        let routes = routes(&["/v1/payments/**", "/*/x"]);
        prop_assert!(matches!(find(&routes, &path), Ok(Some(_)) | Err(BadPath)));
    }

    #[test]
    fn the_normal_form_takes_the_same_route(path in nasty_path()) {
        let routes = routes(&["/v1/payments/**", "/*/payments", "/v1"]);
        if !is_ambiguous(path.as_bytes()) {
            prop_assert_eq!(find(&routes, &normalised(&path)), find(&routes, &path));
        }
    }

    /// Whatever one of the two usual readings puts under a route never passes as another one's.
    #[test]
    fn no_reading_of_an_ambiguous_path_slips_past_a_route(path in nasty_path()) {
        let routes = routes(&["/v1/payments/**"]);
        if is_ambiguous(path.as_bytes()) {
            let covered = [b'/', UNMATCHED].into_iter().any(|reading| {
                let decoded = decode(path.as_bytes(), reading);
                resolve(&decoded).starts_with(&[b"v1", b"payments"])
            });
            if covered {
                prop_assert_eq!(find(&routes, &path), Err(BadPath));
            }
        }
    }
}

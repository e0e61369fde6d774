//! Who may ask.

use axum::body::Body;
use http::{Method, Request, StatusCode};

use crate::desk::{Desk, executed, id};

/// ADM-01: a name that leads here by another's DNS is no name of ours.
#[tokio::test]
async fn adm_01_a_foreign_host_gets_nothing() {
    let desk = Desk::new();
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:9090",
        "hapax.internal.evil.example",
        "10.0.0.1:9090",
        "",
        "[::2]",
    ] {
        let said = desk.ask(Method::GET, "/api/records", &[("host", host)], None).await;
        assert_eq!(said.problem(), (403, "foreign-host".to_owned()), "{host}");
    }
    for host in
        ["localhost", "LOCALHOST:9090", "127.0.0.1", "127.8.9.1:1", "[::1]:9090", "Hapax.Internal"]
    {
        let said = desk.ask(Method::GET, "/api/records", &[("host", host)], None).await;
        assert_eq!(said.status(), StatusCode::OK, "{host}");
    }
    let none = Request::get("/api/records").body(Body::empty()).unwrap();
    assert_eq!(desk.send(none).await.code(), "foreign-host");
    let two = Request::get("/api/records")
        .header("host", "localhost")
        .header("host", "evil.example")
        .body(Body::empty())
        .unwrap();
    assert_eq!(desk.send(two).await.code(), "foreign-host");
    let said = desk.ask(Method::GET, "http://evil.example/api/records", &[], None).await;
    assert_eq!(said.code(), "foreign-host");
}

/// ADM-01: a page of another origin changes nothing and reads nothing.
#[tokio::test]
async fn adm_01_a_page_of_another_origin_changes_nothing() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    let path = format!("/api/records/{}/settle", id(&lease));
    for line in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:9091"),
        ("origin", "http://127.0.0.1:9090.evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let said = desk.ask(Method::POST, &path, &[line], Some(executed())).await;
        assert_eq!(said.problem(), (403, "foreign-origin".to_owned()), "{line:?}");
        let said = desk.ask(Method::OPTIONS, &path, &[line], None).await;
        assert_eq!(said.code(), "foreign-origin");
        assert!(said.response.headers().get("access-control-allow-origin").is_none());
    }
    assert_eq!(desk.shown(&lease).await["state"], "in_doubt");
    for line in [
        ("origin", "http://127.0.0.1:9090"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
    ] {
        let said = desk.ask(Method::GET, "/api/records", &[line], None).await;
        assert_eq!(said.status(), StatusCode::OK, "{line:?}");
    }
    let own = [("host", "hapax.internal"), ("origin", "https://hapax.internal:443")];
    assert_eq!(desk.ask(Method::GET, "/api/stats", &own, None).await.status(), StatusCode::OK);
}

/// A form on another page can post text, but not this media type.
#[tokio::test]
async fn adm_01_changes_need_the_media_type() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    for media in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let request = Request::post(format!("/api/records/{}/settle", id(&lease)))
            .header("host", "localhost")
            .header("content-type", media)
            .body(Body::from(executed().to_string()))
            .unwrap();
        assert_eq!(desk.send(request).await.problem(), (415, "unsupported-media-type".to_owned()));
    }
    assert_eq!(desk.shown(&lease).await["state"], "in_doubt");
}

#[tokio::test]
async fn adm_01_a_token_is_asked_of_all_but_health_and_the_page() {
    let desk = Desk::guarded("s3cret");
    for path in ["/api/records", "/api/stats", "/api/events", "/api/audit", "/metrics", "/x"] {
        for lines in [
            &[][..],
            &[("authorization", "Bearer wrong")],
            &[("authorization", "Bearer s3cre")],
            &[("authorization", "Bearer s3cret1")],
            &[("authorization", "Basic s3cret")],
            &[("authorization", "s3cret")],
            &[("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")],
        ] {
            let said = desk.ask(Method::GET, path, lines, None).await;
            assert_eq!(said.problem(), (401, "unauthorized".to_owned()), "{path} {lines:?}");
            assert_eq!(said.response.headers()["www-authenticate"], "Bearer");
        }
    }
    let shown = [("authorization", "bearer s3cret")];
    for path in ["/api/records", "/metrics"] {
        assert_eq!(desk.ask(Method::GET, path, &shown, None).await.status(), StatusCode::OK);
    }
    for path in ["/livez", "/readyz", "/"] {
        assert_eq!(desk.get(path).await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn adm_01_beyond_loopback_nothing_is_told_without_a_token() {
    let desk = Desk::with(|state| state.is_loopback = false);
    for path in ["/api/records", "/metrics"] {
        assert_eq!(desk.get(path).await.problem(), (403, "token-required".to_owned()));
    }
    assert_eq!(desk.get("/livez").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn health_is_exempt_from_names_and_metrics_too() {
    let desk = Desk::new();
    for path in ["/livez", "/readyz", "/metrics"] {
        let said = desk.ask(Method::GET, path, &[("host", "10.1.2.3:9090")], None).await;
        assert_eq!(said.status(), StatusCode::OK, "{path}");
    }
    let foreign = [("host", "10.1.2.3"), ("origin", "http://evil.example")];
    assert_eq!(desk.ask(Method::GET, "/metrics", &foreign, None).await.code(), "foreign-origin");
}

#[tokio::test]
async fn the_page_lists_the_endpoints_and_may_be_linked_to() {
    let desk = Desk::new();
    let visit = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    let said = desk.ask(Method::GET, "/", &visit, None).await;
    assert_eq!(said.status(), StatusCode::OK);
    assert!(said.text().contains("/api/records/{id}/settle"));
    let said = desk.ask(Method::GET, "/api/records", &visit, None).await;
    assert_eq!(said.code(), "foreign-origin");
    let headers = desk.get("/").await.response.headers().clone();
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["x-frame-options"], "DENY");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let desk = Desk::new();
    assert_eq!(desk.get("/api/nothing").await.problem(), (404, "not-found".to_owned()));
    let said = desk.ask(Method::PUT, "/api/records", &[], None).await;
    assert_eq!(said.problem(), (405, "method-not-allowed".to_owned()));
}

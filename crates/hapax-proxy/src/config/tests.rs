use std::net::SocketAddr;

use super::*;
use crate::upstream::Http2;

mod errors;
mod layering;
mod printing;

const UPSTREAM: &str = "upstream = \"http://127.0.0.1:3000\"\n";

/// Settings with an upstream and whatever else `text` says.
fn load(text: &str) -> Result<Config, ConfigErrors> {
    Config::from_toml(&format!("{UPSTREAM}{text}"))
}

#[test]
fn defaults_hold_with_nothing_but_an_upstream() {
    let config = load("").unwrap();
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(config.listen, address("127.0.0.1:8080"));
    assert_eq!(config.admin.listen, address("127.0.0.1:9090"));
    assert_eq!(config.upstream, "http://127.0.0.1:3000/");
    assert_eq!(config.store, StoreConfig::File("./hapax-data".into()));
    assert_eq!(config.store_timeout, seconds(5));
    assert_eq!(config.durability, Durability::Full);
    assert_eq!(config.drain, seconds(30));
    assert_eq!(config.threads, Threads::Auto);
    assert_eq!(config.in_flight_max, 10_000);
    assert_eq!(config.records_max, 50_000_000);
    assert_eq!(config.upstream_http2, Http2::Auto);
    assert_eq!(config.problem_base, "/.well-known/idempotency/problems");
    assert_eq!(config.log_format, LogFormat::Text);
    assert!(config.migrate);
    assert!(config.secret.is_none() && config.tls.is_none() && config.jwt.is_none());
    assert!(config.admin.token.is_none() && config.cors_origins.is_empty());

    let [route] = &config.routes[..] else { panic!("the catch-all alone") };
    assert_eq!(route.matching.as_str(), "/**");
    assert_eq!(route.methods, ["POST", "PATCH"]);
    assert_eq!(route.key, KeyMode::Optional);
    assert_eq!(route.key_source, KeySource::Header("idempotency-key".parse().unwrap()));
    assert_eq!(route.syntax, Syntax::Lenient);
    assert_eq!(route.principal, PrincipalSource::Authorization);
    assert_eq!(route.authority, AuthoritySource::Host);
    assert_eq!(route.fingerprint, FingerprintMode::Bytes);
    assert_eq!(route.retention, Retention::For(seconds(86_400)));
    assert_eq!(route.unknown_retention, Retention::Never);
    assert_eq!(route.failures, Failures::from(Preset::Standard));
    assert_eq!(route.unknown, Unknown::Hold);
    assert!(!route.upstream_honours_key && !route.set_cookie);
    assert_eq!((route.max_attempts, route.probe_url.as_ref()), (2, None));
    assert_eq!((route.concurrent, route.wait), (Concurrent::Wait, seconds(10)));
    assert_eq!((route.waiters_max, route.lease), (1000, seconds(10)));
    assert_eq!((route.upstream_timeout, route.late_answer), (seconds(30), seconds(60)));
    assert_eq!((route.request_body_max, route.response_body_max), (1 << 20, 1 << 20));
    assert_eq!((route.store_outage, route.mode), (StoreOutage::Closed, Mode::Enforce));
}

#[test]
fn a_route_starts_from_the_defaults_of_the_file() {
    let config = load(
        r#"
        [defaults]
        retention = "1h"
        wait = "2s"
        [[route]]
        match = "/v1/payments/**"
        key = "required"
        failures = { preset = "strict", "4xx" = "free", "422" = "keep" }
        retention = "never"
        [[route]]
        match = "/v1/orders"
        methods = ["PUT"]
        "#,
    )
    .unwrap();
    let [payments, orders, catch_all] = &config.routes[..] else { panic!("three routes") };
    assert_eq!(payments.retention, Retention::Never);
    assert_eq!((payments.wait, payments.key), (seconds(2), KeyMode::Required));
    assert_eq!(payments.failures.preset, Preset::Strict);
    assert_eq!(payments.failures.verdict(422), Some(Verdict::Keep));
    assert_eq!(payments.failures.verdict(404), Some(Verdict::Free));
    assert_eq!(orders.retention, Retention::For(seconds(3600)));
    assert_eq!(orders.matching.as_str(), "/v1/orders");
    assert_eq!(orders.methods, ["PUT"]);
    assert_eq!(catch_all.retention, Retention::For(seconds(3600)));
    assert_eq!(catch_all.key, KeyMode::Optional);
}

/// Ruling 15.
#[test]
fn keys_in_the_body_bring_their_own_defaults() {
    let config = load(
        r#"
        [[route]]
        match = "/body"
        key_source = "body:/payment/id"
        [[route]]
        match = "/content"
        key_source = "content"
        [[route]]
        match = "/said"
        key_source = "body:/id"
        failures = "strict"
        fingerprint = "bytes"
        "#,
    )
    .unwrap();
    let [body, content, said, catch_all] = &config.routes[..] else { panic!("four routes") };
    let of = |route: &RouteConfig| (route.failures.preset, route.fingerprint);
    assert_eq!(of(body), (Preset::SuccessOnly, FingerprintMode::Key));
    assert_eq!(of(content), (Preset::SuccessOnly, FingerprintMode::Bytes));
    assert_eq!(of(said), (Preset::Strict, FingerprintMode::Bytes));
    assert_eq!(of(catch_all), (Preset::Standard, FingerprintMode::Bytes));
    let KeySource::Body(pointer) = &body.key_source else { panic!("a pointer") };
    assert_eq!(pointer.as_str(), "/payment/id");
}

#[test]
fn what_defaults_say_counts_as_said_for_keys_in_the_body() {
    let config = load(
        "[defaults]\nfailures = \"store-all\"\n[[route]]\nmatch = \"/x\"\nkey_source = \"content\"",
    )
    .unwrap();
    assert_eq!(config.routes[0].failures.preset, Preset::StoreAll);
}

#[test]
fn every_choice_of_a_route_is_read() {
    for (setting, shown) in [
        (r#"key_source = "issued""#, "key_source: Issued"),
        (r#"key_source = "joined:X-Order""#, r#"key_source: Joined("x-order")"#),
        (r#"principal = "header:X-User""#, r#"principal: Header("x-user")"#),
        (r#"principal = "cookie:sid""#, r#"principal: Cookie("sid")"#),
        (r#"principal = "shared""#, "principal: Shared"),
        (r#"authority = "fixed:API.example""#, r#"authority: Fixed("api.example")"#),
        (r#"fingerprint = "json""#, "fingerprint: Json"),
        (r#"key = "off""#, "key: Off"),
        (r#"syntax = "strict""#, "syntax: Strict"),
        (r#"retention = "30d""#, "retention: For(2592000s)"),
        (r#"unknown_retention = "90d""#, "unknown_retention: For(7776000s)"),
        (r#"failures = "retry-5xx""#, "preset: Retry5xx"),
        (r#"concurrent = "reject""#, "concurrent: Reject"),
        (r#"mode = "shadow""#, "mode: Shadow"),
        (r#"store_outage = "open""#, "store_outage: Open"),
        (r#"request_body_max = 4096"#, "request_body_max: 4096"),
        (r#"set_cookie = true"#, "set_cookie: true"),
        (
            "unknown = \"probe\"\nprobe_url = \"http://127.0.0.1:3000/outcome\"",
            "probe_url: Some(http://127.0.0.1:3000/outcome)",
        ),
        ("unknown = \"re-execute\"\nupstream_honours_key = true", "unknown: ReExecute"),
    ] {
        let config = load(&format!("[[route]]\nmatch = \"/x\"\n{setting}"))
            .unwrap_or_else(|errors| panic!("{setting}: {errors}"));
        let debug = format!("{:?}", config.routes[0]);
        assert!(debug.contains(shown), "{setting} is not in {debug}");
    }
}

#[test]
fn sections_are_read() {
    let config = load(
        r#"
        listen = "[::1]:0"
        store = "postgres://app@db/hapax"
        threads = 2
        cors_origins = ["https://shop.example", "http://localhost:5173"]
        [tls]
        cert = "cert.pem"
        key = "key.pem"
        [jwt]
        jwks = "jwks.json"
        issuer = "https://login.example"
        [admin]
        listen = "0.0.0.0:9091"
        token = "not-a-real-one"
        hosts = ["hapax.internal"]
        [defaults]
        principal = "jwt:sub"
        unknown = "transactional"
        "#,
    )
    .unwrap();
    assert_eq!(config.tls.unwrap().key, std::path::Path::new("key.pem"));
    assert_eq!(config.jwt.unwrap().issuer.as_deref(), Some("https://login.example"));
    assert_eq!(config.admin.token.unwrap().reveal(), "not-a-real-one");
    assert_eq!(config.admin.hosts, ["hapax.internal"]);
    assert_eq!(config.cors_origins.len(), 2);
    assert_eq!(config.threads, Threads::Count(2.try_into().unwrap()));
    assert_eq!(config.routes[0].principal, PrincipalSource::Jwt("sub".to_owned()));
    assert_eq!(config.routes[0].unknown, Unknown::Transactional);
}

#[test]
fn debug_output_shows_no_secret() {
    let config =
        load("secret = \"geheim\"\nstore = \"redis://:geheim@h\"\n[admin]\ntoken = \"geheim\"")
            .unwrap();
    assert!(!format!("{config:?}").contains("geheim"));
}

fn seconds(seconds: u64) -> std::time::Duration {
    std::time::Duration::from_secs(seconds)
}

use proptest::prelude::*;

use super::*;

/// One line for each thing that can be wrong: what was written, and what is said about it.
const WRONG: &[&str] = &[
    "listen = \"8080\"",
    "listen = 8080",
    "listen = [\"127.0.0.1:8080\"]",
    "listen = \"example.org:80\"",
    "upstrem = \"http://h:1\"",
    "colour = \"red\"",
    "store = \"mysql://db\"",
    "store = \"memory\"",
    "store = \"file:\"",
    "store = \"postgres://\"",
    "store = \"postgres://app:geheim@\"",
    "store = \"redis-cluster://a,b:1\"",
    "store = \"postgres://u:geheim@db/x?sslmod=require\"",
    "store = \"postgres://u:ge?heim@db/x\"",
    "store = \"redis://h?tls=true\"",
    "store_timeout = \"5\"",
    "store_timeout = \"0s\"",
    "durability = \"some\"",
    "secret = \"\"",
    "secret = 5\nmigrate = \"yes\"",
    "drain = \"40d\"",
    "threads = 0",
    "threads = \"many\"",
    "in_flight_max = 0",
    "in_flight_max = -1",
    "in_flight_max = 1.5",
    "records_max = \"lots\"",
    "upstream_http2 = \"h3\"",
    "problem_base = \"problems/\"",
    "cors_origins = \"*\"",
    "cors_origins = [\"shop.example\"]",
    "cors_origins = [\"https://shop.example/\"]",
    "log_format = \"xml\"",
    "tls = \"cert.pem\"",
    "[tls]\ncert = \"cert.pem\"",
    "[tls]\ncert = \"cert.pem\"\nkey = \"\"",
    "[jwt]\nissuer = \"i\"",
    "[admin]\nlisten = \"0.0.0.0:9090\"",
    "[admin]\nlisten = \"127.0.0.1:8080\"",
    "[admin]\ntoken = \"to ken\"",
    "[admin]\nhosts = [\"http://hapax\"]",
    "[admin]\nport = 9090",
    "[postgres]\nlisten_url = \"redis://u:geheim@h\"",
    "[postgres]\nlisten_url = \"postgres://u:geheim@h/d?listen=yes\"",
    "[postgres]\nschema = \"2nd\"",
    "[postgres]\nschema = \"Hapax\"",
    "[redis]\nprefix = \"a{b}\"",
    "[defaults]\nmatch = \"/x\"",
    "[route]\nmatch = \"/x\"",
    "[[route]]\nkey = \"required\"",
    "[[route]]\nmatch = \"v1\"",
    "[[route]]\nmatch = \"/v1/pay*\"",
    "[[route]]\nmatch = \"/v1/../x\"",
    "[[route]]\nmatch = \"/a%2Fb\"",
    "[[route]]\nmatch = \"/x\"\nmethods = []",
    "[[route]]\nmatch = \"/x\"\nmethods = [\"POST\", \"GET\"]",
    "[[route]]\nmatch = \"/x\"\nmethods = [\"post\"]",
    "[[route]]\nmatch = \"/x\"\nmethods = [\"P T\"]",
    "[[route]]\nmatch = \"/x\"\nmethods = [\"CONNECT\"]",
    "[[route]]\nmatch = \"/x\"\nmethods = \"POST\"",
    "[[route]]\nmatch = \"/x\"\nkey = \"yes\"",
    "[[route]]\nmatch = \"/x\"\nkey_source = \"Idempotency-Key\"",
    "[[route]]\nmatch = \"/x\"\nkey_source = \"header:\"",
    "[[route]]\nmatch = \"/x\"\nkey_source = \"header:a b\"",
    "[[route]]\nmatch = \"/x\"\nkey_source = \"header:Content-Length\"",
    "[[route]]\nmatch = \"/x\"\nkey_source = \"joined:Hapax-Claim\"",
    "[[route]]\nmatch = \"/x\"\nkey_source = \"body:id\"",
    "[[route]]\nmatch = \"/x\"\nkey_source = \"body:/a~2\"",
    "[[route]]\nmatch = \"/x\"\nkey_source = \"query:id\"",
    "[[route]]\nmatch = \"/x\"\nsyntax = \"loose\"",
    "[[route]]\nmatch = \"/x\"\nprincipal = \"ip\"",
    "[[route]]\nmatch = \"/x\"\nprincipal = \"cookie:\"",
    "[[route]]\nmatch = \"/x\"\nprincipal = \"jwt:\"",
    "[[route]]\nmatch = \"/x\"\nprincipal = \"jwt:sub\"",
    "[[route]]\nmatch = \"/x\"\nprincipal = \"header:Connection\"",
    "[[route]]\nmatch = \"/x\"\nauthority = \"fixed:\"",
    "[[route]]\nmatch = \"/x\"\nauthority = \"name\"",
    "[[route]]\nmatch = \"/x\"\nfingerprint = \"off\"",
    "[[route]]\nmatch = \"/x\"\nretention = \"500ms\"",
    "[[route]]\nmatch = \"/x\"\nretention = \"20000d\"",
    "[[route]]\nmatch = \"/x\"\nretention = \"forever\"",
    "[[route]]\nmatch = \"/x\"\nfailures = \"lenient\"",
    "[[route]]\nmatch = \"/x\"\nfailures = 5",
    "[[route]]\nmatch = \"/x\"\nfailures = { \"5xx\" = \"maybe\" }",
    "[[route]]\nmatch = \"/x\"\nfailures = { \"5x\" = \"keep\" }",
    "[[route]]\nmatch = \"/x\"\nfailures = { \"103\" = \"keep\" }",
    "[[route]]\nmatch = \"/x\"\nfailures = { preset = \"stern\" }",
    "[[route]]\nmatch = \"/x\"\nunknown = \"retry\"",
    "[[route]]\nmatch = \"/x\"\nunknown = \"re-execute\"",
    "[[route]]\nmatch = \"/x\"\nunknown = \"re-execute\"\nupstream_honours_key = true\nmax_attempts = 1",
    "[[route]]\nmatch = \"/x\"\nunknown = \"probe\"",
    "[[route]]\nmatch = \"/x\"\nunknown = \"transactional\"",
    "[[route]]\nmatch = \"/x\"\nmax_attempts = 1000",
    "[[route]]\nmatch = \"/x\"\nupstream_honours_key = \"sure\"",
    "[[route]]\nmatch = \"/x\"\nprobe_url = \"/probe\"",
    "[[route]]\nmatch = \"/x\"\nprobe_url = \"ftp://h/x\"",
    "[[route]]\nmatch = \"/x\"\nconcurrent = \"queue\"",
    "[[route]]\nmatch = \"/x\"\nwait = \"1h\"",
    "[[route]]\nmatch = \"/x\"\nwait = 10",
    "[[route]]\nmatch = \"/x\"\nlease = \"10ms\"",
    "[[route]]\nmatch = \"/x\"\nupstream_timeout = \"0s\"",
    "[[route]]\nmatch = \"/x\"\nlate_answer = \"2d\"",
    "[[route]]\nmatch = \"/x\"\nrequest_body_max = \"1MB\"",
    "[[route]]\nmatch = \"/x\"\nresponse_body_max = \"2GiB\"",
    "[[route]]\nmatch = \"/x\"\nresponse_body_max = 0",
    "[[route]]\nmatch = \"/x\"\nset_cookie = \"no\"",
    "[[route]]\nmatch = \"/x\"\nstore_outage = \"maybe\"",
    "[[route]]\nmatch = \"/x\"\nmode = \"dry-run\"",
    "[[route]]\nmatch = \"/x\"\nretension = \"7d\"",
    "[[route]]\nmatch = \"/x\"\nauthority = \"fixed:${NOT_SET}\"",
    "wait = \"1s\"",
    "[[route]]\nmatch = \"/x\"\nstore = \"memory:\"",
    "secret = \"${NOT_SET\"",
    "drain = 30s",
    "drain = \"30s\"\ndrain = \"40s\"",
];

#[test]
fn every_error_is_one_sentence_with_setting_value_and_mend() {
    let mut said = String::new();
    for written in WRONG {
        let errors = load(written).map(|_| ()).expect_err(written);
        said.push_str(&format!("{}\n", written.replace('\n', " | ")));
        for error in errors.iter() {
            let sentence = error.to_string();
            assert!(!sentence.contains('\n'), "{sentence}");
            assert!(!sentence.contains("geheim"), "{sentence}");
            said.push_str(&format!("  -> {sentence}\n"));
        }
    }
    insta::assert_snapshot!(said);
}

#[test]
fn the_upstream_is_asked_for() {
    assert_eq!(
        Config::from_toml("").unwrap_err().to_string(),
        "upstream is not set; say what to protect with --upstream http://HOST:PORT, \
         HAPAX_UPSTREAM or a line in the file"
    );
}

#[test]
fn the_upstream_is_an_origin() {
    for upstream in [
        "localhost:3000",
        "/x",
        "ftp://h",
        "http://",
        "http://h/api",
        "http://h?x",
        "http://u:p@h",
        "unix:/run/app.sock",
        "http:// h",
    ] {
        let errors = Config::from_toml(&format!("upstream = {upstream:?}")).unwrap_err();
        assert!(errors.to_string().starts_with("upstream = "), "{upstream}: {errors}");
    }
    for upstream in ["http://h", "https://h:1/", "HTTP://H:80", "http://[::1]:3000"] {
        assert!(Config::from_toml(&format!("upstream = {upstream:?}")).is_ok(), "{upstream}");
    }
}

#[test]
fn all_errors_are_told_at_once() {
    let errors = load(
        r#"
        lissten = "127.0.0.1:1"
        drain = "soon"
        [defaults]
        wait = "1h"
        [[route]]
        match = "/a"
        lease = "1ms"
        [[route]]
        match = "b"
        colour = "red"
        "#,
    )
    .unwrap_err();
    let settings: Vec<_> = errors.iter().map(ConfigError::setting).collect();
    assert_eq!(settings, ["lissten", "route[1].colour", "drain", "route[1].match"]);

    // What only shows in types is told once the types are there, and once for all routes.
    let errors = load(
        "[defaults]\nwait = \"1h\"\n[[route]]\nmatch = \"/a\"\nlease = \"1ms\"\n\
         [[route]]\nmatch = \"/b\"",
    )
    .unwrap_err();
    let settings: Vec<_> = errors.iter().map(ConfigError::setting).collect();
    assert_eq!(settings, ["route[0].lease", "defaults.wait"]);
}

#[test]
fn an_error_of_the_defaults_is_not_repeated_for_each_route() {
    let errors =
        load("[defaults]\nwait = \"soon\"\n[[route]]\nmatch = \"/a\"\n[[route]]\nmatch = \"/b\"")
            .unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
}

#[test]
fn a_route_that_protects_nothing_needs_no_outcome() {
    assert!(load("[[route]]\nmatch = \"/x\"\nkey = \"off\"\nunknown = \"probe\"").is_ok());
}

/// Lines that settings are made of, right and wrong ones.
fn line() -> impl Strategy<Value = String> {
    let right = prop::sample::select(vec![
        "drain = \"1h30m\"",
        "secret = \"s\"",
        "store = \"redis://u:p@h\"",
        "[defaults]",
        "key_source = \"content\"",
        "failures = { \"5xx\" = \"keep\" }",
        "retention = \"never\"",
        "[[route]]\nmatch = \"/x/**\"",
        "[[route]]\nmatch = \"/*/y\"\nkey_source = \"body:/a\"",
        "[admin]\ntoken = \"t\"",
    ]);
    let setting = prop::sample::select(vec![
        "upstream",
        "listen",
        "store",
        "failures",
        "methods",
        "match",
        "key_source",
        "retention",
        "request_body_max",
        "a.b",
        "\"\"",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec!["[[\"POST\"], 5]", "1979-05-27", "-9223372036854775808", "nan"])
            .prop_map(str::to_owned),
        "[a-z0-9:/~.$%{}-]{0,20}".prop_map(|text| format!("{text:?}")),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
    ];
    let section = prop::sample::select(vec!["[route.x]", "[[admin]]", "[tls.cert]", "[[[", "="]);
    prop_oneof![
        12 => right.prop_map(str::to_owned),
        1 => (setting, value).prop_map(|(setting, value)| format!("{setting} = {value}")),
        1 => section.prop_map(str::to_owned),
    ]
}

proptest! {
    /// What is refused is refused with a sentence for each fault, and what is taken prints and
    /// reads back.
    #[test]
    fn any_text_is_read_or_refused(lines in prop::collection::vec(line(), 0..8)) {
        let text = lines.join("\n");
        match load(&text) {
            Ok(config) => {
                let layers = Sources::default().layers_over(&format!("{UPSTREAM}{text}")).unwrap();
                let printed = print::print(&layers);
                // A secret comes back as the variable it belongs into.
                let printed = printed
                    .replace("${HAPAX_SECRET}", "x")
                    .replace("${HAPAX_ADMIN_TOKEN}", "x");
                let again = Config::from_toml(&printed).map(|config| format!("{config:?}"));
                prop_assert_eq!(again, Ok(format!("{config:?}")));
            }
            Err(errors) => {
                prop_assert!(errors.iter().count() > 0);
                for error in errors.iter() {
                    prop_assert!(!error.to_string().contains('\n'), "{}", error);
                }
            }
        }
    }
}

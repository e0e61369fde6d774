//! The answer that an application hands to `hapax.commit`: written in SQL, read by the codec.

use hapax::{Field, Kept, RecordedResponse};
use hapax_postgres::PgStore;

use crate::application::Application;
use crate::scene::{TERM, grant, hold, kept, transactional};
use crate::support::{Place, server_url};

struct Scene {
    application: Application,
    node: std::sync::Arc<PgStore>,
    number: u16,
    place: Place,
}

impl Scene {
    async fn new(server: &str) -> Self {
        let place = Place::take(server).await;
        let node = place.open(place.options()).await;
        let application = Application::start(server, &place.schema).await;
        Self { application, node, number: 0, place }
    }

    /// What retries get after a commit with these arguments; the SQLSTATE where it raises.
    async fn kept(&mut self, arguments: &str) -> Result<Kept, &'static str> {
        self.number += 1;
        let lease = grant(&self.node, &transactional(self.number, 1)).await;
        let done = self.application.transact("READ COMMITTED", &lease, arguments).await;
        assert_eq!(self.application.effects(lease.id).await.len(), usize::from(done.is_ok()));
        done?;
        self.place.clock.advance(TERM);
        Ok(kept(hold(&self.node, &transactional(self.number, 2)).await))
    }
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> Kept {
    Kept::Response(RecordedResponse {
        body: body.to_vec().into(),
        headers: headers.iter().map(|(name, value)| Field::new(*name, *value)).collect(),
        status,
        trailers: Vec::new(),
    })
}

fn not_retained(status: u16, location: Option<&'static str>) -> Kept {
    Kept::NotRetained { location: location.map(Into::into), status }
}

#[tokio::test]
async fn b03_an_answer_is_kept_as_it_was_told() {
    let Some(server) = server_url() else { return };
    let mut scene = Scene::new(&server).await;
    let cases = [
        ("", not_retained(0, None)),
        ("NULL", not_retained(0, None)),
        ("201", not_retained(201, None)),
        ("204, 'null'", not_retained(204, None)),
        ("200, '{}'", answer(200, &[], b"")),
        ("299, '[]', ''", answer(299, &[], b"")),
        ("201, NULL, 'yes'", answer(201, &[], b"yes")),
        ("599, '{}', E'\\\\000\\\\377'::bytea", answer(599, &[], b"\x00\xff")),
        // A literal is text, not an escaped form of bytes; what JSON has of backslashes is safe.
        (r#"200, NULL, '{"a":"\\x\n"}'"#, answer(200, &[], br#"{"a":"\\x\n"}"#)),
        ("200, NULL, body => '\\x41'", answer(200, &[], b"\\x41")),
        ("200, body => 'named'", answer(200, &[], b"named")),
    ];
    for (arguments, expected) in cases {
        assert_eq!(scene.kept(arguments).await, Ok(expected), "{arguments}");
    }
}

#[tokio::test]
async fn b03_headers_are_told_as_pairs_or_as_an_object() {
    let Some(server) = server_url() else { return };
    let mut scene = Scene::new(&server).await;
    let pairs =
        r#"201, '[["Location", "/p/1"], ["X-Part", "b"], ["x-part", "a"], ["Empty", ""]]', 'x'"#;
    let expected = [("location", "/p/1"), ("x-part", "b"), ("x-part", "a"), ("empty", "")];
    assert_eq!(scene.kept(pairs).await, Ok(answer(201, &expected, b"x")));
    let object =
        r#"201, '{"Content-Type": "text/plain", "X-Part": ["b", "a"], "X-Count": 2}', 'x'"#;
    let Ok(Kept::Response(kept)) = scene.kept(object).await else { panic!("it is kept") };
    let mut headers = kept.headers;
    // An object has no order but among the values of one name.
    headers.sort_by(|one, other| one.name.cmp(&other.name));
    let expected =
        [("content-type", "text/plain"), ("x-count", "2"), ("x-part", "b"), ("x-part", "a")];
    assert_eq!(headers, expected.map(|(name, value)| Field::new(name, value)));
}

/// REP-03, REP-05, REP-06: the lines that the gateway does not keep of what it hears itself.
#[tokio::test]
async fn b03_lines_of_one_exchange_are_not_kept() {
    let Some(server) = server_url() else { return };
    let mut scene = Scene::new(&server).await;
    let names = [
        "Age",
        "Alt-Svc",
        "Connection",
        "Content-Length",
        "Hapax-Outcome",
        "Idempotency-Expires",
        "Idempotent-Replayed",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Connection",
        "RateLimit",
        "RateLimit-Policy",
        "Server-Timing",
        "Set-Cookie",
        "TE",
        "Trailer",
        "Traceresponse",
        "Transfer-Encoding",
        "Upgrade",
        "WWW-Authenticate",
        "X-Hop",
        "X-RateLimit-Limit",
    ];
    let lines: Vec<String> =
        names.iter().map(|name| format!(r#""{name}": "close, X-Hop""#)).collect();
    let arguments = format!(r#"200, '{{"ETag": "\"1\"", {}}}', ''"#, lines.join(", "));
    assert_eq!(scene.kept(&arguments).await, Ok(answer(200, &[("etag", "\"1\"")], b"")));
}

/// REP-12: the effect is worth more than its answer.
#[tokio::test]
async fn b03_an_answer_that_is_too_large_is_not_retained_and_undoes_nothing() {
    let Some(server) = server_url() else { return };
    let mut scene = Scene::new(&server).await;
    let mebibyte = 1 << 20;
    let headers = r#"'{"Location": "/p/1"}'"#;
    let fits = format!("201, {headers}, repeat('a', {mebibyte})");
    let expected = answer(201, &[("location", "/p/1")], &vec![b'a'; mebibyte]);
    assert_eq!(scene.kept(&fits).await, Ok(expected));
    let large = [
        format!("201, {headers}, repeat('a', {} + 1)", mebibyte),
        "201, jsonb_build_object('Location', '/p/1', 'x-a', repeat('a', 16384)), 'x'".to_owned(),
        format!(
            "201, (SELECT jsonb_object_agg('x-' || n, n) FROM generate_series(1, 64) AS n) || {headers}, 'x'"
        ),
    ];
    for arguments in large {
        assert_eq!(scene.kept(&arguments).await, Ok(not_retained(201, Some("/p/1"))));
    }
}

/// What the application itself could not have sent is an error, and the effect is undone.
#[tokio::test]
async fn b03_an_answer_that_could_not_be_sent_raises() {
    let Some(server) = server_url() else { return };
    let mut scene = Scene::new(&server).await;
    let wrong = [
        "0",
        "99",
        "100",
        "199",
        "600",
        "-1",
        "NULL, '{}'",
        "NULL, NULL, 'body'",
        "204, NULL, 'body'",
        "304, '{}', 'body'",
        "200, '\"a\"'",
        "200, '7'",
        "200, 'true'",
        "200, '[\"a\", \"b\"]'",
        "200, '[[\"a\"]]'",
        "200, '[[\"a\", \"b\", \"c\"]]'",
        "200, '[[null, \"b\"]]'",
        "200, '{\"a\": null}'",
        "200, '{\"a\": {}}'",
        "200, '{\"a\": [[]]}'",
        "200, '{\"a b\": \"c\"}'",
        "200, '{\"\": \"c\"}'",
        "200, '{\"a:\": \"c\"}'",
        "200, '{\"a\": \"b\\r\\nset-cookie: c\"}'",
        "200, '{\"a\\n\": \"b\"}'",
    ];
    for arguments in wrong {
        assert_eq!(scene.kept(arguments).await, Err("HX013"), "{arguments}");
    }
}

/// Sessions of applications have settings of their own.
#[tokio::test]
async fn b03_settings_of_the_session_change_nothing() {
    let Some(server) = server_url() else { return };
    let mut scene = Scene::new(&server).await;
    let settings = "SET standard_conforming_strings = off; SET bytea_output = 'escape'; \
                    SET client_encoding = 'LATIN1'; SET search_path = ''; SET DateStyle = 'German'; \
                    SET enable_indexscan = off; SET backslash_quote = off; SET escape_string_warning = on";
    assert_eq!(scene.application.run(settings).await, Ok(()));
    let told = scene.kept(r#"201, '{"a": "b"}', '{"c": 1}'"#).await;
    assert_eq!(told, Ok(answer(201, &[("a", "b")], br#"{"c": 1}"#)));
}

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::cli::{Command, parse};

/// An admin listener that answers by a script and remembers what it was asked.
struct Admin {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Debug, Clone)]
struct Asked {
    authorization: Option<String>,
    body: String,
    host: String,
    line: String,
}

impl Admin {
    async fn answering(answers: &[(u16, Value)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, answers) = (Arc::clone(&heard), Arc::clone(&answers));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (heard, answers) = (Arc::clone(&heard), Arc::clone(&answers));
                    async move {
                        let asked = Asked::from(request).await;
                        heard.lock().unwrap().push(asked);
                        let (status, body) = answers.lock().unwrap().pop_front().unwrap();
                        let body = if body.is_null() { String::new() } else { body.to_string() };
                        Response::builder().status(status).body(Full::new(Bytes::from(body)))
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        });
        Self { address, asked }
    }

    /// `hapax keys ...` against this listener.
    async fn keys(&self, words: &[&str]) -> Result<String, KeysError> {
        run_words(&[words, &["--admin", &self.address]].concat(), &|_| None).await
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Asked {
    async fn from(request: Request<Incoming>) -> Self {
        let text = |name: &str| {
            request.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let line = format!("{} {}", request.method(), request.uri());
        let (authorization, host) = (text("authorization"), text("host").unwrap());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Self { authorization, body: String::from_utf8(body.to_vec()).unwrap(), host, line }
    }
}

async fn run_words(
    words: &[&str],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, KeysError> {
    let line = ["hapax", "keys"].iter().chain(words).map(OsString::from);
    let Command::Keys(arguments) = parse(line).unwrap().command else { panic!("keys") };
    run(&arguments, environment).await
}

fn record(id: &str) -> Value {
    json!({"id": id, "state": "in_doubt", "route": "/v1/payments/**", "attempts": 1,
           "created_at": "2026-01-02T03:04:05Z", "expires_at": null})
}

#[tokio::test]
async fn list_goes_through_the_pages_and_shows_a_table() {
    let admin = Admin::answering(&[
        (200, json!({"records": [record("a"), record("b")], "cursor": "2/x"})),
        (200, json!({"records": [record("c")], "cursor": null})),
    ])
    .await;
    let shown = admin.keys(&["list", "--state", "in_doubt"]).await.unwrap();
    assert_eq!(
        shown,
        "STATE     ROUTE            ATTEMPTS  CREATED               EXPIRES  ID\n\
         in_doubt  /v1/payments/**  1         2026-01-02T03:04:05Z  -        a\n\
         in_doubt  /v1/payments/**  1         2026-01-02T03:04:05Z  -        b\n\
         in_doubt  /v1/payments/**  1         2026-01-02T03:04:05Z  -        c\n"
    );
    let lines: Vec<_> = admin.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(
        lines,
        ["GET /api/records?state=in_doubt", "GET /api/records?state=in_doubt&cursor=2%2Fx"]
    );
    assert_eq!(admin.asked()[0].host, admin.address);
}

#[tokio::test]
async fn list_stops_at_its_limit_and_says_so() {
    let page = json!({"records": [record("a"), record("b")], "cursor": "next"});
    let admin = Admin::answering(&[(200, page.clone()), (200, page)]).await;
    let shown = admin.keys(&["list", "--limit", "1"]).await.unwrap();
    assert_eq!(shown.lines().count(), 3);
    assert!(shown.ends_with("there are more: raise --limit, or narrow with --state or --scope\n"));
    let json = admin.keys(&["list", "--limit", "2", "--format", "json"]).await.unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["records"].as_array().unwrap().len(), 2);
    assert_eq!((&json["cursor"], &json["more"]), (&json!("next"), &json!(true)));
}

#[tokio::test]
async fn list_ends_when_the_pages_lead_nowhere() {
    let turning = json!({"records": [record("a")], "cursor": "same"});
    let admin = Admin::answering(&[(200, turning.clone()), (200, turning)]).await;
    assert_eq!(admin.keys(&["list"]).await.unwrap().lines().count(), 3);
    let admin = Admin::answering(&[(200, json!({"records": [], "cursor": "more"}))]).await;
    assert_eq!(admin.keys(&["list"]).await.unwrap(), "no records\n");
}

/// SEC-04: neither keys nor credentials stand in an address, where lists of requests keep them.
#[tokio::test]
async fn sec_04_show_finds_a_record_by_what_the_caller_sent() {
    let admin = Admin::answering(&[(200, record("a")), (200, record("b"))]).await;
    let shown = admin
        .keys(&["show", "--key", "k-1", "--principal", "Bearer t", "--host", "api.example"])
        .await
        .unwrap();
    assert!(shown.starts_with("id          a\nstate       in_doubt\n"), "{shown}");
    let asked = &admin.asked()[0];
    assert_eq!(asked.line, "POST /api/records/find");
    assert_eq!(asked.body, r#"{"key":"k-1","authorization":"Bearer t","authority":"api.example"}"#);
    admin.keys(&["show", "--key", "k-1"]).await.unwrap();
    assert_eq!(admin.asked()[1].body, r#"{"key":"k-1"}"#);
}

#[tokio::test]
async fn show_takes_an_id_as_one_segment() {
    let admin = Admin::answering(&[(200, record("a"))]).await;
    admin.keys(&["show", "../x?y#z"]).await.unwrap();
    assert_eq!(admin.asked()[0].line, "GET /api/records/..%2Fx%3Fy%23z");
}

#[tokio::test]
async fn settle_says_how_it_ended() {
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), b"{\"id\":7}").unwrap();
    let file = format!("@{}", body.path().display());
    let admin = Admin::answering(&[(200, json!({})), (200, json!({})), (204, Value::Null)]).await;
    let executed = ["settle", "a", "--outcome", "executed"];
    let answer = ["--status", "201", "--header", "Location: /x", "--body", &file];
    let said = admin.keys(&[&executed[..], &answer].concat()).await.unwrap();
    assert_eq!(said, "settled a as executed: retries get the answer given here\n");
    admin.keys(&executed).await.unwrap();
    admin.keys(&["settle", "a", "--outcome", "not-executed"]).await.unwrap();
    let bodies: Vec<_> = admin.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(
        bodies,
        [
            r#"{"outcome":"executed","status":201,"headers":[["location","/x"]],"body_base64":"eyJpZCI6N30="}"#,
            r#"{"outcome":"executed","status":200,"headers":[],"body_base64":""}"#,
            r#"{"outcome":"not-executed"}"#,
        ]
    );
    assert_eq!(admin.asked()[0].line, "POST /api/records/a/settle");
}

#[tokio::test]
async fn settle_takes_no_answer_for_what_did_not_happen() {
    let admin = Admin::answering(&[]).await;
    for answer in [["--status", "200"], ["--header", "a: b"], ["--body", ""]] {
        let words = [&["settle", "a", "--outcome", "not-executed"][..], &answer].concat();
        let error = admin.keys(&words).await.unwrap_err();
        assert!(matches!(error, KeysError::AnswerWithoutEffect), "{error}");
        assert_eq!(error.exit_code(), 64);
    }
    let words = ["settle", "a", "--outcome", "executed", "--body", "@no/such"];
    let error = admin.keys(&words).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "--body = \"@no/such\" cannot be read (No such file or directory (os error 2)); name a \
         file that can"
    );
    assert!(admin.asked().is_empty());
}

#[tokio::test]
async fn purge_forces_only_when_told() {
    let admin = Admin::answering(&[(204, Value::Null), (204, Value::Null)]).await;
    assert_eq!(admin.keys(&["purge", "a"]).await.unwrap(), "purged a\n");
    admin.keys(&["purge", "a", "--force"]).await.unwrap();
    let lines: Vec<_> = admin.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, ["DELETE /api/records/a", "DELETE /api/records/a?force=true"]);
}

#[tokio::test]
async fn the_token_comes_from_the_flag_or_the_variable() {
    let admin = Admin::answering(&vec![(200, json!({"records": []})); 3]).await;
    let environment = |name: &str| match name {
        "HAPAX_ADMIN" => Some(format!("http://{}/", admin.address)),
        "HAPAX_ADMIN_TOKEN" => Some("variable".to_owned()),
        _ => None,
    };
    run_words(&["list"], &environment).await.unwrap();
    run_words(&["list", "--token", "flag"], &environment).await.unwrap();
    admin.keys(&["list"]).await.unwrap();
    let shown: Vec<_> = admin.asked().into_iter().map(|asked| asked.authorization).collect();
    assert_eq!(shown, [Some("Bearer variable".to_owned()), Some("Bearer flag".to_owned()), None]);
}

#[tokio::test]
async fn refusals_are_told_with_their_exit_code() {
    for (status, body, code, said) in [
        (404, json!({"detail": "no such record"}), 1, "the gateway refused: 404 no such record"),
        (409, json!({"title": "superseded"}), 1, "the gateway refused: 409 superseded"),
        (409, Value::Null, 1, "the gateway refused: 409 Conflict"),
        (401, Value::Null, 78, "does not let us in (401 Unauthorized); give its token with"),
        (403, json!({"error": "foreign\nhost"}), 78, "(403 foreign\u{fffd}host)"),
        (503, json!({"detail": "store"}), 69, "does not answer (503 store); start the gateway"),
        (200, json!({"hello": "world"}), 69, "is not an admin listener (it has no list of"),
    ] {
        let admin = Admin::answering(&[(status, body)]).await;
        let error = admin.keys(&["list"]).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.exit_code(), code, "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_an_unavailable_service() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let error = run_words(&["list", "--admin", &address], &|_| None).await.unwrap_err();
    assert_eq!(error.exit_code(), 69);
    let sentence = error.to_string();
    let start = format!("the admin listener at {address} does not answer (");
    assert!(sentence.starts_with(&start) && !sentence.contains('\n'), "{sentence}");
}

#[tokio::test]
async fn an_address_that_is_none_is_bad_usage() {
    for admin in ["https://h:1", "http://", "h:port", "http://u@h", "http://h/api", "a b"] {
        let error = run_words(&["list", "--admin", admin], &|_| None).await.unwrap_err();
        assert!(matches!(error, KeysError::BadAddress(_)), "{admin}: {error}");
        assert_eq!(error.exit_code(), 64);
    }
    let error = run_words(&["list", "--token", "a\nb"], &|_| None).await.unwrap_err();
    assert!(matches!(error, KeysError::BadToken), "{error}");
}

/// SEC-01: what stands in a record does not act on the terminal.
#[test]
fn sec_01_control_characters_are_not_printed() {
    let record = json!({"id": "a\u{1b}[2J", "route": "x\ny", "deep": {"k": "\u{7}"}});
    let shown = show::members(&record);
    assert_eq!(shown.lines().count(), 3);
    assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
}

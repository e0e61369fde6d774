//! API mode against a small API: the correct one passes, each defect is caught by its cases, and
//! the command line keeps what it promises.

use std::collections::HashMap;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use hapax_check::{CheckArgs, Report, Verdict};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    check: CheckArgs,
}

/// What is wrong with the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// Looks for the key first and stores it after the work.
    CheckThenAct,
    CutsKeys,
    EmptyKeysRun,
    FoldsCase,
    IgnoresKeys,
    /// Does the work as soon as the head is there.
    ActsOnHead,
    KeepsConflict,
    MalformedRuns,
    MatchesPrefix,
    MismatchPoisons,
    None,
    NoFingerprint,
    QuotedDiffers,
    TwoKeysRun,
    Unscoped,
}

/// A payload and its answer; none while the work is under way.
struct Kept(Bytes, Option<(u16, String)>);

struct Api {
    defect: Defect,
    count: Mutex<u64>,
    /// What was done at the head, by caller and key.
    early: Mutex<HashMap<String, (u16, String)>>,
    /// By caller and key.
    kept: Mutex<HashMap<String, Kept>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Api {
    /// The key, or the reason to refuse the request.
    fn key(&self, headers: &HeaderMap) -> Result<Option<String>, &'static str> {
        let lines: Vec<_> = headers.get_all("idempotency-key").iter().collect();
        let line = match lines.as_slice() {
            [] => return Ok(None),
            [line] => line,
            [line, ..] if self.defect == Defect::TwoKeysRun => line,
            [_, ..] => return Err("two keys"),
        };
        let lenient = self.defect == Defect::MalformedRuns;
        let text = match line.to_str() {
            Ok(text) => text.to_owned(),
            Err(_) if lenient => line.as_bytes().escape_ascii().to_string(),
            Err(_) => return Err("no ASCII"),
        };
        let inner = match text.strip_prefix('"') {
            Some(rest) => match rest.strip_suffix('"') {
                Some(inner) if !inner.contains('"') => inner.to_owned(),
                Some(_) | None if lenient => text.clone(),
                Some(_) | None => return Err("bad quotes"),
            },
            None if text.contains([' ', '"']) && !lenient => return Err("bad bare key"),
            None if self.defect == Defect::QuotedDiffers => format!("bare {text}"),
            None => text,
        };
        if inner.trim().is_empty() || inner == "bare " {
            return if self.defect == Defect::EmptyKeysRun { Ok(None) } else { Err("empty") };
        }
        Ok(Some(match self.defect {
            Defect::CutsKeys => inner.chars().take(50).collect(),
            Defect::FoldsCase => inner.to_lowercase(),
            _ => inner,
        }))
    }

    fn work(&self) -> (u16, String) {
        let mut count = lock(&self.count);
        *count += 1;
        (201, format!("{{\"order\":{count}}}"))
    }

    async fn order(&self, request: Request<Incoming>) -> (u16, String, bool) {
        let key = match self.key(request.headers()) {
            Ok(key) => key,
            Err(reason) => return (400, reason.to_owned(), false),
        };
        let caller = request.headers().get("authorization").cloned();
        let id = format!("{:?} {key:?}", caller.filter(|_| self.defect != Defect::Unscoped));
        // Once for each key: this defect is not that of acting twice.
        let early = (self.defect == Defect::ActsOnHead && key.is_some())
            .then(|| lock(&self.early).entry(id.clone()).or_insert_with(|| self.work()).clone());
        let Ok(body) = request.into_body().collect().await else {
            return (400, "cut".to_owned(), false);
        };
        let body = body.to_bytes();
        let (Some(key), false) = (key, self.defect == Defect::IgnoresKeys) else {
            let (status, text) = early.unwrap_or_else(|| self.work());
            return (status, text, false);
        };
        {
            // Looked up and claimed in one breath: nobody comes between.
            let mut kept = lock(&self.kept);
            if let Some(found) = self.find(&mut kept, &id, &body, key.starts_with(['*', '%'])) {
                return found;
            }
            if self.defect != Defect::CheckThenAct {
                kept.insert(id.clone(), Kept(body.clone(), None));
            }
        }
        // Where the defect shows while the work is under way, others must come in time to see it,
        // also on a busy machine.
        let busy = matches!(self.defect, Defect::CheckThenAct | Defect::KeepsConflict);
        tokio::time::sleep(Duration::from_millis(if busy { 250 } else { 30 })).await;
        let answer = early.unwrap_or_else(|| self.work());
        let mut kept = lock(&self.kept);
        let before = kept.get(&id).and_then(|Kept(_, answer)| answer.clone());
        if before.is_none() || self.defect != Defect::KeepsConflict {
            kept.insert(id, Kept(body, Some(answer.clone())));
        }
        (answer.0, answer.1, false)
    }

    fn find(
        &self,
        kept: &mut HashMap<String, Kept>,
        id: &str,
        body: &Bytes,
        pattern: bool,
    ) -> Option<(u16, String, bool)> {
        if pattern && self.defect == Defect::MatchesPrefix {
            let answer = kept.values().find_map(|Kept(_, answer)| answer.clone())?;
            return Some((answer.0, answer.1, true));
        }
        let Kept(payload, answer) = kept.get_mut(id)?;
        if payload != body && self.defect != Defect::NoFingerprint {
            if self.defect == Defect::MismatchPoisons {
                *payload = body.clone();
            }
            return Some((422, "another payload".to_owned(), false));
        }
        match answer {
            Some((status, text)) => Some((*status, text.clone(), true)),
            None => {
                let conflict = (409, "{\"still\":\"running\"}".to_owned());
                if self.defect == Defect::KeepsConflict {
                    *answer = Some(conflict.clone());
                }
                Some((conflict.0, conflict.1, false))
            }
        }
    }
}

/// Starts the API on a free port.
async fn start(defect: Defect) -> (String, Arc<Api>) {
    let api = Arc::new(Api {
        defect,
        count: Mutex::default(),
        early: Mutex::default(),
        kept: Mutex::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shared = api.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let api = shared.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let api = api.clone();
                async move {
                    if request.method() == "GET" {
                        let text = format!("{{\"count\":{}}}", lock(&api.count));
                        let body: Full<Bytes> = Full::from(text);
                        return Ok::<_, hyper::Error>(Response::new(body));
                    }
                    // A hang-up does not end the work.
                    let order = tokio::spawn(async move { api.order(request).await });
                    let (status, text, replayed) =
                        order.await.unwrap_or((500, String::new(), false));
                    let mut response = Response::new(Full::from(text));
                    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
                    if replayed {
                        let mark = http::HeaderValue::from_static("true");
                        response.headers_mut().insert("idempotent-replayed", mark);
                    }
                    Ok(response)
                }
            });
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    (format!("http://{address}/orders"), api)
}

fn measure(defect: Defect, counted: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (url, _api) = start(defect).await;
        let mut words = vec!["check", "--url", &url, "--body", "{\"item\":\"chair\",\"amount\":1}"];
        // The time is a bound for hanging only.
        words.extend(["--limit", "500", "--header", "Authorization: Bearer one"]);
        words.extend(["--other-header", "Authorization: Bearer two"]);
        if counted {
            words.extend(["--effects-url", &url]);
        }
        let args = Cli::parse_from(words).check;
        Box::pin(hapax_check::measure(&args, |_, _, _| {})).await.expect("a report")
    })
}

fn assert_caught(defect: Defect, expected: &[&str]) {
    for counted in [true, false] {
        let report = measure(defect, counted);
        let failed = report.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
        let mut failed: Vec<&str> = failed.map(|finding| finding.case.id).collect();
        failed.sort_unstable();
        let text = report.render(hapax_check::Format::Text);
        // What only a count can show is not to be seen without one.
        let expected: Vec<&str> = expected
            .iter()
            .filter(|id| counted || **id != "EXE-06-api" || defect != Defect::ActsOnHead)
            .copied()
            .collect();
        assert_eq!(failed, expected, "{defect:?}, effects counted: {counted}: {text}");
        assert_eq!(report.exit_code(), u8::from(!expected.is_empty()), "{text}");
        assert!(report.requests_sent.is_some_and(|sent| sent < 200), "{text}");
    }
}

#[test]
fn correct_api_passes_with_and_without_a_count_of_effects() {
    assert_caught(Defect::None, &[]);
    let report = measure(Defect::None, true);
    assert_eq!(report.count(Verdict::Skip), 0, "{}", report.render(hapax_check::Format::Text));
}

#[test]
fn broken_apis_are_caught_by_their_cases() {
    assert_caught(Defect::ActsOnHead, &["EXE-06-api"]);
    assert_caught(Defect::CheckThenAct, &["EXE-04-api"]);
    assert_caught(Defect::CutsKeys, &["KEY-09-api"]);
    assert_caught(Defect::EmptyKeysRun, &["KEY-07-api"]);
    assert_caught(Defect::FoldsCase, &["KEY-10-api"]);
    assert_caught(Defect::KeepsConflict, &["CON-02-api"]);
    assert_caught(Defect::MalformedRuns, &["KEY-05-api"]);
    assert_caught(Defect::MatchesPrefix, &["SEC-01-api"]);
    assert_caught(Defect::MismatchPoisons, &["FPR-02-api"]);
    assert_caught(Defect::NoFingerprint, &["FPR-01-api"]);
    assert_caught(Defect::QuotedDiffers, &["KEY-04-api"]);
    assert_caught(Defect::TwoKeysRun, &["KEY-08-api"]);
    assert_caught(Defect::Unscoped, &["SCO-01-api"]);
    // Without any protection nothing else can be judged.
    assert_caught(Defect::IgnoresKeys, &["REP-01-api"]);
}

fn checker(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hapax-check")).args(words).output().expect("the checker")
}

#[test]
fn list_needs_no_target_and_has_the_shape_of_the_report() {
    let output = checker(&["--list", "--format", "json"]);
    assert!(output.status.success());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    let cases = json["cases"].as_array().expect("cases");
    assert!(cases.len() >= 90);
    for case in cases {
        assert!(["core", "optional", "profile"].contains(&case["kind"].as_str().expect("kind")));
        assert!(case["id"].is_string() && case["title"].is_string());
        assert!(case.get("verdict").is_none());
    }
}

#[test]
fn nothing_to_measure_is_exit_code_two() {
    let silent = checker(&["--url", "http://127.0.0.1:9/none"]);
    assert_eq!(silent.status.code(), Some(2), "{silent:?}");
    assert_eq!(checker(&[]).status.code(), Some(2));
    assert_eq!(checker(&["--bogus"]).status.code(), Some(2));
    assert_eq!(checker(&["--list", "--only", "NO-01"]).status.code(), Some(2));
}

#[test]
fn hosts_beyond_this_machine_are_not_sent_to_unasked() {
    // The name does not resolve; the refusal comes before anything is looked up.
    let output = checker(&["--url", "https://api.check.invalid/orders"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("--yes"), "{text}");
}

#[test]
fn json_report_stands_alone_on_standard_output() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (url, _api) = start(Defect::NoFingerprint).await;
        let words = ["--url", &url, "--body", "{\"a\":1}", "--format", "json", "--safe"];
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let running = tokio::task::spawn_blocking(move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            checker(&words)
        });
        let output = running.await.expect("the checker");
        assert_eq!(output.status.code(), Some(1));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
        assert_eq!(json["summary"]["fail"], 1, "{json}");
        let failed = json["cases"]
            .as_array()
            .and_then(|cases| cases.iter().find(|case| case["verdict"] == "fail").cloned());
        let failed = failed.expect("a failed case");
        assert_eq!(failed["id"], "FPR-01-api");
        assert!(!failed["exchange"].as_array().expect("what was sent").is_empty());
    });
}

#[test]
fn layer_config_is_printed() {
    let output = checker(&["--layer-config"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("[[route]]\nmatch = \"/check/plain/**\""), "{text}");
}

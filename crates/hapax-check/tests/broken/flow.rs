//! The life of a request in the reference layer.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::forward::{self, Lost};
use super::identity::{self, unhex};
use super::store::{Claimed, Store, now_ms};
use super::{Defect, Failures, Rules};

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

pub(crate) struct Layer {
    upstream: String,
    store: Store,
    defect: Defect,
    running: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
    /// Keys of anyone.
    seen: Mutex<HashSet<String>>,
    /// Outcomes that waiters of this process share.
    outcomes: Mutex<HashMap<String, watch::Receiver<Option<Value>>>>,
}

impl Layer {
    pub(crate) fn new(upstream: String, store: Store, defect: Defect) -> Self {
        let running = AtomicUsize::new(0);
        let turn = tokio::sync::Mutex::default();
        let (seen, outcomes) = (Mutex::default(), Mutex::default());
        Self { upstream, store, defect, running, turn, seen, outcomes }
    }

    pub(crate) fn idle(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }

    pub(crate) async fn handle(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        if path == "/metrics" && self.defect == Defect::AdminOnData {
            return whole(200, "requests_total 1".into());
        }
        if path == "/.well-known/idempotency" && self.defect != Defect::NoPolicy {
            let policy = json!({"lifetime": "PT24H", "offers": ["outcome-header", "re-execute"]});
            return whole(200, policy.to_string().into());
        }
        if path.starts_with("/.well-known/idempotency/problems/") {
            return whole(200, "what this problem means".into());
        }
        let rules = Rules::of(&path);
        let method = request.method().as_str();
        let guarded =
            matches!(method, "POST" | "PATCH") || (rules.put && matches!(method, "PUT" | "DELETE"));
        let guarded = guarded || self.defect == Defect::ProtectsAll;
        if guarded && !rules.off {
            match self.admit(&request, &rules) {
                Err(refusal) => return refusal,
                Ok(Some(key)) => {
                    let used = !self.seen.lock().unwrap().insert(key.clone());
                    let mut answer = self.protected(request, &rules, key).await;
                    if used && self.defect == Defect::TellsStrangers {
                        let known = HeaderValue::from_static("1");
                        answer.headers_mut().insert("x-known", known);
                    }
                    return answer;
                }
                Ok(None) => {}
            }
        }
        match forward::stream(&self.upstream, request, self.defect).await {
            Ok(answer) => answer,
            Err(error) if error.contains("host") => self.problem(400, "invalid-request"),
            Err(_) => self.problem(502, "upstream-unreachable"),
        }
    }

    /// The key of a request that is to be protected, judged on its head alone.
    fn admit(&self, request: &Request<Incoming>, rules: &Rules) -> Result<Option<String>, Answer> {
        let (parts, ()) = {
            let mut head = Request::new(());
            *head.method_mut() = request.method().clone();
            *head.uri_mut() = request.uri().clone();
            *head.headers_mut() = request.headers().clone();
            *head.version_mut() = request.version();
            head.into_parts()
        };
        let key = match identity::key(&parts, rules, self.defect) {
            Ok(key) => key,
            Err(_) if self.defect == Defect::MalformedRuns => return Ok(None),
            Err(_) if self.defect == Defect::ReadsFirst => return Ok(Some(String::new())),
            Err(_) => return Err(self.problem(400, "invalid-key")),
        };
        if key.is_none() && rules.required && self.defect == Defect::ReadsFirst {
            return Ok(Some(String::new()));
        }
        if key.is_none() && rules.required {
            return Err(self.problem(400, "missing-key"));
        }
        let hidden = parts.headers.get_all("connection").iter().any(|value| {
            let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
            value.contains("idempotency-key") || value.contains("authorization")
        });
        if hidden && self.defect == Defect::HidesKey {
            return Ok(None);
        }
        if key.is_none() && self.defect == Defect::KeylessKept {
            return Ok(Some("no key".to_owned()));
        }
        let slash = parts.uri.path().to_ascii_lowercase().contains("%2f");
        if key.is_some() && (hidden || slash || identity::record(&parts, "", self.defect).is_err())
        {
            return Err(self.problem(400, "invalid-request"));
        }
        Ok(key)
    }

    async fn protected(
        self: &Arc<Self>,
        request: Request<Incoming>,
        rules: &Rules,
        key: String,
    ) -> Answer {
        let (parts, body) = request.into_parts();
        let length = parts.headers.get("content-length").and_then(|value| value.to_str().ok());
        let length = length.and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
        let limit = match self.defect {
            Defect::NoLimit => usize::MAX,
            _ => rules.body_max,
        };
        if length > limit {
            return self.problem(413, "body-too-large");
        }
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return self.problem(413, "body-too-large");
            }
            Err(_) => return self.problem(400, "invalid-request"),
        };
        if key.is_empty() {
            let missing = parts.headers.get("idempotency-key").is_none();
            return self.problem(400, if missing { "missing-key" } else { "invalid-key" });
        }
        if self.defect == Defect::LogsKeys {
            println!("handling the key {key}");
        }
        let id = identity::record(&parts, &key, self.defect).unwrap();
        let print = identity::fingerprint(&parts, &body, self.defect);
        let deadline = now_ms() + rules.wait_ms;
        // For an owner in another instance, whose answer is told here only if it is kept.
        let mut waited = false;
        loop {
            let shared = self.outcomes.lock().unwrap().get(&id).cloned();
            match self.claim(&id, &print, rules, waited).await {
                Claimed::Granted { attempt, number } => {
                    return self.own(parts, body, id, attempt, number, *rules).await;
                }
                Claimed::Mismatch => {
                    let conflict = self.defect == Defect::ConflictForMismatch;
                    return self.problem(if conflict { 409 } else { 422 }, "key-reused");
                }
                Claimed::Doubt => return self.problem(409, "outcome-unknown"),
                Claimed::Freed => return self.problem(409, "in-progress"),
                Claimed::NotRetained => return self.problem(410, "result-not-retained"),
                Claimed::Replay(record) => return self.replay(&record, &parts),
                Claimed::Running if now_ms() >= deadline && self.defect != Defect::WaitsForEver => {
                    if self.defect == Defect::KeepsConflict {
                        self.store.keep_conflict(&id);
                    }
                    return self.problem(409, "in-progress");
                }
                Claimed::Running => {}
            }
            let left = deadline.saturating_sub(now_ms());
            let Some(mut shared) = shared else {
                tokio::time::sleep(Duration::from_millis(left.min(50))).await;
                waited = self.defect != Defect::WaitersRerun;
                continue;
            };
            // Polling here could find a freed key before its outcome is told.
            let left = Duration::from_millis(left);
            let told = tokio::time::timeout(left, shared.wait_for(Option::is_some)).await;
            if let Ok(Ok(outcome)) = told {
                let freed = |answer: &&Value| {
                    !answer["free"].is_null() && self.defect != Defect::WaitersRerun
                };
                if let Some(answer) = outcome.as_ref().filter(freed) {
                    return self.first(answer);
                }
            }
        }
    }

    /// Claims off the runtime's threads, since the store blocks.
    async fn claim(
        self: &Arc<Self>,
        id: &str,
        print: &str,
        rules: &Rules,
        waited: bool,
    ) -> Claimed {
        let (layer, id, print, rules) = (self.clone(), id.to_owned(), print.to_owned(), *rules);
        let claim = move || layer.store.claim(&id, &print, &rules, waited);
        tokio::task::spawn_blocking(claim).await.unwrap()
    }

    /// Runs the operation as its owner, in a task that outlives the client.
    async fn own(
        self: &Arc<Self>,
        parts: Parts,
        body: Bytes,
        id: String,
        attempt: u64,
        number: u64,
        rules: Rules,
    ) -> Answer {
        self.running.fetch_add(1, Ordering::SeqCst);
        let (told, outcome) = watch::channel(None);
        self.outcomes.lock().unwrap().insert(id.clone(), outcome.clone());
        let layer = self.clone();
        let name = id.clone();
        let task = tokio::spawn(async move {
            let renewing = layer.renewing(&name, attempt, rules);
            let running = layer.run(&parts, body, &name, attempt, number, rules, &told);
            tokio::select! {
                () = renewing => {}
                () = running => {}
            }
            layer.outcomes.lock().unwrap().remove(&name);
            layer.running.fetch_sub(1, Ordering::SeqCst);
        });
        let guard = Abort(task, self.defect == Defect::FreesOnHangUp, self.clone(), id, attempt);
        let mut outcome = outcome;
        let answer = outcome.wait_for(Option::is_some).await.map(|answer| answer.clone());
        guard.disarm();
        match answer {
            Ok(Some(answer)) => self.first(&answer),
            Ok(None) | Err(_) => self.problem(500, "bug"),
        }
    }

    async fn renewing(self: &Arc<Self>, id: &str, attempt: u64, rules: Rules) {
        loop {
            tokio::time::sleep(Duration::from_millis(rules.lease_ms / 3)).await;
            if self.defect != Defect::NoRenewal {
                let (layer, id) = (self.clone(), id.to_owned());
                let renew = move || layer.store.renew(&id, attempt, rules.lease_ms);
                tokio::task::spawn_blocking(renew).await.unwrap();
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a test's helper")]
    async fn run(
        self: &Arc<Self>,
        parts: &Parts,
        body: Bytes,
        id: &str,
        attempt: u64,
        number: u64,
        rules: Rules,
        told: &watch::Sender<Option<Value>>,
    ) {
        let zipped = self.defect == Defect::ZipsForAll;
        let lost_key = self.defect == Defect::LosesKey;
        let request = move || {
            let mut builder = forward::head(parts, self.defect).unwrap();
            let headers = builder.headers_mut().unwrap();
            if !zipped {
                headers.remove("accept-encoding");
            }
            if lost_key {
                headers.remove("idempotency-key");
            }
            headers.insert("hapax-attempt", HeaderValue::from(number));
            builder.body(Full::new(body.clone())).unwrap()
        };
        let calling = async {
            let _alone = match self.defect {
                Defect::SerialKeys => Some(self.turn.lock().await),
                _ => None,
            };
            match forward::call(&self.upstream, request(), self.defect).await {
                Err(Lost::Unknown) if self.defect == Defect::Resends => {
                    forward::call(&self.upstream, request(), self.defect).await
                }
                Ok(came) if self.defect == Defect::FollowsRedirects && redirects(&came) => {
                    forward::call(&self.upstream, request(), self.defect).await
                }
                came => came,
            }
        };
        let mut calling = std::pin::pin!(calling);
        let timeout = Duration::from_millis(rules.timeout_ms);
        let came = match tokio::time::timeout(timeout, &mut calling).await {
            Ok(came) => came,
            Err(_) => {
                let free = self.defect == Defect::TimeoutFrees;
                let state = if free { "released" } else { "doubt" };
                self.settle(id, attempt, json!({"state": state}), rules).await;
                told.send_replace(Some(json!({"problem": 504, "code": "outcome-unknown"})));
                let late = Duration::from_millis(rules.late_ms);
                match tokio::time::timeout(late, &mut calling).await {
                    Ok(came) => came,
                    Err(_) => return,
                }
            }
        };
        let (settlement, answer) = self.judge(came, &rules);
        if self.defect == Defect::KeepsLate && settlement["state"] == "done" {
            told.send_replace(Some(answer));
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.settle(id, attempt, settlement, rules).await;
            return;
        }
        self.settle(id, attempt, settlement, rules).await;
        told.send_replace(Some(answer));
    }

    async fn settle(self: &Arc<Self>, id: &str, attempt: u64, with: Value, rules: Rules) {
        let (layer, id) = (self.clone(), id.to_owned());
        let settle = move || layer.store.settle(&id, attempt, with, &rules);
        tokio::task::spawn_blocking(settle).await.unwrap();
    }

    /// What to keep and what to tell the first client.
    fn judge(&self, came: Result<Value, Lost>, rules: &Rules) -> (Value, Value) {
        let unknown = json!({"problem": 502, "code": "outcome-unknown"});
        let mut answer = match came {
            Err(Lost::NotSent) => {
                let told = json!({"problem": 502, "code": "upstream-unreachable", "free": true});
                return (json!({"state": "released"}), told);
            }
            Err(Lost::Unknown) if self.defect == Defect::LostFrees => {
                return (json!({"state": "released"}), unknown);
            }
            Err(Lost::Unknown) => return (json!({"state": "doubt"}), unknown),
            Ok(answer) => answer,
        };
        if answer["cut"] == true && self.defect == Defect::PassesTruncated {
            return (json!({"state": "doubt"}), answer);
        }
        if answer["cut"] == true && self.defect != Defect::KeepsTruncated {
            return (json!({"state": "doubt"}), unknown);
        }
        let status = answer["status"].as_u64().unwrap();
        let fields = answer["fields"].as_array().unwrap().clone();
        let control = fields.iter().find(|field| field[0] == "hapax-outcome");
        let said = control.map(|field| unhex(field[1].as_str().unwrap()));
        let fields: Vec<Value> =
            fields.into_iter().filter(|field| field[0] != "hapax-outcome").collect();
        answer["fields"] = json!(fields);
        let state = match said.as_deref() {
            Some(b"final") => "done",
            Some(b"release") => "released",
            Some(b"unknown") => "doubt",
            _ => self.verdict(status, &fields, rules),
        };
        answer["expires"] = json!(now_ms() + rules.retention_ms);
        if state == "released" {
            answer["free"] = json!(true);
        }
        let large = unhex(answer["body"].as_str().unwrap()).len() > rules.body_max;
        let mut kept = answer.clone();
        kept["state"] = json!(match (state, large) {
            ("done", true) if self.defect == Defect::RerunsOversized => "released",
            ("done", true) => "large",
            _ => state,
        });
        if large {
            kept["body"] = json!("");
        }
        kept["cookies"] = json!(rules.cookies || self.defect == Defect::ReplaysCookies);
        kept["since"] = json!(now_ms());
        (kept, answer)
    }

    fn verdict(&self, status: u64, fields: &[Value], rules: &Rules) -> &'static str {
        let refused = matches!(status, 401 | 403 | 407 | 408 | 421 | 425 | 429);
        let invited = fields.iter().any(|field| field[0] == "retry-after");
        if self.defect == Defect::KeepsRefusals && refused {
            return "done";
        }
        match self.defect {
            Defect::FreesBadGateway if matches!(status, 502 | 504) => return "released",
            Defect::FreesClientErrors
                if (400..500).contains(&status) && rules.failures == Failures::Standard =>
            {
                return "released";
            }
            Defect::KeepsServerErrors if status == 500 => return "done",
            _ => {}
        }
        match rules.failures {
            Failures::StoreAll => "done",
            Failures::SuccessOnly if status >= 300 => "released",
            Failures::Retry5xx if status >= 500 => "released",
            _ if refused => "released",
            _ if matches!(status, 502 | 504) => "doubt",
            Failures::Strict if status == 503 && !invited => "doubt",
            Failures::Strict if status == 503 => "released",
            Failures::Strict => "done",
            _ if status >= 500 => "released",
            _ => "done",
        }
    }

    /// The first client's answer.
    fn first(&self, answer: &Value) -> Answer {
        if let Some(status) = answer["problem"].as_u64() {
            return self.problem(status as u16, answer["code"].as_str().unwrap());
        }
        let mut response = rebuilt(answer, self.defect);
        if self.defect != Defect::LosesExpires {
            expires(&mut response, answer);
        }
        response
    }

    fn replay(&self, record: &Value, parts: &Parts) -> Answer {
        let mut response = rebuilt(record, self.defect);
        if self.defect == Defect::LosesStatus {
            *response.status_mut() = http::StatusCode::OK;
        }
        if self.defect == Defect::JudgesConditions && parts.headers.contains_key("if-none-match") {
            return whole(304, Bytes::new());
        }
        let headers = response.headers_mut();
        if record["cookies"] != true {
            headers.remove("set-cookie");
        }
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        for name in names {
            let text = name.as_str();
            let exchange = text.contains("ratelimit")
                || ["www-authenticate", "server-timing", "traceresponse", "alt-svc"]
                    .contains(&text);
            let lost = self.defect == Defect::LosesFields && text != "content-type";
            if (exchange && self.defect != Defect::ReplaysExchange) || lost {
                headers.remove(name);
            }
        }
        if self.defect != Defect::Unmarked {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        let since = record["since"].as_u64().unwrap_or_else(now_ms);
        if self.defect == Defect::DropsDate {
            headers.remove("date");
        } else {
            headers.insert("age", HeaderValue::from((now_ms().saturating_sub(since)) / 1000));
        }
        expires(&mut response, record);
        response
    }

    fn problem(&self, status: u16, code: &str) -> Answer {
        let body = json!({
            "type": format!("/.well-known/idempotency/problems/{code}"),
            "title": code,
            "status": status,
            "detail": format!("The reference layer says {code}."),
            "code": code,
        });
        if self.defect == Defect::PlainErrors {
            let mut response = whole(status, format!("error: {code}").into());
            response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
            return response;
        }
        let mut response = whole(status, body.to_string().into());
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/problem+json"));
        headers.insert("cache-control", HeaderValue::from_static("no-store"));
        if status == 409 {
            headers.insert("retry-after", HeaderValue::from_static("1"));
        }
        response
    }
}

/// Aborts the owner when the client's future is dropped: the defect that frees on hang-up.
struct Abort(tokio::task::JoinHandle<()>, bool, Arc<Layer>, String, u64);

impl Abort {
    fn disarm(mut self) {
        self.1 = false;
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        if self.1 {
            self.0.abort();
            let rules = Rules::of("/");
            self.2.store.settle(&self.3, self.4, json!({"state": "released"}), &rules);
            self.2.outcomes.lock().unwrap().remove(&self.3);
        }
    }
}

fn expires(response: &mut Answer, answer: &Value) {
    let at = answer["expires"].as_u64().unwrap_or(0) / 1000;
    response.headers_mut().insert("idempotency-expires", HeaderValue::from(at));
}

fn rebuilt(answer: &Value, defect: Defect) -> Answer {
    let status = answer["status"].as_u64().unwrap() as u16;
    let body = unhex(answer["body"].as_str().unwrap());
    let mut response = whole(status, body.into());
    for field in answer["fields"].as_array().unwrap() {
        let name: HeaderName = field[0].as_str().unwrap().parse().unwrap();
        let value = unhex(field[1].as_str().unwrap());
        let headers = response.headers_mut();
        match headers.get(&name).filter(|_| defect == Defect::JoinsLines) {
            Some(before) => {
                let joined = [before.as_bytes(), b", ", &value].concat();
                headers.insert(name, HeaderValue::from_bytes(&joined).unwrap());
            }
            None => {
                headers.append(name, HeaderValue::from_bytes(&value).unwrap());
            }
        }
    }
    response
}

fn redirects(answer: &Value) -> bool {
    let status = answer["status"].as_u64().unwrap_or(0);
    (300..400).contains(&status)
}

fn whole(status: u16, body: Bytes) -> Answer {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    Response::builder().status(status).body(body).unwrap()
}

//! Operators: what is in doubt is finished or freed, by hand or over the admin listener.

use hapax_tests::{Answer, Connection, Cue, Gateway, Next, Request, Settings, Upstream, respond};
use serde_json::{Value, json};

/// Loses the answer of each key's first arrival.
fn losing() -> Upstream {
    Upstream::start(|arrival, stream| match arrival.number {
        1 => Next::Close,
        number => respond(stream, 201, &[], format!("run {number}").as_bytes()),
    })
}

/// `hapax keys`, which must succeed.
fn keys(gateway: &Gateway, arguments: &[&str]) -> Value {
    let admin = format!("http://{}", gateway.admin().expect("the admin listener is told"));
    let mut all = vec!["keys"];
    all.extend(arguments);
    all.extend(["--admin", &admin, "--format", "json"]);
    let ended = Gateway::command(&all);
    assert_eq!(ended.code, Some(0), "{all:?}: {}", ended.errors);
    serde_json::from_str(&ended.output).expect("it answers in JSON")
}

fn admin(gateway: &Gateway, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let address = gateway.admin().expect("the admin listener is told");
    let mut request = Request::new(method, path).without("Authorization").without("Host");
    request = request.field("Host", &address.to_string());
    if let Some(body) = body {
        request =
            request.field("Content-Type", "application/json").body(body.to_string().as_bytes());
    }
    request.answer(address)
}

fn admin_json(gateway: &Gateway, path: &str) -> Value {
    let answer = admin(gateway, "GET", path, None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    serde_json::from_slice(&answer.body).expect("it answers in JSON")
}

fn only_doubt(gateway: &Gateway) -> String {
    let listed = keys(gateway, &["list", "--state", "in_doubt"]);
    let records = listed["records"].as_array().unwrap();
    assert_eq!(records.len(), 1, "{listed}");
    records[0]["id"].as_str().unwrap().to_owned()
}

/// B01: the command line frees a key that a crash left in doubt, and the retry runs.
#[test]
fn keys_settle_frees_a_key_left_in_doubt_by_a_kill() {
    let upstream = losing();
    let settings = Settings::new(&upstream.url());
    let gateway = settings.start();
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(&Request::payment("freed").bytes()).unwrap();
    upstream.await_arrivals("freed", 1);
    gateway.kill();
    let gateway = settings.start();
    assert_eq!(Request::payment("freed").answer(gateway.address()).status, 409);
    let id = only_doubt(&gateway);
    let shown = keys(&gateway, &["show", &id]);
    assert_eq!(shown["state"], "in_doubt", "{shown}");
    keys(&gateway, &["settle", &id, "--outcome", "not-executed"]);
    // Safe to repeat, as everything here.
    keys(&gateway, &["settle", &id, "--outcome", "not-executed"]);
    assert_eq!(keys(&gateway, &["show", &id])["state"], "released");
    let retry = Request::payment("freed").answer(gateway.address());
    assert_eq!((retry.status, retry.text().as_str()), (201, "run 2"));
    assert_eq!(upstream.arrivals("freed"), 2);
    // The id names the first attempt, which is over.
    let address = format!("http://{}", gateway.admin().unwrap());
    let late = ["keys", "settle", &id, "--outcome", "not-executed", "--admin", &address];
    let late = Gateway::command(&late);
    assert_eq!(late.code, Some(1), "{}{}", late.output, late.errors);
    assert_eq!(Request::payment("freed").answer(gateway.address()).text(), "run 2");
}

/// B01: the command line finishes a key with an answer, which retries get, also after a kill.
#[test]
fn keys_settle_finishes_a_key_with_an_answer() {
    let upstream = losing();
    let settings = Settings::new(&upstream.url());
    let gateway = settings.start();
    assert_eq!(Request::payment("finished").answer(gateway.address()).status, 502);
    let id = only_doubt(&gateway);
    let answer = ["--status", "201", "--header", "Location: /v1/payments/5", "--body", "found it"];
    keys(&gateway, &[&["settle", &id, "--outcome", "executed"][..], &answer[..]].concat());
    let mut gateway = gateway;
    for _ in 0..2 {
        let retry = Request::payment("finished").answer(gateway.address());
        assert_eq!((retry.status, retry.text().as_str()), (201, "found it"));
        assert_eq!(retry.fields.first("location"), Some("/v1/payments/5"));
        assert!(retry.replayed());
        gateway.kill();
        gateway = settings.start();
    }
    assert_eq!(upstream.arrivals("finished"), 1);
}

/// ADM-03, ruling 13: compare-and-set, safe to repeat, audited; not for what is finished.
#[test]
fn the_admin_call_settles_what_is_in_doubt_and_nothing_else() {
    let upstream = losing();
    let gateway = Settings::new(&upstream.url()).start();
    assert_eq!(Request::payment("called").answer(gateway.address()).status, 502);
    let listed = admin_json(&gateway, "/api/records?state=in_doubt");
    let id = listed["records"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/records/{id}/settle");
    let executed = json!({"outcome": "executed", "status": 201, "headers": [["x-found", "yes"]],
                          "body_base64": "cGFpZA=="});
    let first = admin(&gateway, "POST", &path, Some(&executed));
    assert_eq!(first.status, 200, "{}", first.text());
    let again = admin(&gateway, "POST", &path, Some(&executed));
    assert_eq!(again.status, 200, "{}", again.text());
    let other = admin(&gateway, "POST", &path, Some(&json!({"outcome": "not-executed"})));
    assert_eq!(other.status, 409, "{}", other.text());
    let retry = Request::payment("called").answer(gateway.address());
    assert_eq!((retry.status, retry.text().as_str()), (201, "paid"));
    assert_eq!(retry.fields.first("x-found"), Some("yes"));
    assert_eq!(upstream.arrivals("called"), 1);
    let audit = admin_json(&gateway, "/api/audit").to_string();
    assert!(audit.contains(id.split(['.', '-', ':']).next().unwrap()), "{audit}");
}

/// Ruling 13: what runs is its owner's to settle, and what is completed is nobody's.
#[test]
fn what_runs_or_is_completed_is_not_settled_by_an_operator() {
    let told = Cue::default();
    let operator_told = told.clone();
    let upstream = Upstream::start(move |_, stream| {
        operator_told.wait_for(1);
        respond(stream, 201, &[], b"its own end")
    });
    let gateway = Settings::new(&upstream.url()).start();
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(&Request::payment("own").bytes()).unwrap();
    upstream.await_arrivals("own", 1);
    let refused = |state: &str| {
        let listed = admin_json(&gateway, &format!("/api/records?state={state}"));
        let id = listed["records"][0]["id"].as_str().expect("it is listed").to_owned();
        let path = format!("/api/records/{id}/settle");
        let answer = admin(&gateway, "POST", &path, Some(&json!({"outcome": "not-executed"})));
        assert_eq!(answer.status, 409, "{state}: {}", answer.text());
    };
    refused("in_progress");
    told.give();
    assert_eq!(client.read_answer("POST").unwrap().text(), "its own end");
    refused("completed");
    let replay = Request::payment("own").answer(gateway.address());
    assert_eq!((replay.text().as_str(), replay.replayed()), ("its own end", true));
    assert_eq!(upstream.arrivals("own"), 1);
}

/// ADM-01, OBS-04: health on the admin port, nothing of it on the data port.
#[test]
fn health_and_metrics_are_on_the_admin_port_alone() {
    let upstream = Upstream::start(|arrival, stream| {
        respond(stream, 200, &[], format!("upstream saw {}", arrival.start).as_bytes())
    });
    let gateway = Settings::new(&upstream.url()).start();
    for path in ["/livez", "/readyz"] {
        assert_eq!(admin(&gateway, "GET", path, None).status, 200, "{path}");
        let data = Request::new("GET", path).answer(gateway.address());
        assert_eq!(data.text(), format!("upstream saw GET {path}"), "the upstream's path");
    }
    assert_eq!(Request::payment("counted").answer(gateway.address()).status, 200);
    assert_eq!(Request::payment("counted").answer(gateway.address()).status, 200);
    let metrics = admin(&gateway, "GET", "/metrics", None);
    assert_eq!(metrics.status, 200);
    let count = |outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        let text = metrics.text();
        let lines = text.lines().filter(|line| line.starts_with("hapax_requests_total{"));
        let values = lines.filter(|line| line.contains(&outcome));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    assert_eq!((count("executed"), count("replayed")), (1, 1), "{}", metrics.text());
}

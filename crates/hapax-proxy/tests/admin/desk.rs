//! One admin listener, without a socket, and the few things one does to its store.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use hapax::store::Faulty;
use hapax::{
    AttemptId, Cause, Claim, Claimed, Field, Fingerprint, Guard, Kept, Lease, ManualClock,
    MemoryStore, OnLapse, RecordId, RecordedResponse, Retention, Secret, Settlement, Settler,
    Store,
};
use hapax_proxy::admin::{AdminState, router};
use hapax_proxy::audit::AuditLog;
use hapax_proxy::config;
use hapax_proxy::metrics::Metrics;
use hapax_tower::Rules;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tower_service::Service as _;

/// The lease of every claim.
pub(crate) const TERM: Duration = Duration::from_secs(10);

/// An admin listener and its store.
pub(crate) struct Desk {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) router: Router,
    pub(crate) secret: Secret,
    pub(crate) store: Arc<Faulty>,
}

/// What a listener said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) body: Bytes,
    pub(crate) response: Response<()>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(|_state| {})
    }

    /// A desk whose state was changed before it opened.
    pub(crate) fn with(change: impl FnOnce(&mut AdminState)) -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = MemoryStore::with_clock(10_000, Arc::clone(&clock) as Arc<dyn hapax::Clock>);
        let store = Arc::new(Faulty::new(Arc::new(memory)));
        let secret = Secret::new(b"of this test");
        let ready = Arc::new(AtomicBool::new(true));
        let route: Arc<str> = "/v1/payments/**".into();
        let metrics = Arc::new(Metrics::new([Arc::clone(&route)]));
        let mut state = AdminState {
            audit: AuditLog::in_memory(),
            authorities: Vec::new(),
            guard: Guard::builder(Arc::clone(&store) as Arc<dyn Store>)
                .observer(Arc::clone(&metrics) as Arc<dyn hapax::Observer>)
                .build(),
            hosts: vec!["hapax.internal".to_owned()],
            is_loopback: true,
            metrics: Arc::clone(&metrics),
            ready: Arc::clone(&ready),
            rules: vec![Rules { route, ..Rules::default() }],
            secret: secret.clone(),
            store_timeout: Duration::from_secs(5),
            token: None,
        };
        change(&mut state);
        Self { clock, metrics, ready, router: router(state), secret, store }
    }

    /// A desk that asks for this token.
    pub(crate) fn guarded(token: &str) -> Self {
        Self::with(|state| state.token = Some(config::Secret::new(token.to_owned())))
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Said {
        let response = self.router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 64 << 20).await.unwrap();
        Said { body, response: Response::from_parts(parts, ()) }
    }

    /// Sends a request as a program on this machine would, with these header lines on top.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        lines: &[(&str, &str)],
        body: Option<Value>,
    ) -> Said {
        let mut request = Request::builder().method(method).uri(path);
        if !lines.iter().any(|(name, _)| *name == "host") {
            request = request.header(header::HOST, "127.0.0.1:9090");
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Said {
        self.ask(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Said {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Said {
        self.ask(Method::DELETE, path, &[], None).await
    }

    /// Says of the record of `lease` how its operation ended.
    pub(crate) async fn settle(&self, lease: &Lease, ending: Value) -> Said {
        self.post(&format!("/api/records/{}/settle", id(lease)), ending).await
    }

    /// Claims the record with this number, for a first attempt.
    pub(crate) async fn claim(&self, number: u8) -> Lease {
        self.claim_as(number, number).await.unwrap()
    }

    /// Claims the record `number` as the attempt `attempt`; `None` if it is held.
    pub(crate) async fn claim_as(&self, number: u8, attempt: u8) -> Option<Lease> {
        let claim = Claim {
            attempt: AttemptId::from_bytes([attempt; 16]),
            fingerprint: Fingerprint::of(b"request"),
            id: RecordId::from_bytes([number; 32]),
            on_lapse: OnLapse::Doubt,
            route: "/v1/payments/**".into(),
            term: TERM,
            transactional: None,
            unknown_retention: None,
        };
        match self.store.claim(&claim).await.unwrap() {
            Claimed::Granted(lease) => Some(lease),
            Claimed::Held(_) => None,
        }
    }

    /// Settles as the owner.
    pub(crate) async fn own(&self, lease: &Lease, with: Settlement) {
        self.store.settle(lease, &with, Settler::Owner).await.unwrap();
    }

    /// A record whose owner does not know how it ended.
    pub(crate) async fn doubt(&self, number: u8) -> Lease {
        let lease = self.claim(number).await;
        self.own(&lease, Settlement::Doubt { cause: Cause::TimedOut }).await;
        lease
    }

    /// The record as the listener shows it.
    pub(crate) async fn shown(&self, lease: &Lease) -> Value {
        let said = self.get(&format!("/api/records/{}", id(lease))).await;
        assert_eq!(said.status(), StatusCode::OK, "{said:?}");
        said.json()
    }
}

impl Said {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// The code of a problem, which must be one in full.
    pub(crate) fn code(&self) -> String {
        let problem = self.json();
        assert_eq!(self.response.headers()["content-type"], "application/problem+json");
        assert_eq!(problem["status"], self.status().as_u16());
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Status and code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        (self.status().as_u16(), self.code())
    }
}

/// The id by which operators name the record and the attempt.
pub(crate) fn id(lease: &Lease) -> String {
    format!("{}.{}", lease.id, lease.attempt)
}

/// A settlement with an answer of this status and body.
pub(crate) fn completed(status: u16, body: &'static [u8]) -> Settlement {
    let headers = vec![Field::new("location", "/p/1")];
    let response =
        RecordedResponse { body: Bytes::from_static(body), headers, status, trailers: Vec::new() };
    let retention = Retention::For(Duration::from_secs(3600));
    Settlement::Complete { kept: Kept::Response(response), retention }
}

/// What to say of an operation that took effect.
pub(crate) fn executed() -> Value {
    json!({
        "outcome": "executed",
        "status": 201,
        "headers": [["Location", "/p/7"]],
        "body_base64": "eyJpZCI6N30=",
    })
}

/// What to say of one that did not.
pub(crate) fn not_executed() -> Value {
    json!({"outcome": "not-executed"})
}

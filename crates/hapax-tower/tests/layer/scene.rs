//! A layer around a scripted upstream.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use hapax::event::Answer;
use hapax::store::{Fault, Faulty, Operation};
use hapax::{Clock, Event, Guard, MemoryStore, Observer, Policy, Secret, Store, Timestamp};
use hapax_tower::{Idempotency, IdempotencyLayer, RequestBody, ResponseBody, Rules};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::Value;
use tokio::time::Instant;
use tower_layer::Layer as _;
use tower_service::Service;

/// Any error of a body or a service.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Goes with the runtime's paused time.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_767_225_600_000_000).plus(self.0.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Writes down how requests were answered, and the names of other events.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn observe(&self, event: &Event<'_>) {
        let line = match event {
            Event::Answered { answer, .. } => answer.as_str().to_owned(),
            Event::ReplayAge(age) => format!("replay-age {}", age.as_secs()),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Heard {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, answer: Answer) -> usize {
        self.lines().iter().filter(|line| *line == answer.as_str()).count()
    }
}

/// A request as the upstream got it.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) attempt: Option<hapax::Attempt>,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) uri: Uri,
}

/// What the upstream does with one request.
pub(crate) enum Plan {
    Answer(Response<Body>),
    Fail(BoxError),
    Panic,
    /// Waits first.
    Then(Duration, Box<Self>),
}

/// Does as planned; answers 200 when the plan is used up. Counts arrivals.
#[derive(Clone, Default)]
pub(crate) struct Upstream(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    arrived: Vec<Arrived>,
    plan: VecDeque<Plan>,
}

impl Upstream {
    pub(crate) fn plan(&self, plan: Plan) {
        self.0.lock().unwrap().plan.push_back(plan);
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.0.lock().unwrap().arrived.clone()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstream")
    }
}

impl<B> Service<Request<RequestBody<B>>> for Upstream
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<B>>) -> Self::Future {
        let upstream = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let attempt = parts.extensions.get::<hapax::Attempt>().cloned();
            let plan = {
                let mut script = upstream.0.lock().unwrap();
                let arrived = Arrived { attempt, body, headers: parts.headers, uri: parts.uri };
                script.arrived.push(arrived);
                script.plan.pop_front()
            };
            let mut plan = plan.unwrap_or_else(|| answer(200, &[], "done"));
            loop {
                plan = match plan {
                    Plan::Answer(response) => return Ok(response),
                    Plan::Fail(error) => return Err(error),
                    Plan::Panic => panic!("an upstream that panics on purpose"),
                    Plan::Then(time, then) => {
                        tokio::time::sleep(time).await;
                        *then
                    }
                }
            }
        })
    }
}

/// An answer as the client got it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) body: Bytes,
    /// Whether the body ended as it should.
    pub(crate) complete: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) status: StatusCode,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answered {
    pub(crate) async fn read(response: Response<ResponseBody<Body>>) -> Self {
        let (parts, mut body) = response.into_parts();
        let (mut data, mut trailers, mut complete) = (Vec::new(), None, true);
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(more)) => data.extend_from_slice(&more),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(_broken) => {
                    complete = false;
                    break;
                }
            }
        }
        Self { body: data.into(), complete, headers: parts.headers, status: parts.status, trailers }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn lines(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// The members of a problem, after checking that it is one (HTP-12).
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("idempotent-replayed"), None, "REP-02");
        assert_eq!(self.header("idempotency-expires"), None);
        let members: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(members["code"], code, "{text}");
        assert_eq!(members["status"], status);
        assert_eq!(members["type"], format!("/.well-known/idempotency/problems/{code}"));
        for member in ["title", "detail"] {
            assert!(members[member].as_str().is_some_and(|text| !text.is_empty()), "{text}");
        }
        members
    }

    #[track_caller]
    pub(crate) fn retry_after(&self) -> u64 {
        self.header("retry-after").unwrap().parse().unwrap()
    }
}

/// The layer, its upstream and its store.
pub(crate) struct Scene {
    pub(crate) faulty: Arc<Faulty>,
    pub(crate) guard: Guard,
    pub(crate) heard: Arc<Heard>,
    pub(crate) service: Idempotency<Upstream>,
    pub(crate) started: Instant,
    pub(crate) upstream: Upstream,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(Rules::default())
    }

    pub(crate) fn of(policy: Policy) -> Self {
        Self::with(Rules { policy: Arc::new(policy), ..Rules::default() })
    }

    pub(crate) fn with(rules: Rules) -> Self {
        Self::bounded(rules, 1_000_000, 10_000)
    }

    pub(crate) fn bounded(rules: Rules, records_max: usize, in_flight_max: usize) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock(Instant::now()));
        let store = MemoryStore::with_clock(records_max, Arc::clone(&clock));
        let faulty = Arc::new(Faulty::new(Arc::new(store)));
        let heard = Arc::new(Heard::default());
        let guard = Guard::builder(Arc::clone(&faulty) as Arc<dyn Store>)
            .clock(clock)
            .in_flight_max(in_flight_max)
            .observer(Arc::clone(&heard) as Arc<dyn Observer>)
            .build();
        let upstream = Upstream::default();
        let service = layer(&guard, rules).layer(upstream.clone());
        Self { faulty, guard, heard, service, started: Instant::now(), upstream }
    }

    /// The same guard, store and upstream under other rules.
    pub(crate) fn under(&self, rules: Rules) -> Self {
        Self {
            faulty: Arc::clone(&self.faulty),
            guard: self.guard.clone(),
            heard: Arc::clone(&self.heard),
            service: layer(&self.guard, rules).layer(self.upstream.clone()),
            started: self.started,
            upstream: self.upstream.clone(),
        }
    }

    pub(crate) fn plan(&self, plan: Plan) -> &Self {
        self.upstream.plan(plan);
        self
    }

    pub(crate) fn fault(&self, operation: Operation, fault: Fault) {
        self.faulty.plan(operation, fault);
    }

    pub(crate) fn runs(&self) -> usize {
        self.upstream.arrived().len()
    }

    pub(crate) fn after(&self) -> Duration {
        self.started.elapsed()
    }

    /// The head of an answer; its body has not been read.
    pub(crate) async fn head(&self, request: Request<Body>) -> Response<ResponseBody<Body>> {
        self.service.clone().call(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answered {
        Answered::read(self.head(request).await).await
    }

    /// Sends meanwhile. The call has begun when this returns.
    pub(crate) async fn start(&self, request: Request<Body>) -> tokio::task::JoinHandle<Answered> {
        let mut service = self.service.clone();
        let running =
            tokio::spawn(async move { Answered::read(service.call(request).await.unwrap()).await });
        settle_down().await;
        running
    }
}

fn layer(guard: &Guard, rules: Rules) -> IdempotencyLayer {
    IdempotencyLayer::new(guard.clone(), Secret::new(b"secret of the tests"), rules)
}

/// Lets everything run that can, without moving time.
pub(crate) async fn settle_down() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Moves the paused time; nothing sleeps in earnest.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    settle_down().await;
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// `POST /pay` by one caller, with a key and a body.
pub(crate) fn post(key: &str, body: &str) -> Request<Body> {
    post_with(key, &[], body)
}

pub(crate) fn post_with(key: &str, lines: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut all = vec![("host", "api.example"), ("authorization", "Bearer a")];
    all.push(("idempotency-key", key));
    all.extend(lines);
    request("POST", "/pay", &all, Body::from(body.to_owned()))
}

pub(crate) fn request(
    method: &str,
    target: &str,
    lines: &[(&str, &str)],
    body: Body,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

pub(crate) fn answer(status: u16, lines: &[(&str, &str)], body: &str) -> Plan {
    answer_of(status, lines, Body::from(body.to_owned()))
}

pub(crate) fn answer_of(status: u16, lines: &[(&str, &str)], body: Body) -> Plan {
    let mut response = Response::builder().status(status);
    for (name, value) in lines {
        response = response.header(*name, *value);
    }
    Plan::Answer(response.body(body).unwrap())
}

pub(crate) fn slow(time: Duration, plan: Plan) -> Plan {
    Plan::Then(time, Box::new(plan))
}

/// One piece of a body.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Broken,
    Data(&'static str),
    Never,
    Trailer(&'static str, &'static str),
    Wait(Duration),
}

pub(crate) fn pieces(pieces: &[Piece]) -> Body {
    let pieces = pieces.to_vec();
    let frames = stream::iter(pieces).filter_map(|piece| async move {
        match piece {
            Piece::Broken => Some(Err(BoxError::from("broken on purpose"))),
            Piece::Data(data) => Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))),
            Piece::Never => std::future::pending().await,
            Piece::Trailer(name, value) => {
                let mut trailers = HeaderMap::new();
                trailers.insert(name, value.parse().unwrap());
                Some(Ok(Frame::trailers(trailers)))
            }
            Piece::Wait(time) => {
                tokio::time::sleep(time).await;
                None
            }
        }
    });
    Body::new(StreamBody::new(frames.boxed()))
}

/// A body that tells whether it was ever asked for.
pub(crate) fn watched() -> (Body, Arc<std::sync::atomic::AtomicBool>) {
    let touched = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let touch = Arc::clone(&touched);
    let frames = stream::poll_fn(move |_cx| {
        touch.store(true, std::sync::atomic::Ordering::SeqCst);
        Poll::Ready(None::<Result<Frame<Bytes>, BoxError>>)
    });
    (Body::new(StreamBody::new(frames)), touched)
}

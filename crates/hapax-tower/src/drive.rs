//! Driving: one keyed request through the flow.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use futures_util::future::poll_fn;
use hapax::{
    Attempt, Cause, Directive, Fingerprint, Intent, Key, KeyError, Outcome, Parts as Counted,
    Problem, RecordId, RecordedResponse, Verdict,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use tokio::sync::{Notify, mpsc, oneshot};
use tower_service::Service;

use crate::admit::{Admission, KeyPart, Refusal};
use crate::answer::{VerdictExt as _, answer_of};
use crate::body::{BoxError, Collected, RequestBody, ResponseBody, Whole, collect, next_frame};
use crate::headers;
use crate::layer::Shared;
use crate::rules::KeyMode;

/// Frames of an answer past the limit that may wait for the client.
const WITHHELD_FRAMES_MAX: usize = 16;

/// What an inner service says of a call that brought no answer. Any other error counts as
/// [`EffectError::Unknown`] with [`Cause::Lost`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum EffectError {
    /// Provably nothing was delivered: the key is free again (EXE-08).
    #[error("the request was not sent: {0}")]
    NotSent(String),
    /// Something may have been delivered.
    #[error("the outcome of the request is unknown: {}", .0.as_str())]
    Unknown(Cause),
}

/// Where the effect leaves its answer for the first caller, who alone keeps it: it is gone when the
/// caller is.
pub(crate) struct Exchange<R> {
    /// The answer is to be given before the operation is settled: it is too large to keep.
    early: Notify,
    response: Mutex<Option<Response<ResponseBody<R>>>>,
}

/// Whether the end of an answer that went ahead may follow.
enum Release {
    Cut,
    End,
}

pub(crate) async fn drive<S, B, R>(
    shared: Arc<Shared>,
    admission: Admission,
    inner: S,
    parts: Parts,
    mut body: B,
) -> Response<ResponseBody<R>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: Into<BoxError>,
{
    let whole = match shared.read(&parts, &mut body).await {
        Ok(whole) => whole,
        Err(refusal) => {
            shared.answered(answer_of(refusal.problem), None);
            return shared.refuse(&refusal);
        }
    };
    let key = match admission.key.find(&whole.data) {
        Ok(key) => key,
        Err(refusal) if shared.rules.key == KeyMode::Required => {
            shared.answered(answer_of(refusal.problem), None);
            return shared.refuse(&refusal);
        }
        Err(_none) => return shared.pass(inner, parts, whole).await,
    };
    let intent = shared.intent(&admission, &key, &parts, &whole.data);
    let id = intent.id;
    let exchange = Arc::new(Exchange { early: Notify::new(), response: Mutex::new(None) });
    let (release, released) = oneshot::channel();
    let effect = {
        let (shared, exchange) = (Arc::clone(&shared), Arc::downgrade(&exchange));
        move |attempt: Attempt| async move {
            let request = protected_request(parts, whole, &attempt);
            if !attempt.may_send() {
                return Outcome::NotSent;
            }
            match ready_call(inner, request).await {
                Ok(mut response) => {
                    if attempt.lease().is_none() {
                        headers::mark_unprotected(response.headers_mut());
                    }
                    shared.receive(response, &exchange, released).await
                }
                Err(error) => failed(&error),
            }
        }
    };
    let guard = shared.guard.clone();
    let mut run = Box::pin(async move { guard.run(intent, effect).await });
    let verdict = tokio::select! {
        biased;
        verdict = &mut run => verdict,
        () = exchange.early.notified() => {
            let early = exchange.take().unwrap_or_else(|| shared.lost());
            tokio::spawn(async move {
                let verdict = run.await;
                shared.answered(verdict.answer(), Some(id));
                let _gone = release.send(Release::after(&verdict));
            });
            return early;
        }
    };
    shared.answered(verdict.answer(), Some(id));
    // A large answer may have come to its end before its beginning was given away.
    let _none = release.send(Release::after(&verdict));
    shared.respond(&verdict, exchange.take())
}

impl Release {
    fn after(verdict: &Verdict) -> Self {
        if verdict.is_unknown() { Self::Cut } else { Self::End }
    }
}

impl<R> Exchange<R> {
    fn put(&self, response: Response<ResponseBody<R>>) {
        *self.response.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
    }

    fn take(&self) -> Option<Response<ResponseBody<R>>> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Shared {
    /// Reads the request's body within its limit and time (EXE-06, EXE-09, HTP-14).
    async fn read<B>(&self, parts: &Parts, body: &mut B) -> Result<Whole, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let limit = self.rules.request_body_max;
        let too_large = || {
            Refusal::with(
                Problem::BodyTooLarge,
                format!("Nothing was executed: the body is over the limit of {limit} bytes."),
            )
        };
        let declared = parts.headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|declared| declared > limit as u64) {
            return Err(too_large());
        }
        match tokio::time::timeout(self.rules.body_timeout, collect(body, limit)).await {
            Ok(Ok(Collected::Whole(whole))) => Ok(whole),
            Ok(Ok(Collected::Over(_))) => Err(too_large()),
            Ok(Err(_cut)) => Err(Refusal::with(
                Problem::InvalidRequest,
                "Nothing was executed: the body ended before it was complete.",
            )),
            Err(_elapsed) => Err(Refusal {
                detail: Some("Nothing was executed: the body did not arrive in time.".into()),
                problem: Problem::InvalidRequest,
                status: Some(StatusCode::REQUEST_TIMEOUT),
            }),
        }
    }

    pub(crate) fn intent(
        &self,
        admission: &Admission,
        key: &Key,
        parts: &Parts,
        body: &[u8],
    ) -> Intent {
        Intent {
            fingerprint: self.fingerprint(admission, parts, body),
            id: self.record_id(admission, key),
            policy: Arc::clone(&self.rules.policy),
            probe: parts.extensions.get::<Arc<dyn hapax::guard::Probe>>().cloned(),
            route: Arc::clone(&self.rules.route),
        }
    }

    pub(crate) fn fingerprint(
        &self,
        admission: &Admission,
        parts: &Parts,
        body: &[u8],
    ) -> Fingerprint {
        self.rules.fingerprint.digest(&Counted {
            body,
            media_type: parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
            method: parts.method.as_str(),
            path: parts.uri.path(),
            private: &admission.private,
            query: parts.uri.query(),
        })
    }

    pub(crate) fn record_id(&self, admission: &Admission, key: &Key) -> RecordId {
        self.secret.record_id_in(&admission.scope, &self.rules.space(), key)
    }

    /// A request without a key on a route that would find it in the body.
    async fn pass<S, B, R>(&self, inner: S, parts: Parts, whole: Whole) -> Response<ResponseBody<R>>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>>,
        S::Error: Into<BoxError>,
    {
        self.answered(hapax::event::Answer::Unprotected, None);
        let request = Request::from_parts(parts, RequestBody::Whole(whole));
        match ready_call(inner, request).await {
            Ok(response) => response.map(ResponseBody::Stream),
            Err(error) => self.unanswered(&failed(&error)),
        }
    }

    /// Turns the service's answer into an outcome, and leaves it for the first caller.
    async fn receive<R>(
        &self,
        response: Response<R>,
        exchange: &Weak<Exchange<R>>,
        released: oneshot::Receiver<Release>,
    ) -> Outcome
    where
        R: Body<Data = Bytes> + Send + Unpin + 'static,
        R::Error: Into<BoxError>,
    {
        let (mut parts, mut body) = response.into_parts();
        let directive = parts.headers.remove(headers::OUTCOME);
        let directive = directive.and_then(|value| Directive::parse(value.as_bytes()));
        if !parts.headers.contains_key(header::DATE)
            && let Some(now) = headers::http_date(self.clock.now())
        {
            // Given now, so that the replay has the first answer's (REP-04).
            parts.headers.insert(header::DATE, now);
        }
        let prefix = match collect(&mut body, self.rules.response_body_max).await {
            Ok(Collected::Whole(whole)) => {
                let response = RecordedResponse {
                    body: whole.data.clone(),
                    headers: headers::kept(&parts.headers, self.rules.set_cookie),
                    status: parts.status.as_u16(),
                    trailers: whole.trailers.as_ref().map(headers::all).unwrap_or_default(),
                };
                let settled = parts.extensions.get::<crate::Settled>().is_some();
                if let Some(exchange) = exchange.upgrade() {
                    exchange.put(Response::from_parts(parts, ResponseBody::Whole(whole)));
                }
                return if settled {
                    Outcome::Settled { response }
                } else {
                    Outcome::Answered { directive, response }
                };
            }
            Ok(Collected::Over(prefix)) => prefix,
            Err(_cut) => return Outcome::Unknown(Cause::Cut),
        };
        let status = parts.status.as_u16();
        let location = parts.headers.get(header::LOCATION).map(HeaderValue::as_bytes);
        let location = location.map(Bytes::copy_from_slice);
        let (frames, withheld) = mpsc::channel(WITHHELD_FRAMES_MAX);
        let response = Response::from_parts(parts, ResponseBody::Withheld(withheld));
        // Where the caller has left or was told already, the frames go nowhere and stop nothing.
        if let Some(exchange) = exchange.upgrade() {
            exchange.put(response);
            exchange.early.notify_one();
        } else {
            drop(response);
        }
        stream_on(prefix, body, frames, released).await.map_or(Outcome::Unknown(Cause::Cut), |()| {
            Outcome::AnsweredLarge { directive, location, status }
        })
    }
}

/// Streams an answer past the limit, one frame behind, and reads it to its end even if the client
/// leaves (ruling 14). The last frame follows when the record is settled.
async fn stream_on<R>(
    prefix: Bytes,
    mut body: R,
    frames: mpsc::Sender<Result<Frame<Bytes>, BoxError>>,
    released: oneshot::Receiver<Release>,
) -> Option<()>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    let mut last = Frame::data(prefix);
    while let Some(frame) = next_frame(&mut body).await {
        match frame {
            // The last frame that counts is the one to withhold.
            Ok(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
            Ok(frame) => {
                let _client_left = frames.send(Ok(std::mem::replace(&mut last, frame))).await;
            }
            Err(error) => {
                let _client_left = frames.send(Err(error)).await;
                return None;
            }
        }
    }
    tokio::spawn(async move {
        let end = match released.await {
            Ok(Release::End) => Ok(last),
            Ok(Release::Cut) | Err(_) => Err("the outcome of the request is unknown".into()),
        };
        let _client_left = frames.send(end).await;
    });
    Some(())
}

impl KeyPart {
    /// The key, now that the body is there.
    pub(crate) fn find(&self, body: &[u8]) -> Result<Key, Refusal> {
        match self {
            Self::Content => Ok(Key::from_content(body)),
            Self::Known(key) => Ok(key.clone()),
            Self::InBody(pointer) => {
                let wrong = || {
                    Refusal::with(
                        Problem::InvalidKey,
                        format!(
                            "Nothing was executed: the body must be JSON with a string or an \
                             integer at {pointer}."
                        ),
                    )
                };
                let json: serde_json::Value =
                    serde_json::from_slice(body).map_err(|_error| wrong())?;
                let key = match json.pointer(pointer) {
                    Some(serde_json::Value::String(text)) => Key::from_text(text),
                    Some(serde_json::Value::Number(number)) if !number.is_f64() => {
                        Key::from_text(&number.to_string())
                    }
                    Some(_) | None => return Err(wrong()),
                };
                key.map_err(|error: KeyError| error.into())
            }
        }
    }
}

/// The request as the service gets it: whole, with the attempt at hand, and answered without a
/// coding that a later caller may not accept (REP-08).
fn protected_request<B>(
    mut parts: Parts,
    whole: Whole,
    attempt: &Attempt,
) -> Request<RequestBody<B>> {
    parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // A client's own do not count (FAI-06).
    let own = |name: &&HeaderName| name.as_str().starts_with("hapax-");
    let foreign: Vec<HeaderName> = parts.headers.keys().filter(own).cloned().collect();
    for name in foreign {
        parts.headers.remove(name);
    }
    // No upgrade can be kept (HTP-07).
    parts.headers.remove(header::UPGRADE);
    parts.extensions.insert(attempt.clone());
    Request::from_parts(parts, RequestBody::Whole(whole))
}

async fn ready_call<S, T>(mut service: S, request: T) -> Result<S::Response, BoxError>
where
    S: Service<T>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    service.call(request).await.map_err(Into::into)
}

fn failed(error: &BoxError) -> Outcome {
    match error.downcast_ref::<EffectError>() {
        Some(EffectError::NotSent(_)) => Outcome::NotSent,
        Some(EffectError::Unknown(cause)) => Outcome::Unknown(*cause),
        None => Outcome::Unknown(Cause::Lost),
    }
}

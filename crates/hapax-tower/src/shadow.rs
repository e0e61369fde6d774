//! Shadow mode: sees what would have been deduplicated and changes nothing (ruling 16).
//!
//! Bodies stream as they come; the watcher keeps references to what passed, up to the limit, and
//! claims in a namespace of its own when the request is complete. It keeps no answers, ignores the
//! store's errors, adds no header and never answers by itself.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hapax::decide::{Decision, decide};
use hapax::event::Answer;
use hapax::{
    AttemptId, Claim, Directive, Kept, Lease, OnLapse, Outcome, RecordedResponse, Retention,
    Settlement, Settler,
};
use http::request::Parts;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::admit::Admission;
use crate::body::{BoxError, Gathered, RequestBody, ResponseBody, poll_inner};
use crate::headers;
use crate::layer::Shared;

/// How long the store may take for what is only watched.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// A request body that is looked at while it passes.
pub struct Watched<B> {
    complete: Option<oneshot::Sender<Bytes>>,
    inner: B,
    limit: usize,
    seen: Gathered,
}

/// A response body that is looked at while it passes.
pub struct WatchedResponse<R> {
    complete: Option<oneshot::Sender<()>>,
    inner: R,
}

/// Waits for the response of a watched request.
pub(crate) struct Watch {
    answered: oneshot::Sender<Answered>,
}

struct Answered {
    complete: oneshot::Receiver<()>,
    directive: Option<Directive>,
    retry_after: bool,
    status: u16,
}

/// Starts to watch a request; the task ends when request and response have passed or broken off.
pub(crate) fn watch<B>(
    shared: Arc<Shared>,
    admission: Admission,
    parts: &Parts,
    body: B,
) -> (RequestBody<B>, Watch)
where
    B: Body<Data = Bytes>,
{
    let (complete, seen) = oneshot::channel();
    let (answered, answer) = oneshot::channel();
    let limit = shared.rules.request_body_max;
    let mut body =
        Watched { complete: Some(complete), inner: body, limit, seen: Gathered::default() };
    body.look();
    let mut head = Request::new(()).into_parts().0;
    head.method = parts.method.clone();
    head.uri = parts.uri.clone();
    head.headers = parts.headers.clone();
    tokio::spawn(async move { shared.report(&admission, &head, seen, answer).await });
    (RequestBody::Watched(body), Watch { answered })
}

impl Watch {
    pub(crate) fn response<R>(self, response: Response<R>) -> Response<ResponseBody<R>>
    where
        R: Body<Data = Bytes>,
    {
        let (complete, seen) = oneshot::channel();
        let directive = response.headers().get(headers::OUTCOME);
        let _gone = self.answered.send(Answered {
            complete: seen,
            directive: directive.and_then(|value| Directive::parse(value.as_bytes())),
            retry_after: response.headers().contains_key(http::header::RETRY_AFTER),
            status: response.status().as_u16(),
        });
        response.map(|inner| {
            let mut body = WatchedResponse { complete: Some(complete), inner };
            body.look();
            ResponseBody::Watched(body)
        })
    }
}

impl Shared {
    async fn report(
        &self,
        admission: &Admission,
        head: &Parts,
        seen: oneshot::Receiver<Bytes>,
        answer: oneshot::Receiver<Answered>,
    ) {
        // A request that was cut or is over the limit would not have been run.
        let Ok(body) = seen.await else {
            return self.answered(Answer::InvalidKey, None);
        };
        let Ok(key) = admission.key.find(&body) else {
            return self.answered(Answer::InvalidKey, None);
        };
        let id = self.record_id(admission, &key);
        let fingerprint = self.fingerprint(admission, head, &body);
        let policy = &self.rules.policy;
        let retention = match policy.retention {
            Retention::For(retention) => Some(retention),
            Retention::Never => None,
        };
        let claim = Claim {
            attempt: AttemptId::random(),
            fingerprint,
            id,
            on_lapse: OnLapse::Doubt,
            route: Arc::clone(&self.rules.route),
            term: policy.upstream_timeout.saturating_add(policy.late_answer),
            transactional: None,
            // Nobody settles what was only watched.
            unknown_retention: retention,
        };
        let claimed = tokio::time::timeout(STORE_TIMEOUT, self.guard.store().claim(&claim)).await;
        let Ok(Ok(claimed)) = claimed else {
            return self.answered(Answer::StoreError, Some(id));
        };
        let found = match decide(claimed, &fingerprint) {
            Decision::Execute(lease) => self.follow(&lease, answer).await,
            Decision::Busy { .. } | Decision::Free => Answer::InProgress,
            Decision::InDoubt(_) => Answer::Held,
            Decision::Mismatch => Answer::KeyReused,
            Decision::Replay(_) => Answer::Replayed,
        };
        self.answered(found, Some(id));
    }

    async fn follow(&self, lease: &Lease, answer: oneshot::Receiver<Answered>) -> Answer {
        let outcome = match answer.await {
            Err(_gone) => Outcome::Unknown(hapax::Cause::Lost),
            Ok(answered) => match answered.complete.await {
                Err(_cut) => Outcome::Unknown(hapax::Cause::Cut),
                Ok(()) => {
                    let mut response =
                        RecordedResponse { status: answered.status, ..RecordedResponse::default() };
                    if answered.retry_after {
                        response.headers.push(hapax::Field::new("retry-after", "1"));
                    }
                    Outcome::Answered { directive: answered.directive, response }
                }
            },
        };
        let (found, with) = match self.rules.policy.settlement(&outcome) {
            Some(Settlement::Complete { kept, retention }) => {
                // The status is enough to count with; no answer is kept.
                let kept = Kept::NotRetained { location: None, status: kept.status() };
                (Answer::Executed, Settlement::Complete { kept, retention })
            }
            Some(with @ Settlement::Release { .. }) => (Answer::Released, with),
            Some(with @ Settlement::Doubt { .. }) => (Answer::Unknown, with),
            None => return Answer::Executed,
        };
        let settled = self.guard.store().settle(lease, &with, Settler::Owner);
        let _ignored = tokio::time::timeout(STORE_TIMEOUT, settled).await;
        found
    }
}

impl<B> Watched<B>
where
    B: Body<Data = Bytes>,
{
    fn look(&mut self) {
        if self.inner.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(complete) = self.complete.take() {
            let _gone = complete.send(std::mem::take(&mut self.seen).into_bytes());
        }
    }

    fn see(&mut self, data: &Bytes) {
        if self.complete.is_none() {
            return;
        }
        self.seen.push(data.clone());
        if self.seen.len() > self.limit {
            self.complete = None;
            self.seen = Gathered::default();
        }
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(poll_inner(&mut this.inner, cx));
        match &frame {
            None => this.end(),
            Some(Err(_)) => this.complete = None,
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.see(data);
                }
                this.look();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<R> WatchedResponse<R>
where
    R: Body<Data = Bytes>,
{
    fn look(&mut self) {
        if self.inner.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(complete) = self.complete.take() {
            let _gone = complete.send(());
        }
    }
}

impl<R> Body for WatchedResponse<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(poll_inner(&mut this.inner, cx));
        match &frame {
            None => this.end(),
            Some(Err(_)) => this.complete = None,
            Some(Ok(_)) => this.look(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for Watched<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for WatchedResponse<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedResponse").finish_non_exhaustive()
    }
}

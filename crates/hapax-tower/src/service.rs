//! The service: pass, refuse or drive.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hapax::Event;
use hapax::event::Answer;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::admit::Admitted;
use crate::answer::answer_of;
use crate::body::{BoxError, RequestBody, ResponseBody};
use crate::drive::drive;
use crate::layer::Shared;
use crate::rules::Mode;
use crate::shadow;

/// A service that runs each keyed request once. Made by [`IdempotencyLayer`](crate::IdempotencyLayer).
#[derive(Clone)]
pub struct Idempotency<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Idempotency<S> {
    pub(crate) const fn new(shared: Arc<Shared>, inner: S) -> Self {
        Self { inner, shared }
    }
}

impl<S> fmt::Debug for Idempotency<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("rules", &self.shared.rules).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for Idempotency<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<R>>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was ready is the one to call; its clone is for the next request.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let shared = Arc::clone(&self.shared);
        let rules = &shared.rules;
        let (parts, body) = request.into_parts();
        let admitted = rules.admit(&shared.secret, &parts, shared.clock.now());
        match (admitted, rules.mode) {
            (Admitted::Pass, Mode::Enforce | Mode::Shadow) => {
                shared.answered(Answer::Unprotected, None);
                let passing = inner.call(Request::from_parts(parts, RequestBody::Stream(body)));
                Box::pin(async move { Ok(passing.await?.map(ResponseBody::Stream)) })
            }
            (Admitted::Refused(refusal), Mode::Enforce) => {
                shared.answered(answer_of(refusal.problem), None);
                let response = shared.refuse(&refusal);
                Box::pin(async move { Ok(response) })
            }
            (Admitted::Refused(refusal), Mode::Shadow) => {
                shared.answered(answer_of(refusal.problem), None);
                let passing = inner.call(Request::from_parts(parts, RequestBody::Stream(body)));
                Box::pin(async move { Ok(passing.await?.map(ResponseBody::Stream)) })
            }
            (Admitted::Keyed(admission), Mode::Shadow) => {
                let (body, watch) = shadow::watch(shared, admission, &parts, body);
                let passing = inner.call(Request::from_parts(parts, body));
                Box::pin(async move { Ok(watch.response(passing.await?)) })
            }
            (Admitted::Keyed(admission), Mode::Enforce) => {
                Box::pin(async move { Ok(drive(shared, admission, inner, parts, body).await) })
            }
        }
    }
}

impl Shared {
    pub(crate) fn answered(&self, answer: Answer, id: Option<hapax::RecordId>) {
        let event = Event::Answered { answer, id, route: &self.rules.route };
        self.guard.observer().observe(&event);
    }
}

//! The effect of a keyed request: one call of the upstream, never repeated once a byte may have left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hapax::{Attempt, Cause};
use hapax_tower::{EffectError, OUTCOME, RequestBody};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tower_service::Service;

use super::Site;
use crate::forward::hygiene;
use crate::listen::{ConnInfo, Core};
use crate::upstream::{self, SendError, Unknown, UpstreamBody};

const CLAIM: HeaderName = HeaderName::from_static("hapax-claim");
const ATTEMPT: HeaderName = HeaderName::from_static("hapax-attempt");

/// The way to the upstream, as the inner service of a route's layer.
#[derive(Clone, Debug)]
pub struct Effect {
    connection: Arc<ConnInfo>,
    core: Core,
    site: Arc<Site>,
}

impl Effect {
    pub(super) const fn new(site: Arc<Site>, connection: Arc<ConnInfo>, core: Core) -> Self {
        Self { connection, core, site }
    }

    fn prepare(
        &self,
        request: Request<RequestBody<Incoming>>,
    ) -> (Request<upstream::RequestBody>, Option<Attempt>) {
        let (mut parts, body) = request.into_parts();
        let authority = self.site.upstream.authority().as_str();
        hygiene::prepare_request(&mut parts, &self.connection, &self.site.forward, authority);
        let attempt = parts.extensions.remove::<Attempt>();
        if let Some(lease) = attempt.as_ref().and_then(Attempt::lease) {
            if let Ok(claim) = HeaderValue::try_from(lease.to_claim()) {
                parts.headers.insert(CLAIM, claim);
            }
            parts.headers.insert(ATTEMPT, lease.number.into());
        }
        parts.extensions.clear();
        let body = match body {
            RequestBody::Whole(whole) => match whole.into_parts() {
                (data, None) => {
                    // Framed by its length from here on, however it came.
                    parts.headers.remove(header::TRAILER);
                    upstream::RequestBody::from(data)
                }
                (data, Some(trailers)) => {
                    parts.headers.remove(header::CONTENT_LENGTH);
                    let whole = http_body_util::Full::new(data);
                    let trailers = async move { Some(Ok(trailers)) };
                    let body = whole.map_err(|never| match never {}).with_trailers(trailers);
                    upstream::RequestBody::Boxed(body.boxed_unsync())
                }
            },
            RequestBody::Stream(incoming) => upstream::RequestBody::from(incoming),
            RequestBody::Watched(watched) => upstream::RequestBody::Boxed(watched.boxed_unsync()),
        };
        (Request::from_parts(parts, body), attempt)
    }
}

impl Service<Request<RequestBody<Incoming>>> for Effect {
    type Response = Response<UpstreamBody>;
    type Error = EffectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, EffectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), EffectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<Incoming>>) -> Self::Future {
        let (request, attempt) = self.prepare(request);
        let upstream = self.site.upstream.clone();
        // A drain waits for what runs here, whether or not its client is still there.
        let operation = self.core.operations.begin();
        Box::pin(async move {
            let may_send = || attempt.as_ref().is_none_or(Attempt::may_send);
            let mut response = upstream.send(request, may_send).await.map_err(effect_error)?;
            drop(operation);
            let directive = response.headers_mut().remove(OUTCOME);
            hygiene::strip_response(response.headers_mut());
            hygiene::strip_own(response.headers_mut());
            // For the layer alone, which takes it off; without an attempt nobody would.
            if let (Some(directive), true) = (directive, attempt.is_some()) {
                response.headers_mut().insert(OUTCOME, directive);
            }
            if response.status() == StatusCode::NO_CONTENT {
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            Ok(response)
        })
    }
}

fn effect_error(error: SendError) -> EffectError {
    tracing::debug!(%error, "failed to get an answer");
    match error {
        SendError::NotSent(reason) => EffectError::NotSent(reason.to_string()),
        SendError::Unknown(Unknown::BadFraming(_)) => EffectError::Unknown(Cause::Cut),
        SendError::Unknown(Unknown::Lost(_)) => EffectError::Unknown(Cause::Lost),
    }
}

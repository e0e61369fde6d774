//! The gateway's handler: what becomes of one request, from its head to its answer.
//!
//! Check the head, find the route, and then one of three: answer it here (`well_known.rs`), pass it
//! through untouched, or hand it to the route's idempotency layer, whose inner service is the way to
//! the upstream (`effect.rs`).

mod cors;
mod effect;
mod probe;
mod well_known;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hapax::event::Answer;
use hapax::{Event, Guard, Problem};
use hapax_tower::{EffectError, IdempotencyLayer, ResponseBody, problem};
use http::request::Parts;
use http::{HeaderName, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tower_layer::Layer as _;
use tower_service::Service as _;

use crate::forward::{ForwardConfig, ForwardError, Malformed, RequestLimits};
use crate::forward::{check_request, pass_through};
use crate::listen::{ConnInfo, Core, Handler};
use crate::route::Routes;
use crate::upstream::{SendError, Upstream, UpstreamBody};

pub use cors::Cors;
pub use effect::Effect;
pub use probe::ProbeTarget;
pub use well_known::WellKnown;

/// What the gateway answers with.
pub type Answered = Response<ResponseBody<UpstreamBody>>;

const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// Everything that requests share, on all cores.
#[derive(Debug)]
pub struct Site {
    /// Which pages of other origins may read answers.
    pub cors: Cors,
    /// How requests are passed on.
    pub forward: ForwardConfig,
    /// The guard of all routes.
    pub guard: Guard,
    /// Limits on heads.
    pub limits: RequestLimits,
    /// What problem types start with.
    pub problem_base: Arc<str>,
    /// What each route does, in the order of `routes`.
    pub protections: Vec<Protection>,
    /// Which route a request takes.
    pub routes: Routes,
    /// How long unprotected requests wait for the head of an answer.
    pub unprotected_timeout: Duration,
    /// The way to the application.
    pub upstream: Upstream,
    /// The published policy and issued keys.
    pub well_known: WellKnown,
}

/// What one route does.
#[derive(Debug)]
pub struct Protection {
    /// Its layer.
    pub layer: IdempotencyLayer,
    /// Where to ask what became of an unknown outcome.
    pub probe: Option<ProbeTarget>,
    /// How long its unprotected requests wait for the head of an answer.
    pub upstream_timeout: Duration,
}

/// The handler of one core.
#[derive(Debug)]
pub struct Gateway {
    core: Core,
    site: Arc<Site>,
}

impl Gateway {
    /// A handler for `core`.
    #[must_use]
    pub const fn new(core: Core, site: Arc<Site>) -> Self {
        Self { core, site }
    }
}

impl Handler for Gateway {
    type Body = ResponseBody<UpstreamBody>;

    fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Arc<ConnInfo>,
    ) -> impl Future<Output = Answered> + Send + use<> + 'static {
        let (site, core) = (Arc::clone(&self.site), self.core.clone());
        let connection = Arc::clone(connection);
        async move {
            let origin = site.cors.origin_of(request.headers());
            let mut response = site.answer(request, connection, core).await;
            if let Some(origin) = origin {
                site.cors.allow(&origin, response.headers_mut());
            }
            response
        }
    }
}

impl Site {
    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<ConnInfo>,
        core: Core,
    ) -> Answered {
        let (parts, body) = request.into_parts();
        if let Err(malformed) = check_request(&parts, &self.limits) {
            return self.malformed(&malformed);
        }
        if let Some(response) = self.well_known.answer(self, &parts) {
            return response;
        }
        let found = match self.routes.find(parts.uri.path(), &parts.method) {
            Ok(found) => found.and_then(|index| self.protections.get(index)),
            Err(bad) => return self.refuse(&format!("Nothing was executed: {bad}.")),
        };
        match found {
            Some(protection) if protection.layer.rules().concern(&parts) => {
                if is_early_data(&parts) {
                    return self.too_early();
                }
                self.protect(protection, Request::from_parts(parts, body), connection, core).await
            }
            Some(protection) => {
                let route = &protection.layer.rules().route;
                let event = Event::Answered { answer: Answer::Unprotected, id: None, route };
                self.guard.observer().observe(&event);
                let timeout = protection.upstream_timeout;
                self.pass(Request::from_parts(parts, body), &connection, timeout).await
            }
            None => {
                let timeout = self.unprotected_timeout;
                self.pass(Request::from_parts(parts, body), &connection, timeout).await
            }
        }
    }

    async fn protect(
        self: &Arc<Self>,
        protection: &Protection,
        mut request: Request<Incoming>,
        connection: Arc<ConnInfo>,
        core: Core,
    ) -> Answered {
        if let Some(target) = &protection.probe {
            let probe = target.for_request(request.headers());
            request.extensions_mut().insert::<Arc<dyn hapax::guard::Probe>>(Arc::new(probe));
        }
        let effect = Effect::new(Arc::clone(self), connection, core);
        match protection.layer.layer(effect).call(request).await {
            Ok(response) => response,
            // Only shadow mode lets an error of the effect through.
            Err(EffectError::NotSent(_)) => {
                problem(&self.problem_base, Problem::UpstreamUnreachable, None, None)
            }
            Err(EffectError::Unknown(_)) => self.unprotected_unknown(502),
        }
    }

    async fn pass(
        &self,
        request: Request<Incoming>,
        connection: &ConnInfo,
        timeout: Duration,
    ) -> Answered {
        match pass_through(&self.upstream, request, connection, &self.forward, timeout).await {
            Ok(response) => response.map(ResponseBody::Stream),
            Err(error) => self.failed(&error),
        }
    }

    /// Nothing came back for a request that no key protects.
    fn failed(&self, error: &ForwardError) -> Answered {
        tracing::debug!(%error, "failed to pass a request through");
        match error {
            ForwardError::Send(SendError::NotSent(_)) => {
                problem(&self.problem_base, Problem::UpstreamUnreachable, None, None)
            }
            ForwardError::Send(SendError::Unknown(_)) => self.unprotected_unknown(502),
            ForwardError::Timeout { .. } => self.unprotected_unknown(504),
        }
    }

    fn unprotected_unknown(&self, status: u16) -> Answered {
        let detail = "The request was passed on without protection and no answer came. It may or \
                      may not have taken effect.";
        let status = StatusCode::from_u16(status).ok();
        problem(&self.problem_base, Problem::OutcomeUnknown, Some(detail), status)
    }

    fn malformed(&self, malformed: &Malformed) -> Answered {
        let status = match malformed {
            Malformed::UriTooLong { .. } => StatusCode::URI_TOO_LONG,
            Malformed::DoubledHost
            | Malformed::InvalidHost
            | Malformed::MissingHost
            | Malformed::ProtectedField(_)
            | Malformed::TransferCoding => StatusCode::BAD_REQUEST,
        };
        let detail = format!("Nothing was executed: {malformed}.");
        problem(&self.problem_base, Problem::InvalidRequest, Some(&detail), Some(status))
    }

    pub(crate) fn refuse(&self, detail: &str) -> Answered {
        problem(&self.problem_base, Problem::InvalidRequest, Some(detail), None)
    }

    /// A request that was sent before the handshake was complete may be an attacker's copy (HTP-11).
    fn too_early(&self) -> Answered {
        let detail = "Nothing was executed: the request came in TLS early data; repeat it now.";
        let status = Some(StatusCode::TOO_EARLY);
        problem(&self.problem_base, Problem::InvalidRequest, Some(detail), status)
    }
}

fn is_early_data(parts: &Parts) -> bool {
    parts.headers.get_all(EARLY_DATA).iter().any(|value| value.as_bytes().trim_ascii() == b"1")
}

/// The path and query of a target, or "/" where it has none.
pub(crate) fn path_and_query(uri: &Uri) -> Cow<'_, str> {
    uri.path_and_query().map_or(Cow::Borrowed("/"), |target| Cow::Borrowed(target.as_str()))
}

//! Answers: what a verdict looks like on the wire.

use std::time::Duration;

use hapax::event::Answer;
use hapax::guard::{Ran, Replay, Verdict};
use hapax::{Cause, Disposition, Event, Kept, Outcome, Problem, RecordedResponse};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Map;

use crate::admit::Refusal;
use crate::body::{ResponseBody, Whole};
use crate::headers;
use crate::layer::Shared;
use crate::reply;

/// How soon a store that was not there may be asked again.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Shared {
    pub(crate) fn refuse<R>(&self, refusal: &Refusal) -> Response<ResponseBody<R>> {
        let detail = refusal.detail.as_deref();
        let mut response =
            reply::problem(&self.rules.problem_base, refusal.problem, detail, refusal.status);
        if refusal.status == Some(StatusCode::UNAUTHORIZED) {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }

    /// The answer to a verdict; `own` is what the caller's own effect left.
    pub(crate) fn respond<R>(
        &self,
        verdict: &Verdict,
        own: Option<Response<ResponseBody<R>>>,
    ) -> Response<ResponseBody<R>> {
        match verdict {
            Verdict::Busy { retry_after } => self.again(Problem::InProgress, *retry_after),
            Verdict::Held => self.problem(Problem::OutcomeUnknown),
            Verdict::Mismatch => self.problem(Problem::KeyReused),
            Verdict::Overloaded => self.again(Problem::Overloaded, STORE_RETRY_AFTER),
            Verdict::Ran(ran) => self.ran(ran, own),
            Verdict::Replayed(replay) => self.replayed(replay),
            Verdict::StoreFailed { full: true } => {
                self.again(Problem::StoreFull, STORE_RETRY_AFTER)
            }
            Verdict::StoreFailed { full: false } => {
                self.again(Problem::StoreUnavailable, STORE_RETRY_AFTER)
            }
            Verdict::Waited(ran) => self.waited(ran),
        }
    }

    /// What the first caller is told when there is no answer to give.
    pub(crate) fn unanswered<R>(&self, outcome: &Outcome) -> Response<ResponseBody<R>> {
        let base = &self.rules.problem_base;
        match outcome {
            Outcome::NotSent => reply::problem(base, Problem::UpstreamUnreachable, None, None),
            Outcome::Unknown(Cause::TimedOut) => {
                let status = Some(StatusCode::GATEWAY_TIMEOUT);
                reply::problem(base, Problem::OutcomeUnknown, None, status)
            }
            Outcome::Answered { .. }
            | Outcome::AnsweredLarge { .. }
            | Outcome::Settled { .. }
            | Outcome::Unknown(_) => self.lost(),
        }
    }

    pub(crate) fn lost<R>(&self) -> Response<ResponseBody<R>> {
        let status = Some(StatusCode::BAD_GATEWAY);
        reply::problem(&self.rules.problem_base, Problem::OutcomeUnknown, None, status)
    }

    fn problem<R>(&self, problem: Problem) -> Response<ResponseBody<R>> {
        reply::problem(&self.rules.problem_base, problem, None, None)
    }

    fn again<R>(&self, problem: Problem, after: Duration) -> Response<ResponseBody<R>> {
        let mut response = self.problem(problem);
        reply::retry_after(&mut response, after);
        response
    }

    fn ran<R>(
        &self,
        ran: &Ran,
        own: Option<Response<ResponseBody<R>>>,
    ) -> Response<ResponseBody<R>> {
        // Of an outcome that became unknown nothing has been given away yet, and nothing shall be.
        let own = own.filter(|_own| !matches!(*ran.outcome, Outcome::Unknown(_)));
        let mut response = own.unwrap_or_else(|| self.unanswered(&ran.outcome));
        if let Some(expires) = ran.expires_at.and_then(headers::http_date) {
            response.headers_mut().insert(headers::EXPIRES, expires);
        }
        if !ran.protected {
            headers::mark_unprotected(response.headers_mut());
        }
        response
    }

    fn waited<R>(&self, ran: &Ran) -> Response<ResponseBody<R>> {
        let mut response = match &*ran.outcome {
            Outcome::Answered { response, .. } | Outcome::Settled { response } => {
                let mut replay = replay(response, Duration::ZERO);
                if let Some(expires) = ran.expires_at.and_then(headers::http_date) {
                    replay.headers_mut().insert(headers::EXPIRES, expires);
                }
                replay
            }
            Outcome::AnsweredLarge { location, status, .. } => {
                self.not_retained(*status, location.as_ref())
            }
            Outcome::NotSent => self.problem(Problem::UpstreamUnreachable),
            Outcome::Unknown(_) => self.problem(Problem::OutcomeUnknown),
        };
        if !ran.protected {
            headers::mark_unprotected(response.headers_mut());
        }
        response
    }

    fn replayed<R>(&self, from: &Replay) -> Response<ResponseBody<R>> {
        self.guard.observer().observe(&Event::ReplayAge(from.age));
        let mut response = match &*from.kept {
            Kept::Response(response) => replay(response, from.age),
            Kept::NotRetained { location, status } => {
                return self.not_retained(*status, location.as_ref());
            }
        };
        if let Some(expires) = from.expires_at.and_then(headers::http_date) {
            response.headers_mut().insert(headers::EXPIRES, expires);
        }
        response
    }

    fn not_retained<R>(
        &self,
        status: u16,
        location: Option<&bytes::Bytes>,
    ) -> Response<ResponseBody<R>> {
        let mut more = Map::new();
        // Unknown where an application told `hapax.commit` nothing of its answer.
        if status != 0 {
            more.insert("original-status".to_owned(), status.into());
        }
        let base = &self.rules.problem_base;
        let mut response = reply::render(base, Problem::ResultNotRetained, None, None, more);
        let location =
            location.and_then(|value| HeaderValue::from_maybe_shared(value.clone()).ok());
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// The kept answer, marked, with its age as an intermediary tells it (REP-02, REP-04).
fn replay<R>(kept: &RecordedResponse, age: Duration) -> Response<ResponseBody<R>> {
    let trailers = (!kept.trailers.is_empty()).then(|| headers::restored(&kept.trailers));
    let announced = trailers.as_ref().and_then(headers::names);
    let body = ResponseBody::Whole(Whole::new(kept.body.clone(), trailers));
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    *headers = headers::restored(&kept.headers);
    headers.insert(headers::REPLAYED, HeaderValue::from_static("true"));
    headers.insert(header::AGE, age.as_secs().into());
    if let Some(announced) = announced {
        headers.insert(header::TRAILER, announced);
    }
    response
}

/// What a verdict counts as.
pub(crate) trait VerdictExt {
    fn answer(&self) -> Answer;
    fn is_unknown(&self) -> bool;
}

impl VerdictExt for Verdict {
    fn answer(&self) -> Answer {
        match self {
            Self::Busy { .. } => Answer::InProgress,
            Self::Held => Answer::Held,
            Self::Mismatch => Answer::KeyReused,
            Self::Overloaded | Self::StoreFailed { .. } => Answer::StoreError,
            Self::Ran(ran) if !ran.protected => Answer::Unprotected,
            Self::Ran(ran) => match ran.disposition {
                Disposition::Free => Answer::Released,
                Disposition::Keep => Answer::Executed,
                Disposition::Unknown => Answer::Unknown,
            },
            Self::Replayed(replay) => match &*replay.kept {
                Kept::NotRetained { .. } => Answer::NotRetained,
                Kept::Response(_) if replay.waited => Answer::Waited,
                Kept::Response(_) => Answer::Replayed,
            },
            Self::Waited(_) => Answer::Waited,
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(self, Self::Ran(ran) if matches!(*ran.outcome, Outcome::Unknown(_)))
    }
}

/// What a problem that the layer finds before the flow counts as.
pub(crate) const fn answer_of(problem: Problem) -> Answer {
    match problem {
        Problem::MissingKey => Answer::MissingKey,
        _ => Answer::InvalidKey,
    }
}

//! Settling what is in doubt (ADM-03, ruling 13).
//!
//! A settlement names record and attempt, and the store compares the attempt as it settles: an answer
//! that comes late, another operator or a retry that got through first is never overwritten. What the
//! caller is told is what stands afterwards.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hapax::{
    AttemptId, Event, Kept, Lease, LeaseError, LeaseLost, Observed, Observer as _, Phase, Record,
    RecordId, Settlement, Settler, State as Standing, What,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::id::AdminId;
use super::input::{self, Peer};
use super::problem::Problem;
use super::{Shared, answer, lookup, view};
use crate::audit::Decision;

/// Bytes of a request: the largest body in base64, the header lines, and some room.
const REQUEST_BYTES_MAX: usize = answer::BODY_BYTES_MAX / 3 * 4 + 64 * 1024;
/// Bytes of a reason.
pub(super) const REASON_BYTES_MAX: usize = 500;

/// How the operation ended, as an operator found out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "outcome")]
enum Ending {
    /// It took effect, and this is its answer.
    Executed {
        #[serde(default)]
        body_base64: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(default)]
        reason: Option<String>,
        status: u16,
    },
    /// It did not and will not: the key is free.
    NotExecuted {
        #[serde(default)]
        reason: Option<String>,
    },
}

/// A settlement that has yet to meet its record.
#[derive(Debug)]
struct Wish {
    attempt: AttemptId,
    ending: Ending,
    id: RecordId,
}

/// What came of it.
enum Settled {
    /// It was settled now.
    Done(Value),
    /// It had been settled so before.
    Repeated(Value),
}

pub(super) async fn settle(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    peer: Option<Extension<Peer>>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let id = AdminId::parse(&id)?;
    let attempt = id.attempt.ok_or_else(|| {
        Problem::bad_request("To settle, name the attempt too: the whole id of the record.")
    })?;
    let _room = shared.room().await?;
    let ending: Ending = input::json(request, REQUEST_BYTES_MAX).await?;
    let decision = ending.decision(&id, peer)?;
    let wish = Wish { attempt, ending, id: id.record };
    // A caller that goes away does not leave a decision half written down.
    let settled = tokio::spawn(carry_out(Arc::clone(&shared), decision, wish));
    settled.await.unwrap_or_else(|_stopping| Err(Problem::busy("The listener is stopping.")))
}

async fn carry_out(
    shared: Arc<Shared>,
    decision: Decision,
    wish: Wish,
) -> Result<Json<Value>, Problem> {
    let number = shared.audit.ask(decision).await.map_err(|error| {
        tracing::error!(%error, "failed to write the audit file");
        Problem::audit_unavailable()
    })?;
    let settled = shared.settle(wish).await;
    let result = match &settled {
        Ok(Settled::Done(_)) => "done",
        Ok(Settled::Repeated(_)) => "repeated",
        Err(problem) => problem.code,
    };
    shared.audit.finish(number, result).await;
    let (mut record, repeated) = match settled? {
        Settled::Done(record) => (record, false),
        Settled::Repeated(record) => (record, true),
    };
    record["repeated"] = json!(repeated);
    Ok(Json(record))
}

impl Ending {
    fn decision(&self, id: &AdminId, peer: Option<Extension<Peer>>) -> Result<Decision, Problem> {
        let (outcome, reason, status) = match self {
            Self::Executed { reason, status, .. } => ("executed", reason, Some(*status)),
            Self::NotExecuted { reason } => ("not-executed", reason, None),
        };
        Ok(Decision {
            action: "settle".to_owned(),
            by: by(peer),
            force: false,
            outcome: Some(outcome.to_owned()),
            reason: checked_reason(reason.clone())?,
            record: id.to_string(),
            status,
        })
    }
}

impl Shared {
    async fn settle(&self, wish: Wish) -> Result<Settled, Problem> {
        let Wish { attempt, ending, id } = wish;
        let seen = self.live(&id).await?.ok_or_else(Problem::no_record)?;
        let with = self.settlement(ending, &seen.record.route)?;
        let lease = claim_of(&seen, attempt)?;
        match Standing::of(&seen.record, seen.now) {
            Some(Standing::Completed | Standing::Released) => {
                return stands(&seen, &with).map(Settled::Repeated);
            }
            Some(Standing::InProgress) => return Err(showing(Problem::in_progress(), &seen)),
            Some(Standing::InDoubt) => {}
            None => return Err(Problem::no_record()),
        }
        let settled = self.guard.store().settle(&lease, &with, Settler::Operator);
        match self.within(settled).await? {
            Ok(()) => {
                let record = self.after(&id, attempt, &with, seen).await?;
                self.metrics.observe(&Event::Resolved { by: "operator", id });
                Ok(Settled::Done(record))
            }
            Err(LeaseError::Store(error)) => Err(lookup::failed(&error)),
            Err(LeaseError::Lost(LeaseLost::Expired)) => Err(Problem::no_record()),
            Err(LeaseError::Lost(LeaseLost::Running)) => Err(Problem::in_progress()),
            Err(LeaseError::Lost(LeaseLost::Settled)) => Err(Problem::settled(OTHERWISE)),
            Err(LeaseError::Lost(LeaseLost::Superseded { .. })) => Err(Problem::superseded()),
        }
    }

    fn settlement(&self, ending: Ending, route: &str) -> Result<Settlement, Problem> {
        let retention = self.retention_of(route);
        match ending {
            Ending::Executed { body_base64, headers, status, .. } => {
                let body = STANDARD.decode(body_base64).map_err(|error| {
                    Problem::invalid_answer(format!("body_base64 is not base64: {error}."))
                })?;
                let set_cookie = self.rules_of(route).is_some_and(|rules| rules.set_cookie);
                let response = answer::checked(status, &headers, body, set_cookie)?;
                Ok(Settlement::Complete { kept: Kept::Response(response), retention })
            }
            Ending::NotExecuted { .. } => Ok(Settlement::Release { retention, status: None }),
        }
    }

    /// The record after a settlement that the store took: it may have been another's that came first,
    /// since repeating a settlement is no error to a store.
    async fn after(
        &self,
        id: &RecordId,
        attempt: AttemptId,
        with: &Settlement,
        before: Observed,
    ) -> Result<Value, Problem> {
        match self.live(id).await? {
            Some(seen) if seen.record.attempt == attempt => stands(&seen, with),
            // A retry has claimed the freed key since, or the record has gone.
            Some(_) | None => Ok(json!({
                "id": AdminId::of(&before.record).to_string(),
                "state": match with {
                    Settlement::Complete { .. } => Standing::Completed.as_str(),
                    Settlement::Doubt { .. } => Standing::InDoubt.as_str(),
                    Settlement::Release { .. } => Standing::Released.as_str(),
                },
            })),
        }
    }
}

const OTHERWISE: &str = "The attempt has been settled otherwise. Nothing was changed.";

/// The lease to settle by, if the attempt still holds the record.
fn claim_of(seen: &Observed, attempt: AttemptId) -> Result<Lease, Problem> {
    if seen.record.attempt == attempt {
        Ok(seen.record.lease())
    } else {
        Err(showing(Problem::superseded(), seen))
    }
}

/// The record, if it stands as an operator who wanted `with` left it.
fn stands(seen: &Observed, with: &Settlement) -> Result<Value, Problem> {
    let is_same = match (&seen.record.phase, with) {
        (Phase::Completed { kept, .. }, Settlement::Complete { kept: wanted, .. }) => {
            kept == wanted
        }
        (Phase::Released { .. }, Settlement::Release { .. }) => true,
        (
            Phase::Completed { .. }
            | Phase::InDoubt { .. }
            | Phase::InProgress { .. }
            | Phase::Released { .. },
            _,
        ) => false,
    };
    if is_same && is_by_operator(&seen.record) {
        view::detail(&seen.record, seen.now).ok_or_else(Problem::no_record)
    } else {
        Err(showing(Problem::settled(OTHERWISE), seen))
    }
}

fn is_by_operator(record: &Record) -> bool {
    let last = record.history.entries().last();
    last.is_some_and(|entry| match entry.what {
        What::Completed { by, .. } | What::Released { by, .. } => by == Settler::Operator,
        What::Claimed | What::Doubted { .. } => false,
    })
}

/// The problem, with the record as it stands.
pub(super) fn showing(problem: Problem, seen: &Observed) -> Problem {
    match view::record(&seen.record, seen.now) {
        Some(record) => problem.with_record(record),
        None => problem,
    }
}

/// Where a decision comes from.
pub(super) fn by(peer: Option<Extension<Peer>>) -> String {
    peer.map_or_else(|| "unknown".to_owned(), |Extension(Peer(address))| address.to_string())
}

/// A reason of one short line.
pub(super) fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    let is_good =
        |text: &String| text.len() <= REASON_BYTES_MAX && !text.chars().any(char::is_control);
    match reason {
        Some(reason) if !is_good(&reason) => {
            let detail = format!("A reason is one line of at most {REASON_BYTES_MAX} bytes.");
            Err(Problem::bad_request(detail))
        }
        reason => Ok(reason.filter(|reason| !reason.is_empty())),
    }
}

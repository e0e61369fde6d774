//! Forgetting a record: its key is new again.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use hapax::{Purged, State as Standing};
use serde::Deserialize;
use serde_json::{Value, json};

use super::id::AdminId;
use super::input::{self, Peer};
use super::problem::Problem;
use super::settle::{by, checked_reason, showing};
use super::{Shared, lookup};
use crate::audit::Decision;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purging {
    #[serde(default)]
    force: bool,
    reason: Option<String>,
}

/// Removes a record. Without `force` neither one that runs nor one in doubt, which a retry would run
/// again; and none of another attempt than the id names, if it names one.
pub(super) async fn purge(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    purging: Result<Query<Purging>, QueryRejection>,
    peer: Option<Extension<Peer>>,
) -> Result<Json<Value>, Problem> {
    let id = AdminId::parse(&id)?;
    let purging = input::query(purging)?;
    let decision = Decision {
        action: "purge".to_owned(),
        by: by(peer),
        force: purging.force,
        outcome: None,
        reason: checked_reason(purging.reason)?,
        record: id.to_string(),
        status: None,
    };
    let purged = tokio::spawn(async move {
        let number = shared.audit.ask(decision).await.map_err(|error| {
            tracing::error!(%error, "failed to write the audit file");
            Problem::audit_unavailable()
        })?;
        let purged = shared.purge(&id, purging.force).await;
        let result = purged.as_ref().map_or_else(|problem| problem.code, |()| "done");
        shared.audit.finish(number, result).await;
        purged.map(|()| Json(json!({"id": id.to_string(), "purged": true})))
    });
    purged.await.unwrap_or_else(|_stopping| Err(Problem::busy("The listener is stopping.")))
}

impl Shared {
    async fn purge(&self, id: &AdminId, force: bool) -> Result<(), Problem> {
        let seen = self.live(&id.record).await?.ok_or_else(Problem::no_record)?;
        if id.attempt.is_some_and(|attempt| attempt != seen.record.attempt) {
            return Err(showing(Problem::superseded(), &seen));
        }
        if !force && Standing::of(&seen.record, seen.now) == Some(Standing::InDoubt) {
            return Err(showing(Problem::in_doubt(), &seen));
        }
        // The store looks again: what has begun to run since is not removed without force.
        let purged = self.within(self.guard.store().purge(&id.record, force)).await?;
        match purged.map_err(|error| lookup::failed(&error))? {
            Purged::Absent => Err(Problem::no_record()),
            Purged::Refused => Err(Problem::in_progress()),
            Purged::Removed => Ok(()),
        }
    }
}

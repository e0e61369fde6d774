//! Looking at records: `/api/records` and `/api/records/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use hapax::{ListQuery, RecordId, SCOPE_BYTES};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::id::AdminId;
use super::problem::Problem;
use super::{Shared, input, lookup, view};

/// Records of one page unless asked otherwise.
const PAGE_RECORDS: u32 = 50;
/// Records of one page at most: a page is in memory whole, answers included.
const PAGE_RECORDS_MAX: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    cursor: Option<String>,
    limit: Option<u32>,
    scope: Option<String>,
    state: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Showing {
    #[serde(default)]
    body: bool,
}

/// One page, in the order of ids.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let query = input::query(listing)?.query()?;
    let _room = shared.room().await?;
    let page = shared.within(shared.guard.store().list(&query)).await?;
    let page = page.map_err(|error| lookup::failed(&error))?;
    let records: Vec<Value> =
        page.records.iter().filter_map(|record| view::record(record, page.now)).collect();
    Ok(Json(json!({"records": records, "cursor": page.next.map(|id| id.to_string())})))
}

/// One record; with `body=true` its answer too, for who shows the token.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    showing: Result<Query<Showing>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let id = AdminId::parse(&id)?;
    let showing = input::query(showing)?;
    if showing.body && !shared.has_token(&headers) {
        return Err(Problem::body_forbidden());
    }
    let _room = shared.room().await?;
    let seen = shared.live(&id.record).await?.ok_or_else(Problem::no_record)?;
    let mut detail = view::detail(&seen.record, seen.now).ok_or_else(Problem::no_record)?;
    if showing.body {
        detail["answer"] = view::answer(&seen.record).unwrap_or(Value::Null);
    }
    Ok(Json(detail))
}

impl Listing {
    fn query(self) -> Result<ListQuery, Problem> {
        let limit = self.limit.unwrap_or(PAGE_RECORDS);
        if limit == 0 || limit > PAGE_RECORDS_MAX {
            let detail = format!("limit = {limit}; ask for 1 to {PAGE_RECORDS_MAX} records.");
            return Err(Problem::bad_request(detail));
        }
        // An empty parameter counts as none, as forms send it.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let after = given(self.cursor).map(|text| {
            RecordId::parse(&text)
                .ok_or_else(|| Problem::bad_request("The cursor is not one of a page before."))
        });
        let scope = given(self.scope).map(|text| {
            scope_head(&text)
                .ok_or_else(|| Problem::bad_request("A scope is 16 hexadecimal digits."))
        });
        let state = given(self.state).map(|text| {
            hapax::State::parse(&text).ok_or_else(|| {
                Problem::bad_request(
                    "A state is one of in_progress, completed, released and in_doubt.",
                )
            })
        });
        Ok(ListQuery {
            after: after.transpose()?,
            limit,
            scope: scope.transpose()?,
            state: state.transpose()?,
        })
    }
}

fn scope_head(text: &str) -> Option<[u8; SCOPE_BYTES]> {
    // A scope is the head of a record's id: as one with the rest at zero it is read.
    let padded = format!("{text}{}", "0".repeat(64 - 2 * SCOPE_BYTES));
    RecordId::parse(&padded).map(|id| id.scope_head())
}

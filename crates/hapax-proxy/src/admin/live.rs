//! What goes on: `/api/stats`, `/api/events` and `/api/audit`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use hapax::Timestamp;
use hapax::event::Answer;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::time::rfc3339;
use super::{Shared, input};
use crate::audit::{AUDIT_ENTRIES_MAX, Entry};
use crate::metrics::{Distribution, FeedEvent};

/// Streams of events at once.
pub(super) const EVENT_STREAMS_MAX: usize = 32;
/// Decisions told unless asked otherwise.
const AUDIT_ENTRIES: usize = 100;
/// A comment after so much silence shows both sides that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auditing {
    limit: Option<usize>,
}

/// The numbers of `/metrics`, for programs that draw them.
pub(super) async fn stats(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.metrics.flying(shared.guard.in_flight());
    let now = shared.metrics.snapshot();
    let mut requests = Map::new();
    for route in &now.answers {
        let counts = Answer::ALL
            .into_iter()
            .map(|answer| (answer.as_str().to_owned(), Value::from(route.of(answer))));
        requests.insert(route.route.to_string(), Value::Object(counts.collect()));
    }
    let reruns: Vec<Value> = now
        .reruns
        .iter()
        .map(|(route, status, count)| json!({"route": **route, "status": status, "count": count}))
        .collect();
    let counts = |pairs: &[(&'static str, u64)]| -> Value {
        let pairs = pairs.iter().map(|(name, count)| ((*name).to_owned(), Value::from(*count)));
        Value::Object(pairs.collect())
    };
    let guarantees = shared.guard.store().guarantees();
    Json(json!({
        "requests": requests,
        "reruns": reruns,
        "unknown": counts(&now.unknown),
        "resolved": counts(&now.resolved),
        "in_flight": now.in_flight,
        "in_doubt": now.in_doubt,
        "in_doubt_oldest_seconds": now.in_doubt_oldest.as_secs_f64(),
        "records": now.records,
        "store_bytes": now.store_bytes,
        "store_up": now.store_is_up,
        "swept": now.swept,
        "leases_lost": now.leases_lost,
        "settle_failures": now.settle_failures,
        "times": {
            "added": times(&now.added),
            "replay_age": times(&now.replay_age),
            "upstream": times(&now.upstream),
            "wait": times(&now.wait),
        },
        "store": {
            "durable": guarantees.durable,
            "shared": guarantees.shared,
            "summary": guarantees.summary,
        },
    }))
}

/// Events as they happen (server-sent events). A reader that falls behind loses the oldest and gets an
/// event `lost` that says how many.
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let place = Arc::clone(&shared.event_streams).try_acquire_owned();
    let place = place.map_err(|_full| {
        Problem::busy(format!("{EVENT_STREAMS_MAX} streams of events are open already."))
    })?;
    let stream = stream::unfold((shared.metrics.follow(), place), |(mut reader, place)| async {
        let event = match reader.next().await? {
            Ok(event) => Event::default().event(event.kind).data(told(&event).to_string()),
            Err(lost) => Event::default().event("lost").data(json!({"lost": lost}).to_string()),
        };
        Some((Ok(event), (reader, place)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The latest decisions of operators, newest first.
pub(super) async fn audit(
    State(shared): State<Arc<Shared>>,
    auditing: Result<Query<Auditing>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let limit = input::query(auditing)?.limit.unwrap_or(AUDIT_ENTRIES);
    if limit == 0 || limit > AUDIT_ENTRIES_MAX {
        let detail = format!("limit = {limit}; ask for 1 to {AUDIT_ENTRIES_MAX} decisions.");
        return Err(Problem::bad_request(detail));
    }
    let decisions: Vec<Value> = shared.audit.latest(limit).iter().map(decision).collect();
    Ok(Json(json!({"decisions": decisions, "durable": shared.audit.is_durable()})))
}

fn times(times: &Distribution) -> Value {
    json!({
        "count": times.count(),
        "sum_seconds": times.sum_secs(),
        "p50_at_most_seconds": times.quantile_bound(0.5),
        "p99_at_most_seconds": times.quantile_bound(0.99),
    })
}

fn told(event: &FeedEvent) -> Value {
    let mut told = json!({"at": rfc3339(event.at), "kind": event.kind});
    if let Some(record) = event.record {
        told["record"] = json!(record.to_string());
    }
    if let Some(route) = &event.route {
        told["route"] = json!(**route);
    }
    if let Some(status) = event.status {
        told["status"] = json!(status);
    }
    if let Some(word) = event.word {
        let name = match event.kind {
            "answered" => "outcome",
            "resolved" => "by",
            _ => "cause",
        };
        told[name] = json!(word);
    }
    told
}

fn decision(entry: &Entry) -> Value {
    let decision = serde_json::to_value(&entry.decision).unwrap_or_default();
    let mut told = json!({
        "at": rfc3339(Timestamp::from_micros(entry.at_micros)),
        "result": entry.result,
    });
    if let (Value::Object(told), Value::Object(decision)) = (&mut told, decision) {
        told.extend(decision);
    }
    told
}

//! A record as JSON (ADM-02). Answers, which belong to callers, only on demand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hapax::{
    Entry, Field, Kept, Phase, Record, RecordedResponse, Settler, State, Status, Timestamp, What,
};
use serde_json::{Map, Value, json};

use super::id::AdminId;
use super::time::rfc3339;

/// The record as it stands at `now`; `None` once it has expired.
pub(super) fn record(record: &Record, now: Timestamp) -> Option<Value> {
    let state = State::of(record, now)?;
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    put("id", json!(AdminId::of(record).to_string()));
    put("state", json!(state.as_str()));
    put("route", json!(*record.route));
    put("scope", json!(record.id.scope_short()));
    put("attempts", json!(record.attempts));
    put("created_at", json!(rfc3339(record.created_at)));
    put("claimed_at", json!(rfc3339(record.claimed_at)));
    put("expires_at", json!(record.expires_at.map(rfc3339)));
    put("fingerprint", json!(record.fingerprint.short()));
    put("fingerprint_version", json!(record.fingerprint.version()));
    put("fence", json!(record.fence.value()));
    match &record.phase {
        Phase::Completed { at, kept } => {
            put("settled_at", json!(rfc3339(*at)));
            put("status", json!(kept.status()));
            put("failed", json!(kept.status() >= 400));
            put("retained", json!(matches!(kept, Kept::Response(_))));
            if let Kept::Response(response) = kept {
                put("body_bytes", json!(response.body.len()));
            }
        }
        Phase::InDoubt { cause, since, .. } => {
            put("cause", json!(cause.as_str()));
            put("in_doubt_since", json!(rfc3339(*since)));
        }
        Phase::InProgress { until, .. } => {
            put("lease_until", json!(rfc3339(*until)));
            if record.status(now) == Status::Lapsed {
                put("cause", json!("lapsed"));
                put("in_doubt_since", json!(rfc3339(*until)));
            }
        }
        Phase::Released { at, status } => {
            put("settled_at", json!(rfc3339(*at)));
            put("status", json!(status));
        }
    }
    if state == State::InDoubt {
        put("reclaimable_at", json!(record.reclaimable_at().map(rfc3339)));
    }
    Some(Value::Object(members))
}

/// The record with its history: what [`record`] says, and what happened, oldest first.
pub(super) fn detail(seen: &Record, now: Timestamp) -> Option<Value> {
    let mut detail = record(seen, now)?;
    let history: Vec<Value> = seen.history.entries().iter().map(entry).collect();
    detail["history"] = json!(history);
    Some(detail)
}

/// The kept answer itself; `None` where there is none.
pub(super) fn answer(record: &Record) -> Option<Value> {
    match &record.phase {
        Phase::Completed { kept: Kept::Response(response), .. } => Some(response_of(response)),
        Phase::Completed { kept: Kept::NotRetained { location, status }, .. } => {
            let location = location.as_ref().map(|line| String::from_utf8_lossy(line));
            Some(json!({"status": status, "location": location}))
        }
        Phase::InDoubt { .. } | Phase::InProgress { .. } | Phase::Released { .. } => None,
    }
}

fn response_of(response: &RecordedResponse) -> Value {
    let lines = |fields: &[Field]| -> Vec<[String; 2]> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.iter().map(|field| [text(&field.name), text(&field.value)]).collect()
    };
    json!({
        "status": response.status,
        "headers": lines(&response.headers),
        "body_base64": STANDARD.encode(&response.body),
        "trailers": lines(&response.trailers),
    })
}

fn entry(entry: &Entry) -> Value {
    let mut told = json!({"at": rfc3339(entry.at), "attempt": entry.attempt});
    let by = |settler| match settler {
        Settler::Operator => "operator",
        Settler::Owner => "owner",
    };
    match entry.what {
        What::Claimed => told["what"] = json!("claimed"),
        What::Completed { by: settler, status } => {
            told["what"] = json!("completed");
            told["by"] = json!(by(settler));
            told["status"] = json!(status);
        }
        What::Doubted { cause } => {
            told["what"] = json!("doubted");
            told["cause"] = json!(cause.as_str());
        }
        What::Released { by: settler, status } => {
            told["what"] = json!("released");
            told["by"] = json!(by(settler));
            told["status"] = json!(status);
        }
    }
    told
}

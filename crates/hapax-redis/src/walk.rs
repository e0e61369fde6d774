//! Walking over all records, slice by slice.

use std::sync::Arc;

use hapax::{RecordId, State, StoreError, Timestamp};
use redis::{Pipeline, Value};
use tokio::time::Instant;

use crate::error::Outage;
use crate::names::Names;
use crate::reply::{Parts, into_bytes, number};
use crate::servers::Servers;
use crate::slots::Node;

/// Keys that a server looks at for one slice, about; steps are done between slices.
pub(crate) const SLICE_KEYS: usize = 1_000;

/// A walk over all servers. Each record that is there all the time is met at least once.
#[derive(Debug)]
pub(crate) struct Walk {
    cursor: Vec<u8>,
    /// Those that are still to be walked over, the present one last.
    nodes: Vec<Arc<Node>>,
    pattern: String,
}

/// What one slice has met.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) ids: Vec<RecordId>,
    pub(crate) node: Arc<Node>,
}

/// What a record means, without the record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Meaning {
    /// Since when it is in doubt, if it is.
    pub(crate) since: Timestamp,
    pub(crate) state: State,
}

impl Walk {
    /// A walk over all records, or those whose ids begin so.
    pub(crate) async fn start(
        servers: &Servers,
        names: &Names,
        head: &str,
        deadline: Instant,
    ) -> Result<Self, StoreError> {
        let nodes = servers.masters(deadline).await?;
        Ok(Self { cursor: b"0".to_vec(), nodes, pattern: names.pattern(head) })
    }

    /// The next slice, which may be empty; `None` at the end.
    pub(crate) async fn slice(
        &mut self,
        servers: &Servers,
        names: &Names,
        deadline: Instant,
    ) -> Result<Option<Slice>, StoreError> {
        let Some(node) = self.nodes.last().cloned() else {
            return Ok(None);
        };
        let mut commands = Pipeline::new();
        commands.cmd("SCAN").arg(self.cursor.as_slice()).arg("MATCH").arg(&self.pattern);
        commands.arg("COUNT").arg(SLICE_KEYS);
        let answers = servers.ask(&node, &commands, deadline).await?;
        let answer = first(answers, &node)?;
        let mut parts = Parts::of(answer)?;
        self.cursor = parts.bytes()?.unwrap_or_default().into();
        let keys = Parts::of(parts.value())?;
        let mut ids = Vec::new();
        for key in keys {
            ids.extend(into_bytes(key)?.and_then(|key| names.id_of(&key)));
        }
        if self.cursor == b"0" {
            self.nodes.pop();
        }
        Ok(Some(Slice { ids, node }))
    }
}

impl Slice {
    /// What the records mean at `now`; `None` for what is expired, gone, or elsewhere by now.
    pub(crate) async fn meanings(
        &self,
        servers: &Servers,
        names: &Names,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<Option<Meaning>>, StoreError> {
        if self.ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(self.ids.len());
        for id in &self.ids {
            commands.cmd("HMGET").arg(names.record(id));
            commands.arg(&["phase", "moment", "expires_at", "unknown_retention"]);
        }
        let answers = servers.ask(&self.node, &commands, deadline).await?;
        answers.into_iter().map(|answer| meaning(answer, now)).collect()
    }
}

/// [`Record::status`](hapax::Record::status) of the fields that it looks at.
fn meaning(answer: Value, now: Timestamp) -> Result<Option<Meaning>, StoreError> {
    let Value::Array(_) = answer else {
        // Its slot has moved on.
        return Ok(None);
    };
    let mut parts = Parts::of(answer)?;
    let Some(phase) = parts.bytes()? else { return Ok(None) };
    let moment = parts.timestamp()?;
    let mut optional = || parts.bytes().and_then(|text| text.map(|text| number(&text)).transpose());
    let (expires_at, keep) = (optional()?, optional()?);
    let ended = |from: Timestamp| {
        keep.is_some_and(|keep| from.as_micros().saturating_add(keep) <= now.as_micros())
    };
    let state = match phase.as_ref() {
        _ if expires_at.is_some_and(|at| at <= now.as_micros()) => return Ok(None),
        b"completed" => State::Completed,
        b"released" => State::Released,
        b"in_progress" if now < moment => State::InProgress,
        _ if ended(moment) => return Ok(None),
        _ => State::InDoubt,
    };
    Ok(Some(Meaning { since: moment, state }))
}

/// The only answer, unless it is an error of the server.
pub(crate) fn first(answers: Vec<Value>, node: &Node) -> Result<Value, StoreError> {
    match answers.into_iter().next() {
        Some(Value::ServerError(error)) => {
            let text = error.to_string();
            Err(StoreError::none(Outage::Server { host: node.host.clone(), text }))
        }
        answer => Ok(answer.unwrap_or(Value::Nil)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(texts: [Option<&str>; 4]) -> Value {
        let value = |text: Option<&str>| text.map_or(Value::Nil, |t| Value::BulkString(t.into()));
        Value::Array(texts.map(value).to_vec())
    }

    #[test]
    fn fields_mean_what_the_record_would() {
        let now = Timestamp::from_micros(100);
        for (texts, expected) in [
            ([Some("completed"), Some("9"), Some("101"), None], Some(State::Completed)),
            ([Some("completed"), Some("9"), Some("100"), None], None),
            ([Some("released"), Some("9"), None, None], Some(State::Released)),
            ([Some("in_progress"), Some("101"), None, Some("0")], Some(State::InProgress)),
            ([Some("in_progress"), Some("100"), None, None], Some(State::InDoubt)),
            ([Some("in_progress"), Some("99"), None, Some("1")], None),
            ([Some("in_doubt"), Some("99"), None, Some("2")], Some(State::InDoubt)),
            ([None, None, None, None], None),
        ] {
            let found = meaning(fields(texts), now).unwrap().map(|meaning| meaning.state);
            assert_eq!(found, expected, "{texts:?}");
        }
    }
}

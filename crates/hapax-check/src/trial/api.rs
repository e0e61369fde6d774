//! An API-mode case at work: it sees only what a client sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ANSWER_LIMIT, Log, Wire};
use crate::case::Stop;
use crate::judge::{ensure, fail};
use crate::target::Api;
use crate::wire::message::Ending;
use crate::wire::{Answer, Connection, Request, WireError};

/// A case's view of an API.
#[derive(Debug)]
pub(crate) struct ApiTrial {
    pub api: Arc<Api>,
    pub log: Log,
    budget: AtomicU32,
}

impl ApiTrial {
    pub(crate) fn new(api: Arc<Api>, log: Log, requests_max: u32) -> Self {
        Self { api, log, budget: AtomicU32::new(requests_max) }
    }

    /// A key that nobody used before, in the form most targets accept.
    pub(crate) fn key() -> String {
        uuid::Uuid::new_v4().to_string()
    }

    /// The operation with this key, quoted or bare as the target wants it.
    pub(crate) fn keyed(&self, key: &str) -> Request {
        match self.api.bare.get() {
            Some(true) => self.raw_keyed(key),
            Some(false) | None => self.raw_keyed(format!("\"{key}\"")),
        }
    }

    /// The operation with this field value as its key.
    pub(crate) fn raw_keyed(&self, value: impl AsRef<[u8]>) -> Request {
        self.api.request.clone().with(&self.api.key_field, value)
    }

    /// Takes one request from the case's budget.
    pub(crate) fn spend(&self) -> Result<(), Stop> {
        let left = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => {
                self.api.count_request();
                Ok(())
            }
            Err(_) => Err(Stop::Skip("the case's budget of requests is spent".to_owned())),
        }
    }

    pub(crate) async fn open(&self) -> Result<Wire, Stop> {
        Wire::open(&self.api.endpoint, self.log.clone())
            .await
            .map_err(|error| Stop::Skip(error.to_string()))
    }

    /// Sends on a connection of its own; no answer at all fails the case.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Stop> {
        match self.try_send(request).await? {
            Ok(answer) => Ok(answer),
            Err(error) => fail(format!("{}: {error}", request.describe())),
        }
    }

    /// Sends and hands over whatever happened.
    pub(crate) async fn try_send(
        &self,
        request: &Request,
    ) -> Result<Result<Answer, WireError>, Stop> {
        self.spend()?;
        let mut wire = self.open().await?;
        wire.send(request).await;
        Ok(wire.read(&request.method).await)
    }

    /// Reads the count of effects, where there is one.
    pub(crate) async fn effects(&self) -> Result<Option<i64>, Stop> {
        let Some(effects) = &self.api.effects else { return Ok(None) };
        let mut request = Request::new("GET", &effects.endpoint.path)
            .with("Host", effects.endpoint.authority())
            .with("Connection", "close");
        request.fields.extend(effects.fields.clone());
        let failed = |why: String| Stop::Skip(format!("the effects could not be counted: {why}"));
        let mut connection =
            Connection::open(&effects.endpoint).await.map_err(|error| failed(error.to_string()))?;
        connection.send(&request).await;
        let answer = connection
            .read("GET", ANSWER_LIMIT)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let json = answer.json().ok_or_else(|| failed(answer.describe()))?;
        let found = json.pointer(&effects.pointer);
        let count = found.and_then(|value| {
            value.as_i64().or_else(|| value.as_array().map(|list| list.len() as i64))
        });
        match count {
            Some(count) => Ok(Some(count)),
            None => Err(failed(format!("no number at {:?}", effects.pointer))),
        }
    }

    /// Effects since an earlier reading.
    pub(crate) async fn effects_since(&self, before: Option<i64>) -> Result<Option<i64>, Stop> {
        Ok(match (before, self.effects().await?) {
            (Some(before), Some(now)) => Some(now - before),
            _ => None,
        })
    }

    /// Judges a retry: the first answer again, or a conflict, but neither a second effect nor a
    /// wrong or cut answer. Current state instead of the first answer passes where effects are
    /// counted.
    pub(crate) async fn once(
        &self,
        before: Option<i64>,
        first: &Answer,
        retry: &Answer,
    ) -> Result<(), Stop> {
        let effects = self.effects_since(before).await?;
        if let Some(count) = effects {
            ensure(count <= 1, || {
                format!("{count} effects were counted; the retry was answered {}", retry.describe())
            })?;
        }
        ensure(retry.ending != Ending::Cut, || format!("the retry was cut: {}", retry.describe()))?;
        let same = first.status == retry.status && !differ(first, retry);
        let refused = matches!(retry.status, 409 | 422);
        let current = effects.is_some() && retry.status < 300;
        ensure(same || refused || current, || {
            format!(
                "the retry was answered {} and not as the first request: {}",
                retry.describe(),
                first.describe()
            )
        })
    }

    /// Sends an operation that must succeed.
    pub(crate) async fn succeed(&self, request: &Request) -> Result<Answer, Stop> {
        let answer = self.send(request).await?;
        ensure(answer.status < 400, || {
            format!("the operation was answered {}", answer.describe())
        })?;
        Ok(answer)
    }
}

/// Whether two answers show two executions: another body, or another Location. A replay without the
/// field keeps status and body alone, which is its choice (section 5, item 9).
pub(crate) fn differ(one: &Answer, other: &Answer) -> bool {
    let (here, there) = (one.text("location"), other.text("location"));
    one.body != other.body || (here.is_some() && there.is_some() && here != there)
}

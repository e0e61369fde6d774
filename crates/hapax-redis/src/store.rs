//! The handle: what callers hold.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use hapax::codec::encode_kept;
use hapax::{
    Claim, Claimed, ClockOffset, Fence, Guarantees, Lease, LeaseError, LeaseLost, ListQuery,
    Observed, OnLapse, Page, Purged, RecordId, Retention, Secret, Settlement, Settler, Stats,
    Store, StoreError, Timestamp, What,
};
use tokio::sync::Mutex;

use crate::census::Census;
use crate::decode::{fingerprint_bytes, record, span, what_bytes};
use crate::error::OpenError;
use crate::hints::Hints;
use crate::names::Names;
use crate::options::RedisOptions;
use crate::reply::{self, Parts, damaged};
use crate::script::{Call, Step};
use crate::servers::Servers;
use crate::walk::Walk;

/// A store on a Redis or Valkey server or cluster, shared with any number of other nodes.
///
/// Its connections live on a thread of its own, so it may be used from any number of tokio runtimes,
/// whichever of them ends first. Dropping it closes its connections; what is under way may still
/// happen.
pub struct RedisStore {
    census: Mutex<Census>,
    clock_offset: ClockOffset,
    guarantees: Guarantees,
    hints: Hints,
    names: Names,
    secret: Secret,
    servers: Arc<Servers>,
    sweeping: Mutex<Option<Walk>>,
}

impl RedisStore {
    /// Opens the store at `address`: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, the same with
    /// `rediss` for TLS by the system's certificates, or
    /// `redis-cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?tls=true]`.
    ///
    /// Takes a few round trips, within `store_timeout` each. The first node writes whose records they
    /// are; nothing else is set up.
    ///
    /// # Errors
    /// [`OpenError`], each with what to do about it.
    pub async fn connect(address: &str, options: RedisOptions) -> Result<Self, OpenError> {
        crate::open::open(address, options).await
    }

    /// What record ids are keyed with: as configured, or made once and kept on the server (ruling 8).
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn new(
        servers: Arc<Servers>,
        names: Names,
        hints: Hints,
        secret: Secret,
        guarantees: Guarantees,
        clock_offset: ClockOffset,
    ) -> Self {
        let (census, sweeping) = Default::default();
        Self { census, clock_offset, guarantees, hints, names, secret, servers, sweeping }
    }

    pub(crate) fn servers(&self) -> &Servers {
        &self.servers
    }

    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn offset(&self) -> i64 {
        self.clock_offset.micros()
    }

    pub(crate) const fn sweeping(&self) -> &Mutex<Option<Walk>> {
        &self.sweeping
    }

    /// A step on a record; its first argument is the clock's offset.
    fn step(&self, step: Step, id: &RecordId) -> Call {
        Call::new(step, self.names.record(id)).with(self.offset().to_string())
    }

    pub(crate) async fn look(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        let mut parts = Parts::of(self.servers.call(&self.step(Step::Peek, id)).await?)?;
        let now = parts.timestamp()?;
        Ok(record(*id, parts.value())?.map(|record| Observed { now, record }))
    }

    /// The store's time.
    pub(crate) async fn now(&self) -> Result<Timestamp, StoreError> {
        let call = Call::new(Step::Peek, self.names.clock()).with(self.offset().to_string());
        Parts::of(self.servers.call(&call).await?)?.timestamp()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("guarantees", &self.guarantees).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        if let Some(why) = self.servers.foreign() {
            return Err(StoreError::Refused(why));
        }
        let (after, attempts_max) = match claim.on_lapse {
            OnLapse::Doubt => (None, None),
            OnLapse::Reclaim { after, attempts_max } => {
                (Some(span(after)), Some(u64::from(attempts_max)))
            }
        };
        let call = self
            .step(Step::Claim, &claim.id)
            .with(*claim.attempt.as_bytes())
            .with(fingerprint_bytes(&claim.fingerprint))
            .with(claim.route.as_bytes())
            .with_number(Some(span(claim.term)))
            .with_number(after)
            .with_number(attempts_max)
            .with_number(claim.unknown_retention.map(span))
            .with_flag(self.servers.wait().is_asked_for());
        let mut parts = Parts::of(self.servers.call(&call).await?)?;
        match parts.word()?.as_str() {
            "granted" => {
                let number = parts.number()?.try_into().map_err(damaged)?;
                Ok(Claimed::Granted(Lease {
                    attempt: claim.attempt,
                    id: claim.id,
                    number,
                    claimed_at: parts.timestamp()?,
                    fence: Fence::new(parts.number()?),
                    until: parts.timestamp()?,
                    rerun_of: parts.status()?,
                    progress: parts.bytes()?,
                }))
            }
            "held" => {
                let now = parts.timestamp()?;
                let record = record(claim.id, parts.value())?;
                let record = record.ok_or_else(|| damaged("a claim shows no record"))?;
                Ok(Claimed::Held(Observed { now, record }))
            }
            other => Err(damaged(format_args!("a claim was answered `{other}`"))),
        }
    }

    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError> {
        let mut call = self
            .step(Step::Renew, &lease.id)
            .with(*lease.attempt.as_bytes())
            .with_number(Some(span(term)));
        if let Some(progress) = progress {
            call = call.with(progress);
        }
        let mut parts = Parts::of(self.servers.call(&call).await?)?;
        match parts.word()?.as_str() {
            "renewed" => Ok(Lease {
                attempt: lease.attempt,
                id: lease.id,
                number: parts.number()?.try_into().map_err(damaged)?,
                claimed_at: parts.timestamp()?,
                fence: Fence::new(parts.number()?),
                until: parts.timestamp()?,
                rerun_of: parts.status()?,
                progress: parts.bytes()?,
            }),
            "absent" => Err(match self.servers.foreign() {
                // Records of somebody else do not tell what became of this one.
                Some(why) => StoreError::Refused(why).into(),
                None => LeaseLost::Expired.into(),
            }),
            other => Err(lost(other, &mut parts)?.into()),
        }
    }

    async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<(), LeaseError> {
        let end = End::of(with, by);
        let who = match by {
            Settler::Operator => "operator",
            Settler::Owner => "owner",
        };
        let call = self
            .step(Step::Settle, &lease.id)
            .with(*lease.attempt.as_bytes())
            .with(who)
            .with(end.phase)
            .with_number(end.retention)
            .with_number(end.status.map(u64::from))
            .with(end.cause)
            .with(end.kept)
            .with(what_bytes(end.what))
            .with(self.hints.channel())
            .with(lease.id.to_string())
            .with_flag(self.servers.wait().is_asked_for());
        let mut parts = Parts::of(self.servers.call(&call).await?)?;
        match parts.word()?.as_str() {
            "done" | "stands" => Ok(()),
            other => Err(lost(other, &mut parts)?.into()),
        }
    }

    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        self.look(id).await
    }

    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        let call = self.step(Step::Purge, id).with_flag(force);
        let answer = self.servers.call(&call).await?;
        match reply::bytes(&answer) {
            Some(b"absent") => Ok(Purged::Absent),
            Some(b"refused") => Ok(Purged::Refused),
            Some(b"removed") => Ok(Purged::Removed),
            Some(_) | None => Err(damaged("purging was answered in no known word")),
        }
    }

    /// The server removes by itself what has expired; there is something to sweep only in tests,
    /// whose clock has an offset.
    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        self.sweep_offset(limit).await
    }

    /// A walk over all keys of the store for each page, and up to a minute; with a scope or a state
    /// it is no shorter.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.page(query).await
    }

    /// Exact up to fifty thousand keys. Beyond, each call counts about as many, and tells what the
    /// last whole count came to; `bytes` are those of the servers' memory, whoever uses it.
    async fn stats(&self) -> Result<Stats, StoreError> {
        let deadline = self.servers.deadline();
        let mut census = self.census.lock().await;
        let now = self.now().await?;
        census.go_on(&self.servers, &self.names, now, deadline).await
    }

    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>> {
        Some(self.hints.hear(&self.servers))
    }

    fn guarantees(&self) -> Guarantees {
        self.guarantees.clone()
    }
}

/// A settlement as fields.
struct End {
    cause: &'static str,
    kept: Vec<u8>,
    phase: &'static str,
    retention: Option<u64>,
    status: Option<u16>,
    what: What,
}

impl End {
    fn of(with: &Settlement, by: Settler) -> Self {
        let retained = |retention: &Retention| match retention {
            Retention::For(duration) => Some(span(*duration)),
            Retention::Never => None,
        };
        match with {
            Settlement::Complete { kept, retention } => Self {
                cause: "",
                kept: encode_kept(kept),
                phase: "completed",
                retention: retained(retention),
                status: Some(kept.status()),
                what: What::Completed { by, status: kept.status() },
            },
            Settlement::Doubt { cause } => Self {
                cause: cause.as_str(),
                kept: Vec::new(),
                phase: "in_doubt",
                retention: None,
                status: None,
                what: What::Doubted { cause: *cause },
            },
            Settlement::Release { retention, status } => Self {
                cause: "",
                kept: Vec::new(),
                phase: "released",
                retention: retained(retention),
                status: *status,
                what: What::Released { by, status: *status },
            },
        }
    }
}

fn lost(outcome: &str, parts: &mut Parts) -> Result<LeaseLost, StoreError> {
    match outcome {
        "expired" => Ok(LeaseLost::Expired),
        "running" => Ok(LeaseLost::Running),
        "settled" => Ok(LeaseLost::Settled),
        "superseded" => Ok(LeaseLost::Superseded { by: Fence::new(parts.number()?) }),
        _ => Err(damaged(format_args!("a lease was answered `{outcome}`"))),
    }
}

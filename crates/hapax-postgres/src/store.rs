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
    Observed, OnLapse, Page, Purged, RecordId, Retention, SCOPE_BYTES, Secret, Settlement, Settler,
    State, Stats, Store, StoreError, Timestamp, What,
};
use sqlx::postgres::PgRow;

use crate::call::{Function, Value};
use crate::connections::Connections;
use crate::decode::{Reader, cause_code, damaged, fingerprint_bytes, span, what_bytes};
use crate::error::OpenError;
use crate::hints::Hints;
use crate::options::PgOptions;

/// Records on one page at most.
const PAGE_RECORDS_MAX: u32 = 1_000;

/// Records looked at for one page at most; a page may therefore be shorter than asked, or empty, and
/// still have a next one.
const PAGE_LOOKS_MAX: i64 = 20_000;

/// Bytes of answers on one page at most, the last one's aside.
const PAGE_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// Records removed by one sweep at most, so that it is over soon whatever is asked for.
const SWEEP_RECORDS_MAX: u32 = 1_000;

/// How often a settlement waits for whoever is on its seat: its own application, or one that was
/// overtaken and is about to notice.
const AWAITS_MAX: u32 = 3;

/// A store in a PostgreSQL database, shared with any number of other nodes.
///
/// Belongs to the tokio runtime that it was opened in. Dropping it closes its connections; what is
/// under way may still happen.
pub struct PgStore {
    clock_offset: ClockOffset,
    connections: Arc<Connections>,
    digest: Bytes,
    guarantees: Guarantees,
    hints: Hints,
    secret: Secret,
}

impl PgStore {
    /// Opens the store in the database at `url`, making or migrating its schema unless the options
    /// say otherwise.
    ///
    /// Takes a few round trips; within `store_timeout` each, and two minutes for a migration.
    ///
    /// # Errors
    /// [`OpenError`], each with what to do about it.
    pub async fn connect(url: &str, options: PgOptions) -> Result<Self, OpenError> {
        crate::open::open(url, options).await
    }

    /// What record ids are keyed with: as configured, or made once and kept in the database
    /// (ruling 8).
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn new(
        connections: Arc<Connections>,
        hints: Hints,
        secret: Secret,
        digest: [u8; 32],
        guarantees: Guarantees,
        clock_offset: ClockOffset,
    ) -> Self {
        let digest = Bytes::copy_from_slice(&digest);
        Self { clock_offset, connections, digest, guarantees, hints, secret }
    }

    fn offset(&self) -> Value {
        Value::Number(Some(self.clock_offset.micros()))
    }

    async fn rows(&self, function: Function, values: Vec<Value>) -> Result<Vec<PgRow>, StoreError> {
        self.connections.call(function, values).await
    }

    async fn settle_once(&self, values: Vec<Value>) -> Result<Settled, StoreError> {
        let row = self.row(Function::Settle, values).await?;
        let mut reader = Reader::new(&row);
        Ok(Settled {
            outcome: reader.read()?,
            fence: reader.optional_number()?.map(Fence::new),
            // NULL where there was no row.
            awaited: reader.read::<Option<bool>>()?.unwrap_or(false),
        })
    }

    /// The row of a function that always has one.
    async fn row(&self, function: Function, values: Vec<Value>) -> Result<PgRow, StoreError> {
        let rows = self.rows(function, values).await?;
        rows.into_iter().next().ok_or_else(|| damaged("a function of the store gave no answer"))
    }
}

/// What `hapax.settle` answers.
struct Settled {
    outcome: String,
    fence: Option<Fence>,
    /// Whether somebody may be waiting to hear of it.
    awaited: bool,
}

impl Drop for PgStore {
    fn drop(&mut self) {
        // The task that sends hints may hold the connections a moment longer.
        self.connections.clear();
    }
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore").field("guarantees", &self.guarantees).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PgStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let (after, attempts_max, transactional) = match claim.on_lapse {
            OnLapse::Doubt => (None, None, None),
            OnLapse::Reclaim { after, attempts_max } => {
                (Some(span(after)), Some(i64::from(attempts_max)), claim.transactional)
            }
        };
        let values = vec![
            Value::Bytes(Some(self.digest.clone())),
            self.offset(),
            id_bytes(&claim.id),
            bytes(claim.attempt.as_bytes()),
            Value::Bytes(Some(fingerprint_bytes(&claim.fingerprint))),
            bytes(claim.route.as_bytes()),
            Value::Number(Some(span(claim.term))),
            Value::Number(after),
            Value::Number(attempts_max),
            Value::Number(claim.unknown_retention.map(span)),
            Value::Flag(transactional.is_some()),
            Value::Number(transactional.and_then(retained)),
        ];
        let row = self.row(Function::Claim, values).await?;
        let mut reader = Reader::new(&row);
        let (granted, now) = (reader.read::<bool>()?, reader.timestamp()?);
        match (granted, reader.record()?) {
            (true, None) => Ok(Claimed::Granted(first_lease(claim, now))),
            (true, Some(record)) => Ok(Claimed::Granted(record.lease())),
            (false, Some(record)) => Ok(Claimed::Held(Observed { now, record })),
            (false, None) => Err(damaged("a claim is held by no record")),
        }
    }

    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError> {
        let values = vec![
            Value::Bytes(Some(self.digest.clone())),
            self.offset(),
            id_bytes(&lease.id),
            bytes(lease.attempt.as_bytes()),
            Value::Number(Some(span(term))),
            Value::Bytes(progress),
        ];
        let row = self.row(Function::Renew, values).await?;
        let mut reader = Reader::new(&row);
        let outcome = reader.read::<String>()?;
        let fence = reader.optional_number()?.map(Fence::new);
        if outcome != "renewed" {
            return Err(lost(&outcome, fence)?.into());
        }
        Ok(Lease {
            attempt: lease.attempt,
            fence: fence.ok_or_else(|| damaged("a lease has no fence"))?,
            id: lease.id,
            number: reader.attempts()?,
            claimed_at: reader.timestamp()?,
            until: reader.timestamp()?,
            rerun_of: reader.status()?,
            progress: reader.bytes()?,
        })
    }

    async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<(), LeaseError> {
        let end = End::of(with, by);
        let values = vec![
            self.offset(),
            id_bytes(&lease.id),
            bytes(lease.attempt.as_bytes()),
            Value::Flag(by == Settler::Operator),
            Value::Word(Arc::from(end.phase)),
            Value::Number(end.retention),
            Value::Int(end.status.map(i32::from)),
            Value::Int(end.cause),
            Value::Bytes(end.kept),
            Value::Bytes(Some(what_bytes(end.what))),
        ];
        let mut settled = self.settle_once(values.clone()).await?;
        for _ in 0..AWAITS_MAX {
            if settled.outcome != "busy" {
                break;
            }
            // Its application is committing, and nobody else is to wait for that.
            let row = self.row(Function::AwaitSeat, vec![id_bytes(&lease.id)]).await?;
            if !Reader::new(&row).read::<bool>()? {
                break;
            }
            settled = self.settle_once(values.clone()).await?;
        }
        match settled.outcome.as_str() {
            "done" => {
                if settled.awaited {
                    self.hints.tell(lease.id);
                }
                Ok(())
            }
            "stands" => Ok(()),
            "busy" => Err(StoreError::none("the application's transaction is still open").into()),
            outcome => Err(lost(outcome, settled.fence)?.into()),
        }
    }

    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        let rows = self.rows(Function::Peek, vec![self.offset(), id_bytes(id)]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let mut reader = Reader::new(row);
        let now = reader.timestamp()?;
        Ok(reader.record()?.map(|record| Observed { now, record }))
    }

    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        let values = vec![self.offset(), id_bytes(id), Value::Flag(force)];
        let row = self.row(Function::Purge, values).await?;
        match Reader::new(&row).read::<String>()?.as_str() {
            "absent" => Ok(Purged::Absent),
            "refused" => Ok(Purged::Refused),
            "removed" => Ok(Purged::Removed),
            other => Err(damaged(format_args!("purging was answered `{other}`"))),
        }
    }

    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        let limit = limit.get().min(SWEEP_RECORDS_MAX);
        let values = vec![self.offset(), Value::Number(Some(i64::from(limit)))];
        let row = self.row(Function::Sweep, values).await?;
        Reader::new(&row).attempts()
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let limit = query.limit.min(PAGE_RECORDS_MAX);
        let (mut first, mut last) = ([0; 32], [0xff; 32]);
        if let Some(scope) = query.scope {
            first[..SCOPE_BYTES].copy_from_slice(&scope);
            last[..SCOPE_BYTES].copy_from_slice(&scope);
        }
        let after = query.after.map_or(Bytes::new(), |id| Bytes::copy_from_slice(id.as_bytes()));
        let values = vec![
            self.offset(),
            Value::Bytes(Some(after)),
            bytes(&first),
            bytes(&last),
            Value::Word(Arc::from(query.state.map_or("", State::as_str))),
            Value::Number(Some(PAGE_LOOKS_MAX)),
            // One more than is shown tells whether there is a next page.
            Value::Number(Some(i64::from(limit) + 1)),
            Value::Number(Some(PAGE_BYTES_MAX)),
        ];
        page(&self.rows(Function::List, values).await?, limit)
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let row = self.row(Function::Stats, vec![self.offset()]).await?;
        let mut reader = Reader::new(&row);
        Ok(Stats {
            now: reader.timestamp()?,
            in_doubt: reader.number()?,
            in_doubt_since: reader.optional_number()?.map(Timestamp::from_micros),
            records: reader.optional_number()?.unwrap_or(0),
            bytes: reader.optional_number()?.unwrap_or(0),
        })
    }

    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>> {
        self.hints.hear()
    }

    fn guarantees(&self) -> Guarantees {
        self.guarantees.clone()
    }
}

/// The lease on a record that was made at `now`: all else that is in it, the claim says.
fn first_lease(claim: &Claim, now: Timestamp) -> Lease {
    Lease {
        attempt: claim.attempt,
        claimed_at: now,
        fence: Fence::after(None, now),
        id: claim.id,
        number: 1,
        progress: None,
        rerun_of: None,
        // As long as the store can hold.
        until: now.plus(Duration::from_micros(span(claim.term).unsigned_abs())),
    }
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(Some(Bytes::copy_from_slice(bytes)))
}

fn id_bytes(id: &RecordId) -> Value {
    bytes(id.as_bytes())
}

/// A settlement as columns.
struct End {
    cause: Option<i32>,
    kept: Option<Bytes>,
    phase: &'static str,
    retention: Option<i64>,
    status: Option<u16>,
    what: What,
}

impl End {
    fn of(with: &Settlement, by: Settler) -> Self {
        match with {
            Settlement::Complete { kept, retention } => Self {
                cause: None,
                kept: Some(encode_kept(kept).into()),
                phase: "completed",
                retention: retained(*retention),
                status: Some(kept.status()),
                what: What::Completed { by, status: kept.status() },
            },
            Settlement::Doubt { cause } => Self {
                cause: cause_code(*cause),
                kept: None,
                phase: "in_doubt",
                retention: None,
                status: None,
                what: What::Doubted { cause: *cause },
            },
            Settlement::Release { retention, status } => Self {
                cause: None,
                kept: None,
                phase: "released",
                retention: retained(*retention),
                status: *status,
                what: What::Released { by, status: *status },
            },
        }
    }
}

/// How long a settled record is kept; NULL for ever.
fn retained(retention: Retention) -> Option<i64> {
    match retention {
        Retention::For(duration) => Some(span(duration)),
        Retention::Never => None,
    }
}

fn lost(outcome: &str, by: Option<Fence>) -> Result<LeaseLost, StoreError> {
    match (outcome, by) {
        ("expired", _) => Ok(LeaseLost::Expired),
        ("running", _) => Ok(LeaseLost::Running),
        ("settled", _) => Ok(LeaseLost::Settled),
        ("superseded", Some(by)) => Ok(LeaseLost::Superseded { by }),
        _ => Err(damaged(format_args!("a lease was answered `{outcome}`"))),
    }
}

/// The page that the rows of `hapax.list` make: the first few columns are the same in each.
fn page(rows: &[PgRow], limit: u32) -> Result<Page, StoreError> {
    let first = rows.first().ok_or_else(|| damaged("a list says nothing"))?;
    let mut reader = Reader::new(first);
    let now = reader.timestamp()?;
    let (looks, looked_to, matches) = (reader.number()?, reader.bytes()?, reader.number()?);
    let mut records = Vec::new();
    for row in rows {
        let mut reader = Reader::new(row);
        reader.skip(4);
        records.extend(reader.record()?);
    }
    records.truncate(limit as usize);
    let next = if matches > records.len() as u64 {
        records.last().map(|record| record.id)
    } else if looks == PAGE_LOOKS_MAX.unsigned_abs() {
        let id = looked_to.and_then(|id| <[u8; 32]>::try_from(id.as_ref()).ok());
        id.map(RecordId::from_bytes)
    } else {
        None
    };
    Ok(Page { next, now, records })
}

//! The store: a place where one step of the [machine](crate::machine) happens atomically.

mod faulty;
mod memory;

use std::error::Error as StdError;
use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;

use crate::lease::Lease;
use crate::machine::{Claim, Claimed, LeaseLost, Observed, Settlement};
use crate::record::{Record, Settler};
use crate::scope::RecordId;
use crate::time::Timestamp;

pub use faulty::{Fault, Faulty, Operation};
pub use memory::MemoryStore;

/// The contract. A claim, renewal or settlement is one [machine](crate::machine) step on one record,
/// applied atomically to whoever else asks, by the store's own clock.
///
/// - A reply means that the step is as durable as [`Store::guarantees`] says. An error of kind
///   [`Effect::Unknown`] means that the step may have happened and may still happen.
/// - Every operation may be repeated: the repetition gives the first answer.
/// - Every operation is cancel-safe in this sense: dropping its future leaves the record either
///   stepped or not, never between.
/// - No method has a default, so that a wrapper cannot forget one.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// Applies [`machine::claim`](crate::machine::claim).
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError>;

    /// Applies [`machine::renew`](crate::machine::renew).
    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError>;

    /// Applies [`machine::settle`](crate::machine::settle).
    async fn settle(&self, lease: &Lease, with: &Settlement, by: Settler)
    -> Result<(), LeaseError>;

    /// Reads a record, as the latest reply to anyone left it. Expired ones may still be shown.
    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError>;

    /// Removes a record that is not running; an operator's act. Answers whether there was one.
    /// With `force` a running one too: its owner's settlement then finds nothing.
    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError>;

    /// Returns the space of at most `limit` expired records and says how many. Never touches a
    /// record that is in progress, in doubt, or not expired (TTL-02, TTL-03).
    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError>;

    /// Records in the order of their ids, for administration. Never slows a claim: a store may show
    /// a slightly older state.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Sizes, for metrics.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// Hints that a record was settled on another node; `None` where no other node can. Hints may
    /// be lost, late or repeated: they only save polling.
    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>>;

    /// What the store promises, for the line printed at start and for the suite.
    fn guarantees(&self) -> Guarantees;
}

/// What purging found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purged {
    /// No such record.
    Absent,
    /// It is running, and `force` was not given: nothing happened.
    Refused,
    /// It is gone.
    Removed,
}

/// Which records to list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListQuery {
    /// Start behind this record.
    pub after: Option<RecordId>,
    /// At most this many; a store may have a lower limit of its own.
    pub limit: u32,
    /// Only records of the scope with this head.
    pub scope: Option<[u8; crate::scope::SCOPE_BYTES]>,
    /// Only records in this state.
    pub state: Option<State>,
}

/// The four states that administration shows; a lapsed claim shows as in doubt (ruling 13).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Settled with an answer.
    Completed,
    /// Outcome unknown.
    InDoubt,
    /// Running.
    InProgress,
    /// Free to run again.
    Released,
}

impl State {
    /// The state of a record at `now`; `None` if it has expired.
    #[must_use]
    pub fn of(record: &Record, now: Timestamp) -> Option<Self> {
        use crate::record::Status;
        match record.status(now) {
            Status::Completed => Some(Self::Completed),
            Status::Expired => None,
            Status::InDoubt | Status::Lapsed => Some(Self::InDoubt),
            Status::Released => Some(Self::Released),
            Status::Running { .. } => Some(Self::InProgress),
        }
    }

    /// The name in the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::InDoubt => "in_doubt",
            Self::InProgress => "in_progress",
            Self::Released => "released",
        }
    }

    /// The state that [`State::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Completed, Self::InDoubt, Self::InProgress, Self::Released]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// One page of a listing. Expired records are left out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Where the next page starts; `None` at the end.
    pub next: Option<RecordId>,
    /// The store's time of looking.
    pub now: Timestamp,
    /// The records, bodies included.
    pub records: Vec<Record>,
}

/// Sizes of a store. Counts may be estimates where exact ones would cost a scan.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Bytes on disk or in memory.
    pub bytes: u64,
    /// Records that are in doubt or lapsed.
    pub in_doubt: u64,
    /// Since when the oldest of them is.
    pub in_doubt_since: Option<Timestamp>,
    /// The store's time.
    pub now: Timestamp,
    /// All records, expired ones that still take space included.
    pub records: u64,
}

/// What a store promises.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Guarantees {
    /// Whether everything replied to survives the end of the process.
    pub durable: bool,
    /// Whether several processes may share it.
    pub shared: bool,
    /// One sentence for people.
    pub summary: String,
}

/// Why a store did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What it holds is not what was put there. Nothing is changed; a person must look.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It holds as many records as it may; nothing happened (TTL-07).
    #[error("the store is full")]
    Full,
    /// It answers somebody else: another secret, other scope rules, another format (ruling 8).
    #[error("the store refuses this node: {0}")]
    Refused(String),
    /// It is not there, or did not answer in time.
    #[error("the store is unavailable: {source}")]
    Unavailable {
        /// Whether the step may have happened.
        effect: Effect,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Whether a failed operation may have changed the record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It did not and will not.
    None,
    /// It may have, and still may.
    Unknown,
}

impl StoreError {
    /// An outage during which the step may have happened.
    pub fn unknown(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable { effect: Effect::Unknown, source: source.into() }
    }

    /// An outage that is known to have stopped the step.
    pub fn none(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable { effect: Effect::None, source: source.into() }
    }

    /// Whether the step may have happened.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Damaged(_) | Self::Full | Self::Refused(_) => Effect::None,
            Self::Unavailable { effect, .. } => *effect,
        }
    }
}

/// Why a lease could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The record says that it gives no right; it is as it was.
    #[error(transparent)]
    Lost(#[from] LeaseLost),
    /// The store did not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

//! What is asked of the writer, and what it answers.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use hapax::{
    Claim, Claimed, Lease, LeaseError, Observed, Purged, RecordId, Settlement, Settler, Stats,
    StoreError,
};

use crate::hint::Hint;

/// One operation.
#[derive(Debug)]
pub(crate) enum Operation {
    Claim { claim: Claim, hint: Hint },
    Peek { id: RecordId },
    Purge { force: bool, id: RecordId },
    Renew { lease: Lease, progress: Option<Bytes>, term: Duration },
    Settle { by: Settler, lease: Lease, with: Settlement },
    Stats,
    Sweep { limit: NonZeroU32 },
}

/// The answer to one, variant by variant.
#[derive(Debug)]
pub(crate) enum Reply {
    Claim(Result<Claimed, StoreError>),
    Peek(Result<Option<Observed>, StoreError>),
    Purge(Result<Purged, StoreError>),
    Renew(Result<Lease, LeaseError>),
    Settle(Result<(), LeaseError>),
    Stats(Result<Stats, StoreError>),
    Sweep(Result<u32, StoreError>),
}

impl Operation {
    /// The answer that nothing could be done.
    pub(crate) fn failed(&self, error: StoreError) -> Reply {
        match self {
            Self::Claim { .. } => Reply::Claim(Err(error)),
            Self::Peek { .. } => Reply::Peek(Err(error)),
            Self::Purge { .. } => Reply::Purge(Err(error)),
            Self::Renew { .. } => Reply::Renew(Err(error.into())),
            Self::Settle { .. } => Reply::Settle(Err(error.into())),
            Self::Stats => Reply::Stats(Err(error)),
            Self::Sweep { .. } => Reply::Sweep(Err(error)),
        }
    }
}

impl Reply {
    /// The same answer with an error in its place: what it said did not become durable.
    pub(crate) fn failed(self, error: StoreError) -> Self {
        match self {
            Self::Claim(_) => Self::Claim(Err(error)),
            Self::Peek(_) => Self::Peek(Err(error)),
            Self::Purge(_) => Self::Purge(Err(error)),
            Self::Renew(_) => Self::Renew(Err(error.into())),
            Self::Settle(_) => Self::Settle(Err(error.into())),
            Self::Stats(_) => Self::Stats(Err(error)),
            Self::Sweep(_) => Self::Sweep(Err(error)),
        }
    }

    /// The error for an answer to another question, which only a bug could deliver.
    pub(crate) fn mixed_up() -> StoreError {
        StoreError::unknown("the writer answered another question")
    }
}

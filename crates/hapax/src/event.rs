//! Everything observable, once: one enum to read to know what can happen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::record::Cause;
use crate::scope::RecordId;
use crate::store::StoreError;

/// Something happened to one keyed request or to the store. No event carries a key, a credential or
/// a body (SEC-04).
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A keyed request was answered. Exactly one per request that named a route (OBS-01).
    Answered {
        /// How.
        answer: Answer,
        /// The record, where the request had a legal key.
        id: Option<RecordId>,
        /// The route.
        route: &'a Arc<str>,
    },
    /// An owner found out that its lease is gone.
    LeaseLost {
        /// The record.
        id: RecordId,
    },
    /// A replay was served, this long after the answer was first given.
    ReplayAge(Duration),
    /// A claim was granted for a key that an answer of this status had freed.
    Rerun {
        /// The route.
        route: &'a Arc<str>,
        /// The status that freed the key.
        status: u16,
    },
    /// A settlement failed and is tried again in the background (ruling 12).
    SettleFailed {
        /// Why.
        error: &'a StoreError,
        /// The record.
        id: RecordId,
    },
    /// A store operation took this long.
    StoreTime {
        /// Its name: `claim`, `renew`, `settle`, `peek`, `sweep`.
        operation: &'static str,
        /// How long.
        time: Duration,
    },
    /// An outcome became unknown.
    Unknown {
        /// Why.
        cause: Cause,
        /// The record.
        id: RecordId,
    },
    /// An outcome that was unknown became known, by the means named: `late-answer`, `probe`,
    /// `operator`.
    Resolved {
        /// How.
        by: &'static str,
        /// The record.
        id: RecordId,
    },
    /// The effect of a first run took this long.
    UpstreamTime(Duration),
    /// The layer itself added this much to a first run.
    AddedTime(Duration),
    /// A duplicate waited this long.
    WaitTime(Duration),
}

/// How a request was answered: the `outcome` label of `hapax_requests_total`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    /// It ran and its answer was kept.
    Executed,
    /// Its outcome had been unknown before it came: held back.
    Held,
    /// It met a running owner and did not wait, or not long enough.
    InProgress,
    /// Its key was malformed.
    InvalidKey,
    /// Its key belongs to another request.
    KeyReused,
    /// It had no key on a route that requires one.
    MissingKey,
    /// Its operation was done, but the answer was too large to keep, or nobody heard it.
    NotRetained,
    /// It ran, or could not be sent, and the key is free again.
    Released,
    /// It got a kept answer.
    Replayed,
    /// The store was not there, or full.
    StoreError,
    /// It ran and nobody knows the outcome.
    Unknown,
    /// It went through without a key, or unprotected.
    Unprotected,
    /// It waited and got its owner's answer.
    Waited,
}

impl Answer {
    /// All answers.
    pub const ALL: [Self; 13] = [
        Self::Executed,
        Self::Held,
        Self::InProgress,
        Self::InvalidKey,
        Self::KeyReused,
        Self::MissingKey,
        Self::NotRetained,
        Self::Released,
        Self::Replayed,
        Self::StoreError,
        Self::Unknown,
        Self::Unprotected,
        Self::Waited,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Held => "held",
            Self::InProgress => "in_progress",
            Self::InvalidKey => "invalid_key",
            Self::KeyReused => "key_reused",
            Self::MissingKey => "missing_key",
            Self::NotRetained => "not_retained",
            Self::Released => "released",
            Self::Replayed => "replayed",
            Self::StoreError => "store_error",
            Self::Unknown => "unknown",
            Self::Unprotected => "unprotected",
            Self::Waited => "waited",
        }
    }
}

/// Hears events. Called on the way of requests: must be quick, must not block, must not panic.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _event: &Event<'_>) {}
}

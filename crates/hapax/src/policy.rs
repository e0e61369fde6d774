//! The policy: what an outcome means for the key. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::machine::{Retention, Settlement};
use crate::record::{Cause, OnLapse};
use crate::response::{Kept, RecordedResponse};

/// What a route promises its callers; the defaults are those of `interface.md`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// What a simultaneous duplicate gets.
    pub concurrent: Concurrent,
    /// Which answers are kept.
    pub failures: Failures,
    /// How long after it was given up an answer may still settle the record.
    pub late_answer: Duration,
    /// The lease's term; renewed each third.
    pub lease: Duration,
    /// Attempts in all under [`OnUnknown::ReExecute`].
    pub attempts_max: u32,
    /// How long a settled record is kept.
    pub retention: Retention,
    /// What to do when the claim finds no store.
    pub store_outage: StoreOutage,
    /// What to do with an unknown outcome.
    pub unknown: OnUnknown,
    /// How long an unknown outcome is kept; `None`: until settled.
    pub unknown_retention: Option<Duration>,
    /// From the last byte of the request to the last byte of the answer.
    pub upstream_timeout: Duration,
    /// Duplicates that may wait for one owner.
    pub waiters_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            concurrent: Concurrent::Wait(Duration::from_secs(10)),
            failures: Failures::default(),
            late_answer: Duration::from_secs(60),
            lease: Duration::from_secs(10),
            attempts_max: 2,
            retention: Retention::For(Duration::from_secs(24 * 60 * 60)),
            store_outage: StoreOutage::Closed,
            unknown: OnUnknown::Hold,
            unknown_retention: None,
            upstream_timeout: Duration::from_secs(30),
            waiters_max: 1000,
        }
    }
}

/// What a simultaneous duplicate gets (ruling 1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Concurrent {
    /// 409 at once.
    Reject,
    /// The owner's outcome, if it comes within this time; else 409.
    Wait(Duration),
}

/// What to do with an unknown outcome (ruling 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnUnknown {
    /// Never run again unasked.
    Hold,
    /// Ask a reconciliation address.
    Probe,
    /// Run again, up to `attempts_max` in all: only where the upstream honours the key itself.
    ReExecute,
    /// Run again: the upstream commits through the store and an overtaken attempt cannot.
    Transactional,
}

/// What to do when the claim finds no store (SEC-06).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreOutage {
    /// Refuse: nothing runs unprotected.
    Closed,
    /// Run unprotected, and say so in the answer.
    Open,
}

/// A preset and what a route says otherwise, status by status (ruling 2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Failures {
    /// The preset.
    pub preset: Preset,
    /// Exceptions by exact status; they win over those by class.
    pub by_status: BTreeMap<u16, Disposition>,
    /// Exceptions by class: 4 for all of 4xx.
    pub by_class: BTreeMap<u8, Disposition>,
}

/// A ready-made table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preset {
    /// Any 5xx frees the key.
    Retry5xx,
    /// 2xx to 4xx are kept but for refusals; complete 5xx free the key; 502 and 504 are unknown.
    #[default]
    Standard,
    /// Every complete answer is kept.
    StoreAll,
    /// As standard, but complete 5xx are kept and a 503 without Retry-After is unknown.
    Strict,
    /// Only 2xx is kept.
    SuccessOnly,
}

/// What a status means for the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disposition {
    /// The key is free; a retry runs.
    Free,
    /// Retries get this answer.
    Keep,
    /// The outcome is unknown.
    Unknown,
}

/// What the upstream itself says of one answer (`Hapax-Outcome`, FAI-06).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Directive {
    /// Keep it, whatever the status.
    Final,
    /// Free the key.
    Release,
    /// Nobody knows.
    Unknown,
}

impl Directive {
    /// Reads the field's value; anything else says nothing.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        match value.trim_ascii() {
            b"final" => Some(Self::Final),
            b"release" => Some(Self::Release),
            b"unknown" => Some(Self::Unknown),
            _ => None,
        }
    }

    const fn disposition(self) -> Disposition {
        match self {
            Self::Final => Disposition::Keep,
            Self::Release => Disposition::Free,
            Self::Unknown => Disposition::Unknown,
        }
    }
}

/// How the effect of an attempt ended, as seen by whoever ran it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A complete answer within the limit.
    Answered {
        /// What the upstream said of it, if it did.
        directive: Option<Directive>,
        /// The answer as it would be kept.
        response: RecordedResponse,
    },
    /// A complete answer past the limit.
    AnsweredLarge {
        /// What the upstream said of it, if it did.
        directive: Option<Directive>,
        /// Where the result is, if it said.
        location: Option<Bytes>,
        /// Its status.
        status: u16,
    },
    /// Provably nothing was delivered.
    NotSent,
    /// The handler settled the lease itself, in its own transaction.
    Settled {
        /// The answer it settled with.
        response: RecordedResponse,
    },
    /// Something may have been delivered and no trustworthy answer came.
    Unknown(Cause),
}

/// Statuses that say "not processed, try again" (section 3 of the semantics).
const REFUSED: [u16; 7] = [401, 403, 407, 408, 421, 425, 429];

impl Failures {
    /// A preset without exceptions.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        Self { preset, ..Self::default() }
    }

    /// What a complete answer of this status means; `invites_retry`: it carries Retry-After.
    #[must_use]
    pub fn disposition(&self, status: u16, invites_retry: bool) -> Disposition {
        let class = u8::try_from(status / 100).unwrap_or(5);
        let exception = self.by_status.get(&status).or_else(|| self.by_class.get(&class));
        exception.copied().unwrap_or_else(|| self.preset.disposition(status, invites_retry))
    }
}

impl Preset {
    fn disposition(self, status: u16, invites_retry: bool) -> Disposition {
        let success = (200..300).contains(&status);
        match self {
            Self::StoreAll => Disposition::Keep,
            Self::SuccessOnly if success => Disposition::Keep,
            Self::Retry5xx if status >= 500 => Disposition::Free,
            Self::Standard | Self::Strict | Self::SuccessOnly if matches!(status, 502 | 504) => {
                Disposition::Unknown
            }
            Self::SuccessOnly => Disposition::Free,
            Self::Retry5xx | Self::Standard | Self::Strict if REFUSED.contains(&status) => {
                Disposition::Free
            }
            Self::Strict if status == 503 => {
                if invites_retry {
                    Disposition::Free
                } else {
                    Disposition::Unknown
                }
            }
            Self::Standard if status >= 500 => Disposition::Free,
            Self::Retry5xx | Self::Standard | Self::Strict => Disposition::Keep,
        }
    }
}

impl Policy {
    /// What a claim under this policy says of its own vanishing.
    #[must_use]
    pub const fn on_lapse(&self) -> OnLapse {
        match self.unknown {
            OnUnknown::Hold | OnUnknown::Probe => OnLapse::Doubt,
            OnUnknown::ReExecute => {
                OnLapse::Reclaim { after: self.late_answer, attempts_max: self.attempts_max }
            }
            OnUnknown::Transactional => {
                OnLapse::Reclaim { after: Duration::ZERO, attempts_max: u32::MAX }
            }
        }
    }

    /// Whether a claim under this policy commits through the store, and how long an answer is then
    /// kept that the store itself finds committed.
    #[must_use]
    pub const fn transactional(&self) -> Option<Retention> {
        match self.unknown {
            OnUnknown::Hold | OnUnknown::Probe | OnUnknown::ReExecute => None,
            OnUnknown::Transactional => Some(self.retention),
        }
    }

    /// Whether an answer that came too late may race a later attempt, so that doubt is settled only
    /// when the late-answer cap is over (ruling 3).
    #[must_use]
    pub const fn doubts_late(&self) -> bool {
        match self.unknown {
            OnUnknown::Hold | OnUnknown::Transactional => false,
            OnUnknown::Probe | OnUnknown::ReExecute => true,
        }
    }

    /// How the attempt is to be settled; `None` where it has been settled by the handler.
    #[must_use]
    pub fn settlement(&self, outcome: &Outcome) -> Option<Settlement> {
        let settlement = match outcome {
            Outcome::Answered { directive, response } => {
                let invites_retry = response.header("retry-after").is_some();
                let kept = || Kept::Response(response.clone());
                self.answered(response.status, invites_retry, *directive, kept)
            }
            Outcome::AnsweredLarge { directive, location, status } => {
                let kept = || Kept::NotRetained { location: location.clone(), status: *status };
                self.answered(*status, false, *directive, kept)
            }
            Outcome::NotSent => Settlement::Release { retention: self.retention, status: None },
            Outcome::Settled { .. } => return None,
            Outcome::Unknown(cause) => Settlement::Doubt { cause: *cause },
        };
        Some(settlement)
    }

    fn answered(
        &self,
        status: u16,
        invites_retry: bool,
        directive: Option<Directive>,
        kept: impl FnOnce() -> Kept,
    ) -> Settlement {
        let disposition = directive.map_or_else(
            || self.failures.disposition(status, invites_retry),
            Directive::disposition,
        );
        match disposition {
            Disposition::Free => {
                Settlement::Release { retention: self.retention, status: Some(status) }
            }
            Disposition::Keep => Settlement::Complete { kept: kept(), retention: self.retention },
            Disposition::Unknown => Settlement::Doubt { cause: Cause::Reported },
        }
    }
}

#[cfg(test)]
mod tests;

//! The record: everything a store keeps of one key.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::fingerprint::Fingerprint;
use crate::lease::{AttemptId, Fence, Lease};
use crate::response::Kept;
use crate::scope::RecordId;
use crate::time::Timestamp;

/// Entries of a [`History`]; older ones make room, the first always stays.
pub const HISTORY_ENTRIES_MAX: usize = 16;

/// One key's life. Made by the [machine](crate::machine) alone; stores decode what it made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The attempt that holds it or held it last.
    pub attempt: AttemptId,
    /// Attempts so far, the present one included.
    pub attempts: u32,
    /// When the present attempt was granted its claim.
    pub claimed_at: Timestamp,
    /// When the first claim was granted.
    pub created_at: Timestamp,
    /// When it is as if absent; `None` while in progress or in doubt, or for ever (ruling 10).
    pub expires_at: Option<Timestamp>,
    /// The fence of the present attempt.
    pub fence: Fence,
    /// What the request was.
    pub fingerprint: Fingerprint,
    /// What happened, for people.
    pub history: History,
    /// Its name.
    pub id: RecordId,
    /// What becomes of it when its lease lapses.
    pub on_lapse: OnLapse,
    /// Where it stands, as stored.
    pub phase: Phase,
    /// The route it came by.
    pub route: Arc<str>,
    /// How long it may stay unknown before it counts as absent; `None`: until settled (DBT-11).
    pub unknown_retention: Option<Duration>,
}

/// Where a record stands, as stored. What it means now is its [`Status`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Done: retries get the answer.
    Completed {
        /// When it was settled.
        at: Timestamp,
        /// The answer.
        kept: Kept,
    },
    /// Somebody must find out what happened.
    InDoubt {
        /// Why.
        cause: Cause,
        /// Finished steps that the attempt left.
        progress: Option<Bytes>,
        /// Since when.
        since: Timestamp,
    },
    /// An owner runs it, or did when it was last heard of.
    InProgress {
        /// Finished steps of the operation.
        progress: Option<Bytes>,
        /// The status of the answer that freed the key before, if that is why it runs again.
        rerun_of: Option<u16>,
        /// When the lease lapses.
        until: Timestamp,
    },
    /// Nothing took effect, or the service said so: the next claim runs.
    Released {
        /// When it was settled.
        at: Timestamp,
        /// The status of the answer that freed it; `None` where nothing was sent.
        status: Option<u16>,
    },
}

/// What a record means at one moment. Derived, never stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// Its answer is known.
    Completed,
    /// As if absent.
    Expired,
    /// Its outcome is unknown.
    InDoubt,
    /// Its owner let the lease lapse.
    Lapsed,
    /// Free to run again.
    Released,
    /// Its owner is alive as far as anyone knows.
    Running {
        /// Until when that is believed.
        until: Timestamp,
    },
}

/// What becomes of a record whose owner is gone or in doubt. Stored by the claim, so that no later
/// deployment or other node can read it otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnLapse {
    /// It is in doubt until somebody settles it.
    Doubt,
    /// Another attempt may claim it.
    Reclaim {
        /// How long after the claim that is allowed at the earliest: the late-answer cap.
        after: Duration,
        /// Attempts in all.
        attempts_max: u32,
    },
}

/// Why an outcome is unknown.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// The answer was cut or badly framed.
    Cut,
    /// The gateway was told to stop before the answer came.
    Drained,
    /// The connection was lost after the request may have been delivered.
    Lost,
    /// The handler panicked.
    Panicked,
    /// The upstream itself said that it does not know (its status, or `Hapax-Outcome: unknown`).
    Reported,
    /// No answer within the time-out.
    TimedOut,
}

impl Cause {
    /// All causes, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Cut, Self::Drained, Self::Lost, Self::Panicked, Self::Reported, Self::TimedOut];

    /// One word for logs, metrics and administration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Drained => "drained",
            Self::Lost => "lost",
            Self::Panicked => "panicked",
            Self::Reported => "reported",
            Self::TimedOut => "timed-out",
        }
    }

    /// The cause that [`Cause::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }
}

/// One thing that happened to a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// When, by the store's clock.
    pub at: Timestamp,
    /// Which attempt, by number.
    pub attempt: u32,
    /// What.
    pub what: What,
}

/// What can happen to a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// An attempt was granted its claim.
    Claimed,
    /// Settled with an answer of this status.
    Completed {
        /// By whom.
        by: Settler,
        /// The status.
        status: u16,
    },
    /// Settled as unknown.
    Doubted {
        /// Why.
        cause: Cause,
    },
    /// Freed; by an answer of this status, if by one.
    Released {
        /// By whom.
        by: Settler,
        /// The status.
        status: Option<u16>,
    },
}

/// Who settles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settler {
    /// A person, or a probe: only what is in doubt or lapsed (ruling 13).
    Operator,
    /// The attempt itself.
    Owner,
}

/// The latest entries of a record's life, oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct History(Vec<Entry>);

impl History {
    /// A history read back from a store; entries past the limit are dropped, oldest first.
    #[must_use]
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut history = Self(Vec::with_capacity(2));
        for entry in entries {
            history.push(entry);
        }
        history
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// This history with one more entry.
    #[must_use]
    pub(crate) fn with(&self, entry: Entry) -> Self {
        let mut entries = Vec::with_capacity(self.0.len() + 1);
        entries.extend_from_slice(&self.0);
        let mut history = Self(entries);
        history.push(entry);
        history
    }

    fn push(&mut self, entry: Entry) {
        if self.0.len() == HISTORY_ENTRIES_MAX {
            // The first entry says when the key was first seen, which stays worth knowing.
            self.0.remove(1);
        }
        self.0.push(entry);
    }
}

impl Record {
    /// What the record means at `now`. Total: every stored record has a meaning at every moment.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Status::Expired;
        }
        match &self.phase {
            Phase::Completed { .. } => Status::Completed,
            Phase::InDoubt { since, .. } => self.unknown_since(*since, now, Status::InDoubt),
            Phase::InProgress { until, .. } if now < *until => Status::Running { until: *until },
            Phase::InProgress { until, .. } => self.unknown_since(*until, now, Status::Lapsed),
            Phase::Released { .. } => Status::Released,
        }
    }

    /// When the record counts as absent if nothing more happens to it; what sweeping goes by.
    #[must_use]
    pub fn gone_at(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Completed { .. } | Phase::Released { .. } => self.expires_at,
            Phase::InDoubt { since, .. } => self.unknown_retention.map(|keep| since.plus(keep)),
            Phase::InProgress { until, .. } => self.unknown_retention.map(|keep| until.plus(keep)),
        }
    }

    /// The lease of the attempt that holds the record, for that attempt or an operator to settle by.
    #[must_use]
    pub fn lease(&self) -> Lease {
        let (progress, rerun_of, until) = match &self.phase {
            Phase::InProgress { progress, rerun_of, until } => {
                (progress.clone(), *rerun_of, *until)
            }
            Phase::InDoubt { progress, since, .. } => (progress.clone(), None, *since),
            Phase::Completed { at, .. } | Phase::Released { at, .. } => (None, None, *at),
        };
        Lease {
            attempt: self.attempt,
            claimed_at: self.claimed_at,
            fence: self.fence,
            id: self.id,
            number: self.attempts,
            progress,
            rerun_of,
            until,
        }
    }

    /// Whether and from when another attempt may claim it once its owner is gone or in doubt.
    #[must_use]
    pub fn reclaimable_at(&self) -> Option<Timestamp> {
        match self.on_lapse {
            OnLapse::Reclaim { after, attempts_max } if self.attempts < attempts_max => {
                Some(self.claimed_at.plus(after))
            }
            OnLapse::Doubt | OnLapse::Reclaim { .. } => None,
        }
    }

    fn unknown_since(&self, since: Timestamp, now: Timestamp, status: Status) -> Status {
        match self.unknown_retention {
            Some(keep) if since.plus(keep) <= now => Status::Expired,
            Some(_) | None => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_keeps_its_first_entry_and_the_latest() {
        let entry = |n: usize| Entry {
            at: Timestamp::from_micros(n as u64),
            attempt: 1,
            what: What::Claimed,
        };
        let history = History::from_entries((0..40).map(entry));
        assert_eq!(history.entries().len(), HISTORY_ENTRIES_MAX);
        assert_eq!(history.entries()[0], entry(0));
        assert_eq!(history.entries()[HISTORY_ENTRIES_MAX - 1], entry(39));
    }

    #[test]
    fn causes_are_read_back_by_name() {
        for cause in Cause::ALL {
            assert_eq!(Cause::parse(cause.as_str()), Some(cause));
        }
    }
}

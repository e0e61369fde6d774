//! Linearizability by brute force: is there an order of the operations, true to who had ended before
//! who began, in which the machine gives every reply that the store gave?
//!
//! Histories are of one record and a handful of operations, so trying all orders is cheap. Replies
//! are compared without their times, because a store's clock may move while a race is on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::scene::{Stop, TERM, said, word};
use crate::lease::{AttemptId, Lease};
use crate::machine::{self, Claim, Claimed, LeaseLost, Settlement};
use crate::record::{Record, Settler, Status};
use crate::scope::RecordId;
use crate::store::{Purged, Store};
use crate::time::Timestamp;

/// One operation of a race.
#[derive(Clone, Debug)]
pub(super) enum Move {
    Claim(Box<Claim>),
    Purge { force: bool },
    Renew(Lease),
    Settle(Lease, Settlement, Settler),
    Sweep,
}

/// A reply without its times.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    Granted {
        attempt: AttemptId,
        number: u32,
        progress: Option<Bytes>,
        rerun_of: Option<u16>,
    },
    Held {
        attempt: AttemptId,
        number: u32,
        status: &'static str,
    },
    Lost(&'static str),
    Purged(Purged),
    Settled,
    /// How many is left open: a store may sweep in large pieces.
    Swept,
}

/// An operation that was answered.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// When it began and ended, by a counter that all share.
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) did: Move,
    pub(super) reply: Reply,
    /// The lease, if one was granted: fences are checked apart.
    pub(super) lease: Option<Lease>,
}

impl Move {
    /// Does it, and notes when.
    pub(super) async fn play(
        self,
        id: RecordId,
        store: &Arc<dyn Store>,
        counter: &AtomicU64,
    ) -> Result<Event, Stop> {
        let began = counter.fetch_add(1, Ordering::SeqCst);
        let mut lease = None;
        let reply = match &self {
            Self::Claim(wish) => {
                let claimed = store.claim(wish).await?;
                if let Claimed::Granted(granted) = &claimed {
                    lease = Some(granted.clone());
                }
                Reply::claimed(claimed)
            }
            Self::Purge { force } => Reply::Purged(store.purge(&id, *force).await?),
            Self::Renew(lease) => Reply::renewed(said(store.renew(lease, TERM, None).await)?),
            Self::Settle(lease, with, by) => {
                Reply::settled(said(store.settle(lease, with, *by).await)?)
            }
            Self::Sweep => {
                store.sweep(std::num::NonZeroU32::MIN.saturating_add(99)).await?;
                Reply::Swept
            }
        };
        let ended = counter.fetch_add(1, Ordering::SeqCst);
        Ok(Event { began, ended, did: self, reply, lease })
    }

    /// What the machine does, and says.
    fn apply(&self, current: Option<&Record>, now: Timestamp) -> (Option<Record>, Reply) {
        let kept = |put: Option<Record>| put.or_else(|| current.cloned());
        match self {
            Self::Claim(wish) => {
                let step = machine::claim(current, wish, now);
                (kept(step.put), Reply::claimed(step.reply))
            }
            Self::Purge { force } => match current.map(|record| record.status(now)) {
                None => (None, Reply::Purged(Purged::Absent)),
                Some(Status::Running { .. }) if !force => {
                    (current.cloned(), Reply::Purged(Purged::Refused))
                }
                Some(_) => (None, Reply::Purged(Purged::Removed)),
            },
            Self::Renew(lease) => {
                let step = machine::renew(current, lease, TERM, None, now);
                (kept(step.put), Reply::renewed(step.reply))
            }
            Self::Settle(lease, with, by) => {
                let step = machine::settle(current, lease, with, *by, now);
                (kept(step.put), Reply::settled(step.reply))
            }
            Self::Sweep => (kept(None), Reply::Swept),
        }
    }
}

impl Reply {
    fn claimed(claimed: Claimed) -> Self {
        match claimed {
            Claimed::Granted(Lease { attempt, number, progress, rerun_of, .. }) => {
                Self::Granted { attempt, number, progress, rerun_of }
            }
            Claimed::Held(seen) => Self::Held {
                attempt: seen.record.attempt,
                number: seen.record.attempts,
                status: word(seen.record.status(seen.now)),
            },
        }
    }

    fn renewed(renewed: Result<Lease, LeaseLost>) -> Self {
        match renewed {
            Ok(lease) => Self::claimed(Claimed::Granted(lease)),
            Err(lost) => Self::lost(lost),
        }
    }

    const fn settled(settled: Result<(), LeaseLost>) -> Self {
        match settled {
            Ok(()) => Self::Settled,
            Err(lost) => Self::lost(lost),
        }
    }

    const fn lost(lost: LeaseLost) -> Self {
        Self::Lost(match lost {
            LeaseLost::Expired => "expired",
            LeaseLost::Running => "running",
            LeaseLost::Settled => "settled",
            LeaseLost::Superseded { .. } => "superseded",
        })
    }
}

/// Whether the machine, starting from `record`, could have had this history and ended at `end`.
pub(super) fn linearizes(
    record: Option<&Record>,
    events: &[Event],
    end: Option<&Record>,
    now: Timestamp,
) -> bool {
    if events.is_empty() {
        return shape(record, now) == shape(end, now);
    }
    let earliest_end = events.iter().map(|event| event.ended).min().unwrap_or(u64::MAX);
    (0..events.len()).filter(|first| events[*first].began < earliest_end).any(|first| {
        let (next, reply) = events[first].did.apply(record, now);
        if reply != events[first].reply {
            return false;
        }
        let mut rest = events.to_vec();
        rest.remove(first);
        linearizes(next.as_ref(), &rest, end, now)
    })
}

/// A record without its times and fences; an expired one is absent.
fn shape(record: Option<&Record>, now: Timestamp) -> Option<(AttemptId, u32, String)> {
    let record = record.filter(|record| record.status(now) != Status::Expired)?;
    let phase = match &record.phase {
        crate::record::Phase::Completed { kept, .. } => format!("completed {kept:?}"),
        crate::record::Phase::InDoubt { cause, progress, .. } => {
            format!("in doubt {cause:?} {progress:?}")
        }
        crate::record::Phase::InProgress { progress, rerun_of, .. } => {
            format!("in progress {progress:?} {rerun_of:?}")
        }
        crate::record::Phase::Released { status, .. } => format!("released {status:?}"),
    };
    Some((record.attempt, record.attempts, phase))
}

//! Asking: from an intent to a granted lease, or to what stands in its way.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{Inner, Intent, Probed, Replay, SOON, Verdict};
use crate::decide::{Decision, decide, decide_observed};
use crate::event::Event;
use crate::lease::{AttemptId, Fence, Lease};
use crate::machine::{Claim, Observed, Settlement};
use crate::policy::StoreOutage;
use crate::record::{Phase, Settler, Status};
use crate::response::Kept;
use crate::store::{Effect, LeaseError, StoreError};
use crate::time::Timestamp;

/// What asking led to.
pub(super) enum Asked {
    /// It runs elsewhere, and the caller has waited long enough.
    GaveUp(Verdict),
    /// Run the effect.
    Granted {
        /// When the claim was sent, by the guard's clock: the lease is no younger than this.
        asked_at: Duration,
        lease: Lease,
    },
    /// Run the effect unprotected: the store is not there, and the route stays open.
    Open {
        /// The lease of a claim that may have happened unheard.
        unheard: Option<Lease>,
    },
    /// Do not run it.
    Verdict(Verdict),
}

enum Waited {
    /// Claim again.
    Again,
    GaveUp(Verdict),
    Verdict(Verdict),
}

impl Inner {
    /// Claims, or finds out what stands in the way. Who `has_waited` only looks at first: it came
    /// before whatever freed the key.
    pub(super) async fn ask(
        self: &Arc<Self>,
        intent: &Intent,
        deadline: Option<Instant>,
        has_waited: bool,
    ) -> Asked {
        if let (true, Some(deadline)) = (has_waited, deadline) {
            match self.wait(intent, deadline).await {
                Waited::Again => {}
                Waited::GaveUp(verdict) => return Asked::GaveUp(verdict),
                Waited::Verdict(verdict) => return Asked::Verdict(verdict),
            }
        }
        let mut probed = false;
        loop {
            let asked_at = self.clock.elapsed();
            let claim = intent.claim();
            let claimed = match self.timed("claim", self.store.claim(&claim)).await {
                Ok(claimed) => claimed,
                Err(error) => return self.without_store(intent, &claim, &error),
            };
            let verdict = match decide(claimed, &intent.fingerprint) {
                Decision::Execute(lease) => return Asked::Granted { asked_at, lease },
                Decision::Mismatch => Verdict::Mismatch,
                Decision::Replay(observed) => replay(*observed, false),
                Decision::InDoubt(observed) if !probed => {
                    probed = true;
                    match self.probe(intent, &observed).await {
                        Waited::Again => continue,
                        Waited::GaveUp(verdict) | Waited::Verdict(verdict) => verdict,
                    }
                }
                Decision::InDoubt(_) => Verdict::Held,
                Decision::Free => Verdict::Busy { retry_after: SOON },
                Decision::Busy { retry_after } => match deadline {
                    None => Verdict::Busy { retry_after },
                    Some(deadline) => match self.wait(intent, deadline).await {
                        Waited::Again => continue,
                        Waited::GaveUp(verdict) => return Asked::GaveUp(verdict),
                        Waited::Verdict(verdict) => verdict,
                    },
                },
            };
            return Asked::Verdict(verdict);
        }
    }

    /// Waits for an owner on another node. Only looks: a key that is freed meanwhile is not claimed,
    /// because only a request that arrives after that runs again (ruling 1).
    async fn wait(&self, intent: &Intent, deadline: Instant) -> Waited {
        let listener = self.listen(intent.id);
        let started = self.clock.elapsed();
        let waited = loop {
            let changed = listener.changed();
            let observed = match self.timed("peek", self.store.peek(&intent.id)).await {
                Ok(observed) => observed,
                Err(error) => break Waited::Verdict(refused(&error)),
            };
            let Some(observed) = observed else {
                break Waited::Verdict(Verdict::Busy { retry_after: SOON });
            };
            let status = observed.record.status(observed.now);
            let retry_after = match decide_observed(observed, &intent.fingerprint) {
                Decision::Busy { retry_after } => retry_after,
                Decision::Free if matches!(status, Status::InDoubt | Status::Lapsed) => {
                    break Waited::Again;
                }
                // Never from looking; asking again is right for what cannot be read.
                Decision::Execute(_) | Decision::Free => {
                    break Waited::Verdict(Verdict::Busy { retry_after: SOON });
                }
                Decision::InDoubt(_) if intent.probe.is_some() => break Waited::Again,
                Decision::InDoubt(_) => break Waited::Verdict(Verdict::Held),
                Decision::Mismatch => break Waited::Verdict(Verdict::Mismatch),
                Decision::Replay(observed) => break Waited::Verdict(replay(*observed, true)),
            };
            let changed = tokio::time::timeout_at(deadline, changed);
            let is_over = tokio::select! {
                biased;
                () = self.is_cut() => break Waited::Verdict(Verdict::Busy { retry_after }),
                changed = changed => changed.is_err(),
            };
            if is_over {
                break Waited::GaveUp(Verdict::Busy { retry_after });
            }
        };
        self.observer.observe(&Event::WaitTime(self.clock.elapsed().saturating_sub(started)));
        waited
    }

    /// Asks the route's probe what became of a record in doubt (DBT-05).
    async fn probe(&self, intent: &Intent, observed: &Observed) -> Waited {
        let Some(probe) = &intent.probe else {
            return Waited::Verdict(Verdict::Held);
        };
        // While the first call may still be answered, "not executed" could be true and not stay so;
        // a drained owner leaves doubt behind before that.
        let cap = observed.record.claimed_at.plus(intent.policy.late_answer);
        if observed.now < cap {
            let retry_after = cap.since(observed.now).clamp(SOON, SOON * 5);
            return Waited::Verdict(Verdict::Busy { retry_after });
        }
        let asked = AssertUnwindSafe(probe.ask()).catch_unwind();
        let asked = tokio::time::timeout(intent.policy.upstream_timeout, asked).await;
        // A probe that fails knows nothing.
        let probed = asked.map_or(Probed::Unknown, |asked| asked.unwrap_or(Probed::Unknown));
        let with = match probed {
            Probed::Executed(response) => Settlement::Complete {
                kept: Kept::Response(response),
                retention: intent.policy.retention,
            },
            Probed::NotExecuted => {
                Settlement::Release { retention: intent.policy.retention, status: None }
            }
            Probed::Unknown => return Waited::Verdict(Verdict::Held),
        };
        let lease = observed.record.lease();
        let settled = self.store.settle(&lease, &with, Settler::Operator);
        match self.timed("settle", settled).await {
            Ok(()) => {
                self.observer.observe(&Event::Resolved { by: "probe", id: intent.id });
                Waited::Again
            }
            // Somebody else was quicker; what stands now decides.
            Err(LeaseError::Lost(_)) => Waited::Again,
            Err(LeaseError::Store(error)) => Waited::Verdict(refused(&error)),
        }
    }

    fn without_store(
        self: &Arc<Self>,
        intent: &Intent,
        claim: &Claim,
        error: &StoreError,
    ) -> Asked {
        tracing::warn!(record = %intent.id, %error, "failed to claim");
        let unheard = (error.effect() == Effect::Unknown).then(|| claim.unheard());
        match (error, intent.policy.store_outage) {
            (StoreError::Unavailable { .. }, StoreOutage::Open) => Asked::Open { unheard },
            (
                StoreError::Damaged(_)
                | StoreError::Full
                | StoreError::Refused(_)
                | StoreError::Unavailable { .. },
                StoreOutage::Closed | StoreOutage::Open,
            ) => {
                // It ran nothing (ruling 11).
                if let Some(lease) = unheard {
                    let retention = intent.policy.retention;
                    self.release_later(lease, Settlement::Release { retention, status: None });
                }
                Asked::Verdict(refused(error))
            }
        }
    }
}

impl Claim {
    /// The lease that this claim was granted, if it was: the attempt is all that a settlement
    /// compares.
    fn unheard(&self) -> Lease {
        Lease {
            attempt: self.attempt,
            claimed_at: Timestamp::EPOCH,
            fence: Fence::default(),
            id: self.id,
            number: 0,
            progress: None,
            rerun_of: None,
            until: Timestamp::EPOCH,
        }
    }
}

impl Intent {
    pub(super) fn claim(&self) -> Claim {
        Claim {
            attempt: AttemptId::random(),
            fingerprint: self.fingerprint,
            id: self.id,
            on_lapse: self.policy.on_lapse(),
            route: Arc::clone(&self.route),
            term: self.policy.lease,
            transactional: self.policy.transactional(),
            unknown_retention: self.policy.unknown_retention,
        }
    }
}

fn refused(error: &StoreError) -> Verdict {
    Verdict::StoreFailed { full: matches!(error, StoreError::Full) }
}

fn replay(observed: Observed, waited: bool) -> Verdict {
    let Observed { now, record } = observed;
    match record.phase {
        Phase::Completed { at, kept } => Verdict::Replayed(Replay {
            age: now.since(at),
            expires_at: record.expires_at,
            kept: Arc::new(kept),
            waited,
        }),
        // A replay is decided on completed records alone.
        Phase::InDoubt { .. } | Phase::InProgress { .. } | Phase::Released { .. } => Verdict::Held,
    }
}

//! Owning: the effect runs beside its lease's renewal, and its outcome is settled before anybody
//! hears of it.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::flight::Seat;
use super::{Attempt, Inner, Intent, Ran, Verdict};
use crate::event::Event;
use crate::lease::Lease;
use crate::machine::{LeaseLost, Retention, Settlement};
use crate::policy::Outcome;
use crate::record::{Cause, Settler};
use crate::store::LeaseError;

/// First pause before a failed settlement is tried again; doubles up to `RETRY_PAUSE_MAX`.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Tries of a failed settlement: about ten minutes, then the record is left to lapse.
const RETRIES_MAX: u32 = 120;
/// Background work past which no more releases are taken on: settlements are bounded by what runs,
/// but an outage turns every request into a release.
pub(super) const RELEASES_MAX: usize = 10_000;

/// Why the owner stopped listening to its effect.
enum Heard {
    Cut,
    Outcome(Outcome),
    TimedOut,
}

impl Inner {
    pub(super) async fn own<F, Fut>(
        self: &Arc<Self>,
        intent: &Intent,
        attempt: Attempt,
        effect: F,
        seat: Seat,
    ) where
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let Some(lease) = attempt.lease().cloned() else { return };
        if let Some(status) = lease.rerun_of {
            self.observer.observe(&Event::Rerun { route: &intent.route, status });
        }
        seat.running();
        let started = self.clock.elapsed();
        let handed = attempt.clone();
        // Called inside the future, so that a panic before its first await is caught as well.
        let mut effect = pin!(caught(async move { effect(handed).await }));
        let mut renewals = pin!(self.keep(&attempt, &lease));
        let policy = &intent.policy;

        let heard = if self.is_cutting() {
            // Granted too late to begin.
            Heard::Outcome(Outcome::NotSent)
        } else {
            tokio::select! {
                biased;
                outcome = &mut effect => Heard::Outcome(outcome),
                () = &mut renewals => Heard::Cut,
                () = self.is_cut() => Heard::Cut,
                () = tokio::time::sleep(policy.upstream_timeout) => Heard::TimedOut,
            }
        };
        let took = self.clock.elapsed().saturating_sub(started);
        self.observer.observe(&Event::UpstreamTime(took));
        let listens_on = matches!(heard, Heard::TimedOut);
        let outcome = match heard {
            Heard::Outcome(outcome) => outcome,
            Heard::Cut => Outcome::Unknown(Cause::Drained),
            Heard::TimedOut => Outcome::Unknown(Cause::TimedOut),
        };
        let Some(settlement) = policy.settlement(&outcome) else {
            seat.done(Verdict::Ran(ran(intent, &lease, outcome, true)));
            return;
        };
        let doubts = matches!(settlement, Settlement::Doubt { .. });
        if !doubts || (!policy.doubts_late() && !listens_on) || self.is_cutting() {
            let kept = matches!(settlement, Settlement::Complete { .. });
            self.settle(&lease, settlement).await;
            let settled_in = self.clock.elapsed().saturating_sub(started).saturating_sub(took);
            self.observer.observe(&Event::AddedTime(settled_in));
            seat.done(Verdict::Ran(ran(intent, &lease, outcome, kept)));
            return;
        }

        // The outcome is unknown for now: the first caller is told, and a late answer may settle it.
        if !policy.doubts_late() {
            self.settle(&lease, settlement.clone()).await;
        }
        let told = Verdict::Ran(ran(intent, &lease, outcome, false));
        seat.tell(told.clone(), policy.doubts_late());
        let late =
            async { if listens_on { Some(effect.await) } else { std::future::pending().await } };
        let late = tokio::select! {
            biased;
            outcome = late => outcome,
            () = &mut renewals => None,
            () = self.is_cut() => None,
            () = tokio::time::sleep(policy.late_answer) => None,
        };
        let known = late.and_then(|outcome| {
            let settlement = policy.settlement(&outcome)?;
            (!matches!(settlement, Settlement::Doubt { .. })).then_some((outcome, settlement))
        });
        let Some((outcome, with)) = known else {
            if policy.doubts_late() {
                self.settle(&lease, settlement).await;
            }
            seat.done(told);
            return;
        };
        let kept = matches!(with, Settlement::Complete { .. });
        if self.settle(&lease, with).await {
            self.observer.observe(&Event::Resolved { by: "late-answer", id: lease.id });
        }
        seat.done(Verdict::Ran(ran(intent, &lease, outcome, kept)));
    }

    /// Renews the lease each third of its term, for ever; a lost one is told and not renewed. The
    /// effect is not torn down: what it has sent cannot be called back.
    async fn keep(&self, attempt: &Attempt, lease: &Lease) {
        let third = attempt.term() / 3;
        let mut pause = third;
        loop {
            tokio::time::sleep(pause).await;
            pause = match attempt.renew_with(self, lease, None).await {
                Ok(()) => third,
                Err(LeaseError::Lost(LeaseLost::Settled)) => return std::future::pending().await,
                Err(LeaseError::Lost(_)) => {
                    self.observer.observe(&Event::LeaseLost { id: lease.id });
                    return std::future::pending().await;
                }
                Err(LeaseError::Store(error)) => {
                    tracing::warn!(record = %lease.id, %error, "failed to renew");
                    third / 4
                }
            };
        }
    }

    /// Settles, or sees to it that it is tried again: the caller gets its answer either way
    /// (ruling 12). Answers whether the lease was still good, as far as anybody knows.
    async fn settle(self: &Arc<Self>, lease: &Lease, with: Settlement) -> bool {
        if let Settlement::Doubt { cause } = with {
            self.observer.observe(&Event::Unknown { cause, id: lease.id });
        }
        match self.timed("settle", self.store.settle(lease, &with, Settler::Owner)).await {
            Ok(()) => true,
            Err(LeaseError::Lost(lost)) => {
                tracing::warn!(record = %lease.id, %lost, "failed to settle");
                self.observer.observe(&Event::LeaseLost { id: lease.id });
                false
            }
            Err(LeaseError::Store(error)) => {
                self.observer.observe(&Event::SettleFailed { error: &error, id: lease.id });
                self.settle_later(lease.clone(), with);
                true
            }
        }
    }

    /// Tries a release in the background, unless there are too many: then the record lapses, which
    /// is slower and as safe.
    pub(super) fn release_later(self: &Arc<Self>, lease: Lease, with: Settlement) {
        if *self.background.borrow() < RELEASES_MAX {
            self.settle_later(lease, with);
        } else {
            tracing::warn!(record = %lease.id, "failed to release: too many releases wait already");
        }
    }

    /// Tries a settlement in the background until the store answers, whatever it says.
    pub(super) fn settle_later(self: &Arc<Self>, lease: Lease, with: Settlement) {
        let inner = Arc::clone(self);
        inner.background.send_modify(|running| *running += 1);
        tokio::spawn(async move {
            let mut pause = RETRY_PAUSE_MIN;
            for _ in 0..RETRIES_MAX {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
                let settled = inner.store.settle(&lease, &with, Settler::Owner);
                match inner.timed("settle", settled).await {
                    Ok(()) | Err(LeaseError::Lost(_)) => break,
                    Err(LeaseError::Store(error)) => {
                        tracing::warn!(record = %lease.id, %error, "failed to settle again");
                    }
                }
            }
            inner.background.send_modify(|running| *running -= 1);
        });
    }

    fn is_cutting(&self) -> bool {
        *self.cut.borrow()
    }

    pub(super) async fn is_cut(&self) {
        let mut cut = self.cut.subscribe();
        if cut.wait_for(|cut| *cut).await.is_err() {
            // The sender lives as long as this guard does.
            std::future::pending::<()>().await;
        }
    }
}

/// An effect whose panic is an outcome.
pub(super) fn caught(effect: impl Future<Output = Outcome>) -> impl Future<Output = Outcome> {
    AssertUnwindSafe(effect)
        .catch_unwind()
        .map(|ended| ended.unwrap_or(Outcome::Unknown(Cause::Panicked)))
}

fn ran(intent: &Intent, lease: &Lease, outcome: Outcome, kept: bool) -> Ran {
    let expires_at = match intent.policy.retention {
        // Measured from the claim: the shorter guarantee is the one to advertise (TTL-04).
        Retention::For(retention) if kept => Some(lease.claimed_at.plus(retention)),
        Retention::For(_) | Retention::Never => None,
    };
    Ran { expires_at, kept, outcome: Arc::new(outcome), protected: true }
}

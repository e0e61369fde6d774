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
use crate::policy::{Disposition, Outcome};
use crate::record::Cause;
use crate::store::LeaseError;

/// Why the owner stopped listening to its effect.
enum Heard {
    Cut,
    Outcome(Outcome),
    TimedOut,
}

impl Heard {
    fn outcome(self) -> Outcome {
        match self {
            Self::Cut => Outcome::Unknown(Cause::Drained),
            Self::Outcome(outcome) => outcome,
            Self::TimedOut => Outcome::Unknown(Cause::TimedOut),
        }
    }
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
            self.hear(&mut effect, &mut renewals, policy.upstream_timeout).await
        };
        let took = self.clock.elapsed().saturating_sub(started);
        self.observer.observe(&Event::UpstreamTime(took));
        let listens_on = matches!(heard, Heard::TimedOut);
        let outcome = heard.outcome();
        let Some(settlement) = policy.settlement(&outcome) else {
            seat.done(Verdict::Ran(ran(intent, &lease, outcome, Disposition::Keep)));
            return;
        };
        let disposition = settlement.disposition();
        let is_open = disposition == Disposition::Unknown && (policy.doubts_late() || listens_on);
        if is_open && !self.is_cutting() {
            let told = ran(intent, &lease, outcome, disposition);
            let late = async {
                if listens_on {
                    self.hear(&mut effect, &mut renewals, policy.late_answer).await
                } else {
                    // Nothing more can come; the cap runs all the same.
                    let mut nothing = std::future::pending();
                    self.hear(&mut nothing, &mut renewals, policy.late_answer).await
                }
            };
            self.listen_on(intent, &lease, seat, (told, settlement), late).await;
            return;
        }
        self.settle(&lease, settlement).await;
        let settled_in = self.clock.elapsed().saturating_sub(started).saturating_sub(took);
        self.observer.observe(&Event::AddedTime(settled_in));
        seat.done(Verdict::Ran(ran(intent, &lease, outcome, disposition)));
    }

    /// Waits for the effect beside the renewal of its lease, at most for as long as `patience` lasts.
    async fn hear(
        &self,
        effect: &mut (impl Future<Output = Outcome> + Unpin),
        renewals: &mut (impl Future<Output = ()> + Unpin),
        patience: Duration,
    ) -> Heard {
        tokio::select! {
            biased;
            outcome = effect => Heard::Outcome(outcome),
            () = renewals => Heard::Cut,
            () = self.is_cut() => Heard::Cut,
            () = tokio::time::sleep(patience) => Heard::TimedOut,
        }
    }

    /// Tells the first caller that the outcome is unknown, and settles what a late answer says, or
    /// the doubt when none comes (DBT-07). Where doubt would let another attempt run, it is settled
    /// only then (ruling 3).
    async fn listen_on(
        self: &Arc<Self>,
        intent: &Intent,
        lease: &Lease,
        seat: Seat,
        (told, doubt): (Ran, Settlement),
        late: impl Future<Output = Heard>,
    ) {
        let policy = &intent.policy;
        let told = Verdict::Ran(told);
        let doubts_late = policy.doubts_late();
        if !doubts_late {
            self.settle(lease, doubt.clone()).await;
        }
        seat.tell(told.clone(), doubts_late);
        let known = match late.await {
            Heard::Outcome(outcome) => policy
                .settlement(&outcome)
                .filter(|with| with.disposition() != Disposition::Unknown)
                .map(|with| (outcome, with)),
            Heard::Cut | Heard::TimedOut => None,
        };
        let Some((outcome, with)) = known else {
            if doubts_late {
                self.settle(lease, doubt).await;
            }
            seat.done(told);
            return;
        };
        let disposition = with.disposition();
        if self.settle(lease, with).await {
            self.observer.observe(&Event::Resolved { by: "late-answer", id: lease.id });
        }
        seat.done(Verdict::Ran(ran(intent, lease, outcome, disposition)));
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

fn ran(intent: &Intent, lease: &Lease, outcome: Outcome, disposition: Disposition) -> Ran {
    let expires_at = match (intent.policy.retention, disposition) {
        // Measured from the claim: the shorter guarantee is the one to advertise (TTL-04).
        (Retention::For(retention), Disposition::Keep) => Some(lease.claimed_at.plus(retention)),
        (Retention::For(_) | Retention::Never, _) => None,
    };
    Ran { disposition, expires_at, outcome: Arc::new(outcome), protected: true }
}

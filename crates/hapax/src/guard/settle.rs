//! Settling: what an owner does last, and does again until the store has heard it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Inner;
use crate::event::Event;
use crate::lease::Lease;
use crate::machine::{LeaseLost, Settlement};
use crate::record::Settler;
use crate::store::LeaseError;

/// First pause before a failed settlement is tried again; doubles up to `RETRY_PAUSE_MAX`.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Tries of a failed settlement: about ten minutes, then the record is left to lapse.
const RETRIES_MAX: u32 = 120;
/// How long a claim that nobody heard of may still take effect after its release was answered: its
/// server, or the way there, may have been slow with that one alone.
const UNHEARD_MAX: Duration = Duration::from_secs(30);
/// Releases that may wait for the store at once: settlements are bounded by what runs, but an outage
/// turns every request into a release.
pub(super) const RELEASES_MAX: usize = 10_000;

impl Inner {
    /// Settles, or sees to it that it is tried again: the caller gets its answer either way
    /// (ruling 12). Answers whether the lease was still good, as far as anybody knows.
    pub(super) async fn settle(self: &Arc<Self>, lease: &Lease, with: Settlement) -> bool {
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
                tracing::warn!(record = %lease.id, %error, "failed to settle; it is tried again");
                self.observer.observe(&Event::SettleFailed { error: &error, id: lease.id });
                self.settle_later(lease.clone(), with);
                true
            }
        }
    }

    /// Tries a release in the background, unless there are too many: then the record lapses, which
    /// is slower and as safe.
    pub(super) fn release_later(self: &Arc<Self>, lease: Lease, with: Settlement) {
        if *self.releases.borrow() < RELEASES_MAX {
            self.try_later(lease, with, UNHEARD_MAX, |inner| &inner.releases);
        } else {
            tracing::warn!(record = %lease.id, "failed to release: too many releases wait already");
        }
    }

    /// Tries a settlement in the background until the store answers, whatever it says.
    pub(super) fn settle_later(self: &Arc<Self>, lease: Lease, with: Settlement) {
        self.try_later(lease, with, Duration::ZERO, |inner| &inner.settlements);
    }

    fn try_later(
        self: &Arc<Self>,
        lease: Lease,
        with: Settlement,
        patience: Duration,
        count: fn(&Self) -> &watch::Sender<usize>,
    ) {
        let inner = Arc::clone(self);
        count(&inner).send_modify(|waiting| *waiting += 1);
        tokio::spawn(async move {
            let mut pause = RETRY_PAUSE_MIN;
            let mut since = None;
            for _ in 0..RETRIES_MAX {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
                let settled = inner.store.settle(&lease, &with, Settler::Owner);
                match inner.timed("settle", settled).await {
                    Ok(())
                    | Err(LeaseError::Lost(
                        LeaseLost::Running | LeaseLost::Settled | LeaseLost::Superseded { .. },
                    )) => break,
                    // There is no record: the claim did not happen, or has yet to.
                    Err(LeaseError::Lost(LeaseLost::Expired)) => {
                        let since = *since.get_or_insert_with(|| inner.clock.elapsed());
                        if inner.clock.elapsed().saturating_sub(since) >= patience {
                            break;
                        }
                    }
                    Err(LeaseError::Store(error)) => {
                        tracing::warn!(record = %lease.id, %error, "failed to settle again");
                    }
                }
            }
            count(&inner).send_modify(|waiting| *waiting -= 1);
        });
    }
}

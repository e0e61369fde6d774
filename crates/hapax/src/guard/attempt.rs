//! The attempt: what an effect is handed, to know its rights and to keep its progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Inner, Intent};
use crate::key::Key;
use crate::lease::Lease;
use crate::store::LeaseError;

/// One attempt to carry out an intent. Cheap to clone.
#[derive(Clone)]
pub struct Attempt(Arc<Held>);

struct Held {
    /// When the latest granted claim or renewal was asked for, in microseconds of the guard's clock.
    confirmed_at: AtomicU64,
    inner: Option<Arc<Inner>>,
    lease: Option<Lease>,
    lost: AtomicBool,
    term: Duration,
}

impl Attempt {
    pub(super) fn new(
        inner: &Arc<Inner>,
        intent: &Intent,
        lease: Lease,
        asked_at: Duration,
    ) -> Self {
        Self(Arc::new(Held {
            confirmed_at: AtomicU64::new(micros(asked_at)),
            inner: Some(Arc::clone(inner)),
            lease: Some(lease),
            lost: AtomicBool::new(false),
            term: intent.policy.lease,
        }))
    }

    pub(super) fn unprotected(intent: &Intent) -> Self {
        Self(Arc::new(Held {
            confirmed_at: AtomicU64::new(0),
            inner: None,
            lease: None,
            lost: AtomicBool::new(false),
            term: intent.policy.lease,
        }))
    }

    /// The lease; `None` where nothing protects this run.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.0.lease.as_ref()
    }

    /// Whether the first byte may still go out: the claim is younger than its term less a tenth, by
    /// a clock that counts suspension, and nobody has taken the record over (ruling 9).
    #[must_use]
    pub fn may_send(&self) -> bool {
        let Some(inner) = &self.0.inner else {
            return true;
        };
        let confirmed_at = Duration::from_micros(self.0.confirmed_at.load(Ordering::Acquire));
        let since = inner.clock.elapsed().saturating_sub(confirmed_at);
        !self.is_lost() && since < self.0.term - self.0.term / 10
    }

    /// Whether the store has said that another holds the record. What runs may go on: its
    /// settlement will change nothing.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Acquire)
    }

    /// Keeps `progress` with the record: a later attempt finds it in its lease (M17). Also renews.
    ///
    /// # Errors
    /// [`LeaseError`]; on [`LeaseError::Lost`] the operation must stop. Without a lease nothing is
    /// kept and nothing fails.
    pub async fn save(&self, progress: Bytes) -> Result<(), LeaseError> {
        let (Some(inner), Some(lease)) = (&self.0.inner, &self.0.lease) else {
            return Ok(());
        };
        self.renew_with(inner, lease, Some(progress)).await
    }

    /// The key for a call that this operation makes in turn: the same for every attempt, another for
    /// every `step`, and telling nothing of the caller's own key (M14).
    #[must_use]
    pub fn child_key(&self, step: &str) -> Option<Key> {
        self.lease().map(|lease| lease.child_key(step))
    }

    pub(super) fn term(&self) -> Duration {
        self.0.term
    }

    fn confirm(&self, asked_at: Duration) {
        self.0.confirmed_at.store(micros(asked_at), Ordering::Release);
    }

    pub(super) async fn renew_with(
        &self,
        inner: &Inner,
        lease: &Lease,
        progress: Option<Bytes>,
    ) -> Result<(), LeaseError> {
        let asked_at = inner.clock.elapsed();
        match inner.timed("renew", inner.store.renew(lease, self.0.term, progress)).await {
            Ok(_renewed) => {
                self.confirm(asked_at);
                Ok(())
            }
            Err(error) => {
                if matches!(error, LeaseError::Lost(_)) {
                    self.0.lost.store(true, Ordering::Release);
                }
                Err(error)
            }
        }
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt").field("lease", &self.0.lease).finish_non_exhaustive()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

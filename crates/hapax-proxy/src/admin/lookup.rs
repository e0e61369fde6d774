//! Asking the store within its time, and what is known of a record's route.

use std::time::Duration;

use hapax::{Observed, RecordId, Retention, State, StoreError};
use hapax_tower::Rules;
use tokio::sync::SemaphorePermit;

use super::problem::Problem;
use super::{AdminState, Shared};

/// How long a settled record stays where no route says.
const RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 3600);

impl AdminState {
    /// The answer of one store operation within its time.
    pub(super) async fn within<T, E>(
        &self,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, Problem> {
        tokio::time::timeout(self.store_timeout, step).await.map_err(|_elapsed| {
            Problem::store_unavailable(
                "The store did not answer in time. What was asked for may have been done; it is \
                 safe to repeat.",
            )
        })
    }

    /// A record that has not expired.
    pub(super) async fn live(&self, id: &RecordId) -> Result<Option<Observed>, Problem> {
        let observed = self.within(self.guard.store().peek(id)).await?.map_err(|e| failed(&e))?;
        Ok(observed.filter(|seen| State::of(&seen.record, seen.now).is_some()))
    }

    /// The rules of the route with this name; those of the last route where it is no longer there.
    pub(super) fn rules_of(&self, route: &str) -> Option<&Rules> {
        self.rules.iter().find(|rules| &*rules.route == route).or_else(|| self.rules.last())
    }

    /// How long a record of this route stays once it is settled.
    pub(super) fn retention_of(&self, route: &str) -> Retention {
        let rules = self.rules_of(route);
        rules.map_or(Retention::For(RETENTION_DEFAULT), |rules| rules.policy.retention)
    }
}

impl Shared {
    /// Room for one request that may hold megabytes; waits for it, at most as long as a request may.
    pub(super) async fn room(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.heavy.acquire().await.map_err(|_closed| Problem::busy("The listener is stopping."))
    }
}

/// What to say of an error of the store; its own words may hold addresses, and go to the log.
pub(super) fn failed(error: &StoreError) -> Problem {
    tracing::warn!(%error, "failed to answer an admin request");
    Problem::store_unavailable(
        "The store is not there or refuses. What was asked for may have been done; it is safe to \
         repeat.",
    )
}

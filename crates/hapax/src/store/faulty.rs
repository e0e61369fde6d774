//! A wrapper that makes any store fail on purpose: before the step, after it, or slowly.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;

use super::{Guarantees, LeaseError, ListQuery, Page, Purged, Stats, Store, StoreError};
use crate::lease::Lease;
use crate::machine::{Claim, Claimed, Observed, Settlement};
use crate::record::Settler;
use crate::scope::RecordId;

/// An operation of a store that a fault can be put on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// [`Store::claim`].
    Claim,
    /// [`Store::peek`].
    Peek,
    /// [`Store::renew`].
    Renew,
    /// [`Store::settle`].
    Settle,
}

/// What goes wrong.
pub enum Fault {
    /// The step happens; the answer is lost.
    After,
    /// The step does not happen; nobody can tell.
    Before,
    /// The step waits for this future first.
    Delay(BoxFuture<'static, ()>),
    /// The step happens; its answer waits for this future.
    Late(BoxFuture<'static, ()>),
    /// Nothing: the step happens and is answered. Lets a later fault hit a later call.
    Pass,
    /// The step does not happen, and the error says so.
    Refused,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::After => "After",
            Self::Before => "Before",
            Self::Delay(_) => "Delay",
            Self::Late(_) => "Late",
            Self::Pass => "Pass",
            Self::Refused => "Refused",
        })
    }
}

/// A store whose next operations go wrong as planned.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Mutex<VecDeque<(Operation, Fault)>>,
}

impl Faulty {
    /// Wraps `inner`; without a plan it behaves as `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// Puts a fault on the next call of `operation` that has none yet.
    pub fn plan(&self, operation: Operation, fault: Fault) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).push_back((operation, fault));
    }

    fn next(&self, operation: Operation) -> Fault {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let found = plan.iter().position(|(planned, _)| *planned == operation);
        found.and_then(|at| plan.remove(at)).map_or(Fault::Pass, |(_, fault)| fault)
    }

    async fn through<T, E>(
        &self,
        operation: Operation,
        step: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        match self.next(operation) {
            Fault::After => {
                let _lost = step.await;
                Err(StoreError::unknown("the answer was lost on purpose").into())
            }
            Fault::Before => Err(StoreError::unknown("the request was lost on purpose").into()),
            Fault::Delay(until) => {
                until.await;
                step.await
            }
            Fault::Late(until) => {
                let answer = step.await;
                until.await;
                answer
            }
            Fault::Pass => step.await,
            Fault::Refused => Err(StoreError::none("refused on purpose").into()),
        }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.through(Operation::Claim, self.inner.claim(claim)).await
    }

    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError> {
        self.through(Operation::Renew, self.inner.renew(lease, term, progress)).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<(), LeaseError> {
        self.through(Operation::Settle, self.inner.settle(lease, with, by)).await
    }

    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        self.through(Operation::Peek, self.inner.peek(id)).await
    }

    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        self.inner.purge(id, force).await
    }

    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        self.inner.sweep(limit).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.inner.stats().await
    }

    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>> {
        self.inner.wakeups()
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }
}

//! A store whose claims all commit through it wherever their rule allows, with nobody who does: by the
//! contract it must then be like any other.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use hapax::{
    Claim, Claimed, Guarantees, Lease, LeaseError, ListQuery, Observed, Page, Purged, RecordId,
    Retention, Settlement, Settler, Stats, Store, StoreError,
};
use hapax_postgres::PgStore;

use crate::support::admin;

#[derive(Debug)]
pub(crate) struct Seated {
    pub(crate) schema: String,
    pub(crate) server: String,
    pub(crate) store: Arc<PgStore>,
}

#[async_trait]
impl Store for Seated {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let transactional = Some(Retention::For(Duration::from_secs(3_600)));
        self.store.claim(&Claim { transactional, ..claim.clone() }).await
    }

    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError> {
        self.store.renew(lease, term, progress).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<(), LeaseError> {
        self.store.settle(lease, with, by).await
    }

    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        self.store.peek(id).await
    }

    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        self.store.purge(id, force).await
    }

    /// What nobody retries is found out by sweeping, which the contract knows nothing of: no claim here
    /// is ever old enough.
    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        let young = format!("UPDATE {}.seat SET claimed_at = 1::bigint << 61", self.schema);
        admin(&self.server, &young).await;
        self.store.sweep(limit).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.store.list(query).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.store.stats().await
    }

    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>> {
        self.store.wakeups()
    }

    fn guarantees(&self) -> Guarantees {
        self.store.guarantees()
    }
}

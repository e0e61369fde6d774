//! The handle: what callers hold.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fjall::{Database, Keyspace};
use futures_core::stream::BoxStream;
use hapax::machine::{self, Step};
use hapax::{
    Claim, Claimed, Guarantees, Lease, LeaseError, ListQuery, Observed, Page, Purged, RecordId,
    Secret, Settlement, Settler, Stats, Status, Store, StoreError,
};

use crate::buckets::{Buckets, Found, decode};
use crate::clock::StoreClock;
use crate::error::{OpenError, WriteFailed, read_failed};
use crate::folder::Folder;
use crate::hint::Hint;
use crate::list;
use crate::mailbox::Exchange;
use crate::operation::{Operation, Reply};
use crate::options::{Durability, FileOptions};
use crate::writer::{Shared, Work};

/// A durable store in one folder, for one process (ruling 1 of the performance notes).
///
/// Any number of tasks on any runtime may use it at once. Lookups of settled records are made on the
/// calling thread: from memory nearly always, else with one read of the disk. Everything else is done
/// by the store's own thread.
///
/// Dropping it finishes what has been handed over, syncs, and waits for its threads: some
/// milliseconds. [`FileStore::close`] does the same and says whether it went well.
pub struct FileStore {
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) clock: Arc<StoreClock>,
    pub(crate) database: Database,
    pub(crate) durability: Durability,
    pub(crate) open_keyspace: Keyspace,
    pub(crate) path: PathBuf,
    pub(crate) secret: Secret,
    pub(crate) shared: Arc<Shared>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    /// Given back last: whoever opens the folder next finds all threads gone.
    #[expect(dead_code, reason = "held for its lock")]
    pub(crate) folder: Folder,
}

impl FileStore {
    /// Opens the store in the folder `path`, making it if there is none.
    ///
    /// Blocks: milliseconds as a rule, up to seconds after a crash under heavy writing. Claims that
    /// an earlier process held are lapsed from now on (ruling 9).
    ///
    /// # Errors
    /// [`OpenError`], each with what to do about it. Nothing is ever taken for an empty store but an
    /// empty folder.
    pub fn open(path: impl AsRef<Path>, options: FileOptions) -> Result<Self, OpenError> {
        crate::open::open(path.as_ref(), options)
    }

    /// What record ids are keyed with: as configured, or made once and kept with the store
    /// (ruling 8).
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// How much the writer has done since the store was opened.
    #[must_use]
    pub fn work(&self) -> Work {
        self.shared.work()
    }

    /// Finishes what has been handed over, syncs, and ends the store's threads. Blocks.
    ///
    /// # Errors
    /// The store had failed before, or failed now: what was not answered may be lost.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.end();
        match self.shared.failed.get() {
            Some(failed) => Err(failed.unknown()),
            None => Ok(()),
        }
    }

    fn end(&mut self) {
        self.shared.queue.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }

    fn alive(&self) -> Result<(), StoreError> {
        self.shared.failed.get().map_or(Ok(()), |failed: &WriteFailed| Err(failed.none()))
    }

    async fn ask(&self, operation: Operation) -> Result<Reply, StoreError> {
        self.alive()?;
        Exchange::new(&self.shared.queue, operation).await
    }

    /// A completed record that has not expired. Only such a one may be answered without the writer:
    /// nothing but time and a purge ends it, and what can be read is as durable as promised.
    fn completed(&self, found: Option<&Found>) -> Option<Observed> {
        let now = self.clock.now();
        let record = &found?.record;
        let is_completed = record.status(now) == Status::Completed;
        is_completed.then(|| Observed { now, record: (**record).clone() })
    }

    /// As the disk has it, for when the writer has stopped and nothing moves any more.
    fn read(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        let now = self.clock.now();
        if let Some(bytes) = self.open_keyspace.get(id.as_bytes()).map_err(read_failed)? {
            let record = *decode(*id, bytes)?;
            return Ok(Some(Observed { now, record }));
        }
        let found = self.buckets.find(id)?;
        Ok(found.map(|found| Observed { now, record: *found.record }))
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.end();
    }
}

#[async_trait]
impl Store for FileStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        // Before the search: what any later turn changes, the writer looks up again.
        let turn = self.shared.turn.load(Ordering::Acquire);
        let found = self.buckets.find(&claim.id)?;
        if let Some(observed) = self.completed(found.as_ref()) {
            let step = machine::claim(Some(&observed.record), claim, observed.now);
            if let Step { put: None, reply } = step {
                return Ok(reply);
            }
        }
        let hint = Hint { found, turn };
        let Reply::Claim(result) =
            self.ask(Operation::Claim { claim: claim.clone(), hint }).await?
        else {
            return Err(Reply::mixed_up());
        };
        result
    }

    async fn renew(
        &self,
        lease: &Lease,
        term: Duration,
        progress: Option<Bytes>,
    ) -> Result<Lease, LeaseError> {
        let Reply::Renew(result) =
            self.ask(Operation::Renew { lease: lease.clone(), progress, term }).await?
        else {
            return Err(Reply::mixed_up().into());
        };
        result
    }

    async fn settle(
        &self,
        lease: &Lease,
        with: &Settlement,
        by: Settler,
    ) -> Result<(), LeaseError> {
        let operation = Operation::Settle { by, lease: lease.clone(), with: with.clone() };
        let Reply::Settle(result) = self.ask(operation).await? else {
            return Err(Reply::mixed_up().into());
        };
        result
    }

    async fn peek(&self, id: &RecordId) -> Result<Option<Observed>, StoreError> {
        if self.shared.failed.get().is_some() {
            return self.read(id);
        }
        if let Some(observed) = self.completed(self.buckets.find(id)?.as_ref()) {
            return Ok(Some(observed));
        }
        let Reply::Peek(result) = self.ask(Operation::Peek { id: *id }).await? else {
            return Err(Reply::mixed_up());
        };
        result
    }

    async fn purge(&self, id: &RecordId, force: bool) -> Result<Purged, StoreError> {
        let Reply::Purge(result) = self.ask(Operation::Purge { force, id: *id }).await? else {
            return Err(Reply::mixed_up());
        };
        result
    }

    /// Drops at most one bucket that has ended, whole, or removes some single records. The space of a
    /// bucket with more than `limit` records comes back at once; its records are reported by this and
    /// the following calls, at most `limit` by each.
    async fn sweep(&self, limit: NonZeroU32) -> Result<u32, StoreError> {
        let Reply::Sweep(result) = self.ask(Operation::Sweep { limit }).await? else {
            return Err(Reply::mixed_up());
        };
        result
    }

    /// Reads the disk on the calling thread, within limits: a page may be shorter than asked and have
    /// a next one all the same.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        // The moment first: a bucket made after it holds nothing of that moment, and one dropped
        // after it held expired records only.
        let moment = self.database.snapshot();
        let mut keyspaces = vec![self.open_keyspace.clone()];
        keyspaces.extend(self.buckets.live().iter().map(|bucket| bucket.keyspace.clone()));
        list::page(&moment, &keyspaces, query, self.clock.now())
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let Reply::Stats(result) = self.ask(Operation::Stats).await? else {
            return Err(Reply::mixed_up());
        };
        result
    }

    fn wakeups(&self) -> Option<BoxStream<'static, RecordId>> {
        None
    }

    fn guarantees(&self) -> Guarantees {
        let summary = match self.durability {
            Durability::Full => "on this disk: every answer survives a crash and a power cut",
            Durability::Claim => {
                "on this disk: every answer survives a crash; a power cut may leave a finished key \
                 in doubt, never run it twice"
            }
        };
        Guarantees { durable: true, shared: false, summary: summary.to_owned() }
    }
}

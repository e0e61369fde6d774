//! What the suite asks of whoever brings a store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::store::{MemoryStore, Store};
use crate::time::{Clock as _, ManualClock};

/// Records that a store of [`Harness::fresh`] must be able to hold.
const RECORDS_MAX: usize = 10_000;

/// Makes stores for the suite, one for each case, so that cases may run side by side.
#[async_trait]
pub trait Harness: Send + Sync {
    /// An empty store that shares nothing with any other: a folder, a schema or a prefix of its
    /// own. It holds at least ten thousand records.
    async fn fresh(&self) -> Box<dyn Subject>;

    /// The same with room for so many records and not one more; `None` where that can not be set.
    async fn fresh_with_records_max(&self, records_max: usize) -> Option<Box<dyn Subject>>;
}

/// One store under test, with what must live as long as it does: its clock, its folder.
///
/// The store's time must start at 1970-01-02 or later and must not be moved by anyone but the case.
/// It need not stand still between calls: the suite only assumes that what a case does between two
/// moves of the clock takes less than a minute by it, so a server's clock with an offset of the
/// subject's own will do, on a slow machine too.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// Another way to the same records, as another process would have it, under the same clock;
    /// `None` where the store is not shared.
    async fn another(&self) -> Option<Arc<dyn Store>>;

    /// Moves the store's clock forward.
    async fn advance(&self, by: Duration);

    /// Moves it back, as a server's clock steps when somebody sets it; `false` where the store's time
    /// never does.
    async fn step_back(&self, by: Duration) -> bool;

    /// Ends the store without notice, as the end of its process would, and opens what it left
    /// behind; `None` where nothing is left. The case holds no handle of the store meanwhile.
    /// Claims may have lapsed at opening (ruling 9).
    async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>>;
}

/// The harness of [`MemoryStore`], and a pattern for others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

#[derive(Debug)]
struct MemorySubject {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
}

impl MemorySubject {
    fn boxed(records_max: usize) -> Box<dyn Subject> {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::with_clock(records_max, clock.clone()));
        Box::new(Self { clock, store })
    }
}

#[async_trait]
impl Harness for Memory {
    async fn fresh(&self) -> Box<dyn Subject> {
        MemorySubject::boxed(RECORDS_MAX)
    }

    async fn fresh_with_records_max(&self, records_max: usize) -> Option<Box<dyn Subject>> {
        Some(MemorySubject::boxed(records_max))
    }
}

#[async_trait]
impl Subject for MemorySubject {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn another(&self) -> Option<Arc<dyn Store>> {
        None
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn step_back(&self, by: Duration) -> bool {
        self.clock.step_to(self.clock.now().minus(by));
        true
    }

    async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>> {
        None
    }
}

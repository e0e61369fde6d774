//! The store contract, by the suite that every store passes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hapax::conformance::{Harness, Subject};
use hapax::{Clock, ManualClock, Store};
use hapax_fjall::{Durability, FileOptions, FileStore};
use tempfile::TempDir;

struct Files(Durability);

/// In memory where the system has such a place: hundreds of stores are made here, and none of these
/// cases is about the disk.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_error| tempfile::tempdir())
        .expect("a folder for the test")
}

struct Folder {
    clock: Arc<ManualClock>,
    dir: TempDir,
    options: FileOptions,
    store: Arc<FileStore>,
}

impl Files {
    fn subject(&self, records_max: u64) -> Box<dyn Subject> {
        let dir = folder();
        let clock = Arc::new(ManualClock::default());
        let options = FileOptions {
            clock: clock.clone() as Arc<dyn Clock>,
            durability: self.0,
            records_max,
            ..FileOptions::default()
        };
        let store = FileStore::open(dir.path(), options.clone()).expect("a new store");
        Box::new(Folder { clock, dir, options, store: Arc::new(store) })
    }
}

#[async_trait]
impl Harness for Files {
    async fn fresh(&self) -> Box<dyn Subject> {
        self.subject(1_000_000)
    }

    async fn fresh_with_records_max(&self, records_max: usize) -> Option<Box<dyn Subject>> {
        Some(self.subject(records_max as u64))
    }
}

#[async_trait]
impl Subject for Folder {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn another(&self) -> Option<Arc<dyn Store>> {
        None
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// It counts from its opening, whatever becomes of the wall's clock (ruling 19).
    async fn step_back(&self, _by: Duration) -> bool {
        false
    }

    async fn reopen(self: Box<Self>) -> Option<Box<dyn Subject>> {
        let Self { clock, dir, options, store } = *self;
        drop(Arc::into_inner(store).expect("the case holds no handle"));
        let store = FileStore::open(dir.path(), options.clone()).expect("the same store");
        Some(Box::new(Self { clock, dir, options, store: Arc::new(store) }))
    }
}

mod full {
    use super::{Durability, Files};
    hapax::store_conformance!(Files(Durability::Full));
}

mod claim {
    use super::{Durability, Files};
    hapax::store_conformance!(Files(Durability::Claim));
}

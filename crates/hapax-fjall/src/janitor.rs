//! The janitor: a thread that removes the files of dropped buckets while traffic goes on.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use fjall::Database;

use crate::buckets::Bucket;

/// How long to wait between looks whether readers have let go of a bucket.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks in all; then the last reader removes the files.
const LOOKS_MAX: u32 = 2_000;

/// Removes what it is sent until nobody sends any more. What it does not get to is removed at the
/// next opening, for its count is gone from the disk already.
pub(crate) fn run(database: &Database, dropped: &mpsc::Receiver<Arc<Bucket>>) {
    while let Ok(bucket) = dropped.recv() {
        for _ in 0..LOOKS_MAX {
            if Arc::strong_count(&bucket) == 1 {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        if let Err(error) = database.delete_keyspace(bucket.keyspace.clone()) {
            tracing::warn!(%error, "the files of an expired bucket stay until the next start");
        }
    }
}

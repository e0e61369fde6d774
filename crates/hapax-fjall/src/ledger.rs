//! What the writer knows, and how it becomes a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fjall::{Database, Keyspace, OwnedWriteBatch};
use hapax::{RecordId, Timestamp, codec};

use crate::buckets::{Bucket, Buckets, end_for};
use crate::clock::StoreClock;
use crate::filter::Filter;
use crate::folder::sync_folder;
use crate::hint::Recent;
use crate::open_records::OpenRecords;
use crate::options::Durability;
use crate::schema::{bucket_name, bucket_options, count_key};
use crate::turn::{Place, Touched, is_settled};

/// What the writer knows besides the disk.
pub(crate) struct Ledger {
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) clock: Arc<StoreClock>,
    /// Records per bucket, by its end.
    pub(crate) counts: BTreeMap<Timestamp, u64>,
    pub(crate) database: Database,
    pub(crate) durability: Durability,
    /// Where the last sweep stopped looking at single records.
    pub(crate) looked_to: Option<(Timestamp, RecordId)>,
    pub(crate) meta: Keyspace,
    pub(crate) open: OpenRecords,
    pub(crate) open_keyspace: Keyspace,
    pub(crate) recent: Recent,
    pub(crate) records_max: u64,
    /// Swept records that no answer has counted yet.
    pub(crate) swept_unreported: u64,
    /// The last turn that was synced.
    pub(crate) synced: u64,
    /// The last turn that wrote anything.
    pub(crate) turn: u64,
}

impl Ledger {
    /// All records, expired ones that still take space included.
    pub(crate) fn records(&self) -> u64 {
        self.open.len() + self.counts.values().sum::<u64>()
    }

    /// Bytes on disk; zero if the library can not tell.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    /// Adds one changed record to the batch: out of where it was, into where it belongs.
    pub(crate) fn add_to(
        &mut self,
        batch: &mut OwnedWriteBatch,
        id: &RecordId,
        touched: &Touched,
        dropped: &[Timestamp],
        now: Timestamp,
        moved: &mut Vec<(RecordId, Timestamp)>,
    ) -> fjall::Result<()> {
        let key = id.as_bytes();
        let after = match &touched.record {
            None => Place::Absent,
            Some(record) if is_settled(record) => {
                Place::Bucket(end_for(record.expires_at, now, self.counts.keys().copied()))
            }
            Some(_) => Place::Open,
        };
        if touched.before != after {
            match touched.before {
                Place::Bucket(end) if !dropped.contains(&end) => {
                    if let Some(count) = self.counts.get_mut(&end) {
                        *count = count.saturating_sub(1);
                        batch.remove(&self.bucket(end)?, key);
                        moved.push((*id, end));
                    }
                }
                Place::Absent | Place::Bucket(_) => {}
                Place::Open => batch.remove(&self.open_keyspace, key),
            }
        }
        let Some(record) = &touched.record else {
            return Ok(());
        };
        let value = codec::encode(record);
        match after {
            Place::Bucket(end) => {
                batch.insert(&self.bucket(end)?, key, value);
                if touched.before != after {
                    *self.counts.entry(end).or_default() += 1;
                }
                moved.push((*id, end));
            }
            Place::Absent | Place::Open => batch.insert(&self.open_keyspace, key, value),
        }
        Ok(())
    }

    /// Adds the counts of the buckets that changed: they are as exact after a crash as the records.
    pub(crate) fn add_counts(
        &self,
        batch: &mut OwnedWriteBatch,
        moved: &[(RecordId, Timestamp)],
        dropped: &[Timestamp],
    ) {
        for end in moved.iter().map(|(_, end)| *end).collect::<BTreeSet<_>>() {
            let count = self.counts.get(&end).copied().unwrap_or(0);
            batch.insert(&self.meta, count_key(end), count.to_le_bytes());
        }
        for end in dropped {
            batch.remove(&self.meta, count_key(*end));
        }
    }

    /// The keyspace of a bucket, made if need be. Making one takes some milliseconds of the turn.
    fn bucket(&self, end: Timestamp) -> fjall::Result<Keyspace> {
        if let Some(bucket) = self.buckets.live().iter().find(|bucket| bucket.end == end) {
            return Ok(bucket.keyspace.clone());
        }
        let keyspace = self.database.keyspace(&bucket_name(end), bucket_options)?;
        // Its folder must be there after a power cut, or what is in the journal for it is lost.
        if let Some(folder) = keyspace.path().parent() {
            sync_folder(folder)?;
        }
        let filter = Some(Filter::default());
        self.buckets.insert(Bucket { end, filter, keyspace: keyspace.clone() });
        Ok(keyspace)
    }
}

//! What lies where: keyspaces, their names and options, and the few entries beside the records.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `open` | record id | record in progress or in doubt |
//! | `settled-END` | record id | completed or released record that expires at END at the latest |
//! | `meta` | `turn` | turn, last turn known to be synced, time |
//! | `meta` | `bucket` END | how many records that bucket holds |
//!
//! Records are in the core's codec. A record is in exactly one keyspace at any time: all that a turn
//! changes is one batch, which is atomic over keyspaces.

use fjall::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
    PartitioningPolicy, PinningPolicy,
};
use fjall::{CompressionType, KeyspaceCreateOptions};
use hapax::Timestamp;

/// The format that this release writes. Any change to what is above, or to fjall's own format, must
/// raise it.
pub(crate) const FORMAT_VERSION: u32 = 1;

pub(crate) const META: &str = "meta";
pub(crate) const OPEN: &str = "open";
const SETTLED: &str = "settled-";
const BUCKET: &[u8] = b"bucket";

/// The end of the bucket of records that never expire.
pub(crate) const NEVER: Timestamp = Timestamp::from_micros(u64::MAX);

/// The key of the [`TurnMark`].
pub(crate) const TURN: &[u8] = b"turn";

/// What every batch says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct TurnMark {
    /// The store's time.
    pub(crate) now: Timestamp,
    /// The last turn that was certainly synced before this batch was written.
    pub(crate) synced: u64,
    /// The turn, counted over the store's whole life.
    pub(crate) turn: u64,
}

impl TurnMark {
    pub(crate) fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.turn.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.synced.to_le_bytes());
        bytes[16..].copy_from_slice(&self.now.as_micros().to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes);
        let now = Timestamp::from_micros(number(16)?);
        Some(Self { now, synced: number(8)?, turn: number(0)? })
    }
}

/// The name of the bucket that ends at `end`.
pub(crate) fn bucket_name(end: Timestamp) -> String {
    format!("{SETTLED}{:020}", end.as_micros())
}

/// The end of the bucket with this name; `None` if it names no bucket.
pub(crate) fn bucket_end(name: &str) -> Option<Timestamp> {
    let micros = name.strip_prefix(SETTLED)?.parse().ok()?;
    Some(Timestamp::from_micros(micros))
}

/// The key under which a bucket's count is kept.
pub(crate) fn count_key(end: Timestamp) -> [u8; 14] {
    let mut key = [0; 14];
    key[..6].copy_from_slice(BUCKET);
    key[6..].copy_from_slice(&end.as_micros().to_be_bytes());
    key
}

/// The bucket whose count is kept under `key`; `None` if it is another entry.
pub(crate) fn count_end(key: &[u8]) -> Option<Timestamp> {
    let micros = key.strip_prefix(BUCKET)?.first_chunk()?;
    Some(Timestamp::from_micros(u64::from_be_bytes(*micros)))
}

/// Options of a bucket: nearly every lookup of a fresh key misses, so filters stay in memory, whole,
/// on every level; records are small and often compressed already, so blocks are not.
pub(crate) fn bucket_options() -> KeyspaceCreateOptions {
    let filter = |rate| FilterPolicyEntry::Bloom(BloomConstructionPolicy::FalsePositiveRate(rate));
    KeyspaceCreateOptions::default()
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .expect_point_read_hits(false)
        .filter_block_partitioning_policy(PartitioningPolicy::all(false))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .filter_policy(FilterPolicy::new([filter(0.0001), filter(0.001)]))
        .manual_journal_persist(true)
        .max_memtable_size(64 * 1024 * 1024)
}

/// Options of the two small keyspaces. What is not in tables yet is kept small enough for the
/// processor's own memory: most of it is gone again before it is written to a table.
pub(crate) fn small_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .manual_journal_persist(true)
        .max_memtable_size(8 * 1024 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_entries_are_read_back() {
        let end = Timestamp::from_micros(1_767_225_600_000_000);
        assert_eq!(bucket_end(&bucket_name(end)), Some(end));
        assert_eq!(bucket_end(&bucket_name(NEVER)), Some(NEVER));
        assert_eq!(bucket_end(OPEN), None);
        assert_eq!(count_end(&count_key(end)), Some(end));
        assert_eq!(count_end(TURN), None);
        let mark = TurnMark { now: end, synced: 6, turn: 7 };
        assert_eq!(TurnMark::decode(&mark.encode()), Some(mark));
        assert_eq!(TurnMark::decode(b"short"), None);
    }
}

//! Which records a bucket may hold, in memory: most lookups of fresh keys end here.
//!
//! A Bloom filter of cache-line blocks that grows by segments, each twice as large as the one before.
//! About three bytes per record at worst; one in some hundred absent records is searched in vain.
//! Only buckets made by this process have one: to make one of what is on disk would mean reading it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hapax::RecordId;

/// Records in the first segment.
const FIRST_RECORDS: usize = 1 << 14;

const BITS_PER_RECORD: usize = 16;

/// Bits set per record, all in one block.
const PROBES: usize = 6;

/// Words of a block: one cache line.
const BLOCK_WORDS: usize = 8;

/// Grows with the records that are added. The writer alone adds; anyone may ask at any time.
#[derive(Clone, Default)]
pub(crate) struct Filter {
    segments: Vec<Arc<Segment>>,
}

struct Segment {
    added: AtomicU64,
    records_max: u64,
    words: Box<[AtomicU64]>,
}

impl Filter {
    /// Whether `add` needs a larger filter first.
    pub(crate) fn is_full(&self) -> bool {
        self.segments
            .last()
            .is_none_or(|last| last.added.load(Ordering::Relaxed) >= last.records_max)
    }

    /// This filter with room for as many records again; both know what either is told.
    pub(crate) fn grown(&self) -> Self {
        let records = FIRST_RECORDS << self.segments.len();
        let words = (0..records * BITS_PER_RECORD / 64).map(|_| AtomicU64::new(0)).collect();
        let segment = Segment { added: AtomicU64::new(0), records_max: records as u64, words };
        let mut segments = self.segments.clone();
        segments.push(Arc::new(segment));
        Self { segments }
    }

    /// Adds a record. Visible to whoever reads anything that is released after this.
    pub(crate) fn add(&self, id: &RecordId) {
        if let Some(last) = self.segments.last() {
            last.added.fetch_add(1, Ordering::Relaxed);
            let block = last.block(id);
            for (word, bit) in probes(id) {
                block[word].fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// Whether the record may have been added; `false` is certain.
    pub(crate) fn may_hold(&self, id: &RecordId) -> bool {
        self.segments.iter().rev().any(|segment| {
            let block = segment.block(id);
            probes(id).all(|(word, bit)| block[word].load(Ordering::Relaxed) & bit != 0)
        })
    }
}

impl Segment {
    fn block(&self, id: &RecordId) -> &[AtomicU64] {
        let blocks = self.words.len() / BLOCK_WORDS;
        // Ids are hashes; their head names the scope and is shared by many.
        let block = number(id, 8) as usize % blocks;
        &self.words[block * BLOCK_WORDS..(block + 1) * BLOCK_WORDS]
    }
}

/// Word and bit of each probe within a block.
fn probes(id: &RecordId) -> impl Iterator<Item = (usize, u64)> {
    let bits = number(id, 16);
    (0..PROBES).map(move |n| {
        let place = (bits >> (n * 9)) as usize % (BLOCK_WORDS * 64);
        (place / 64, 1 << (place % 64))
    })
}

fn number(id: &RecordId, at: usize) -> u64 {
    id.as_bytes()[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> RecordId {
        let mut bytes = [0; 32];
        for (k, chunk) in (1..).zip(bytes.chunks_mut(8)) {
            let z = (n * 4 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            chunk.copy_from_slice(&(z ^ (z >> 32)).to_le_bytes());
        }
        RecordId::from_bytes(bytes)
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let mut filter = Filter::default();
        assert!(filter.is_full() && !filter.may_hold(&id(1)));
        let records = 5 * FIRST_RECORDS as u64;
        for n in 0..records {
            if filter.is_full() {
                filter = filter.grown();
            }
            filter.add(&id(n));
        }
        assert_eq!(filter.segments.len(), 3);
        assert!((0..records).all(|n| filter.may_hold(&id(n))));
        let wrong = (records..2 * records).filter(|n| filter.may_hold(&id(*n))).count() as u64;
        assert!(wrong < records / 50, "{wrong} of {records}");
    }
}

//! The records that are in progress or in doubt, as the writer alone knows them.
//!
//! Running ones are held whole, in-doubt ones by what sweeping and counting need: some hundred bytes
//! each, however long an outage lasts. All are on disk too.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use hapax::{Phase, Record, RecordId, Status, Timestamp};

/// A map by record id. Ids are keyed hashes already: hashing them again would only cost time.
pub(crate) type IdMap<T> = HashMap<RecordId, T, BuildHasherDefault<IdHasher>>;

/// Takes the last eight bytes of what it is given.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(tail) = bytes.last_chunk::<8>() {
            self.0 = u64::from_le_bytes(*tail);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// What is known of an open record.
#[derive(Debug)]
pub(crate) enum Open {
    /// In doubt, and still counted among them; the record itself is read from disk.
    Doubted,
    /// In progress, as it stands.
    Running(Box<Record>),
}

/// The open records.
#[derive(Debug, Default)]
pub(crate) struct OpenRecords {
    doubted: IdMap<Doubt>,
    /// In-doubt records by age.
    oldest: BTreeSet<(Timestamp, RecordId)>,
    running: IdMap<Box<Record>>,
    /// In-doubt records that count as absent some day, by that day.
    vanishing: BTreeSet<(Timestamp, RecordId)>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    gone_at: Option<Timestamp>,
    since: Timestamp,
}

/// How many are in doubt or lapsed, and since when the oldest.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Doubts {
    pub(crate) count: u64,
    pub(crate) since: Option<Timestamp>,
}

impl OpenRecords {
    /// Takes a running record out, or says that the record is in doubt.
    pub(crate) fn take(&mut self, id: &RecordId) -> Option<Open> {
        if let Some(record) = self.running.remove(id) {
            return Some(Open::Running(record));
        }
        self.doubted.contains_key(id).then_some(Open::Doubted)
    }

    /// Takes an in-doubt record out. Not before it has been read: a record that is neither here nor
    /// in a bucket is as if absent.
    pub(crate) fn forget(&mut self, id: &RecordId) {
        if let Some(doubt) = self.doubted.remove(id) {
            self.oldest.remove(&(doubt.since, *id));
            if let Some(at) = doubt.gone_at {
                self.vanishing.remove(&(at, *id));
            }
        }
    }

    /// Puts a record in, if it is open.
    pub(crate) fn put(&mut self, record: Box<Record>) {
        match &record.phase {
            Phase::InDoubt { since, .. } => {
                let doubt = Doubt { gone_at: record.gone_at(), since: *since };
                self.oldest.insert((doubt.since, record.id));
                if let Some(at) = doubt.gone_at {
                    self.vanishing.insert((at, record.id));
                }
                self.doubted.insert(record.id, doubt);
            }
            Phase::InProgress { .. } => {
                self.running.insert(record.id, record);
            }
            Phase::Completed { .. } | Phase::Released { .. } => {}
        }
    }

    pub(crate) fn len(&self) -> u64 {
        (self.doubted.len() + self.running.len()) as u64
    }

    /// At most `count` records that count as absent at `now`.
    pub(crate) fn gone(&self, now: Timestamp, count: usize) -> Vec<RecordId> {
        let doubted = self.vanishing.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        let running = self.running.values().filter(|record| record.status(now) == Status::Expired);
        doubted.chain(running.map(|record| record.id)).take(count).collect()
    }

    /// How many are in doubt or lapsed at `now`.
    pub(crate) fn doubts(&self, now: Timestamp) -> Doubts {
        let vanished = self.vanishing.iter().take_while(|(at, _)| *at <= now).count();
        let mut doubts = Doubts {
            count: (self.doubted.len() - vanished) as u64,
            since: self.oldest.first().map(|(since, _)| *since),
        };
        for record in self.running.values() {
            if record.status(now) == Status::Lapsed {
                let since = record.lease().until;
                doubts.count += 1;
                doubts.since = Some(doubts.since.map_or(since, |at| at.min(since)));
            }
        }
        if doubts.count == 0 {
            doubts.since = None;
        }
        doubts
    }
}

//! Listing records in the order of their ids, over all keyspaces at one moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Bound::{self, Excluded, Included, Unbounded};

use fjall::{Iter, Keyspace, Readable as _, Snapshot};
use hapax::{ListQuery, Page, RecordId, SCOPE_BYTES, State, StoreError, Timestamp};

use crate::buckets::decode;
use crate::error::read_failed;

/// Records on one page at most.
const PAGE_RECORDS_MAX: usize = 1_000;

/// Records looked at for one page at most; a page may therefore be shorter than asked, or empty, and
/// still have a next one.
const PAGE_LOOKS_MAX: usize = 20_000;

/// Bytes of records on one page at most, the last record's aside.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One page of the records in `keyspaces` as they were at one moment. Reads the disk as it needs.
pub(crate) fn page(
    moment: &Snapshot,
    keyspaces: &[Keyspace],
    query: &ListQuery,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let mut page = Page { next: None, now, records: Vec::new() };
    let limit = PAGE_RECORDS_MAX.min(query.limit as usize);
    let mut merged = Merged::start(moment, keyspaces, bounds(query))?;
    let (mut looks, mut bytes) = (0, 0);
    let mut last = None;
    while let Some((id, value)) = merged.next()? {
        if page.records.len() == limit || looks == PAGE_LOOKS_MAX || bytes > PAGE_BYTES_MAX {
            page.next = last;
            break;
        }
        looks += 1;
        last = Some(id);
        let size = value.len();
        let record = decode(id, value)?;
        let state = State::of(&record, now);
        if state.is_some() && query.state.is_none_or(|wanted| state == Some(wanted)) {
            bytes += size;
            page.records.push(*record);
        }
    }
    if limit == 0 {
        page.next = None;
    }
    Ok(page)
}

/// Where to start and end, by the scope and by the record to start behind.
fn bounds(query: &ListQuery) -> (Bound<[u8; 32]>, Bound<[u8; 32]>) {
    let after = query.after.map(|id| *id.as_bytes());
    let Some(scope) = query.scope else {
        return (after.map_or(Unbounded, Excluded), Unbounded);
    };
    let (mut first, mut last) = ([0; 32], [0xff; 32]);
    first[..SCOPE_BYTES].copy_from_slice(&scope);
    last[..SCOPE_BYTES].copy_from_slice(&scope);
    match after {
        // Behind the scope's last record an empty range is left, which the bounds must not cross.
        Some(after) if after >= last => (Excluded(last), Included(last)),
        Some(after) if after >= first => (Excluded(after), Included(last)),
        Some(_) | None => (Included(first), Included(last)),
    }
}

/// Several ordered iterators as one.
struct Merged {
    heads: BinaryHeap<Reverse<Head>>,
}

struct Head {
    id: RecordId,
    rest: Iter,
    value: fjall::Slice,
}

impl Merged {
    fn start(
        moment: &Snapshot,
        keyspaces: &[Keyspace],
        bounds: (Bound<[u8; 32]>, Bound<[u8; 32]>),
    ) -> Result<Self, StoreError> {
        let mut heads = BinaryHeap::new();
        if let (Excluded(first), Included(last)) = &bounds
            && first == last
        {
            return Ok(Self { heads });
        }
        for keyspace in keyspaces {
            let mut rest = moment.range::<[u8; 32], _>(keyspace, bounds);
            if let Some((id, value)) = step(&mut rest)? {
                heads.push(Reverse(Head { id, rest, value }));
            }
        }
        Ok(Self { heads })
    }

    fn next(&mut self) -> Result<Option<(RecordId, fjall::Slice)>, StoreError> {
        let Some(mut first) = self.heads.peek_mut() else {
            return Ok(None);
        };
        let Reverse(head) = &mut *first;
        match step(&mut head.rest)? {
            Some((id, value)) => {
                let id = std::mem::replace(&mut head.id, id);
                Ok(Some((id, std::mem::replace(&mut head.value, value))))
            }
            None => {
                let Reverse(head) = PeekMut::pop(first);
                Ok(Some((head.id, head.value)))
            }
        }
    }
}

fn step(iter: &mut Iter) -> Result<Option<(RecordId, fjall::Slice)>, StoreError> {
    let Some(entry) = iter.next() else {
        return Ok(None);
    };
    let (key, value) = entry.into_inner().map_err(read_failed)?;
    let Ok(id) = <[u8; 32]>::try_from(key.as_ref()) else {
        return Err(StoreError::Damaged("a key has the wrong length".to_owned()));
    };
    Ok(Some((RecordId::from_bytes(id), value)))
}

impl Eq for Head {}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

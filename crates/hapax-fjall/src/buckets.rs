//! Settled records in buckets of time.
//!
//! A record lives in a bucket whose end is not before its own expiry, so a bucket may be dropped
//! whole once its end has passed. How wide a bucket is depends on how long its records live: a
//! quarter to an eighth of it, so that one retention has at most nine buckets alive and returns its
//! space at most a quarter late.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fjall::Keyspace;
use hapax::{Record, RecordId, StoreError, Timestamp, codec};

use crate::error::read_failed;
use crate::filter::Filter;
use crate::schema::NEVER;

/// Buckets in all, beyond which an existing later bucket takes what a new one would have.
const BUCKETS_MAX: usize = 32;

/// The narrowest bucket.
const SPAN_MIN: Duration = Duration::from_secs(60);

/// One bucket.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) end: Timestamp,
    /// What it may hold; `None` if it was made by an earlier process.
    pub(crate) filter: Option<Filter>,
    pub(crate) keyspace: Keyspace,
}

/// The live buckets, latest end first.
#[derive(Default)]
pub(crate) struct Buckets {
    live: RwLock<Arc<[Arc<Bucket>]>>,
}

/// A settled record and where it is.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) end: Timestamp,
    pub(crate) record: Box<Record>,
}

impl Buckets {
    /// The live buckets at this moment.
    pub(crate) fn live(&self) -> Arc<[Arc<Bucket>]> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn insert(&self, bucket: Bucket) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let mut buckets = live.to_vec();
        buckets.push(Arc::new(bucket));
        buckets.sort_unstable_by_key(|bucket| std::cmp::Reverse(bucket.end));
        *live = buckets.into();
    }

    /// Says that the bucket holds the record from now on, if it keeps count of what it may hold.
    pub(crate) fn note(&self, end: Timestamp, id: &RecordId) {
        let live = self.live();
        let Some(bucket) = live.iter().find(|bucket| bucket.end == end) else {
            return;
        };
        let Some(filter) = &bucket.filter else {
            return;
        };
        if !filter.is_full() {
            filter.add(id);
            return;
        }
        let filter = filter.grown();
        filter.add(id);
        let bucket = Bucket { filter: Some(filter), ..(**bucket).clone() };
        self.replace(Arc::new(bucket));
    }

    /// Puts a bucket in the place of the one with the same end; no reader misses it meanwhile.
    fn replace(&self, bucket: Arc<Bucket>) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let with = |old: &Arc<Bucket>| if old.end == bucket.end { &bucket } else { old }.clone();
        *live = live.iter().map(with).collect();
    }

    /// Takes a bucket out of sight.
    pub(crate) fn remove(&self, end: Timestamp) -> Option<Arc<Bucket>> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let removed = live.iter().find(|bucket| bucket.end == end).cloned();
        *live = live.iter().filter(|bucket| bucket.end != end).cloned().collect();
        removed
    }

    /// The settled record with this id, from memory or disk.
    pub(crate) fn find(&self, id: &RecordId) -> Result<Option<Found>, StoreError> {
        for bucket in self.live().iter() {
            if bucket.filter.as_ref().is_some_and(|filter| !filter.may_hold(id)) {
                continue;
            }
            if let Some(bytes) = bucket.keyspace.get(id.as_bytes()).map_err(read_failed)? {
                let record = decode(*id, bytes)?;
                return Ok(Some(Found { end: bucket.end, record }));
            }
        }
        Ok(None)
    }
}

/// The record that was stored under `id`.
pub(crate) fn decode(id: RecordId, bytes: fjall::Slice) -> Result<Box<Record>, StoreError> {
    let record = codec::decode(id, bytes.into());
    record.map(Box::new).map_err(|error| StoreError::Damaged(format!("record {id}: {error}")))
}

/// The end of the bucket for a record settled at `now` that expires at `expires_at`; `live` are the
/// ends of the buckets there are.
pub(crate) fn end_for(
    expires_at: Option<Timestamp>,
    now: Timestamp,
    live: impl Iterator<Item = Timestamp> + Clone,
) -> Timestamp {
    let Some(expires_at) = expires_at else {
        return NEVER;
    };
    let span = span_for(expires_at.since(now)).as_micros();
    let span = u64::try_from(span).unwrap_or(u64::MAX);
    // A record that expires on the very end may stay in that bucket; one settled as expired must
    // not go where everything has ended.
    let last = expires_at.max(now.plus(Duration::from_micros(1))).as_micros();
    let Some(end) = last.div_ceil(span).checked_mul(span).map(Timestamp::from_micros) else {
        return NEVER;
    };
    if live.clone().any(|there| there == end) || live.clone().count() < BUCKETS_MAX {
        return end;
    }
    live.filter(|there| *there >= end && *there != NEVER).min().unwrap_or(end)
}

/// How wide buckets are for records that live so long: powers of two of the narrowest, so that
/// buckets of different widths often end together and are one.
fn span_for(lifetime: Duration) -> Duration {
    let wanted = lifetime / 4;
    let mut span = SPAN_MIN;
    while span.saturating_mul(2) <= wanted {
        span = span.saturating_mul(2);
    }
    span
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_bucket_never_ends_before_its_records_expire() {
        for retention in [0, 1, 59, 60, 61, 3_600, 86_400, 30 * 86_400] {
            for now in (1_767_225_600..1_767_225_600 + 100_000).step_by(7_919) {
                let expires_at = at(now + retention);
                let end = end_for(Some(expires_at), at(now), std::iter::empty());
                assert!(end >= expires_at && end > at(now));
                let slack = (retention / 4).max(60);
                assert!(end <= expires_at.plus(Duration::from_secs(slack)));
            }
        }
        assert_eq!(end_for(None, at(1), std::iter::empty()), NEVER);
        assert_eq!(end_for(Some(NEVER), at(1), std::iter::empty()), NEVER);
    }

    #[test]
    fn one_retention_has_at_most_nine_buckets_alive() {
        for retention in [DAY, DAY * 30, Duration::from_secs(3_600), Duration::from_secs(250)] {
            let mut ends = BTreeSet::new();
            let mut now = at(1_767_225_600);
            for _ in 0..4_000 {
                now = now.plus(retention / 1_000);
                ends.retain(|end| *end > now);
                ends.insert(end_for(Some(now.plus(retention)), now, ends.iter().copied()));
                assert!(ends.len() <= 9, "{} buckets for {retention:?}", ends.len());
            }
        }
    }

    #[test]
    fn past_the_limit_a_later_bucket_takes_the_record() {
        let now = at(1_767_225_600);
        let live: Vec<_> = (1..=32).map(|n| now.plus(DAY * n)).collect();
        let wanted = now.plus(Duration::from_secs(30 * 3_600));
        assert_eq!(end_for(Some(wanted), now, live.iter().copied()), now.plus(DAY * 2));
    }
}

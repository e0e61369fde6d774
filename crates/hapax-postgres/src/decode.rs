//! What functions answer, and what they are told.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hapax::codec::encode_history;
use hapax::{Cause, Entry, Fingerprint, History, Record, StoreError, Timestamp, What};
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type};

use crate::record;

/// Spans that the store can hold, in microseconds: 73,000 years, so that no sum of two of them and
/// the time is more than a `bigint` holds.
const SPAN_MAX: i64 = 1 << 61;

/// One row of an answer, read from left to right.
pub(crate) struct Reader<'a> {
    next: usize,
    row: &'a PgRow,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(row: &'a PgRow) -> Self {
        Self { next: 0, row }
    }

    pub(crate) fn read<T>(&mut self) -> Result<T, StoreError>
    where
        T: Decode<'a, Postgres> + Type<Postgres>,
    {
        let index = self.next;
        self.next += 1;
        self.row.try_get(index).map_err(damaged)
    }

    pub(crate) const fn skip(&mut self, columns: usize) {
        self.next += columns;
    }

    pub(crate) fn bytes(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read::<Option<Vec<u8>>>()?.map(Bytes::from))
    }

    pub(crate) fn timestamp(&mut self) -> Result<Timestamp, StoreError> {
        self.number().map(Timestamp::from_micros)
    }

    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        self.read::<i64>()?.try_into().map_err(damaged)
    }

    pub(crate) fn optional_number(&mut self) -> Result<Option<u64>, StoreError> {
        self.read::<Option<i64>>()?.map(|number| number.try_into().map_err(damaged)).transpose()
    }

    pub(crate) fn status(&mut self) -> Result<Option<u16>, StoreError> {
        self.read::<Option<i32>>()?.map(|number| number.try_into().map_err(damaged)).transpose()
    }

    /// The record that a column shows; `None` where it shows none.
    pub(crate) fn record(&mut self) -> Result<Option<Record>, StoreError> {
        self.bytes()?.map(record::decode).transpose()
    }

    pub(crate) fn attempts(&mut self) -> Result<u32, StoreError> {
        self.read::<i64>()?.try_into().map_err(damaged)
    }
}

/// The number of a cause.
pub(crate) fn cause_code(cause: Cause) -> Option<i32> {
    i32::try_from(Cause::ALL.iter().position(|each| *each == cause)?).ok()
}

/// The bytes that a column holds of a fingerprint.
pub(crate) fn fingerprint_bytes(fingerprint: &Fingerprint) -> Bytes {
    let mut bytes = Vec::with_capacity(33);
    bytes.push(fingerprint.version());
    bytes.extend_from_slice(fingerprint.digest());
    bytes.into()
}

/// What happened, without when and by which attempt: the end of a history's only entry.
pub(crate) fn what_bytes(what: What) -> Bytes {
    /// Version and count, then the entry's time and number.
    const BEFORE: usize = 2 + 8 + 4;
    let entry = Entry { at: Timestamp::EPOCH, attempt: 0, what };
    Bytes::from(encode_history(&History::from_entries([entry]))).split_off(BEFORE)
}

/// A span in microseconds; one that is longer than the store can hold becomes the longest.
pub(crate) fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(SPAN_MAX).min(SPAN_MAX)
}

/// What is in the database is not what was put there.
pub(crate) fn damaged(why: impl fmt::Display) -> StoreError {
    StoreError::Damaged(why.to_string())
}

#[cfg(test)]
mod tests {
    use hapax::Settler;

    use super::*;

    #[test]
    fn what_happened_is_the_end_of_an_entry() {
        assert_eq!(what_bytes(What::Claimed), [0].as_slice());
        let completed = What::Completed { by: Settler::Owner, status: 0x0201 };
        assert_eq!(what_bytes(completed), [1, 1, 1, 2].as_slice());
        assert_eq!(what_bytes(What::Doubted { cause: Cause::TimedOut }), [2, 5].as_slice());
    }

    #[test]
    fn spans_saturate_below_what_sums_can_hold() {
        assert_eq!(span(Duration::from_micros(7)), 7);
        assert_eq!(span(Duration::MAX), SPAN_MAX);
    }
}

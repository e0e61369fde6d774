//! Rows into records, and spans into numbers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hapax::codec::{decode_history, decode_kept, encode_history};
use hapax::{
    AttemptId, Cause, Entry, Fence, Fingerprint, History, OnLapse, Phase, Record, RecordId,
    StoreError, Timestamp, What,
};
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type};

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

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.read::<Vec<u8>>()?;
        bytes.try_into().map_err(|bytes: Vec<u8>| {
            damaged(format_args!("{} bytes stand where {N} belong", bytes.len()))
        })
    }

    /// The record whose columns come next; `None` where there is none.
    pub(crate) fn record(mut self) -> Result<Option<Record>, StoreError> {
        let Some(id) = self.read::<Option<Vec<u8>>>()? else {
            return Ok(None);
        };
        let id: [u8; 32] = id.try_into().map_err(|_id| damaged("an id is not 32 bytes long"))?;
        let attempt = AttemptId::from_bytes(self.array()?);
        let attempts = self.attempts()?;
        let attempts_max = self.read::<Option<i64>>()?;
        let cause = self.read::<Option<i32>>()?;
        let claimed_at = self.timestamp()?;
        let created_at = self.timestamp()?;
        let expires_at = self.optional_number()?.map(Timestamp::from_micros);
        let fence = Fence::new(self.number()?);
        let fingerprint = self.fingerprint()?;
        let history = decode_history(self.bytes()?.unwrap_or_default()).map_err(damaged)?;
        let kept = self.bytes()?;
        let moment = self.timestamp()?;
        let phase = self.read::<String>()?;
        let progress = self.bytes()?;
        let reclaim_after = self.optional_number()?;
        let rerun_of = self.status()?;
        let route = self.read::<Vec<u8>>()?;
        let status = self.status()?;
        let unknown_retention = self.optional_number()?.map(Duration::from_micros);
        let phase = match phase.as_str() {
            "completed" => Phase::Completed {
                at: moment,
                kept: decode_kept(kept.unwrap_or_default()).map_err(damaged)?,
            },
            "in_doubt" => Phase::InDoubt { cause: cause_of(cause)?, progress, since: moment },
            "in_progress" => Phase::InProgress { progress, rerun_of, until: moment },
            "released" => Phase::Released { at: moment, status },
            other => return Err(damaged(format_args!("there is no phase `{other}`"))),
        };
        Ok(Some(Record {
            attempt,
            attempts,
            claimed_at,
            created_at,
            expires_at,
            fence,
            fingerprint,
            history,
            id: RecordId::from_bytes(id),
            on_lapse: on_lapse(reclaim_after, attempts_max)?,
            phase,
            route: Arc::from(std::str::from_utf8(&route).map_err(damaged)?),
            unknown_retention,
        }))
    }

    pub(crate) fn attempts(&mut self) -> Result<u32, StoreError> {
        self.read::<i64>()?.try_into().map_err(damaged)
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, StoreError> {
        let [version, digest @ ..] = self.array::<33>()?;
        Ok(Fingerprint::from_parts(version, digest))
    }
}

fn cause_of(code: Option<i32>) -> Result<Cause, StoreError> {
    let code = code.and_then(|code| usize::try_from(code).ok());
    code.and_then(|code| Cause::ALL.get(code).copied())
        .ok_or_else(|| damaged("a record is in doubt for no known cause"))
}

fn on_lapse(after: Option<u64>, attempts_max: Option<i64>) -> Result<OnLapse, StoreError> {
    match (after, attempts_max) {
        (None, None) => Ok(OnLapse::Doubt),
        (Some(after), Some(attempts_max)) => Ok(OnLapse::Reclaim {
            after: Duration::from_micros(after),
            attempts_max: attempts_max.try_into().map_err(damaged)?,
        }),
        (Some(_), None) | (None, Some(_)) => Err(damaged("a rule for a lapse is half there")),
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

//! Hashes into records, and spans into numbers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hapax::codec::{decode_history, decode_kept, encode_history};
use hapax::{
    AttemptId, Cause, Entry, Fence, Fingerprint, History, OnLapse, Phase, Record, RecordId,
    StoreError, Timestamp, What,
};
use redis::Value;

use crate::reply::{Parts, damaged, into_bytes, number};

/// Spans that the scripts can count with, in microseconds: 142 years, so that the sum of one and the
/// time is exact in a number of theirs.
const SPAN_MAX: u64 = 1 << 52;

/// The fields of a record's hash.
#[derive(Debug, Default)]
struct Fields {
    attempt: Option<Bytes>,
    attempts: Option<Bytes>,
    attempts_max: Option<Bytes>,
    cause: Option<Bytes>,
    claimed_at: Option<Bytes>,
    created_at: Option<Bytes>,
    expires_at: Option<Bytes>,
    fence: Option<Bytes>,
    fingerprint: Option<Bytes>,
    history: Option<Bytes>,
    kept: Option<Bytes>,
    moment: Option<Bytes>,
    phase: Option<Bytes>,
    progress: Option<Bytes>,
    reclaim_after: Option<Bytes>,
    rerun_of: Option<Bytes>,
    route: Option<Bytes>,
    status: Option<Bytes>,
    unknown_retention: Option<Bytes>,
}

/// The record of a HGETALL; `None` where there is none.
pub(crate) fn record(id: RecordId, hash: Value) -> Result<Option<Record>, StoreError> {
    let mut parts = Parts::of(hash)?;
    let mut fields = Fields::default();
    let mut empty = true;
    while let Some(name) = parts.next() {
        let name = into_bytes(name)?.unwrap_or_default();
        fields.put(&name, parts.bytes()?);
        empty = false;
    }
    if empty { Ok(None) } else { fields.into_record(id).map(Some) }
}

impl Fields {
    fn put(&mut self, name: &[u8], value: Option<Bytes>) {
        let field = match name {
            b"attempt" => &mut self.attempt,
            b"attempts" => &mut self.attempts,
            b"attempts_max" => &mut self.attempts_max,
            b"cause" => &mut self.cause,
            b"claimed_at" => &mut self.claimed_at,
            b"created_at" => &mut self.created_at,
            b"expires_at" => &mut self.expires_at,
            b"fence" => &mut self.fence,
            b"fingerprint" => &mut self.fingerprint,
            b"history" => &mut self.history,
            b"kept" => &mut self.kept,
            b"moment" => &mut self.moment,
            b"phase" => &mut self.phase,
            b"progress" => &mut self.progress,
            b"reclaim_after" => &mut self.reclaim_after,
            b"rerun_of" => &mut self.rerun_of,
            b"route" => &mut self.route,
            b"status" => &mut self.status,
            b"unknown_retention" => &mut self.unknown_retention,
            // `waited`, and whatever a newer release adds.
            _ => return,
        };
        *field = value;
    }

    fn into_record(self, id: RecordId) -> Result<Record, StoreError> {
        let moment = timestamp(self.moment)?;
        let phase = match self.phase.as_deref().unwrap_or_default() {
            b"completed" => Phase::Completed {
                at: moment,
                kept: decode_kept(self.kept.unwrap_or_default()).map_err(damaged)?,
            },
            b"in_doubt" => {
                let cause = cause_of(self.cause.as_deref())?;
                Phase::InDoubt { cause, progress: self.progress, since: moment }
            }
            b"in_progress" => {
                let rerun_of = status(self.rerun_of)?;
                Phase::InProgress { progress: self.progress, rerun_of, until: moment }
            }
            b"released" => Phase::Released { at: moment, status: status(self.status)? },
            _ => return Err(damaged("a record is in no phase")),
        };
        let [version, digest @ ..] = array::<33>(self.fingerprint.as_deref())?;
        let on_lapse = match (optional(self.reclaim_after)?, optional(self.attempts_max)?) {
            (None, None) => OnLapse::Doubt,
            (Some(after), Some(attempts_max)) => OnLapse::Reclaim {
                after: Duration::from_micros(after),
                attempts_max: attempts_max.try_into().map_err(damaged)?,
            },
            (Some(_), None) | (None, Some(_)) => {
                return Err(damaged("a rule for a lapse is half there"));
            }
        };
        let route = self.route.unwrap_or_default();
        Ok(Record {
            attempt: AttemptId::from_bytes(array(self.attempt.as_deref())?),
            attempts: required(self.attempts)?.try_into().map_err(damaged)?,
            claimed_at: timestamp(self.claimed_at)?,
            created_at: timestamp(self.created_at)?,
            expires_at: optional(self.expires_at)?.map(Timestamp::from_micros),
            fence: Fence::new(required(self.fence)?),
            fingerprint: Fingerprint::from_parts(version, digest),
            history: decode_history(self.history.unwrap_or_default()).map_err(damaged)?,
            id,
            on_lapse,
            phase,
            route: Arc::from(std::str::from_utf8(&route).map_err(damaged)?),
            unknown_retention: optional(self.unknown_retention)?.map(Duration::from_micros),
        })
    }
}

fn array<const N: usize>(bytes: Option<&[u8]>) -> Result<[u8; N], StoreError> {
    let bytes = bytes.unwrap_or_default();
    bytes
        .try_into()
        .map_err(|_error| damaged(format_args!("{} bytes stand where {N} belong", bytes.len())))
}

fn optional(text: Option<Bytes>) -> Result<Option<u64>, StoreError> {
    text.map(|text| number(&text)).transpose()
}

fn required(text: Option<Bytes>) -> Result<u64, StoreError> {
    optional(text)?.ok_or_else(|| damaged("a record's number is missing"))
}

fn timestamp(text: Option<Bytes>) -> Result<Timestamp, StoreError> {
    required(text).map(Timestamp::from_micros)
}

fn status(text: Option<Bytes>) -> Result<Option<u16>, StoreError> {
    optional(text)?.map(|status| status.try_into().map_err(damaged)).transpose()
}

fn cause_of(word: Option<&[u8]>) -> Result<Cause, StoreError> {
    let word = word.and_then(|word| std::str::from_utf8(word).ok());
    word.and_then(Cause::parse).ok_or_else(|| damaged("a record is in doubt for no known cause"))
}

/// The bytes that a field holds of a fingerprint.
pub(crate) fn fingerprint_bytes(fingerprint: &Fingerprint) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(33);
    bytes.push(fingerprint.version());
    bytes.extend_from_slice(fingerprint.digest());
    bytes
}

/// What happened, without when and by which attempt: the end of a history's only entry.
pub(crate) fn what_bytes(what: What) -> Vec<u8> {
    /// Version and count, then the entry's time and number.
    const BEFORE: usize = 2 + 8 + 4;
    let entry = Entry { at: Timestamp::EPOCH, attempt: 0, what };
    encode_history(&History::from_entries([entry])).split_off(BEFORE)
}

/// A span in microseconds; one that is longer than the scripts can count with becomes the longest.
pub(crate) fn span(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(SPAN_MAX).min(SPAN_MAX)
}

#[cfg(test)]
mod tests {
    use hapax::Settler;

    use super::*;

    #[test]
    fn what_happened_is_the_end_of_an_entry() {
        assert_eq!(what_bytes(What::Claimed), [0]);
        let completed = What::Completed { by: Settler::Owner, status: 0x0201 };
        assert_eq!(what_bytes(completed), [1, 1, 1, 2]);
        assert_eq!(what_bytes(What::Doubted { cause: Cause::TimedOut }), [2, 5]);
    }

    #[test]
    fn sums_of_a_span_and_the_time_are_exact() {
        assert_eq!(span(Duration::from_micros(7)), 7);
        let now = Timestamp::from_micros(1_800_000_000_000_000).as_micros();
        assert!(span(Duration::MAX) + now < 1 << 53);
    }

    #[test]
    fn what_is_no_record_is_damaged() {
        let id = RecordId::from_bytes([0; 32]);
        let text = |text: &str| Value::BulkString(text.into());
        assert_eq!(record(id, Value::Array(Vec::new())).unwrap(), None);
        for hash in [
            Value::Nil,
            Value::Array(vec![text("phase"), text("completed")]),
            Value::Array(vec![text("phase"), text("gone"), text("moment"), text("1")]),
            Value::Array(vec![text("moment"), text("soon")]),
        ] {
            assert!(matches!(record(id, hash), Err(StoreError::Damaged(_))));
        }
    }
}

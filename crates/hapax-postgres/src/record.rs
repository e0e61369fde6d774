//! A row of `hapax.record` into a record.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hapax::codec::{decode_history, decode_kept};
use hapax::{
    AttemptId, Cause, Fence, Fingerprint, OnLapse, Phase, Record, RecordId, StoreError, Timestamp,
};

use crate::decode::damaged;

/// Reads a row in the form that `record_send` gives it, the columns in the order of the table.
///
/// One value instead of twenty columns: the server takes a composite value apart once for each of its
/// columns, which for a claim costs more than the step itself, and there is nothing to take apart where
/// the first claim of a key is granted.
pub(crate) fn decode(row: Bytes) -> Result<Record, StoreError> {
    let mut columns = Columns::of(row)?;
    let fence = Fence::new(columns.number()?);
    let attempts = columns.number()?.try_into().map_err(damaged)?;
    let created_at = columns.timestamp()?;
    let claimed_at = columns.timestamp()?;
    let moment = columns.timestamp()?;
    let expires_at = columns.optional_number()?.map(Timestamp::from_micros);
    let reclaim_after = columns.optional_number()?;
    let attempts_max = columns.optional_number()?;
    let unknown_retention = columns.optional_number()?.map(Duration::from_micros);
    let phase = columns.bytes()?;
    let status = columns.status()?;
    let rerun_of = columns.status()?;
    let cause = columns.int()?;
    let _waited = columns.bytes()?;
    let id = RecordId::from_bytes(columns.array()?);
    let attempt = AttemptId::from_bytes(columns.array()?);
    let [version, digest @ ..] = columns.array::<33>()?;
    let route = columns.bytes()?;
    let history = decode_history(columns.bytes()?).map_err(damaged)?;
    let progress = columns.next()?;
    let kept = columns.next()?;
    let phase = match phase.as_ref() {
        b"completed" => Phase::Completed {
            at: moment,
            kept: decode_kept(kept.unwrap_or_default()).map_err(damaged)?,
        },
        b"in_doubt" => Phase::InDoubt { cause: cause_of(cause)?, progress, since: moment },
        b"in_progress" => Phase::InProgress { progress, rerun_of, until: moment },
        b"released" => Phase::Released { at: moment, status },
        _ => return Err(damaged("a record is in no known phase")),
    };
    Ok(Record {
        attempt,
        attempts,
        claimed_at,
        created_at,
        expires_at,
        fence,
        fingerprint: Fingerprint::from_parts(version, digest),
        history,
        id,
        on_lapse: on_lapse(reclaim_after, attempts_max)?,
        phase,
        route: Arc::from(std::str::from_utf8(&route).map_err(damaged)?),
        unknown_retention,
    })
}

fn cause_of(code: Option<i32>) -> Result<Cause, StoreError> {
    let code = code.and_then(|code| usize::try_from(code).ok());
    code.and_then(|code| Cause::ALL.get(code).copied())
        .ok_or_else(|| damaged("a record is in doubt for no known cause"))
}

fn on_lapse(after: Option<u64>, attempts_max: Option<u64>) -> Result<OnLapse, StoreError> {
    match (after, attempts_max) {
        (None, None) => Ok(OnLapse::Doubt),
        (Some(after), Some(attempts_max)) => Ok(OnLapse::Reclaim {
            after: Duration::from_micros(after),
            attempts_max: attempts_max.try_into().map_err(damaged)?,
        }),
        (Some(_), None) | (None, Some(_)) => Err(damaged("a rule for a lapse is half there")),
    }
}

/// What is left of a row: for each column its type, its length (-1 for NULL) and its bytes, numbers with
/// the highest byte first.
struct Columns(Bytes);

impl Columns {
    /// How many the table has; a later release may have added some at the end.
    const COUNT: usize = 21;

    fn of(mut row: Bytes) -> Result<Self, StoreError> {
        let count = row.try_get_i32().map_err(damaged)?;
        if usize::try_from(count).is_ok_and(|count| count >= Self::COUNT) {
            Ok(Self(row))
        } else {
            Err(damaged(format_args!("a record has {count} columns")))
        }
    }

    fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let _type = self.0.try_get_u32().map_err(damaged)?;
        let length = self.0.try_get_i32().map_err(damaged)?;
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(length) if length <= self.0.len() => Ok(Some(self.0.split_to(length))),
            Ok(_) | Err(_) => Err(damaged("a record ends too soon")),
        }
    }

    fn bytes(&mut self) -> Result<Bytes, StoreError> {
        self.next()?.ok_or_else(|| damaged("a record lacks what every record has"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        exactly(&self.bytes()?)
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        self.optional_number()?.ok_or_else(|| damaged("a record lacks a number"))
    }

    fn optional_number(&mut self) -> Result<Option<u64>, StoreError> {
        let Some(bytes) = self.next()? else {
            return Ok(None);
        };
        i64::from_be_bytes(exactly(&bytes)?).try_into().map(Some).map_err(damaged)
    }

    fn timestamp(&mut self) -> Result<Timestamp, StoreError> {
        self.number().map(Timestamp::from_micros)
    }

    fn int(&mut self) -> Result<Option<i32>, StoreError> {
        self.next()?.map(|bytes| Ok(i32::from_be_bytes(exactly(&bytes)?))).transpose()
    }

    fn status(&mut self) -> Result<Option<u16>, StoreError> {
        self.int()?.map(|status| status.try_into().map_err(damaged)).transpose()
    }
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes
        .try_into()
        .map_err(|_| damaged(format_args!("{} bytes stand where {N} belong", bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of which nothing is NULL but what is named.
    fn row(nulls: &[usize]) -> Vec<u8> {
        let number = |number: u8| vec![0, 0, 0, 0, 0, 0, 0, number];
        let mut columns: Vec<Vec<u8>> = (1..=9).map(number).collect();
        columns.push(b"in_progress".to_vec());
        columns.extend([200_u8, 201, 0].map(|status| vec![0, 0, 0, status]));
        columns.push(vec![1]);
        columns.extend([vec![7; 32], vec![8; 16], vec![9; 33], b"/pay".to_vec()]);
        columns.extend([vec![1, 0], b"steps".to_vec(), b"kept".to_vec()]);
        let mut row = 21_i32.to_be_bytes().to_vec();
        for (at, column) in columns.iter().enumerate() {
            row.extend([0, 0, 0, 17]);
            if nulls.contains(&at) {
                row.extend((-1_i32).to_be_bytes());
            } else {
                row.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
                row.extend(column);
            }
        }
        row
    }

    fn read(row: Vec<u8>) -> Result<Record, StoreError> {
        decode(Bytes::from(row))
    }

    #[test]
    fn columns_are_read_in_the_order_of_the_table() {
        let record = read(row(&[])).unwrap();
        assert_eq!((record.fence, record.attempts), (Fence::new(1), 2));
        assert_eq!(record.created_at, Timestamp::from_micros(3));
        assert_eq!(record.claimed_at, Timestamp::from_micros(4));
        assert_eq!(record.expires_at, Some(Timestamp::from_micros(6)));
        let after = Duration::from_micros(7);
        assert_eq!(record.on_lapse, OnLapse::Reclaim { after, attempts_max: 8 });
        assert_eq!(record.unknown_retention, Some(Duration::from_micros(9)));
        let progress = Some(Bytes::from_static(b"steps"));
        let until = Timestamp::from_micros(5);
        assert_eq!(record.phase, Phase::InProgress { progress, rerun_of: Some(201), until });
        assert_eq!((record.id.as_bytes(), record.attempt.as_bytes()), (&[7; 32], &[8; 16]));
        assert_eq!(&*record.route, "/pay");
    }

    #[test]
    fn what_may_be_missing_is_missing_and_nothing_else_may() {
        let record = read(row(&[5, 6, 7, 8, 10, 11, 12, 19, 20])).unwrap();
        assert_eq!((record.expires_at, record.unknown_retention), (None, None));
        assert_eq!(record.on_lapse, OnLapse::Doubt);
        for at in [0, 1, 2, 3, 4, 9, 13, 14, 15, 16, 17, 18] {
            assert!(matches!(read(row(&[at])), Err(StoreError::Damaged(_))), "column {at}");
        }
        assert!(matches!(read(row(&[6])), Err(StoreError::Damaged(_))), "half a rule");
    }

    #[test]
    fn a_row_that_is_cut_anywhere_is_damaged() {
        let whole = row(&[]);
        for end in 0..whole.len() {
            assert!(matches!(read(whole[..end].to_vec()), Err(StoreError::Damaged(_))), "{end}");
        }
        let mut fewer = whole.clone();
        fewer[3] = 20;
        assert!(matches!(read(fewer), Err(StoreError::Damaged(_))));
        let mut more = whole;
        more[3] = 22;
        more.extend([0, 0, 0, 17, 255, 255, 255, 255]);
        assert!(read(more).is_ok(), "a later release added one");
    }
}

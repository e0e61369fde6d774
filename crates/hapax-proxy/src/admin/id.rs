//! The id by which operators name a record: record and attempt (ruling 13).

use std::fmt;

use hapax::{AttemptId, Record, RecordId};

use super::problem::Problem;

/// 64 hexadecimal digits for the record; then, after a dot, 32 for the attempt. Without an attempt it
/// names the record as it stands, which is enough to look at it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct AdminId {
    pub(super) attempt: Option<AttemptId>,
    pub(super) record: RecordId,
}

impl AdminId {
    pub(super) fn of(record: &Record) -> Self {
        Self { attempt: Some(record.attempt), record: record.id }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::bad_request(
                "An id is 64 hexadecimal digits for the record, or these, a dot and 32 for the \
                 attempt, in lower case.",
            )
        };
        let (record, attempt) = match text.split_once('.') {
            Some((record, attempt)) => (record, Some(attempt_id(attempt).ok_or_else(wrong)?)),
            None => (text, None),
        };
        Ok(Self { attempt, record: RecordId::parse(record).ok_or_else(wrong)? })
    }
}

impl fmt::Display for AdminId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            Some(attempt) => write!(f, "{}.{attempt}", self.record),
            None => self.record.fmt(f),
        }
    }
}

fn attempt_id(text: &str) -> Option<AttemptId> {
    let is_plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = u128::from_str_radix(text, 16).ok()?;
    is_plain.then(|| AttemptId::from_bytes(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_a_round_trip_and_others_are_refused() {
        let record = "0123456789abcdef".repeat(4);
        let full = format!("{record}.{}", "00ff".repeat(8));
        assert_eq!(AdminId::parse(&full).unwrap().to_string(), full);
        assert_eq!(AdminId::parse(&record).unwrap().to_string(), record);
        let short = format!("{record}.{}", "00ff".repeat(7));
        let upper = format!("{record}.{}", "00FF".repeat(8));
        let signed = format!("{record}.+{}", "0".repeat(31));
        for text in ["", "x", &record[1..], &short, &upper, &signed, &format!("{full}.")] {
            assert!(AdminId::parse(text).is_err(), "{text}");
        }
    }
}

//! Answers of the server, read part by part.

use std::fmt;

use bytes::Bytes;
use hapax::{StoreError, Timestamp};
use redis::Value;

/// The parts of an answer that is a list, read from left to right.
#[derive(Debug)]
pub(crate) struct Parts(std::vec::IntoIter<Value>);

impl Parts {
    pub(crate) fn of(value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            other => Err(damaged(format_args!("{} stands where a list belongs", kind(&other)))),
        }
    }

    /// The next part, whatever it is; nothing at the end.
    pub(crate) fn value(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Nil)
    }

    pub(crate) fn bytes(&mut self) -> Result<Option<Bytes>, StoreError> {
        into_bytes(self.value())
    }

    /// A word of this crate's own.
    pub(crate) fn word(&mut self) -> Result<String, StoreError> {
        let bytes = self.bytes()?.ok_or_else(|| damaged("a word is missing"))?;
        String::from_utf8(bytes.into()).map_err(damaged)
    }

    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        self.optional_number()?.ok_or_else(|| damaged("a number is missing"))
    }

    pub(crate) fn optional_number(&mut self) -> Result<Option<u64>, StoreError> {
        self.bytes()?.map(|bytes| number(&bytes)).transpose()
    }

    pub(crate) fn timestamp(&mut self) -> Result<Timestamp, StoreError> {
        self.number().map(Timestamp::from_micros)
    }

    pub(crate) fn status(&mut self) -> Result<Option<u16>, StoreError> {
        let number = self.optional_number()?;
        number.map(|number| number.try_into().map_err(damaged)).transpose()
    }
}

impl Iterator for Parts {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.0.next()
    }
}

/// The bytes of a text.
pub(crate) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

pub(crate) fn into_bytes(value: Value) -> Result<Option<Bytes>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes.into())),
        Value::SimpleString(text) => Ok(Some(text.into_bytes().into())),
        Value::Okay => Ok(Some(Bytes::from_static(b"OK"))),
        Value::Int(number) => Ok(Some(number.to_string().into_bytes().into())),
        other => Err(damaged(format_args!("{} stands where a text belongs", kind(&other)))),
    }
}

/// A number as the scripts write it.
pub(crate) fn number(text: &[u8]) -> Result<u64, StoreError> {
    std::str::from_utf8(text).map_err(damaged)?.parse().map_err(damaged)
}

/// What is on the server is not what was put there.
pub(crate) fn damaged(why: impl fmt::Display) -> StoreError {
    StoreError::Damaged(why.to_string())
}

/// Without what it says, which may be an answer of the upstream.
const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::Int(_) => "a number",
        Value::Nil => "nothing",
        _ => "something else",
    }
}

//! What a Redis answers, as it stands on the wire.

use std::io::{self, BufRead};

use crate::wire;

/// More than any answer that a test asks for.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// One answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// It was refused.
    Error(String),
    /// Several answers.
    List(Vec<Self>),
    /// There is nothing.
    Nothing,
    /// A number.
    Number(i64),
    /// A word or a value.
    Text(String),
}

impl Reply {
    /// Reads one.
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let (kind, rest) =
            line.trim_end().split_at_checked(1).ok_or_else(|| wire::broken("no answer"))?;
        let number = || rest.parse::<i64>().map_err(|_| wire::broken("a number that is none"));
        let length =
            || Ok::<_, io::Error>(usize::try_from(number()?).ok().filter(|n| *n < BYTES_MAX));
        Ok(match kind {
            "+" => Self::Text(rest.to_owned()),
            "-" => Self::Error(rest.to_owned()),
            ":" => Self::Number(number()?),
            "$" => match length()? {
                None => Self::Nothing,
                Some(length) => {
                    let mut bytes = vec![0; length + 2];
                    reader.read_exact(&mut bytes)?;
                    Self::Text(String::from_utf8_lossy(&bytes[..length]).into_owned())
                }
            },
            "*" => match length()? {
                None => Self::Nothing,
                Some(length) => {
                    Self::List((0..length).map(|_| Self::read(reader)).collect::<io::Result<_>>()?)
                }
            },
            _ => return Err(wire::broken("an answer of no known kind")),
        })
    }

    /// A list's parts.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn list(self) -> Vec<Self> {
        match self {
            Self::List(parts) => parts,
            other => panic!("no list: {other:?}"),
        }
    }

    /// A number.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Number(number) => number,
            other => panic!("no number: {other:?}"),
        }
    }

    /// A text.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }
}

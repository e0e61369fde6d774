//! The answer as it is kept.

use bytes::Bytes;

/// One header or trailer line: name in lower case, value as received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Field {
    /// The field's name.
    pub name: Bytes,
    /// The field's value.
    pub value: Bytes,
}

impl Field {
    /// A line with this name and value.
    #[must_use]
    pub fn new(name: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// A complete answer: what every retry gets (REP-01). Lines keep their order and count (REP-07).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecordedResponse {
    /// The content, byte by byte.
    pub body: Bytes,
    /// The end-to-end header lines worth keeping.
    pub headers: Vec<Field>,
    /// The status code.
    pub status: u16,
    /// The trailer lines, apart from the headers (REP-11).
    pub trailers: Vec<Field>,
}

impl RecordedResponse {
    /// An answer without headers: what a function that is no HTTP handler returns.
    #[must_use]
    pub fn value(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), status: 200, ..Self::default() }
    }

    /// The first value of the header `name` (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|field| field.name == name.as_bytes()).map(|field| &field.value)
    }

    /// Bytes that the parts take together: what limits and quotas count.
    #[must_use]
    pub fn size(&self) -> usize {
        let line = |field: &Field| field.name.len() + field.value.len();
        let lines = self.headers.iter().chain(&self.trailers).map(line).sum::<usize>();
        lines + self.body.len()
    }
}

/// What a completed record holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kept {
    /// The operation was done, but its answer was too large to keep or never seen: never run again
    /// (REP-12).
    NotRetained {
        /// The `Location` of the answer, so that a client can find the result.
        location: Option<Bytes>,
        /// The status of the answer; 0 where the effect is known and its status is not.
        status: u16,
    },
    /// The answer.
    Response(RecordedResponse),
}

impl Kept {
    /// The status of the answer, kept or not.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotRetained { status, .. } => *status,
            Self::Response(response) => response.status,
        }
    }
}

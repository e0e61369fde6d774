//! HTTP/1.1 as bytes, for the client and for the upstream.

use std::io::{self, BufRead, ErrorKind, Read as _};

/// More than any test sends.
const HEAD_BYTES_MAX: usize = 256 * 1024;
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Header lines or trailers, in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of the first line of this name, in any case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all lines of this name, in any case.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.0.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str())
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Chunked,
    Close,
    Length(usize),
}

impl Framing {
    /// Of a request, which never ends with its connection.
    pub(crate) fn of_request(fields: &Fields) -> io::Result<Self> {
        Ok(Self::declared(fields)?.unwrap_or(Self::Length(0)))
    }

    pub(crate) fn of_response(fields: &Fields, status: u16, method: &str) -> io::Result<Self> {
        if method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
            return Ok(Self::Length(0));
        }
        Ok(Self::declared(fields)?.unwrap_or(Self::Close))
    }

    fn declared(fields: &Fields) -> io::Result<Option<Self>> {
        let chunked = fields.all("transfer-encoding").any(|value| value.contains("chunked"));
        if chunked {
            return Ok(Some(Self::Chunked));
        }
        let Some(length) = fields.first("content-length") else { return Ok(None) };
        let length = length.trim().parse().map_err(|_| broken("a length that is no number"))?;
        if length > BODY_BYTES_MAX {
            Err(broken("a body without bounds"))
        } else {
            Ok(Some(Self::Length(length)))
        }
    }
}

/// Reads a start line and header lines; `None` at the end of the connection before its first byte.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<(String, Fields)>> {
    let mut start = Vec::new();
    if reader.read_until(b'\n', &mut start)? == 0 {
        return Ok(None);
    }
    if !start.ends_with(b"\r\n") {
        return Err(cut("inside a start line"));
    }
    let start = String::from_utf8_lossy(&start).trim_end().to_owned();
    Ok(Some((start, read_fields(reader)?)))
}

/// Reads lines up to and with the empty one.
///
/// # Errors
/// When the connection ends before, or a line is no field.
pub fn read_fields(reader: &mut impl BufRead) -> io::Result<Fields> {
    let mut fields = Fields::default();
    let mut bytes = 0;
    loop {
        let mut line = Vec::new();
        bytes += reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(cut("inside a head"));
        }
        if bytes > HEAD_BYTES_MAX {
            return Err(broken("a head without bounds"));
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken("a line without colon"))?;
        fields.0.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads a body to its declared end, and its trailers.
pub(crate) fn read_body(
    reader: &mut impl BufRead,
    framing: Framing,
) -> io::Result<(Vec<u8>, Fields)> {
    match framing {
        Framing::Chunked => read_chunks(reader),
        Framing::Close => {
            let mut body = Vec::new();
            reader.take(BODY_BYTES_MAX as u64).read_to_end(&mut body)?;
            Ok((body, Fields::default()))
        }
        Framing::Length(length) => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            Ok((body, Fields::default()))
        }
    }
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\r\n") {
            return Err(cut("inside a chunk's length"));
        }
        let line = String::from_utf8_lossy(&line);
        let length = line.trim().split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(length, 16);
        let length = length.map_err(|_| broken("a chunk's length that is no number"))?;
        if length == 0 {
            return Ok((body, read_fields(reader)?));
        }
        if body.len() + length > BODY_BYTES_MAX {
            return Err(broken("a body without bounds"));
        }
        let start = body.len();
        body.resize(start + length, 0);
        reader.read_exact(&mut body[start..])?;
        let mut end = [0; 2];
        reader.read_exact(&mut end)?;
    }
}

fn cut(place: &str) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("the connection ended {place}"))
}

pub(crate) fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

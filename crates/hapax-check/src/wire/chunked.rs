//! The chunked coding, read strictly: anything doubtful is an error, never a shorter message.

use super::head::Head;

/// A chunk as far as it could be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// Data bytes and how many bytes of input they took.
    Data(Vec<u8>, usize),
    /// The last chunk with its trailer fields, and how many bytes of input it took.
    Last(Vec<(String, Vec<u8>)>, usize),
    /// More input is needed.
    More,
    /// The input is not chunked coding.
    Broken,
}

/// Reads one chunk from the front of `input`.
pub(crate) fn next(input: &[u8]) -> Chunk {
    let Some(line_end) = input.windows(2).position(|pair| pair == b"\r\n") else {
        return if input.len() > 4096 { Chunk::Broken } else { Chunk::More };
    };
    let line = String::from_utf8_lossy(&input[..line_end]).into_owned();
    let digits = line.split(';').next().unwrap_or_default().trim().to_owned();
    let Ok(size) = usize::from_str_radix(&digits, 16) else { return Chunk::Broken };
    let start = line_end + 2;
    if size == 0 {
        return last(input, start);
    }
    let Some(end) = start.checked_add(size) else { return Chunk::Broken };
    match (input.get(start..end), input.get(end..end + 2)) {
        (Some(data), Some(b"\r\n")) => Chunk::Data(data.to_vec(), end + 2),
        (Some(_), Some(_)) => Chunk::Broken,
        _ => Chunk::More,
    }
}

fn last(input: &[u8], start: usize) -> Chunk {
    let rest = &input[start..];
    if rest.starts_with(b"\r\n") {
        return Chunk::Last(Vec::new(), start + 2);
    }
    match super::head::end(rest) {
        Some(end) => {
            // A start line is put in front so that the trailer section reads as a head.
            let mut raw = b"trailers\r\n".to_vec();
            raw.extend_from_slice(&rest[..end]);
            Chunk::Last(Head::parse(&raw).fields, start + end)
        }
        None => Chunk::More,
    }
}

/// Writes one chunk.
pub(crate) fn write(data: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

/// Writes the last chunk with trailer fields.
pub(crate) fn write_last(trailers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"0\r\n".to_vec();
    for (name, value) in trailers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_with_trailers_are_read_to_their_end() {
        let mut input = write(b"hello");
        input.extend(write_last(&[("X-Sum".to_owned(), b"9".to_vec())]));
        let Chunk::Data(data, used) = next(&input) else { panic!("no data") };
        assert_eq!(data, b"hello");
        let Chunk::Last(trailers, rest) = next(&input[used..]) else { panic!("no end") };
        assert_eq!(trailers, [("X-Sum".to_owned(), b"9".to_vec())]);
        assert_eq!(used + rest, input.len());
    }

    #[test]
    fn chunk_with_a_wrong_size_is_broken() {
        assert_eq!(next(b"xyz\r\nabc\r\n"), Chunk::Broken);
        assert_eq!(next(b"2\r\nabc\r\n"), Chunk::Broken);
        assert_eq!(next(b"5\r\nab"), Chunk::More);
    }
}

//! The head of a message: a start line and fields, kept in order and as bytes.

use bytes::Bytes;

/// Start line and fields exactly as they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub start: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub raw: Bytes,
}

impl Head {
    /// Reads a head from the bytes before and including the empty line; lines that are no fields
    /// are kept under an empty name, so that nothing gets lost.
    pub(crate) fn parse(raw: &[u8]) -> Self {
        let mut lines = raw.split(|byte| *byte == b'\n').map(strip_return);
        let start = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let mut fields = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            match line.iter().position(|byte| *byte == b':') {
                Some(colon) => {
                    let name = String::from_utf8_lossy(&line[..colon]).into_owned();
                    fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
                }
                None => fields.push((String::new(), line.to_vec())),
            }
        }
        Self { start, fields, raw: Bytes::copy_from_slice(raw) }
    }

    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        all(&self.fields, name)
    }

    /// The first value of a field as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.all(name).first().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Whether a comma-separated field has this member, in any case.
    pub(crate) fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).iter().any(|value| {
            String::from_utf8_lossy(value)
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(member))
        })
    }

    /// The nth word of the start line.
    pub(crate) fn word(&self, nth: usize) -> &str {
        self.start.split(' ').nth(nth).unwrap_or_default()
    }

    /// The declared length, where there is exactly one way to read it.
    pub(crate) fn content_length(&self) -> Option<u64> {
        let text = self.text("content-length")?;
        text.parse().ok()
    }

    /// Whether the content comes in chunks.
    pub(crate) fn chunked(&self) -> bool {
        self.lists("transfer-encoding", "chunked")
    }
}

/// Every value of a field in a list of fields, in order.
pub(crate) fn all<'a>(fields: &'a [(String, Vec<u8>)], name: &str) -> Vec<&'a [u8]> {
    fields
        .iter()
        .filter(|(other, _)| other.trim_end().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
        .collect()
}

/// Where the head ends, counted behind its empty line.
pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let next = at + found + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

fn strip_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_with_repeated_fields_keeps_their_order() {
        let raw = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a:2 \r\nConnection: close, X-B\r\n\r\nrest";
        let end = end(raw).unwrap();
        assert_eq!(&raw[end..], b"rest");
        let head = Head::parse(&raw[..end]);
        assert_eq!(head.word(1), "200");
        assert_eq!(head.all("X-a"), [b"1", b"2"]);
        assert!(head.lists("connection", "x-b"));
        assert!(!head.chunked());
    }

    #[test]
    fn head_without_its_empty_line_has_no_end() {
        assert_eq!(end(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
    }
}

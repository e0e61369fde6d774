//! Multipart bodies without their boundary (FPR-07): a form sent again has fresh, random delimiters
//! and equal parts.

/// The bytes between the delimiters, preamble and epilogue included; `None` where the body is not
/// a closed sequence of delimited parts, so that the caller compares it as it came.
pub(super) fn segments<'a>(body: &'a [u8], boundary: &[u8]) -> Option<Vec<&'a [u8]>> {
    let mut segments = Vec::new();
    let mut rest = body;
    let mut at_start = true;
    loop {
        let delimiter = find(rest, boundary, at_start)?;
        segments.push(&rest[..delimiter.start]);
        rest = &rest[delimiter.end..];
        at_start = false;
        if delimiter.closes {
            segments.push(rest);
            return Some(segments);
        }
    }
}

struct Delimiter {
    closes: bool,
    end: usize,
    start: usize,
}

/// The next delimiter line (RFC 2046, section 5.1.1): CRLF, two dashes, the boundary, CRLF.
///
/// The CRLF before it stays with the segment, and one with trailing white space is not taken for a
/// delimiter: so segments and boundary together give back every byte of the body.
fn find(text: &[u8], boundary: &[u8], at_start: bool) -> Option<Delimiter> {
    let mut from = 0;
    loop {
        let start = from + position(&text[from..], b"--")?;
        let begins_line = (at_start && start == 0) || text[..start].ends_with(b"\r\n");
        let after = &text[start + 2..];
        if begins_line && after.starts_with(boundary) {
            let tail = &after[boundary.len()..];
            let end = start + 2 + boundary.len();
            if tail.starts_with(b"--") {
                return Some(Delimiter { closes: true, end: end + 2, start });
            }
            if tail.starts_with(b"\r\n") {
                return Some(Delimiter { closes: false, end, start });
            }
        }
        from = start + 1;
    }
}

fn position(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

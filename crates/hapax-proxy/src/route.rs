//! Which route a request takes (ruling 17).
//!
//! A path is compared after it was percent-decoded once, freed of `.` and `..`, and its repeated
//! slashes merged: as the upstream behind the gateway is likely to read it. What different
//! servers read differently (an encoded `/`, a `\`, a NUL) is refused wherever it could lead under
//! a configured route.

use std::borrow::Cow;
use std::fmt;

use http::Method;

/// The paths of one route: `/v1/payments`, `/v1/*/refunds`, `/v1/payments/**`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    /// Ends in `/**`.
    open: bool,
    /// False for the catch-all alone, under which odd encodings are let through.
    configured: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Any,
    Literal(Vec<u8>),
}

/// Why a pattern cannot be used; the message goes on from the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `.` or `..` segment, which no path has left when it is compared.
    #[error("has a \".\" or \"..\" segment, which no path keeps")]
    Dots,
    /// An encoded `/`, a `\`, a NUL, or a `?` or `#`.
    #[error("has a character that no path segment can hold")]
    Forbidden,
    /// It does not begin with `/`.
    #[error("does not begin with a slash")]
    NoSlash,
    /// A `*` with other text in its segment, or `**` before the end.
    #[error("has a * that is not a whole segment, or a ** that is not the last")]
    Star,
}

/// The routes of a gateway in the order in which they are asked.
#[derive(Debug, Clone)]
pub struct Routes(Vec<(Pattern, Vec<Method>)>);

/// The path can be read as one under a configured route and as another one: answer 400
/// `invalid-request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path holds an encoded slash, a backslash or a NUL under a configured route")]
pub struct BadPath;

impl Routes {
    /// Routes that are asked in the order given; a request takes the first whose path and method
    /// both fit.
    pub fn new(routes: Vec<(Pattern, Vec<Method>)>) -> Self {
        Self(routes)
    }

    /// The number of the route that `path` (as it stood in the request, without its query) takes.
    ///
    /// `None` when no route covers the path and the method: the request is not protected. Never
    /// allocates for a path without escapes and dot segments.
    pub fn find(&self, path: &str, method: &Method) -> Result<Option<usize>, BadPath> {
        let covered = |index: &usize| self.0[*index].1.contains(method);
        let mut covering = (0..self.0.len()).filter(covered);
        if covering.clone().next().is_none() {
            return Ok(None);
        }
        let raw = path.as_bytes();
        if is_ambiguous(raw) && covering.clone().any(|index| self.0[index].0.may_cover(raw)) {
            return Err(BadPath);
        }
        let decoded = decode(raw, UNMATCHED);
        if segments(&decoded).any(|segment| segment == b"..") {
            let resolved = resolve(&decoded);
            return Ok(covering.find(|index| self.0[*index].0.matches(resolved.iter().copied())));
        }
        Ok(covering.find(|index| self.0[*index].0.matches(segments(&decoded))))
    }
}

impl Pattern {
    /// The route that stands below all others: it covers every path and no encoding offends it.
    pub fn catch_all() -> Self {
        Self { text: "/**".to_owned(), segments: Vec::new(), open: true, configured: false }
    }

    /// Reads a pattern: literal segments (percent-encoded where they need it), `*` for any one
    /// segment, and a last `/**` for what stands before it and everything below.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        if is_ambiguous(text.as_bytes()) || text.contains(['?', '#']) {
            return Err(PatternError::Forbidden);
        }
        let (rest, open) = match rest.strip_suffix("**") {
            Some(rest) if rest.is_empty() || rest.ends_with('/') => (rest, true),
            Some(_) | None => (rest, false),
        };
        let mut parsed = Vec::new();
        for segment in rest.split('/').filter(|segment| !segment.is_empty()) {
            let literal = decode(segment.as_bytes(), UNMATCHED);
            parsed.push(match segment {
                "*" => Segment::Any,
                _ if segment.contains('*') => return Err(PatternError::Star),
                _ if *literal == *b"." || *literal == *b".." => return Err(PatternError::Dots),
                _ => Segment::Literal(literal.into_owned()),
            });
        }
        Ok(Self { text: text.to_owned(), segments: parsed, open, configured: true })
    }

    /// The pattern as it was written; names the route in metrics and logs.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn matches<'a>(&self, mut path: impl Iterator<Item = &'a [u8]>) -> bool {
        let begins = self.segments.iter().all(|wanted| {
            path.next().is_some_and(|segment| match wanted {
                Segment::Any => true,
                Segment::Literal(literal) => literal == segment,
            })
        });
        begins && (self.open || path.next().is_none())
    }

    /// Whether any server could read this ambiguous path as one at or below a configured pattern.
    ///
    /// Both readings are tried, with the odd characters as separators and as part of a segment;
    /// and every step of the way counts, since not every server resolves `..` where we do.
    fn may_cover(&self, raw: &[u8]) -> bool {
        if !self.configured {
            return false;
        }
        [b'/', UNMATCHED].into_iter().any(|reading| {
            let decoded = decode(raw, reading);
            let mut walked = Vec::new();
            for segment in segments(&decoded) {
                step(&mut walked, segment);
                if self.is_above(&walked) {
                    return true;
                }
            }
            self.is_above(&walked)
        })
    }

    fn is_above(&self, path: &[&[u8]]) -> bool {
        let depth = self.segments.len();
        if depth == 0 && !self.open {
            // Everything is below the root; a route for the root alone does not mean that.
            return path.is_empty();
        }
        path.len() >= depth && self.matches_prefix(&path[..depth])
    }

    fn matches_prefix(&self, path: &[&[u8]]) -> bool {
        self.segments.iter().zip(path).all(|(wanted, segment)| match wanted {
            Segment::Any => true,
            Segment::Literal(literal) => literal == segment,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Stands for what cannot be matched by a literal: patterns may not hold a backslash.
const UNMATCHED: u8 = b'\\';

/// Whether the path holds something that one server takes for a separator and another does not.
fn is_ambiguous(raw: &[u8]) -> bool {
    let escaped = |escape: &[u8]| {
        escape.eq_ignore_ascii_case(b"%2f")
            || escape.eq_ignore_ascii_case(b"%5c")
            || escape == b"%00"
    };
    raw.contains(&b'\\') || raw.contains(&0) || raw.windows(3).any(escaped)
}

/// Percent-decodes once. What is ambiguous becomes `reading`; a `%` without two digits stays.
fn decode(raw: &[u8], reading: u8) -> Cow<'_, [u8]> {
    if !raw.iter().any(|byte| matches!(byte, b'%' | b'\\' | 0)) {
        return Cow::Borrowed(raw);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, escaped_byte(after)) {
            (b'%', Some(byte)) => (if byte == b'/' { reading } else { byte }, &after[2..]),
            (byte, _) => (byte, after),
        };
        decoded.push(if matches!(byte, b'\\' | 0) { reading } else { byte });
        rest = after;
    }
    Cow::Owned(decoded)
}

/// The byte that the two hexadecimal digits at the beginning of `digits` stand for.
fn escaped_byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// The segments that say something: repeated slashes and `.` do not.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty() && *segment != b".")
}

fn resolve(path: &[u8]) -> Vec<&[u8]> {
    let mut walked = Vec::new();
    for segment in segments(path) {
        step(&mut walked, segment);
    }
    walked
}

/// One segment further; `..` goes back, but never above the root.
fn step<'a>(walked: &mut Vec<&'a [u8]>, segment: &'a [u8]) {
    if segment == b".." {
        walked.pop();
    } else {
        walked.push(segment);
    }
}

#[cfg(test)]
mod tests;

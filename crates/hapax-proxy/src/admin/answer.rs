//! An answer that an operator supplies: retries will get it, so it must be one that a gateway may
//! send (RFC 9110).

use bytes::Bytes;
use hapax::{Field, RecordedResponse};
use http::{HeaderName, HeaderValue};

use super::problem::Problem;

/// Bytes of a supplied body.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// Header lines of a supplied answer.
const HEADER_LINES_MAX: usize = 64;
/// Bytes of all of them.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Lines of one connection or one exchange, framing that is made anew, and marks that only the gateway
/// sets (REP-03, REP-06).
const REFUSED: [&str; 17] = [
    "age",
    "alt-svc",
    "connection",
    "content-length",
    "idempotency-expires",
    "idempotent-replayed",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "server-timing",
    "te",
    "trailer",
    "traceresponse",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// The answer, if retries may get it.
pub(super) fn checked(
    status: u16,
    headers: &[(String, String)],
    body: Vec<u8>,
    set_cookie: bool,
) -> Result<RecordedResponse, Problem> {
    if !(200..=599).contains(&status) {
        let detail = format!("status = {status}; a final answer has 200 to 599.");
        return Err(Problem::invalid_answer(detail));
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(Problem::body_too_large(BODY_BYTES_MAX));
    }
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        let detail = format!("An answer of status {status} has no body.");
        return Err(Problem::invalid_answer(detail));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > HEADER_LINES_MAX || bytes > HEADER_BYTES_MAX {
        return Err(Problem::invalid_answer(format!(
            "There are more than {HEADER_LINES_MAX} header lines, or {HEADER_BYTES_MAX} bytes of them."
        )));
    }
    let headers: Result<Vec<Field>, Problem> =
        headers.iter().map(|(name, value)| line(name, value, set_cookie)).collect();
    Ok(RecordedResponse {
        body: Bytes::from(body),
        headers: headers?,
        status,
        trailers: Vec::new(),
    })
}

fn line(name: &str, value: &str, set_cookie: bool) -> Result<Field, Problem> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_error| {
        Problem::invalid_answer("A header's name holds what no name can.".to_owned())
    })?;
    let text = name.as_str();
    let is_own = text.starts_with("hapax-");
    if is_own || REFUSED.contains(&text) || (text == "set-cookie" && !set_cookie) {
        let detail = format!("The header {text} cannot be kept; leave it out.");
        return Err(Problem::invalid_answer(detail));
    }
    let value = HeaderValue::from_str(value).map_err(|_error| {
        Problem::invalid_answer(format!("The value of {text} holds what no value can."))
    })?;
    Ok(Field::new(text.to_owned(), value.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(name: &str, value: &str) -> Result<RecordedResponse, Problem> {
        checked(200, &[(name.to_owned(), value.to_owned())], Vec::new(), false)
    }

    #[test]
    fn adm_03_an_answer_that_could_not_be_sent_is_refused() {
        for status in [0, 100, 199, 600] {
            assert!(checked(status, &[], Vec::new(), false).is_err(), "{status}");
        }
        assert!(checked(204, &[], b"x".to_vec(), false).is_err());
        for name in REFUSED.into_iter().chain(["Hapax-Claim", "Set-Cookie", "a b", ""]) {
            assert!(with_header(name, "x").is_err(), "{name}");
        }
        assert!(with_header("x", "a\r\nb: c").is_err());
        assert!(with_header("x", &"v".repeat(HEADER_BYTES_MAX)).is_err());
        let many = vec![("x".to_owned(), String::new()); HEADER_LINES_MAX + 1];
        assert!(checked(200, &many, Vec::new(), false).is_err());
    }

    #[test]
    fn adm_03_an_answer_is_kept_as_supplied() {
        let headers =
            [("Location".to_owned(), "/x".to_owned()), ("set-cookie".into(), "a=1".into())];
        let kept = checked(201, &headers, b"{}".to_vec(), true).unwrap();
        assert_eq!(kept.status, 201);
        assert_eq!(kept.headers, [Field::new("location", "/x"), Field::new("set-cookie", "a=1")]);
        assert_eq!(&kept.body[..], b"{}");
    }
}

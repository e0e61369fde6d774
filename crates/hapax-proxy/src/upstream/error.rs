//! What can go wrong on the way to the upstream, and how far the request got by then.

use std::error::Error;
use std::io;

/// Why there is no answer, split at the line that matters: may the upstream have the request?
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The upstream provably did not receive a complete request. Sending it again is safe.
    #[error("send the request: {0}")]
    NotSent(NotSent),
    /// A byte may have left, and no trustworthy answer came. Only the application knows.
    #[error("learn the outcome: {0}")]
    Unknown(Unknown),
}

/// The reasons for which nothing, or provably nothing complete, was sent.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The pooled or new connection turned out to be closed before the first byte.
    #[error("the connection was closed before the first byte")]
    Closed,
    /// No connection to any of the upstream's addresses.
    #[error("no connection to {authority}: {source}")]
    Connect {
        /// The upstream as configured.
        authority: String,
        /// What the last attempt ran into.
        source: io::Error,
    },
    /// Connecting, with name lookup and handshakes, took longer than `connect_timeout`.
    #[error("no connection to {authority} within {milliseconds} ms")]
    ConnectTimeout {
        /// The upstream as configured.
        authority: String,
        /// The limit that ran out.
        milliseconds: u128,
    },
    /// The caller's gate said no.
    #[error("the gate was closed just before the first byte")]
    GateClosed,
    /// The TLS or HTTP handshake failed.
    #[error("no agreement with {authority}: {source}")]
    Handshake {
        /// The upstream as configured.
        authority: String,
        /// What the handshake ran into.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The request cannot be expressed in HTTP towards this upstream.
    #[error("the request is not fit to be sent: {0}")]
    Invalid(&'static str),
    /// The upstream refused the HTTP/2 stream before it did anything with it (RFC 9113, 8.7).
    #[error("the upstream refused the stream unprocessed")]
    Refused,
    /// The upstream's name has no address.
    #[error("no address for {authority}: {source}")]
    Resolve {
        /// The upstream as configured.
        authority: String,
        /// What the lookup said.
        source: io::Error,
    },
    /// The body of the request broke off, so the upstream could not complete it.
    #[error("the request body broke off")]
    RequestBody(#[source] Box<dyn Error + Send + Sync>),
}

/// The ways in which an answer fails after a byte may have left.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The upstream sent something that is no well-framed HTTP answer (HTP-04).
    #[error("the answer is badly framed: {0}")]
    BadFraming(Box<dyn Error + Send + Sync>),
    /// The connection or stream ended before the answer's head.
    #[error("the connection was lost: {0}")]
    Lost(Box<dyn Error + Send + Sync>),
}

/// Why the body of an answer ended before its end. The answer is not complete and must not be
/// taken for one (REP-09).
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The chunks, the length or the frames contradict HTTP.
    #[error("the answer's body is badly framed: {0}")]
    BadFraming(Box<dyn Error + Send + Sync>),
    /// The connection or stream ended before the declared end of the body.
    #[error("the answer was cut: {0}")]
    Cut(Box<dyn Error + Send + Sync>),
}

impl BodyError {
    pub(super) fn classify(error: hyper::Error) -> Self {
        if is_bad_framing(&error) {
            Self::BadFraming(error.into())
        } else {
            Self::Cut(error.into())
        }
    }
}

impl SendError {
    /// Classifies a failure after which the request itself is gone; `untouched` is the proof that no
    /// byte left for it.
    pub(super) fn classify(error: hyper::Error, untouched: bool) -> Self {
        if let Some(refused) = refusal(&error) {
            return Self::NotSent(refused);
        }
        if untouched {
            return Self::NotSent(NotSent::Closed);
        }
        if is_bad_framing(&error) {
            Self::Unknown(Unknown::BadFraming(error.into()))
        } else {
            Self::Unknown(Unknown::Lost(error.into()))
        }
    }
}

/// What the error proves about the request, if it proves anything.
fn refusal(error: &hyper::Error) -> Option<NotSent> {
    if error.is_user() && !error.is_canceled() {
        return is_body_failure(error)
            .then(|| NotSent::RequestBody("the caller's body failed".into()));
    }
    let h2 = find::<h2::Error>(error)?;
    // After GOAWAY only the streams above its last stream identifier get this error; those at or below
    // it run on, or end with an I/O error.
    let refused = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
    (h2.is_remote() && (refused || h2.is_go_away())).then_some(NotSent::Refused)
}

/// Whether the caller's own body is what failed.
fn is_body_failure(error: &hyper::Error) -> bool {
    error.is_body_write_aborted() || find::<super::body::SourceError>(error).is_some()
}

fn is_bad_framing(error: &hyper::Error) -> bool {
    if error.is_parse() {
        return true;
    }
    if let Some(h2) = find::<h2::Error>(error) {
        return h2.is_library();
    }
    find::<io::Error>(error).is_some_and(|io| {
        matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
    })
}

/// The first error of type `T` in the chain of sources.
fn find<T>(error: &hyper::Error) -> Option<&T>
where
    T: Error + 'static,
{
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(found) = source.downcast_ref::<T>() {
            return Some(found);
        }
        next = source.source();
    }
    None
}

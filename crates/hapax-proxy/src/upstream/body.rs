//! The bodies on both ways: what is sent, and what comes back with the connection attached to it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use super::error::BodyError;
use super::pool::Lease;

/// The body of a request to the upstream. An enum, so that the usual request needs no box.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// Anything else.
    Boxed(UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>),
    /// No body.
    #[default]
    Empty,
    /// All of it, at hand. Such a request can be sent again when it was refused unprocessed.
    Full(Bytes),
    /// A client's body, passed on as it comes in.
    Incoming(Incoming),
}

/// Marks a failure of the caller's body among the failures of the exchange.
#[derive(Debug, thiserror::Error)]
#[error("the request body failed: {0}")]
pub struct SourceError(#[source] Box<dyn Error + Send + Sync>);

impl RequestBody {
    /// The same body once more, if it is at hand.
    pub(super) fn duplicate(&self) -> Option<Self> {
        match self {
            Self::Boxed(_) | Self::Incoming(_) => None,
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
        }
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl From<Incoming> for RequestBody {
    fn from(incoming: Incoming) -> Self {
        Self::Incoming(incoming)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = SourceError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        let this = self.get_mut();
        match this {
            Self::Boxed(body) => Pin::new(body).poll_frame(cx).map_err(SourceError),
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => {
                Pin::new(body).poll_frame(cx).map_err(|error| SourceError(error.into()))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Boxed(body) => body.is_end_stream(),
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Incoming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Boxed(body) => body.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(body) => body.size_hint(),
        }
    }
}

/// How the end of an answer's body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By the last chunk.
    Chunked,
    /// By the close of the connection alone: a cut cannot be told from the end (RFC 9112, 8).
    Close,
    /// By its declared length in bytes, zero included.
    Length(u64),
    /// By the end of the HTTP/2 stream.
    Stream,
}

/// The body of an answer. When it is read to its end its connection goes back to the pool of the thread
/// that read it; when it is dropped earlier, the connection is closed (HTTP/1.1) or the stream reset.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
    framing: Framing,
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, lease: Option<Lease>, framing: Framing) -> Self {
        let mut body = Self { incoming, lease, framing };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    /// How the end of this body is known.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                // A reader that knows the length does not ask for the end, and none follows trailers.
                if frame.is_trailers() || this.incoming.is_end_stream() {
                    this.finish();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.lease = None;
                Some(Err(BodyError::classify(error)))
            }
            None => {
                this.finish();
                None
            }
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

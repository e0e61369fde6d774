//! Bodies: streamed through where nothing is kept, whole where something is, bounded everywhere.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// The error of a body: whatever the inner body says.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the inner service reads.
#[derive(Debug)]
pub enum RequestBody<B> {
    /// Read already.
    Whole(Whole),
    /// As the client sends it.
    Stream(B),
    /// As the client sends it, while shadow mode looks on.
    Watched(crate::shadow::Watched<B>),
}

/// What the client reads.
#[derive(Debug)]
pub enum ResponseBody<R> {
    /// Read already, or made by the layer.
    Whole(Whole),
    /// As the service sends it.
    Stream(R),
    /// As the service sends it, its end withheld until the record is settled.
    Withheld(mpsc::Receiver<Result<Frame<Bytes>, BoxError>>),
    /// As the service sends it, while shadow mode looks on.
    Watched(crate::shadow::WatchedResponse<R>),
}

/// A body in memory, with its trailers.
#[derive(Debug, Default)]
pub struct Whole {
    pub(crate) data: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Whole {
    pub(crate) fn new(data: impl Into<Bytes>, trailers: Option<HeaderMap>) -> Self {
        Self { data: data.into(), trailers }
    }

    /// The bytes and the trailers.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Option<HeaderMap>) {
        (self.data, self.trailers)
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        if self.data.is_empty() {
            return self.trailers.take().map(Frame::trailers);
        }
        Some(Frame::data(std::mem::take(&mut self.data)))
    }

    fn is_end(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    /// Exact only where nothing follows the content: HTTP/1.1 has no trailers after a length.
    fn size_hint(&self) -> SizeHint {
        match &self.trailers {
            None => SizeHint::with_exact(self.data.len() as u64),
            Some(_trailers) => SizeHint::default(),
        }
    }
}

impl<B> RequestBody<B> {
    /// A body in memory.
    pub fn whole(data: impl Into<Bytes>) -> Self {
        Self::Whole(Whole::new(data, None))
    }
}

impl<R> ResponseBody<R> {
    /// A body in memory.
    pub fn whole(data: impl Into<Bytes>) -> Self {
        Self::Whole(Whole::new(data, None))
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(whole) => Poll::Ready(whole.next().map(Ok)),
            Self::Stream(body) => poll_inner(body, cx),
            Self::Watched(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end(),
            Self::Stream(body) => body.is_end_stream(),
            Self::Watched(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(body) => body.size_hint(),
            Self::Watched(body) => body.size_hint(),
        }
    }
}

impl<R> Body for ResponseBody<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(whole) => Poll::Ready(whole.next().map(Ok)),
            Self::Stream(body) => poll_inner(body, cx),
            Self::Withheld(frames) => frames.poll_recv(cx),
            Self::Watched(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end(),
            Self::Stream(body) => body.is_end_stream(),
            Self::Withheld(_) => false,
            Self::Watched(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(body) => body.size_hint(),
            Self::Withheld(_) => SizeHint::default(),
            Self::Watched(body) => body.size_hint(),
        }
    }
}

pub(crate) fn poll_inner<B>(
    body: &mut B,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let frame = ready!(Pin::new(body).poll_frame(cx));
    Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
}

/// The next frame of a body.
pub(crate) async fn next_frame<B>(body: &mut B) -> Option<Result<Frame<Bytes>, BoxError>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    poll_fn(|cx| poll_inner(body, cx)).await
}

/// How reading a body within a limit ended.
pub(crate) enum Collected {
    /// Over the limit: what has been read so far, in one piece. The body goes on.
    Over(Bytes),
    /// To its end.
    Whole(Whole),
}

/// Reads a body to its end, or to the first frame that goes past `limit` bytes.
///
/// Not cancel-safe: what has been read is lost.
pub(crate) async fn collect<B>(body: &mut B, limit: usize) -> Result<Collected, BoxError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut data = Gathered::default();
    let mut trailers = None;
    while let Some(frame) = next_frame(body).await {
        match frame?.into_data() {
            Ok(more) => data.push(more),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if data.len() > limit {
            return Ok(Collected::Over(data.into_bytes()));
        }
    }
    Ok(Collected::Whole(Whole::new(data.into_bytes(), trailers)))
}

/// A single piece up to this size is copied: it is a slice of the connection's read buffer, which would
/// otherwise live as long as the record does, and could not be read into again meanwhile.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// Pieces of a body. A large single piece is not copied.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    first: Bytes,
    rest: BytesMut,
}

impl Gathered {
    pub(crate) fn push(&mut self, data: Bytes) {
        if self.first.is_empty() {
            self.first = data;
        } else {
            if self.rest.is_empty() {
                self.rest.extend_from_slice(&self.first);
            }
            self.rest.extend_from_slice(&data);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len().max(self.rest.len())
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        if !self.rest.is_empty() {
            return self.rest.freeze();
        }
        if self.first.len() <= COPY_BYTES_MAX {
            return Bytes::copy_from_slice(&self.first);
        }
        self.first
    }
}

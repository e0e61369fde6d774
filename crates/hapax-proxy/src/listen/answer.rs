//! The body of an answer, with what has to happen when it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::operations::Operation;
use super::watch::Watch;

/// A handler's answer body on its way to the client. The request counts as running until it is dropped,
/// which the server does as soon as the last frame is buffered or the client is gone.
#[derive(Debug)]
pub struct Answer<B> {
    body: B,
    _running: Running,
}

/// A request from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct Running {
    watch: Arc<Watch>,
    operation: Option<Operation>,
}

impl Running {
    pub(super) fn begin(watch: &Arc<Watch>, operation: Operation, has_body: bool) -> Self {
        watch.on_request(has_body);
        Self { watch: Arc::clone(watch), operation: Some(operation) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watch.on_answered();
    }
}

impl<B> Answer<B>
where
    B: Body,
{
    pub(super) fn new(body: B, mut running: Running) -> Self {
        // A stream may never end; a drain does not wait for it (ruling 18).
        if body.size_hint().exact().is_none() {
            running.operation = None;
        }
        Self { body, _running: running }
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

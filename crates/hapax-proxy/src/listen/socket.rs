//! The TCP socket below a client's connection: watched, counted, and closed with care.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::config::ListenConfig;
use super::watch::Watch;

/// How much is read at once only to be thrown away.
const DISCARD_CHUNK_BYTES: usize = 16 * 1024;

/// A place among the connections of a core and of the listener, given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    core: Arc<AtomicUsize>,
    _of_all: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn take(core: &Arc<AtomicUsize>, of_all: OwnedSemaphorePermit) -> Self {
        core.fetch_add(1, Ordering::AcqRel);
        Self { core: Arc::clone(core), _of_all: of_all }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.core.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A client's TCP stream. Dropping it while the client may still be sending discards a bounded part of
/// that first: closing a socket with unread bytes resets the connection, and a reset can destroy the
/// answer on its way (RFC 9112, 9.6; HTP-13).
#[derive(Debug)]
pub(super) struct Socket {
    inner: Option<Inner>,
    watch: Arc<Watch>,
    config: Arc<ListenConfig>,
    /// The client closed its side, or the connection failed.
    is_ended: bool,
}

#[derive(Debug)]
struct Inner {
    stream: TcpStream,
    place: Place,
}

impl Socket {
    pub(super) fn new(
        stream: TcpStream,
        place: Place,
        watch: Arc<Watch>,
        config: Arc<ListenConfig>,
    ) -> Self {
        Self { inner: Some(Inner { stream, place }), watch, config, is_ended: false }
    }

    /// The stream, for looking at its first bytes.
    pub(super) fn stream(&self) -> Option<&TcpStream> {
        self.inner.as_ref().map(|inner| &inner.stream)
    }

    fn pinned(&mut self) -> Option<Pin<&mut TcpStream>> {
        self.inner.as_mut().map(|inner| Pin::new(&mut inner.stream))
    }

    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.watch.on_write(written.is_ready());
        if let Poll::Ready(Err(_)) = &written {
            self.is_ended = true;
        }
        written
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if self.is_ended || !self.watch.may_be_unread() {
            return;
        }
        // Outside a runtime, or in one that is being dropped, there is nobody to wait.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let limit = self.config.discard_bytes_max;
            runtime.spawn(discard(inner, limit, self.config.discard_timeout));
        }
    }
}

/// Says that nothing more will come, then reads what the client still sends, within the limits.
async fn discard(inner: Inner, limit: usize, time: Duration) {
    let Inner { mut stream, place } = inner;
    let _closed_already = SockRef::from(&stream).shutdown(Shutdown::Write);
    let mut left = limit;
    let reading = async {
        let mut chunk = vec![0; DISCARD_CHUNK_BYTES];
        while left > 0 {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    let _out_of_time = tokio::time::timeout(time, reading).await;
    drop(place);
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let Some(stream) = this.pinned() else { return Poll::Ready(Err(gone())) };
        let read = stream.poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) if buf.filled().len() > before => this.watch.on_read(),
            Poll::Ready(_) => this.is_ended = true,
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(stream) = this.pinned() else { return Poll::Ready(Err(gone())) };
        let written = stream.poll_write(cx, buf);
        this.written(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(stream) = this.pinned() else { return Poll::Ready(Err(gone())) };
        let written = stream.poll_write_vectored(cx, bufs);
        this.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = self.get_mut().pinned() else { return Poll::Ready(Err(gone())) };
        stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = self.get_mut().pinned() else { return Poll::Ready(Err(gone())) };
        stream.poll_shutdown(cx)
    }
}

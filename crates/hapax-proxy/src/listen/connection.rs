//! One client's connection from its first byte to its last.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::{Answer, Running};
use super::config::ListenConfig;
use super::core::Core;
use super::socket::Socket;
use super::tls::ALPN_H2;
use super::watch::{Signal, Watch};

/// The first three bytes of HTTP/2 in clear text; no HTTP/1.1 method begins with them.
const PREFACE: &[u8] = b"PRI";

/// How often the first bytes are looked at again while they are too few to tell.
const PREFACE_PERIOD: Duration = Duration::from_millis(5);

const HEAD_LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Answers requests. One handler serves all connections of a core.
pub trait Handler: Send + Sync + 'static {
    /// The body of the answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request. The future is dropped when the client goes away; work that must not be is
    /// to be spawned, with an operation of the core (see [`Core`]).
    fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Arc<ConnInfo>,
    ) -> impl Future<Output = Response<Self::Body>> + Send + use<Self> + 'static;
}

impl<F, A, B> Handler for F
where
    F: Fn(Request<Incoming>, &Arc<ConnInfo>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    type Body = B;

    fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Arc<ConnInfo>,
    ) -> impl Future<Output = Response<B>> + Send + use<F, A, B> + 'static {
        self(request, connection)
    }
}

/// What is known of the connection that a request came on.
#[derive(Debug)]
pub struct ConnInfo {
    /// The address of the client, or of the hop in front of the gateway.
    pub peer: SocketAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The peer's address without its port, ready for a header.
    pub peer_value: HeaderValue,
}

impl ConnInfo {
    pub(super) fn new(peer: SocketAddr, tls: bool) -> Self {
        let peer_value = HeaderValue::from_str(&peer.ip().to_canonical().to_string())
            .unwrap_or_else(|_impossible| HeaderValue::from_static("unknown"));
        Self { peer, tls, peer_value }
    }
}

/// What all connections of a core have in common.
#[derive(Debug)]
pub(super) struct Site<H> {
    pub(super) handler: H,
    pub(super) core: Core,
    pub(super) config: Arc<ListenConfig>,
    pub(super) h1: http1::Builder,
    pub(super) h2: http2::Builder<TokioExecutor>,
}

impl<H> Site<H>
where
    H: Handler,
{
    pub(super) fn new(handler: H, core: Core, config: Arc<ListenConfig>) -> Self {
        let mut h1 = http1::Builder::new();
        h1.header_read_timeout(None).max_header_size(config.head_bytes_max);
        if config.headers_max != 100 {
            // Any setting moves the parser's table to the heap; 100 is what it has on the stack.
            h1.max_headers(config.headers_max);
        }
        let mut h2 = http2::Builder::new(TokioExecutor::new());
        h2.max_concurrent_streams(config.http2_streams_max)
            .max_header_list_size(u32::try_from(config.head_bytes_max).unwrap_or(u32::MAX));
        Self { handler, core, config, h1, h2 }
    }

    /// Serves one connection until it closes.
    pub(super) async fn serve(
        self: Arc<Self>,
        socket: Socket,
        watch: Arc<Watch>,
        peer: SocketAddr,
    ) {
        let info = Arc::new(ConnInfo::new(peer, self.config.tls.is_some()));
        if let Some(identity) = &self.config.tls {
            let handshake = identity.acceptor().accept(socket);
            let Ok(Ok(stream)) = timeout(self.config.head_timeout, handshake).await else {
                tracing::debug!(%peer, "TLS handshake failed or took too long");
                return;
            };
            if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) {
                Box::pin(self.serve_h2(stream, watch, info)).await;
            } else {
                Box::pin(self.serve_h1(stream, watch, info)).await;
            }
            return;
        }
        // The futures below are large and a connection that says nothing needs neither of them.
        match first_bytes(&socket, &watch, &self.config).await {
            First::Http1 => Box::pin(self.serve_h1(socket, watch, info)).await,
            First::Http2 => Box::pin(self.serve_h2(socket, watch, info)).await,
            First::Nothing => {}
        }
    }

    async fn serve_h1<S>(self: Arc<Self>, io: S, watch: Arc<Watch>, info: Arc<ConnInfo>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        watch.on_established(false);
        let site = Arc::clone(&self);
        let seen = Arc::clone(&watch);
        let service = service_fn(move |request| site.answer(request, &seen, &info));
        let mut connection = self.h1.serve_connection(TokioIo::new(io), service).with_upgrades();
        let mut is_finishing = false;
        let end = poll_fn(|cx| {
            match watch.signal(cx) {
                Signal::None => {}
                Signal::Cut => return Poll::Ready(End::Closed),
                Signal::HeadLate if watch.is_head_late() => return Poll::Ready(End::HeadLate),
                Signal::Finish | Signal::HeadLate => {
                    if !is_finishing {
                        is_finishing = true;
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
            Pin::new(&mut connection).poll(cx).map(|result| {
                if let Err(error) = result {
                    tracing::debug!(%error, "client connection ended");
                }
                End::Closed
            })
        })
        .await;
        if let (End::HeadLate, Some(parts)) = (end, connection.into_parts()) {
            let mut io = parts.io.into_inner();
            let answer = async {
                io.write_all(HEAD_LATE).await?;
                io.shutdown().await
            };
            // The client was slow already; it gets one more limit's time and no more.
            let _too_slow = timeout(self.config.head_timeout, answer).await;
        }
    }

    async fn serve_h2<S>(self: Arc<Self>, io: S, watch: Arc<Watch>, info: Arc<ConnInfo>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        watch.on_established(true);
        let site = Arc::clone(&self);
        let seen = Arc::clone(&watch);
        let service = service_fn(move |request| site.answer(request, &seen, &info));
        let mut connection = self.h2.serve_connection(TokioIo::new(io), service);
        let mut is_finishing = false;
        poll_fn(|cx| {
            match watch.signal(cx) {
                Signal::None => {}
                Signal::Cut => return Poll::Ready(()),
                Signal::Finish | Signal::HeadLate => {
                    if !is_finishing {
                        is_finishing = true;
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
            Pin::new(&mut connection).poll(cx).map(|result| {
                if let Err(error) = result {
                    tracing::debug!(%error, "client connection ended");
                }
            })
        })
        .await;
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        watch: &Arc<Watch>,
        info: &Arc<ConnInfo>,
    ) -> impl Future<Output = Result<Response<Answer<H::Body>>, Infallible>> + Send + use<H> + 'static
    {
        let has_body = !request.body().is_end_stream();
        let running = Running::begin(watch, self.core.operations.begin(), has_body);
        let answer = self.handler.handle(request, info);
        async move { Ok(answer.await.map(|body| Answer::new(body, running))) }
    }
}

/// Why a connection's loop ended.
#[derive(Debug)]
enum End {
    Closed,
    HeadLate,
}

/// What the first bytes of a clear-text connection are.
#[derive(Debug)]
enum First {
    Http1,
    Http2,
    Nothing,
}

/// Looks at the first bytes and leaves them where they are, so that nothing has to be put back.
async fn first_bytes(socket: &Socket, watch: &Watch, config: &ListenConfig) -> First {
    let Some(stream) = socket.stream() else { return First::Nothing };
    let mut bytes = [0; PREFACE.len()];
    let mut readable = std::pin::pin!(stream.readable());
    let is_there = poll_fn(|cx| match watch.signal(cx) {
        Signal::None => readable.as_mut().poll(cx).map(|ready| ready.is_ok()),
        Signal::Finish | Signal::HeadLate | Signal::Cut => Poll::Ready(false),
    })
    .await;
    if !is_there {
        return First::Nothing;
    }
    let looking = async {
        loop {
            let Ok(seen) = stream.peek(&mut bytes).await else { return First::Nothing };
            match bytes.get(..seen) {
                None | Some([]) => return First::Nothing,
                Some(PREFACE) => return First::Http2,
                // "P" may be the beginning of POST as well.
                Some(seen) if PREFACE.starts_with(seen) => tokio::time::sleep(PREFACE_PERIOD).await,
                Some(_) => return First::Http1,
            }
        }
    };
    timeout(config.head_timeout, looking).await.unwrap_or(First::Nothing)
}

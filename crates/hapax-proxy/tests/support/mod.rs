//! Raw peers on loopback, so that every byte is the test's own.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hapax_proxy::forward::{ForwardConfig, pass_through};
use hapax_proxy::listen::{ConnInfo, Core, ListenConfig, Listener, Server};
use hapax_proxy::upstream::{Upstream, UpstreamBody, UpstreamConfig};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The time after which a test is stuck.
pub(crate) const STUCK: Duration = Duration::from_secs(20);

/// What an answer of a test handler is made of.
pub(crate) type Boxed = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A scripted upstream: each connection is handed to `script` with its number, from 0.
pub(crate) async fn raw_upstream<S, F>(script: S) -> SocketAddr
where
    S: Fn(TcpStream, usize) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream, number));
            number += 1;
        }
    });
    addr
}

/// An upstream that reads whole requests with a small Content-Length body and answers each with what
/// `answer` makes of its number; it counts complete arrivals.
pub(crate) async fn counting_upstream(
    arrivals: Arc<AtomicUsize>,
    answer: impl Fn(usize) -> Option<&'static str> + Send + Sync + 'static,
) -> SocketAddr {
    let answer = Arc::new(answer);
    raw_upstream(move |mut stream, _| {
        let (arrivals, answer) = (Arc::clone(&arrivals), Arc::clone(&answer));
        async move {
            while read_request(&mut stream).await.is_some() {
                let number = arrivals.fetch_add(1, Ordering::SeqCst);
                match answer(number) {
                    Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                    None => return,
                }
            }
        }
    })
    .await
}

/// Reads one request with a Content-Length body or none; the head as text, and the body.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let head = read_head(stream).await?;
    let length = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// Reads up to and with the empty line.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Reads until the peer closes, however it does that.
pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _reset = tokio::time::timeout(STUCK, stream.read_to_end(&mut all)).await.expect("stuck");
    String::from_utf8_lossy(&all).into_owned()
}

/// Writes, then reads until the peer closes.
pub(crate) async fn talk(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_all(&mut stream).await
}

/// A client of `addr` over HTTP/1.1 in clear text.
pub(crate) fn upstream(addr: SocketAddr) -> Upstream {
    Upstream::new(UpstreamConfig::new(format!("http://{addr}").parse().unwrap())).unwrap()
}

/// Serves with `handler` on one core.
pub(crate) fn serve<F, A>(config: ListenConfig, handler: F) -> Server
where
    F: Fn(Request<Incoming>, &Arc<ConnInfo>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Boxed>> + Send + 'static,
{
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config).unwrap();
    listener.serve(NonZeroUsize::MIN, move |_core: Core| handler.clone()).unwrap()
}

/// A gateway on one core that only passes through.
pub(crate) fn gateway(upstream: Upstream, config: ListenConfig, timeout: Duration) -> Server {
    let forward = Arc::new(ForwardConfig::default());
    serve(config, move |request, connection| {
        let (upstream, forward) = (upstream.clone(), Arc::clone(&forward));
        let connection = Arc::clone(connection);
        async move {
            match pass_through(&upstream, request, &connection, &forward, timeout).await {
                Ok(response) => response.map(boxed),
                Err(hapax_proxy::forward::ForwardError::Timeout { .. }) => {
                    plain(StatusCode::GATEWAY_TIMEOUT, "timeout")
                }
                Err(hapax_proxy::forward::ForwardError::Send(error)) => {
                    plain(StatusCode::BAD_GATEWAY, &error.to_string())
                }
            }
        }
    })
}

/// An answer with a short text.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Boxed> {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

fn boxed(body: UpstreamBody) -> Boxed {
    body.map_err(Into::into).boxed_unsync()
}

/// Polls `done` until it holds; for states that another thread reaches in its own time.
pub(crate) async fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + STUCK;
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

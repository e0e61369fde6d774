//! The upstream of every measurement: answers 300 bytes of JSON, and counts how often.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

/// Where the number of answers so far is told.
pub(crate) const COUNT_PATH: &str = "/count";

const ANSWER_BYTES: usize = 300;

static ANSWERS: AtomicU64 = AtomicU64::new(0);

/// Serves until the process is ended. Prints its address first.
pub(crate) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    crate::child::announce(listener.local_addr()?);
    let mut threads = Vec::new();
    for _ in 0..crate::machine::cores() {
        let (sender, connections) = mpsc::unbounded_channel();
        threads.push(sender);
        thread::spawn(move || serve_thread(connections));
    }
    // Connections are dealt in turn, so that every thread has its share.
    for turn in 0.. {
        let (stream, _) = listener.accept()?;
        let thread: &mpsc::UnboundedSender<TcpStream> = &threads[turn % threads.len()];
        thread.send(stream).map_err(|_| io::Error::other("a thread of the upstream has ended"))?;
    }
    Ok(())
}

fn serve_thread(mut connections: mpsc::UnboundedReceiver<TcpStream>) -> io::Result<()> {
    let answer = answer();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        while let Some(stream) = connections.recv().await {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let io = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| respond(request, answer.clone()));
                // A client that goes away in the middle is no concern of the upstream.
                drop(
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await,
                );
            });
        }
        Ok(())
    })
}

async fn respond(
    request: Request<Incoming>,
    answer: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = if request.uri().path() == COUNT_PATH {
        Bytes::from(ANSWERS.load(Ordering::Relaxed).to_string())
    } else {
        // The body is read to its end, as a real upstream would; a broken one is answered too.
        drop(request.into_body().collect().await);
        ANSWERS.fetch_add(1, Ordering::Relaxed);
        answer
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn answer() -> Bytes {
    let (head, tail) = (r#"{"id":"ord_5c1e0a7d","status":"captured","note":""#, r#""}"#);
    let note = "n".repeat(ANSWER_BYTES - head.len() - tail.len());
    Bytes::from(format!("{head}{note}{tail}"))
}

/// How many requests the upstream at `address` has answered.
pub(crate) fn count(address: SocketAddr) -> io::Result<u64> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    write!(stream, "GET {COUNT_PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let number = text.split("\r\n\r\n").nth(1).and_then(|body| body.trim().parse().ok());
    number.ok_or_else(|| io::Error::other("the upstream did not tell its count"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_size_that_is_reported() {
        assert_eq!(answer().len(), ANSWER_BYTES);
    }
}

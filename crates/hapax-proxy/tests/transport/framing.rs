//! HTP-02, HTP-03, HTP-05, HTP-13: what the server library refuses, and what this crate adds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hapax_proxy::forward::{RequestLimits, check_request};
use hapax_proxy::listen::{ListenConfig, Server};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{STUCK, plain, read_all, read_head, serve, talk};

/// Reads the body and answers 200, after the gateway's own checks; counts what got through.
fn checked(calls: Arc<AtomicUsize>) -> Server {
    serve(ListenConfig::default(), move |request, _| {
        let calls = Arc::clone(&calls);
        async move {
            let (parts, body) = request.into_parts();
            let limits = RequestLimits { uri_bytes_max: 8192, protected: Vec::new() };
            if let Err(malformed) = check_request(&parts, &limits) {
                return plain(StatusCode::BAD_REQUEST, &malformed.to_string());
            }
            let Ok(body) = body.collect().await else {
                return plain(StatusCode::BAD_REQUEST, "body");
            };
            calls.fetch_add(1, Ordering::SeqCst);
            plain(StatusCode::OK, &format!("{} {}", parts.uri, body.to_bytes().len()))
        }
    })
}

#[tokio::test]
async fn ambiguous_framing_is_answered_400_and_closes_before_any_handler() {
    // HTP-02
    let calls = Arc::new(AtomicUsize::new(0));
    let server = checked(Arc::clone(&calls));
    for bad in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n\r\nhello!",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost : a\r\ncontent-length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded\r\ncontent-length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\ncontent-length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nx: 1\0b\r\ncontent-length: 0\r\n\r\n",
        "POST / HTTP/1.1\rhost: a\r\n\r\n",
        "POST /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\n: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nno-host: a\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: u@a\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nconnection: close\r\n\r\n",
    ] {
        let answer = talk(server.local_addr(), bad.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bad:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{bad:?}: {answer:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn content_length_with_transfer_encoding_smuggles_nothing() {
    // HTP-02
    let calls = Arc::new(AtomicUsize::new(0));
    let server = checked(Arc::clone(&calls));
    let bad = "POST /outer HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
               0\r\n\r\nGET /inner HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = talk(server.local_addr(), bad.as_bytes()).await;
    // The safe normal form that RFC 9112, 6.3 allows: chunked alone counts, the length is not passed on, and
    // the connection closes, so that the rest is never read as a request.
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("/outer 0"), "{answer:?}");
    assert!(answer.contains("connection: close"), "{answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_absolute_target_with_another_host_is_allowed() {
    // Ruling 4: the effective host is the target's.
    let server = checked(Arc::default());
    let request = "GET http://b/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = talk(server.local_addr(), request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("http://b/x 0"), "{answer:?}");
}

#[tokio::test]
async fn bad_chunks_and_lying_lengths_never_look_like_a_whole_body() {
    let calls = Arc::new(AtomicUsize::new(0));
    let server = checked(Arc::clone(&calls));
    for bad in [
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello",
    ] {
        let answer = talk(server.local_addr(), bad.as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{bad:?}: {answer:?}");
    }
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nshort")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(!answer.contains(" 200 "), "{answer:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn http2_with_connection_fields_or_line_breaks_is_refused() {
    // HTP-03: literal header fields after :method POST, :scheme http, :path /, :authority a.
    let calls = Arc::new(AtomicUsize::new(0));
    let server = checked(Arc::clone(&calls));
    for (name, value) in
        [("connection", "close"), ("transfer-encoding", "chunked"), ("x", "a\r\nb: c"), ("X", "y")]
    {
        let mut block = vec![0x83, 0x86, 0x84, 0x01, 1, b'a'];
        block.push(0);
        block.push(u8::try_from(name.len()).unwrap());
        block.extend(name.as_bytes());
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
        bytes.extend(&block);
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let end = timeout(STUCK, first_end(&mut stream)).await.expect("no answer");
        assert!(matches!(end, 3 | 7), "{name}: frame type {end}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

/// The type of the first frame that is RST_STREAM (3), GOAWAY (7) or HEADERS (1).
async fn first_end(stream: &mut TcpStream) -> u8 {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        if matches!(head[3], 1 | 3 | 7) {
            return head[3];
        }
    }
}

#[tokio::test]
async fn expect_100_continue_is_answered_only_when_the_body_is_wanted() {
    // HTP-05
    let server = serve(ListenConfig::default(), |request, _| async move {
        if request.uri().path() == "/refuse" {
            return plain(StatusCode::BAD_REQUEST, "no");
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        plain(StatusCode::OK, std::str::from_utf8(&body).unwrap())
    });
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(head("/refuse").as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(head("/read").as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hi").await.unwrap();
    assert!(read_head(&mut stream).await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_sends_megabytes_first() {
    // HTP-13: without the discard, the reset of the closed socket destroys the answer.
    let config = ListenConfig { discard_timeout: STUCK, ..Default::default() };
    let server = serve(config, |_, _| async { plain(StatusCode::PAYLOAD_TOO_LARGE, "too much") });
    for _ in 0..5 {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let body = vec![b'x'; 6 << 20];
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.expect("the whole body is taken");
        // A late reader: the answer has to be still there.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = read_all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too much"), "{answer}");
    }
}

#[tokio::test]
async fn the_discard_after_an_early_answer_is_bounded() {
    // HTP-13, ruling 18
    let config = ListenConfig {
        discard_bytes_max: 1 << 20,
        discard_timeout: Duration::from_millis(200),
        ..Default::default()
    };
    let server = serve(config, |_, _| async { plain(StatusCode::PAYLOAD_TOO_LARGE, "") });
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n")
        .await
        .unwrap();
    let chunk = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 64 << 20, "the listener reads without end");
    }
    // A silent client is let go in time as well.
    let mut silent = TcpStream::connect(server.local_addr()).await.unwrap();
    silent
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n")
        .await
        .unwrap();
    crate::support::eventually("silent client let go", || server.connections() == 0).await;
}

#[tokio::test]
async fn a_small_unread_body_does_not_end_the_connection_or_confuse_the_next_request() {
    // HTP-13
    let server = serve(ListenConfig::default(), |request, _| async move {
        plain(StatusCode::OK, request.uri().path())
    });
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream
        .write_all(
            b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 36\r\n\r\n\
              GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .await
        .unwrap();
    let _closed =
        stream.write_all(b"GET /two HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let answer = read_all(&mut stream).await;
    assert!(answer.contains("/one") && !answer.contains("/smuggled"), "{answer}");
}

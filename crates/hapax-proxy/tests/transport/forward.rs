//! HTP-01, HTP-07, HTP-08: unprotected traffic streams through untouched.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hapax_proxy::listen::{Drained, ListenConfig, Server};
use hapax_proxy::upstream::{Http2, RequestBody, Upstream, UpstreamConfig};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    STUCK, counting_upstream, eventually, gateway, plain, raw_upstream, read_all, read_head,
    read_request, serve, talk, upstream,
};

const WAIT: Duration = Duration::from_secs(10);

async fn before<S, F>(script: S) -> Server
where
    S: Fn(TcpStream, usize) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    gateway(upstream(raw_upstream(script).await), ListenConfig::default(), WAIT)
}

#[tokio::test]
async fn hop_by_hop_fields_come_off_both_ways_and_the_rest_stays() {
    // HTP-01, HTP-10
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let log = Arc::clone(&seen);
    let server = before(move |mut stream, _| {
        let log = Arc::clone(&log);
        async move {
            let (head, _) = read_request(&mut stream).await.unwrap();
            *log.lock().unwrap() = head;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nkeep-alive: timeout=5\r\n\
                          connection: x-hop\r\nx-hop: 1\r\nx-end: 1\r\nhapax-outcome: final\r\n\
                          set-cookie: a=1\r\nset-cookie: b=2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let request = "GET /p?q=%41 HTTP/1.1\r\nhost: shop.example\r\nconnection: close, x-mine\r\n\
                   x-mine: 1\r\nx-end: 2\r\nkeep-alive: 3\r\nte: gzip\r\nproxy-authorization: p\r\n\
                   hapax-attempt: 9\r\nx-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\n\
                   via: 1.0 first\r\nforwarded: for=9.9.9.9\r\n\r\n";
    let answer = talk(server.local_addr(), request.as_bytes()).await;
    let head = seen.lock().unwrap().clone();
    assert!(head.starts_with("GET /p?q=%41 HTTP/1.1\r\n"), "{head}");
    for line in [
        "host: shop.example",
        "x-end: 2",
        "via: 1.0 first",
        "via: 1.1 hapax",
        "x-forwarded-for: 9.9.9.9",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: shop.example",
        "forwarded: for=127.0.0.1;host=\"shop.example\";proto=http",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} not in {head}");
    }
    for gone in ["x-mine", "keep-alive", "\r\nte:", "proxy-authorization", "hapax-", "https"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    assert!(answer.contains("x-end: 1") && answer.contains("set-cookie: a=1"), "{answer}");
    assert!(answer.contains("set-cookie: b=2") && answer.ends_with("ok"), "{answer}");
    for gone in ["x-hop", "keep-alive:", "hapax-"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
}

#[tokio::test]
async fn events_reach_the_client_one_by_one() {
    // HTP-08: the second event is sent only when the client has the first.
    let got = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&got);
    let server = before(move |mut stream, _| {
        let seen = Arc::clone(&seen);
        async move {
            read_request(&mut stream).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            for event in 0..5 {
                stream.write_all(format!("9\r\ndata: {event}\n\n\r\n").as_bytes()).await.unwrap();
                eventually("event received", || seen.load(Ordering::SeqCst) > event).await;
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut stream).await.unwrap();
    for event in 0..5 {
        let mut text = [0; 14];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(text.as_slice(), format!("9\r\ndata: {event}\n\n\r\n").as_bytes());
        got.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(read_all(&mut stream).await, "0\r\n\r\n");
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_a_drain() {
    // Ruling 18
    let server = before(|mut stream, _| async move {
        read_request(&mut stream).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_head(&mut stream).await.unwrap();
    let drained = tokio::time::timeout(STUCK, server.drain(Duration::from_secs(60), async |_| ()))
        .await
        .unwrap();
    assert_eq!(drained, Drained { operations_cut: 0, connections_cut: 1 });
    assert!(!read_all(&mut stream).await.ends_with("0\r\n\r\n"), "a cut stream is not complete");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    // HTP-08, REP-11
    let server = before(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.contains("te: trailers") && head.contains("trailer: x-sum"), "{head}");
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n\r\n") {
            body.push(stream.read_u8().await.unwrap());
        }
        assert_eq!(String::from_utf8(body).unwrap(), "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n");
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n\
                      2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\
                   transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
    let answer = talk(server.local_addr(), request.as_bytes()).await;
    assert!(answer.ends_with("2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_upgraded_connection_carries_both_ways_and_ends_with_both_sides() {
    // HTP-07
    let server = before(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(
            head.contains("upgrade: websocket") && head.contains("connection: upgrade"),
            "{head}"
        );
        assert!(head.contains("sec-websocket-key: k"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: y\r\n\r\nfirst";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    })
    .await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let request = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\n\
                   upgrade: websocket\r\nsec-websocket-key: k\r\n\r\nping";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains("upgrade: websocket") && head.contains("sec-websocket-accept: y"),
        "{head}"
    );
    assert_eq!(read_all(&mut stream).await, "firstping");
    drop(stream);
    eventually("tunnel gone", || server.connections() == 0).await;
}

#[tokio::test]
async fn an_upgrade_to_http2_is_not_passed_on() {
    let server = before(|mut stream, _| async move {
        let (head, _) = read_request(&mut stream).await.unwrap();
        assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
        stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings, close\r\n\
                   upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n";
    let answer = talk(server.local_addr(), request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && !answer.contains("content-length"), "{answer}");
}

const LARGE: usize = 64 << 20;

#[tokio::test]
async fn large_bodies_pass_both_ways_in_bounded_memory() {
    // HTP-08
    let server = before(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.contains(&format!("content-length: {LARGE}\r\n")), "{head}");
        discard(&mut stream, LARGE).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        pour(&mut stream, LARGE).await;
    })
    .await;
    let before = peak_bytes();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {LARGE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    pour(&mut stream, LARGE).await;
    assert!(read_head(&mut stream).await.unwrap().starts_with("HTTP/1.1 200 "));
    discard(&mut stream, LARGE).await;
    let grown = peak_bytes().saturating_sub(before);
    assert!(grown < LARGE / 2, "{grown} bytes more at the peak");
}

async fn pour(stream: &mut TcpStream, bytes: usize) {
    let chunk = vec![b'x'; 64 << 10];
    for _ in 0..bytes / chunk.len() {
        stream.write_all(&chunk).await.unwrap();
    }
}

async fn discard(stream: &mut TcpStream, bytes: usize) {
    let mut chunk = vec![0; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let want = left.min(chunk.len());
        let read = stream.read(&mut chunk[..want]).await.unwrap();
        assert!(read > 0, "{left} bytes are missing");
        left -= read;
    }
}

/// The largest resident size so far. Other tests run in the same process, so that only large growth
/// means something.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

#[tokio::test]
async fn a_cut_answer_is_cut_for_the_client_too() {
    // REP-09: with a length, and with chunks.
    for (framing, last) in
        [("content-length: 100", "abc"), ("transfer-encoding: chunked", "3\r\nabc\r\n")]
    {
        let server = before(move |mut stream, _| async move {
            read_request(&mut stream).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{last}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let answer = talk(server.local_addr(), request).await;
        assert!(answer.contains(framing) && !answer.contains("0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_a_timeout_and_a_slow_body_is_not() {
    // Ruling 6
    let addr = raw_upstream(|mut stream, _| async move {
        let (head, _) = read_request(&mut stream).await.unwrap();
        if head.starts_with("GET /silent") {
            std::future::pending::<()>().await;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        stream.write_all(b"k").await.unwrap();
    })
    .await;
    let server = gateway(upstream(addr), ListenConfig::default(), Duration::from_secs(1));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let silent = talk(server.local_addr(), get("/silent").as_bytes()).await;
    assert!(silent.starts_with("HTTP/1.1 504 "), "{silent}");
    let mut slow = talk(server.local_addr(), get("/slow").as_bytes()).await;
    for _ in 0..30 {
        // Where the machine stands still for that second, even the head comes too late.
        if !slow.starts_with("HTTP/1.1 504 ") {
            break;
        }
        slow = talk(server.local_addr(), get("/slow").as_bytes()).await;
    }
    assert!(slow.starts_with("HTTP/1.1 200 ") && slow.ends_with("ok"), "{slow}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_unprotected_request_upstream() {
    let begun = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let (first, last) = (Arc::clone(&begun), Arc::clone(&ended));
    let server = before(move |mut stream, _| {
        let (first, last) = (Arc::clone(&first), Arc::clone(&last));
        async move {
            read_request(&mut stream).await.unwrap();
            first.fetch_add(1, Ordering::SeqCst);
            // The next read ends when the gateway gives the request up.
            assert!(stream.read_u8().await.is_err());
            last.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    eventually("request begun", || begun.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    eventually("given up upstream", || ended.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn http2_clients_are_served_by_an_http1_upstream() {
    // HTP-03, HTP-08; the cookie lines become one, as RFC 9113, 8.2.3 wants it.
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let log = Arc::clone(&seen);
    let addr = raw_upstream(move |mut stream, _| {
        let log = Arc::clone(&log);
        async move {
            while let Some((head, _)) = read_request(&mut stream).await {
                *log.lock().unwrap() = head;
                stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
                    )
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let server = gateway(upstream(addr), ListenConfig::default(), WAIT);
    let uri = format!("http://{}", server.local_addr());
    let mut config = UpstreamConfig::new(uri.parse().unwrap());
    config.http2 = Http2::Prior;
    let client = Upstream::new(config).unwrap();
    for _ in 0..3 {
        let request = Request::post("/x?y")
            .header("host", "shop.example")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(RequestBody::from(Bytes::from_static(b"hello")))
            .unwrap();
        let response = client.send(request, || true).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    let head = seen.lock().unwrap().clone();
    assert!(head.starts_with("POST /x?y HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: shop.example\r\n") && head.contains("via: 2 hapax\r\n"), "{head}");
    assert!(
        head.contains("cookie: a=1; b=2\r\n") && head.contains("content-length: 5\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn many_requests_at_once_all_get_their_own_answer() {
    let back = serve(ListenConfig::default(), |request, _| async move {
        let path = request.uri().path().to_owned();
        tokio::task::yield_now().await;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        plain(StatusCode::OK, &format!("{path} {}", String::from_utf8_lossy(&body)))
    });
    let server = gateway(upstream(back.local_addr()), ListenConfig::default(), WAIT);
    let mut tasks = Vec::new();
    for client in 0..32 {
        let addr = server.local_addr();
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            for round in 0..50 {
                let path = format!("/{client}/{round}");
                let request =
                    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
                stream.write_all(request.as_bytes()).await.unwrap();
                let (_, body) = read_request(&mut stream).await.unwrap();
                assert_eq!(String::from_utf8(body).unwrap(), format!("{path} hi"));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(back.connections() <= 32, "{} upstream connections", back.connections());
}

#[tokio::test]
async fn an_unreachable_upstream_is_told_to_the_caller() {
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let server = gateway(upstream(gone), ListenConfig::default(), WAIT);
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = talk(server.local_addr(), request).await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("no connection to"), "{answer}");
}

#[tokio::test]
async fn a_head_request_has_no_body_and_keeps_its_connections() {
    let arrivals = Arc::new(AtomicUsize::new(0));
    let addr = counting_upstream(Arc::clone(&arrivals), |_| {
        Some("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    })
    .await;
    let server = gateway(upstream(addr), ListenConfig::default(), WAIT);
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.contains("content-length: 500\r\n"), "{head}");
    }
    assert_eq!(arrivals.load(Ordering::SeqCst), 3);
}

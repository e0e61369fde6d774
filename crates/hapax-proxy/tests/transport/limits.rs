//! HTP-14, DBT-10 and ruling 18: what is bounded, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hapax_proxy::listen::{Core, Drained, ListenConfig, ListenError, Listener, Operation};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{STUCK, eventually, plain, read_all, read_head, serve, talk};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// How often a scene is set up again after the machine stood still in the middle of it.
const TRIES: usize = 30;

#[tokio::test]
async fn a_head_that_does_not_come_is_answered_408() {
    // HTP-14
    let config = ListenConfig { head_timeout: Duration::from_millis(150), ..Default::default() };
    let server = serve(config, |_, _| async { plain(StatusCode::OK, "") });
    let started = Instant::now();
    let answer = talk(server.local_addr(), b"GET / HTTP/1.1\r\nhost: a\r\nx: ").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    // A byte now and then does not help.
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let started = Instant::now();
    while stream.write_all(b"G").await.is_ok() {
        assert!(started.elapsed() < STUCK, "the head may come for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_an_answer() {
    let limit = Duration::from_secs(1);
    let config = ListenConfig { idle_timeout: limit, ..Default::default() };
    let server = serve(config, |_, _| async { plain(StatusCode::OK, "") });
    assert_eq!(talk(server.local_addr(), b"").await, "");
    // In use it stays, although all of it takes longer than the limit.
    let mut tries = 0;
    let mut stream = loop {
        match used_for_longer_than(limit, server.local_addr()).await {
            Ok(stream) => break stream,
            Err(pause) => assert!(pause >= limit * 9 / 10, "closed after a pause of {pause:?}"),
        }
        tries += 1;
        assert!(tries < TRIES, "the machine stood still each time");
    };
    assert_eq!(read_all(&mut stream).await, "");
    eventually("all closed", || server.connections() == 0).await;
}

/// Three requests with short pauses on one connection; the last pause, where it was closed in it.
async fn used_for_longer_than(limit: Duration, addr: SocketAddr) -> Result<TcpStream, Duration> {
    let mut used = Instant::now();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    for _ in 0..3 {
        let asked = Instant::now();
        let _closed = stream.write_all(GET).await;
        let Some(head) = read_head(&mut stream).await else { return Err(used.elapsed()) };
        // The server's pause began after this.
        used = asked;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        tokio::time::sleep(limit * 2 / 5).await;
    }
    Ok(stream)
}

#[tokio::test]
async fn a_slow_handler_is_not_taken_for_an_idle_connection() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let config = ListenConfig {
        head_timeout: Duration::from_millis(150),
        idle_timeout: Duration::from_millis(400),
        ..Default::default()
    };
    let server = serve(config, move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            plain(StatusCode::OK, "slow")
        }
    });
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for _ in 0..TRIES {
        let answer = talk(server.local_addr(), request).await;
        if begun.load(Ordering::SeqCst) > 0 {
            assert!(answer.ends_with("slow"), "{answer}");
            return;
        }
        // The machine stood still between the connection and the request.
    }
    panic!("the handler never ran");
}

#[tokio::test]
async fn too_many_or_too_large_fields_are_answered_431_and_a_huge_target_414() {
    // HTP-14
    let small = ListenConfig { head_bytes_max: 4096, headers_max: 20, ..Default::default() };
    let server = serve(small, |_, _| async { plain(StatusCode::OK, "") });
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(5000));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(30));
    for bad in [large, many] {
        let answer = talk(server.local_addr(), bad.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let roomy = ListenConfig { head_bytes_max: 200_000, ..Default::default() };
    let server = serve(roomy, |_, _| async { plain(StatusCode::OK, "") });
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(70_000));
    let answer = talk(server.local_addr(), long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    let config = ListenConfig { write_timeout: Duration::from_millis(200), ..Default::default() };
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let server = serve(config, move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async { plain(StatusCode::OK, &"x".repeat(32 << 20)) }
    });
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(GET).await.unwrap();
    eventually("request begun", || begun.load(Ordering::SeqCst) == 1).await;
    eventually("cut", || server.connections() == 0 && server.operations() == 0).await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let config = ListenConfig { connections_max: 2, ..Default::default() };
    let server = serve(config, |_, _| async { plain(StatusCode::OK, "") });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(GET).await.unwrap();
        read_head(&mut stream).await.unwrap();
        held.push(stream);
    }
    let mut third = TcpStream::connect(server.local_addr()).await.unwrap();
    third.write_all(GET).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(150), third.read_u8()).await;
    assert!(waited.is_err(), "served beyond the limit");
    held.pop();
    assert!(read_head(&mut third).await.unwrap().starts_with("HTTP/1.1 200 "));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn two_cores_share_connections_evenly() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenConfig::default()).unwrap();
    let seen = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counts = Arc::clone(&seen);
    let server = listener
        .serve(2.try_into().unwrap(), move |core: Core| {
            let counts = Arc::clone(&counts);
            move |_request: http::Request<hyper::body::Incoming>, _connection: &Arc<_>| {
                counts[core.index].fetch_add(1, Ordering::SeqCst);
                async { plain(StatusCode::OK, "") }
            }
        })
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(GET).await.unwrap();
        read_head(&mut stream).await.unwrap();
        held.push(stream);
    }
    assert_eq!(seen[0].load(Ordering::SeqCst), 10);
    assert_eq!(seen[1].load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn a_thousand_idle_connections_cost_little_and_leave_room_for_others() {
    let server = serve(ListenConfig::default(), |_, _| async { plain(StatusCode::OK, "") });
    let before = resident_bytes();
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.push(TcpStream::connect(server.local_addr()).await.unwrap());
    }
    eventually("all accepted", || server.connections() == 1000).await;
    let each = resident_bytes().saturating_sub(before) / 1000;
    // Both ends and the test's own sockets are in this figure.
    assert!(each < 16 << 10, "{each} bytes for each silent connection");
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert!(read_head(&mut stream).await.unwrap().starts_with("HTTP/1.1 200 "));
    for stream in &mut held {
        stream.write_all(GET).await.unwrap();
        assert!(read_head(stream).await.unwrap().starts_with("HTTP/1.1 200 "));
    }
    let each = resident_bytes().saturating_sub(before) / 1000;
    assert!(each < 64 << 10, "{each} bytes for each kept-alive connection");
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_refuses_what_comes() {
    // DBT-10
    let release = Arc::new(Notify::new());
    let gate = Arc::clone(&release);
    let server = serve(ListenConfig::default(), move |_, _| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            plain(StatusCode::OK, "finished")
        }
    });
    let addr = server.local_addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    let mut running = TcpStream::connect(addr).await.unwrap();
    running.write_all(GET).await.unwrap();
    eventually("request begun", || server.operations() == 1 && server.connections() == 2).await;
    let draining = tokio::spawn(server.drain(Duration::from_secs(10), async |_| ()));
    assert_eq!(read_all(&mut idle).await, "", "an idle connection is closed at once");
    let deadline = Instant::now() + STUCK;
    while TcpStream::connect(addr).await.is_ok() {
        assert!(Instant::now() < deadline, "the port is never closed");
    }
    release.notify_one();
    let answer = read_all(&mut running).await;
    assert!(answer.ends_with("finished") && answer.contains("connection: close"), "{answer}");
    let drained = draining.await.unwrap();
    assert_eq!(drained, Drained { operations_cut: 0, connections_cut: 0 });
}

#[tokio::test]
async fn a_drain_waits_for_detached_operations_and_cuts_what_is_out_of_time() {
    // Ruling 18
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenConfig::default()).unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let server = listener
        .serve(std::num::NonZeroUsize::MIN, move |core: Core| {
            let (count, operations) = (Arc::clone(&count), core.operations);
            move |request: http::Request<hyper::body::Incoming>, _connection: &Arc<_>| {
                let operation: Operation = operations.begin();
                let time = if request.uri().path() == "/long" { 60_000 } else { 300 };
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(time)).await;
                    count.fetch_add(1, Ordering::SeqCst);
                    drop(operation);
                });
                async { plain(StatusCode::ACCEPTED, "") }
            }
        })
        .unwrap();
    let addr = server.local_addr();
    for path in ["/short", "/long"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(talk(addr, request.as_bytes()).await.starts_with("HTTP/1.1 202 "));
    }
    let started = Instant::now();
    let drained = server.drain(Duration::from_secs(3), async |_| ()).await;
    assert_eq!(drained, Drained { operations_cut: 1, connections_cut: 0 });
    assert_eq!(done.load(Ordering::SeqCst), 1, "the short one was let finish");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_port_in_use_is_refused_with_the_mend() {
    let config = ListenConfig::default;
    let first = Listener::bind("127.0.0.1:0".parse().unwrap(), config()).unwrap();
    let addr = first.local_addr();
    let error = Listener::bind(addr, config()).unwrap_err();
    assert!(matches!(error, ListenError::Bind { .. }));
    let text = error.to_string();
    assert!(text.contains(&addr.to_string()) && text.contains("choose another port"), "{text}");
}

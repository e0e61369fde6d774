//! Traffic that no key protects: it streams through as if the gateway were not there (ruling 6).

use std::io::{BufRead as _, Read as _, Write as _};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hapax_tests::{Chance, Connection, Next, Request, STUCK, Settings, Upstream, respond};

fn get(target: &str) -> Request {
    Request::new("GET", target)
}

/// Server-sent events arrive one by one, while the upstream still has the answer open.
#[test]
fn server_sent_events_arrive_as_they_are_sent() {
    let (next, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::start(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for number in 0..5 {
            let event = format!("data: {number}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            stream.write_all(chunk.as_bytes()).unwrap();
            // The next is sent when the client has seen this one.
            wait.lock().unwrap().recv_timeout(STUCK).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        Next::Keep
    });
    let gateway = Settings::new(&upstream.url()).start();
    for request in [get("/events"), Request::new("POST", "/events").body(b"subscribe")] {
        let mut client = Connection::open(gateway.address()).unwrap();
        client.write(&request.bytes()).unwrap();
        let (status, fields) = client.read_answer_head().unwrap();
        assert_eq!(status, 200);
        assert_eq!(fields.first("content-type"), Some("text/event-stream"));
        for number in 0..5 {
            let mut seen = String::new();
            while !seen.contains(&format!("data: {number}")) {
                client.reader().read_line(&mut seen).unwrap();
            }
            next.send(()).unwrap();
        }
    }
}

/// An upgrade becomes a tunnel for both sides.
#[test]
fn an_upgrade_becomes_a_tunnel() {
    let upstream = Upstream::start(|arrival, stream| {
        assert_eq!(arrival.fields.first("upgrade"), Some("echo"));
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..read]).unwrap();
        }
        Next::Close
    });
    let gateway = Settings::new(&upstream.url()).start();
    let mut client = Connection::open(gateway.address()).unwrap();
    let request = get("/ws").field("Connection", "Upgrade").field("Upgrade", "echo");
    client.write(&request.bytes()).unwrap();
    let (status, fields) = client.read_answer_head().unwrap();
    assert_eq!((status, fields.first("upgrade")), (101, Some("echo")));
    for number in 0..20 {
        let sent = format!("frame {number} \u{0}\u{1}").into_bytes();
        client.write(&sent).unwrap();
        let mut echoed = vec![0; sent.len()];
        client.reader().read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, sent);
    }
}

/// Trailers of the request and of the answer pass, kept apart from the headers.
#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::start(|_, stream| {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                      4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        Next::Keep
    });
    let gateway = Settings::new(&upstream.url()).start();
    let request = Request::new("PUT", "/files/1")
        .field("Transfer-Encoding", "chunked")
        .field("Trailer", "X-Digest")
        .field("TE", "trailers")
        .body(b"3\r\nabc\r\n0\r\nX-Digest: d\r\n\r\n");
    let answer = request.answer(gateway.address());
    assert_eq!(answer.text(), "body");
    assert_eq!(answer.trailers.first("x-sum"), Some("42"));
    assert_eq!(answer.fields.first("x-sum"), None);
    let log = upstream.log();
    assert_eq!(log[0].body, b"abc");
    assert_eq!(log[0].trailers.first("x-digest"), Some("d"));
}

/// Bodies far over the limit of keyed requests pass either way without being held in memory.
#[test]
fn large_bodies_stream_both_ways_in_little_memory() {
    const BYTES: usize = 96 << 20;
    let upstream = Upstream::counting(|arrival, stream| {
        if arrival.start.starts_with("PUT") {
            return respond(stream, 200, &[], arrival.body.len().to_string().as_bytes());
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let block = vec![b'd'; 1 << 16];
        for _ in 0..BYTES / block.len() {
            if stream.write_all(&block).is_err() {
                return Next::Close;
            }
        }
        Next::Keep
    });
    let gateway = Settings::new(&upstream.url()).start();
    assert_eq!(get("/warm").answer(gateway.address()).body.len(), BYTES);
    let before = gateway.resident_kib();
    let up = Request::new("PUT", "/files/1").body(&vec![b'u'; BYTES]);
    assert_eq!(up.answer(gateway.address()).text(), BYTES.to_string());
    let down = get("/files/1").answer(gateway.address());
    assert!(down.body.len() == BYTES && down.body.iter().all(|byte| *byte == b'd'));
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "grew by {grown} KiB for bodies of {} KiB", BYTES >> 10);
}

/// EXE-09, REP-12: keyed bodies have hard limits; a large answer reaches its first caller whole.
#[test]
fn keyed_bodies_have_limits_and_a_large_answer_is_not_run_again() {
    let upstream = Upstream::start(|_, stream| {
        let body = Chance::new(7).bytes(3 << 20);
        respond(stream, 201, &[("Location", "/big/1")], &body)
    });
    let gateway = Settings::new(&upstream.url()).start();
    let over = Request::payment("over").body(&vec![b'x'; (1 << 20) + 1]);
    let refused = over.answer(gateway.address());
    assert_eq!((refused.status, refused.problem().as_deref()), (413, Some("body-too-large")));
    assert_eq!(upstream.arrivals("over"), 0);

    let first = Request::payment("large").answer(gateway.address());
    assert_eq!((first.status, first.body.len()), (201, 3 << 20));
    assert_eq!(first.body, Chance::new(7).bytes(3 << 20));
    let retry = Request::payment("large").answer(gateway.address());
    assert_eq!((retry.status, retry.problem().as_deref()), (410, Some("result-not-retained")));
    assert_eq!(upstream.arrivals("large"), 1);
}

/// KEY-11, KEY-12: no key where none is asked for, or another method: every request runs.
#[test]
fn requests_without_protection_run_every_time() {
    let count = Arc::new(Mutex::new(0));
    let upstream = {
        let count = Arc::clone(&count);
        Upstream::start(move |_, stream| {
            let mut count = count.lock().unwrap();
            *count += 1;
            respond(stream, 200, &[], count.to_string().as_bytes())
        })
    };
    let config = "[[route]]\nmatch = \"/strict/**\"\nkey = \"required\"\n\
                  [[route]]\nmatch = \"/off/**\"\nkey = \"off\"";
    let gateway = Settings::new(&upstream.url()).config(config).start();
    let keyed =
        |method: &str, target: &str| Request::new(method, target).field("Idempotency-Key", "k");
    let mut expected = 0;
    for request in [
        Request::new("POST", "/free"),
        keyed("GET", "/free"),
        keyed("DELETE", "/free"),
        keyed("PUT", "/free"),
        keyed("POST", "/off/it"),
    ] {
        for _ in 0..2 {
            expected += 1;
            let answer = request.answer(gateway.address());
            assert_eq!((answer.status, answer.text()), (200, expected.to_string()));
            assert!(!answer.replayed());
        }
    }
    let missing = Request::new("POST", "/strict/it").answer(gateway.address());
    assert_eq!((missing.status, missing.problem().as_deref()), (400, Some("missing-key")));
    assert_eq!(*count.lock().unwrap(), expected);
}

/// An unprotected answer that never ends does not outlive its client, and does not hold up a drain:
/// whoever waited for its end would never end.
#[test]
fn a_stream_is_cut_by_a_drain_and_does_not_delay_it() {
    let upstream = Upstream::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        while stream.write_all(b"1\r\nx\r\n").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        Next::Close
    });
    let gateway = Settings::new(&upstream.url()).flag("--drain", "2s").start();
    let mut client = Connection::open(gateway.address()).unwrap();
    client.write(&get("/endless").bytes()).unwrap();
    assert_eq!(client.read_answer_head().unwrap().0, 200);
    gateway.terminate();
    let ended = gateway.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let mut rest = Vec::new();
    let _cut = client.reader().read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut stream is not passed off as whole");
}

//! EXE-07, HTP-04, HTP-06, REP-09: how far a request got, and whether its answer can be believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hapax_proxy::upstream::{
    BodyError, Framing, Http2, NotSent, RequestBody, SendError, TlsRoots, Unknown, Upstream,
    UpstreamConfig,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::{STUCK, counting_upstream, raw_upstream, read_request, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn post() -> Request<RequestBody> {
    Request::post("/pay?a=%2F&b").body(RequestBody::from(Bytes::from_static(b"amount=1"))).unwrap()
}

async fn text(response: Response<hapax_proxy::upstream::UpstreamBody>) -> String {
    let bytes = timeout(STUCK, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn send(to: &Upstream) -> Result<Response<hapax_proxy::upstream::UpstreamBody>, SendError> {
    timeout(STUCK, to.send(post(), || true)).await.expect("stuck")
}

#[tokio::test]
async fn a_request_goes_out_once_and_its_connection_is_used_again() {
    // EXE-01
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let addr = raw_upstream(move |mut stream, number| {
        let log = Arc::clone(&log);
        async move {
            while let Some((head, body)) = read_request(&mut stream).await {
                log.lock().unwrap().push((number, head, body));
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let to = upstream(addr);
    for _ in 0..3 {
        let response = send(&to).await.unwrap();
        assert_eq!(response.body().framing(), Framing::Length(2));
        assert_eq!(text(response).await, "ok");
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    for (connection, head, body) in seen.iter() {
        assert_eq!(*connection, 0, "one connection serves all three");
        assert!(head.starts_with("POST /pay?a=%2F&b HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {addr}\r\n")), "{head}");
        assert_eq!(body, b"amount=1");
    }
}

#[tokio::test]
async fn a_closed_gate_sends_nothing_and_keeps_the_connection() {
    let arrivals = Arc::new(AtomicUsize::new(0));
    let addr = counting_upstream(Arc::clone(&arrivals), |_| Some(OK)).await;
    let to = upstream(addr);
    let refused = to.send(post(), || false).await;
    assert!(matches!(refused, Err(SendError::NotSent(NotSent::GateClosed))), "{refused:?}");
    assert_eq!(arrivals.load(Ordering::SeqCst), 0);
    assert_eq!(text(send(&to).await.unwrap()).await, "ok");
    assert_eq!(arrivals.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    // EXE-08
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let failed = send(&upstream(addr)).await;
    assert!(matches!(failed, Err(SendError::NotSent(NotSent::Connect { .. }))), "{failed:?}");
}

#[tokio::test]
async fn a_name_without_address_is_not_sent() {
    let uri = "http://no-such-name.invalid:80".parse().unwrap();
    let failed = send(&Upstream::new(UpstreamConfig::new(uri)).unwrap()).await;
    assert!(matches!(failed, Err(SendError::NotSent(NotSent::Resolve { .. }))), "{failed:?}");
}

#[tokio::test]
async fn a_close_after_reading_on_a_fresh_connection_is_unknown_and_arrives_once() {
    // EXE-07
    let arrivals = Arc::new(AtomicUsize::new(0));
    let addr = counting_upstream(Arc::clone(&arrivals), |_| None).await;
    let failed = send(&upstream(addr)).await;
    assert!(matches!(failed, Err(SendError::Unknown(Unknown::Lost(_)))), "{failed:?}");
    assert_eq!(arrivals.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_close_after_reading_on_a_pooled_connection_is_unknown_and_arrives_once() {
    // EXE-07
    let arrivals = Arc::new(AtomicUsize::new(0));
    let addr = counting_upstream(Arc::clone(&arrivals), |number| (number == 0).then_some(OK)).await;
    let to = upstream(addr);
    assert_eq!(text(send(&to).await.unwrap()).await, "ok");
    let failed = send(&to).await;
    assert!(matches!(failed, Err(SendError::Unknown(Unknown::Lost(_)))), "{failed:?}");
    assert_eq!(arrivals.load(Ordering::SeqCst), 2, "one for each request");
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_replaced_and_the_request_arrives_once() {
    // EXE-07: provably unsent, so it goes out on another connection.
    let arrivals = Arc::new(AtomicUsize::new(0));
    let closed = Arc::new(AtomicUsize::new(0));
    let (count, done) = (Arc::clone(&arrivals), Arc::clone(&closed));
    let addr = raw_upstream(move |mut stream, _| {
        let (count, done) = (Arc::clone(&count), Arc::clone(&done));
        async move {
            read_request(&mut stream).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            stream.write_all(OK.as_bytes()).await.unwrap();
            drop(stream);
            done.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let to = upstream(addr);
    for round in 1..=20 {
        assert_eq!(text(send(&to).await.unwrap()).await, "ok", "round {round}");
        crate::support::eventually("closed", || closed.load(Ordering::SeqCst) == round).await;
    }
    assert_eq!(arrivals.load(Ordering::SeqCst), 20);
}

#[test]
fn a_close_that_the_event_loop_has_not_seen_is_found_before_the_first_byte() {
    // The upstream runs on a thread of its own, and this runtime does not turn between the close and
    // the next request: only asking the kernel can tell.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (closed, is_closed) = std::sync::mpsc::channel();
    let arrivals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&arrivals);
    let thread = std::thread::spawn(move || {
        use std::io::{Read, Write};
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"amount=1") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            count.fetch_add(1, Ordering::SeqCst);
            stream.write_all(OK.as_bytes()).unwrap();
            // Let the answer be read before the close can arrive with it.
            std::thread::sleep(Duration::from_millis(100));
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let to = upstream(addr);
    runtime.block_on(async {
        assert_eq!(text(send(&to).await.unwrap()).await, "ok");
        // Blocks the whole runtime on purpose.
        is_closed.recv().unwrap();
        assert_eq!(text(send(&to).await.unwrap()).await, "ok");
    });
    thread.join().unwrap();
    assert_eq!(arrivals.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_gate_that_closes_before_the_second_attempt_holds() {
    // Ruling 9: the gate is asked again for each attempt.
    let (addr, closed) = one_answer_each().await;
    let to = upstream(addr);
    assert_eq!(text(send(&to).await.unwrap()).await, "ok");
    crate::support::eventually("closed", || closed.load(Ordering::SeqCst)).await;
    let asked = AtomicUsize::new(0);
    let gate = || asked.fetch_add(1, Ordering::SeqCst) == 0;
    let outcome = timeout(STUCK, to.send(post(), gate)).await.unwrap();
    match outcome {
        // The idle connection was already known to be closed: one attempt only.
        Ok(response) => {
            assert_eq!(asked.load(Ordering::SeqCst), 1);
            assert_eq!(text(response).await, "ok");
        }
        Err(error) => {
            assert!(matches!(error, SendError::NotSent(NotSent::GateClosed)), "{error:?}");
            assert_eq!(asked.load(Ordering::SeqCst), 2);
        }
    }
}

async fn one_answer_each() -> (std::net::SocketAddr, Arc<AtomicBool>) {
    let closed = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&closed);
    let addr = raw_upstream(move |mut stream, _| {
        let done = Arc::clone(&done);
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            drop(stream);
            done.store(true, Ordering::SeqCst);
        }
    })
    .await;
    (addr, closed)
}

async fn body_error(answer: &'static str) -> BodyError {
    let addr = raw_upstream(move |mut stream, _| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let response = send(&upstream(addr)).await.unwrap();
    timeout(STUCK, response.into_body().collect()).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn an_answer_shorter_than_its_content_length_is_cut() {
    // REP-09
    let error = body_error("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort").await;
    assert!(matches!(error, BodyError::Cut(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_without_its_last_chunk_is_cut() {
    // REP-09
    let error =
        body_error("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    assert!(matches!(error, BodyError::Cut(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_with_a_chunk_size_that_is_no_number_is_badly_framed() {
    // HTP-04
    let error =
        body_error("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n")
            .await;
    assert!(matches!(error, BodyError::BadFraming(_)), "{error:?}");
}

#[tokio::test]
async fn heads_that_contradict_http_are_badly_framed_and_their_connection_is_not_used_again() {
    // HTP-04
    for bad in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 2xx OK\r\n\r\n",
        "SMTP ready\r\n\r\n",
    ] {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let addr = raw_upstream(move |mut stream, number| {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = if number == 0 { bad } else { OK };
                while read_request(&mut stream).await.is_some() {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let to = upstream(addr);
        let failed = send(&to).await;
        assert!(
            matches!(failed, Err(SendError::Unknown(Unknown::BadFraming(_)))),
            "{bad:?}: {failed:?}"
        );
        assert_eq!(text(send(&to).await.unwrap()).await, "ok", "{bad:?}");
        assert_eq!(connections.load(Ordering::SeqCst), 2, "{bad:?}");
    }
}

#[tokio::test]
async fn bytes_after_the_answer_end_the_connection() {
    let arrivals = Arc::new(AtomicUsize::new(0));
    let addr = counting_upstream(Arc::clone(&arrivals), |_| {
        Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 Smuggled\r\n\r\n")
    })
    .await;
    let to = upstream(addr);
    for _ in 0..3 {
        let response = send(&to).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "ok");
    }
    assert_eq!(arrivals.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn informational_answers_are_counted_and_dropped() {
    // HTP-06
    let arrivals = Arc::new(AtomicUsize::new(0));
    let addr = counting_upstream(arrivals, |_| {
        Some(concat!(
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n",
            "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok",
        ))
    })
    .await;
    let to = upstream(addr);
    let response = send(&to).await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(!response.headers().contains_key("link"));
    assert_eq!(text(response).await, "ok");
    assert_eq!(to.informational_total(), 3);
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_says_so() {
    let addr = raw_upstream(|mut stream, _| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nto the end").await.unwrap();
    })
    .await;
    let response = send(&upstream(addr)).await.unwrap();
    assert_eq!(response.body().framing(), Framing::Close);
    assert_eq!(response.version(), http::Version::HTTP_11);
    assert_eq!(text(response).await, "to the end");
}

#[tokio::test]
async fn an_abandoned_answer_does_not_return_its_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let addr = raw_upstream(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            while read_request(&mut stream).await.is_some() {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
                let _closed = stream.write_all(head).await;
                let _closed = stream.write_all(&[b'x'; 1000]).await;
            }
        }
    })
    .await;
    let to = upstream(addr);
    for expected in 1..=3 {
        drop(send(&to).await.unwrap());
        assert_eq!(connections.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_time_without_a_request() {
    let arrivals = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let (count, closed) = (Arc::clone(&arrivals), Arc::clone(&ended));
    let addr = raw_upstream(move |mut stream, _| {
        let (count, closed) = (Arc::clone(&count), Arc::clone(&closed));
        async move {
            while read_request(&mut stream).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            closed.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let mut config = UpstreamConfig::new(format!("http://{addr}").parse().unwrap());
    config.idle_timeout = Duration::from_millis(50);
    let to = Upstream::new(config).unwrap();
    assert_eq!(text(send(&to).await.unwrap()).await, "ok");
    crate::support::eventually("idle connection closed", || ended.load(Ordering::SeqCst) == 1)
        .await;
    assert_eq!(arrivals.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_sent_completely() {
    // EXE-06
    let whole = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&whole);
    let addr = raw_upstream(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            if read_request(&mut stream).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let frames = vec![
        Ok(http_body::Frame::data(Bytes::from_static(b"half"))),
        Err("the client went away".into()),
    ];
    let body = http_body_util::StreamBody::new(Frames(frames.into())).boxed_unsync();
    let mut request = Request::post("/").body(RequestBody::Boxed(body)).unwrap();
    request.headers_mut().insert("content-length", "8".parse().unwrap());
    let failed = timeout(STUCK, upstream(addr).send(request, || true)).await.unwrap();
    assert!(matches!(failed, Err(SendError::NotSent(NotSent::RequestBody(_)))), "{failed:?}");
    assert_eq!(whole.load(Ordering::SeqCst), 0);
}

struct Frames(
    std::collections::VecDeque<
        Result<http_body::Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>,
    >,
);

impl futures_core::Stream for Frames {
    type Item = Result<http_body::Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.pop_front())
    }
}

#[tokio::test]
async fn http2_by_prior_knowledge_shares_one_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let addr = h2_upstream(Arc::clone(&connections)).await;
    let mut config = UpstreamConfig::new(format!("http://{addr}").parse().unwrap());
    config.http2 = Http2::Prior;
    let to = Upstream::new(config).unwrap();
    for _ in 0..3 {
        let response = send(&to).await.unwrap();
        assert_eq!(response.body().framing(), Framing::Stream);
        assert_eq!(text(response).await, format!("POST http://{addr}/pay?a=%2F&b amount=1"));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

async fn h2_upstream(connections: Arc<AtomicUsize>) -> std::net::SocketAddr {
    raw_upstream(move |stream, _| {
        connections.fetch_add(1, Ordering::SeqCst);
        async move {
            let service =
                hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let text = String::from_utf8_lossy(&body).into_owned();
                    let echo = format!("{} {} {text}", parts.method, parts.uri);
                    Ok::<_, hyper::Error>(Response::new(http_body_util::Full::new(Bytes::from(
                        echo,
                    ))))
                });
            let _ended = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

/// The upstream's half of an HTTP/2 handshake, then `frame` after the first request's headers.
async fn h2_frames(mut stream: tokio::net::TcpStream, frame: &[u8]) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            stream.write_all(frame).await.unwrap();
        }
    }
}

async fn after_frame(frame: &'static [u8]) -> (Result<String, SendError>, usize) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(h2_frames(stream, frame));
        }
    });
    let mut config = UpstreamConfig::new(format!("http://{addr}").parse().unwrap());
    config.http2 = Http2::Prior;
    let to = Upstream::new(config).unwrap();
    let outcome = match send(&to).await {
        Ok(response) => Ok(text(response).await),
        Err(error) => Err(error),
    };
    (outcome, connections.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_refused_stream_is_not_sent_and_tried_again_within_bounds() {
    // EXE-07: RST_STREAM with REFUSED_STREAM (7) for stream 1.
    let (outcome, connections) = after_frame(&[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7]).await;
    assert!(matches!(outcome, Err(SendError::NotSent(NotSent::Refused))), "{outcome:?}");
    assert_eq!(connections, 3, "the first attempt and two more");
}

#[tokio::test]
async fn a_goaway_below_our_stream_is_not_sent() {
    // EXE-07: GOAWAY with last stream identifier 0.
    let (outcome, connections) =
        after_frame(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    assert!(matches!(outcome, Err(SendError::NotSent(NotSent::Refused))), "{outcome:?}");
    assert_eq!(connections, 3);
}

#[tokio::test]
async fn a_reset_stream_is_unknown_and_not_tried_again() {
    // RST_STREAM with INTERNAL_ERROR (2) for stream 1.
    let (outcome, connections) = after_frame(&[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2]).await;
    assert!(matches!(outcome, Err(SendError::Unknown(Unknown::Lost(_)))), "{outcome:?}");
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn tls_agrees_on_http2_or_http1_and_checks_the_certificate() {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, secret) = (key.cert.pem(), key.signing_key.serialize_pem());
    let identity = hapax_proxy::listen::TlsIdentity::from_pem(cert.as_bytes(), secret.as_bytes());
    let listen =
        hapax_proxy::listen::ListenConfig { tls: Some(identity.unwrap()), ..Default::default() };
    let server = crate::support::serve(listen, |request, connection| {
        let text = format!("{:?} tls={}", request.version(), connection.tls);
        async move { crate::support::plain(http::StatusCode::OK, &text) }
    });
    let uri = format!("https://localhost:{}", server.local_addr().port());
    let with = |http2, roots| {
        let mut config = UpstreamConfig::new(uri.parse().unwrap());
        config.http2 = http2;
        config.tls_roots = roots;
        Upstream::new(config).unwrap()
    };
    let trusted = || TlsRoots::Certificates(vec![key.cert.der().clone()]);
    let auto = send(&with(Http2::Auto, trusted())).await.unwrap();
    assert_eq!(text(auto).await, "HTTP/2.0 tls=true");
    let never = send(&with(Http2::Never, trusted())).await.unwrap();
    assert_eq!(text(never).await, "HTTP/1.1 tls=true");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let stranger = TlsRoots::Certificates(vec![other.cert.der().clone()]);
    let refused = send(&with(Http2::Auto, stranger)).await;
    assert!(matches!(refused, Err(SendError::NotSent(NotSent::Handshake { .. }))), "{refused:?}");
}

#[test]
fn settings_that_cannot_work_are_refused_with_the_mend() {
    for (uri, mend) in [
        ("ftp://host", "its scheme must be http or https"),
        ("http://host:1/base", "give scheme, host and port only"),
        ("http://user@host", "give scheme, host and port only"),
        ("/path", "its scheme must be http or https"),
    ] {
        let error = Upstream::new(UpstreamConfig::new(uri.parse().unwrap())).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(mend) && text.contains(uri), "{text}");
    }
}

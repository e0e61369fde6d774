//! HTTP/2, in clear text and over TLS, beside HTTP/1.1: one key is one execution over all of them.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hapax_tests::{HOST, Request, Settings, Upstream, respond};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const TARGET: &str = "/v1/payments";
const BODY: &[u8] = br#"{"amount":1999}"#;

/// The same request as [`Request::payment`], for either version.
fn payment(key: &str, version: http::Version) -> http::Request<Full<Bytes>> {
    let target = match version {
        http::Version::HTTP_2 => format!("http://{HOST}{TARGET}"),
        _ => TARGET.to_owned(),
    };
    let mut request = http::Request::post(target)
        .header("authorization", "Bearer alice-secret-token")
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    if version != http::Version::HTTP_2 {
        request = request.header("host", HOST);
    }
    request.body(Full::new(Bytes::from_static(BODY))).unwrap()
}

async fn whole(response: http::Response<hyper::body::Incoming>) -> (u16, bool, String) {
    let status = response.status().as_u16();
    let replayed = response.headers().contains_key("idempotent-replayed");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, replayed, String::from_utf8_lossy(&body).into_owned())
}

async fn over_http2(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    keys: &[&str],
) -> Vec<(u16, bool, String)> {
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let mut calls = Vec::new();
    for key in keys {
        let (mut sender, request) = (sender.clone(), payment(key, http::Version::HTTP_2));
        calls.push(tokio::spawn(async move {
            whole(sender.send_request(request).await.unwrap()).await
        }));
    }
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

fn bounded<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let limited = async { tokio::time::timeout(hapax_tests::STUCK, work).await };
    runtime.unwrap().block_on(limited).expect("stuck")
}

/// EXE-04, FPR-04, CON-07: streams of one HTTP/2 connection and HTTP/1.1 connections together.
#[test]
fn http2_in_clear_text_and_http1_share_one_execution() {
    let upstream = Upstream::start(|arrival, stream| {
        thread::sleep(Duration::from_millis(300));
        respond(stream, 201, &[("Location", "/p/1")], arrival.key.as_bytes())
    });
    let gateway = Settings::new(&upstream.url()).start();
    let address = gateway.address();
    thread::scope(|scope| {
        let http1: Vec<_> =
            (0..10).map(|_| scope.spawn(|| Request::payment("both").answer(address))).collect();
        let keys = [vec!["both"; 20], vec!["other"; 5]].concat();
        let answers =
            bounded(async { over_http2(TcpStream::connect(address).await.unwrap(), &keys).await });
        for ((status, _, body), key) in answers.iter().zip(keys) {
            assert_eq!((*status, body.as_str()), (201, key));
        }
        for answer in http1 {
            assert_eq!(answer.join().unwrap().text(), "both");
        }
    });
    assert_eq!((upstream.arrivals("both"), upstream.arrivals("other")), (1, 1));
}

/// HTTP/2 and HTTP/1.1 over TLS, by agreement; the same records as any other way in.
#[test]
fn tls_serves_both_versions_by_agreement() {
    let upstream = Upstream::creating();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let settings = Settings::new(&upstream.url());
    let (cert, key) = (settings.folder().join("cert.pem"), settings.folder().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("[tls]\ncert = \"{}\"\nkey = \"{}\"", cert.display(), key.display());
    let settings = settings.config(&tls);
    let gateway = settings.start();
    let (address, root) = (gateway.address(), made.cert.der().clone());
    bounded(async {
        let (first, agreed) = connect(address, &root, &[b"h2", b"http/1.1"]).await;
        assert_eq!(agreed.as_deref(), Some(b"h2".as_slice()));
        let answers = over_http2(first, &["tls"; 10]).await;
        assert!(answers.iter().all(|(status, _, body)| (*status, body) == (201, &answers[0].2)));
        let (second, agreed) = connect(address, &root, &[b"http/1.1"]).await;
        assert_eq!(agreed.as_deref(), Some(b"http/1.1".as_slice()));
        let (mut sender, connection) = http1::handshake(TokioIo::new(second)).await.unwrap();
        tokio::spawn(connection);
        let replay = sender.send_request(payment("tls", http::Version::HTTP_11)).await.unwrap();
        assert_eq!(whole(replay).await, (201, true, answers[0].2.clone()));
    });
    assert_eq!(upstream.arrivals("tls"), 1);
    // Clear text on the TLS port is refused and does no harm.
    assert!(Request::payment("clear").send(address).is_err());
    assert_eq!(upstream.arrivals("clear"), 0);
}

async fn connect(
    to: SocketAddr,
    root: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> (tokio_rustls::client::TlsStream<TcpStream>, Option<Vec<u8>>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    (stream, agreed)
}

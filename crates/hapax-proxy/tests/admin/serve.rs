//! The listener over a real socket.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use hapax_proxy::admin::serve;

use crate::desk::{Desk, executed, id};

/// The time after which a test is stuck.
const STUCK: Duration = Duration::from_secs(20);

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    tokio::time::timeout(STUCK, stream.read_to_end(&mut text)).await.unwrap().unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn decisions_over_a_socket_carry_the_address_they_came_from() {
    let desk = Desk::new();
    let lease = desk.doubt(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, desk.router.clone(), async {
        let _told = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let local = stream.local_addr().unwrap();
    let body = executed().to_string();
    let request = format!(
        "POST /api/records/{}/settle HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        id(&lease),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let said = read_to_end(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    let audit = desk.get("/api/audit").await.json();
    assert_eq!(audit["decisions"][0]["by"], local.to_string());
    stop.send(()).unwrap();
    tokio::time::timeout(STUCK, serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// A stream of events would go on for ever; stopping cuts it.
#[tokio::test]
async fn stopping_cuts_streams_of_events() {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, desk.router.clone(), async {
        let _told = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    tokio::time::timeout(STUCK, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stop.send(()).unwrap();
    tokio::time::timeout(STUCK, serving).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _cut = tokio::time::timeout(STUCK, stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn idle_connections_end_at_once_when_told_to_stop() {
    // An idle connection that is not ended is cut after two seconds, each time.
    for _ in 0..20 {
        if time_to_stop().await < Duration::from_secs(2) {
            return;
        }
    }
    panic!("idle connections are waited for");
}

/// How long stopping takes with an idle connection open.
async fn time_to_stop() -> Duration {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, desk.router.clone(), async {
        let _told = stopped.await;
    }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    tokio::time::timeout(STUCK, stream.read_exact(&mut head)).await.unwrap().unwrap();
    stop.send(()).unwrap();
    let asked = std::time::Instant::now();
    tokio::time::timeout(STUCK, serving).await.unwrap().unwrap();
    asked.elapsed()
}

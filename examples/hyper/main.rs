//! A ticket API on hyper alone: the layer goes around any Tower service.
//!
//! ```sh
//! cargo run -p hapax-examples --example hyper
//! curl -i localhost:3001/tickets -H 'idempotency-key: "seat-4"' -d 'row 2'
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hapax::{Guard, MemoryStore, Secret};
use hapax_tower::{IdempotencyLayer, RequestBody, Rules};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower_layer::Layer as _;
use tower_service::Service;

/// Sells tickets: a new number for every call.
#[derive(Clone, Default)]
struct Tickets(Arc<AtomicU64>);

impl Service<Request<RequestBody<Incoming>>> for Tickets {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<Incoming>>) -> Self::Future {
        let sold = Arc::clone(&self.0);
        Box::pin(async move {
            let seat = match request.into_body().collect().await {
                Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
                Err(_broken) => return Ok(Response::new(Full::from("no seat was named\n"))),
            };
            let number = sold.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Response::new(Full::from(format!("ticket {number} for {seat}\n"))))
        })
    }
}

async fn serve(listener: TcpListener, tickets: Tickets) -> Result<(), Box<dyn Error>> {
    let guard = Guard::new(Arc::new(MemoryStore::default()));
    let secret = Secret::new(b"sixteen bytes or more, kept with the store");
    let layer = IdempotencyLayer::new(guard, secret, Rules::default());
    loop {
        let (stream, _peer) = listener.accept().await?;
        let service = TowerToHyperService::new(layer.layer(tickets.clone()));
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("failed to serve a connection: {error}");
            }
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:3001").await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, Tickets::default()).await
}

#[tokio::test]
async fn a_retry_sells_no_second_ticket() -> Result<(), Box<dyn Error>> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { serve(listener, Tickets::default()).await.map_err(drop) });
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = "POST /tickets HTTP/1.1\r\nhost: x\r\nidempotency-key: seat-4\r\n\
                       content-length: 5\r\nconnection: close\r\n\r\nrow 2";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(answer.ends_with("ticket 1 for row 2\n"), "{answer}");
    }
    Ok(())
}

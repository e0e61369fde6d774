//! A plain proxy as most people would write it: hyper's server, the pooled client of hyper-util,
//! and tokio's work-stealing runtime. It knows nothing of keys; it is there to be compared with.

use std::io;
use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};

use http_body_util::{Either, Empty};
use tokio::net::TcpListener;

/// Serves until the process is ended. Prints its address first.
pub(crate) fn serve(upstream: SocketAddr) -> io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        crate::child::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let client = client.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| forward(&client, upstream, request));
                let io = TokioIo::new(stream);
                // A client that goes away in the middle is its own concern.
                drop(
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await,
                );
            });
        }
    })
}

async fn forward(
    client: &Client<HttpConnector, Incoming>,
    upstream: SocketAddr,
    mut request: Request<Incoming>,
) -> io::Result<Response<Either<Incoming, Empty<bytes::Bytes>>>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let target = format!("http://{upstream}{path}");
    *request.uri_mut() = Uri::try_from(target).map_err(io::Error::other)?;
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().remove(CONNECTION);
    match client.request(request).await {
        Ok(response) => Ok(response.map(Either::Left)),
        Err(_) => {
            let mut response = Response::new(Either::Right(Empty::new()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            Ok(response)
        }
    }
}

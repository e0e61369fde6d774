//! The transport alone: a gateway that passes everything through, for measuring what it costs.
//!
//! ```text
//! plain UPSTREAM [LISTEN] [THREADS]     e.g. plain http://127.0.0.1:3000 127.0.0.1:8080 2
//! ```

use std::error::Error;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hapax_proxy::forward::{ForwardConfig, ForwardError, pass_through};
use hapax_proxy::listen::{ConnInfo, Core, ListenConfig, Listener};
use hapax_proxy::upstream::{BodyError, Upstream, UpstreamBody, UpstreamConfig};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The upstream's body, or none.
enum Answer {
    None,
    Upstream(UpstreamBody),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Upstream(body) => body.size_hint(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next().ok_or("give the upstream, like http://127.0.0.1:3000")?.parse()?;
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned()).parse()?;
    let threads: usize = arguments.next().map_or(Ok(2), |threads| threads.parse())?;
    let upstream = Upstream::new(UpstreamConfig::new(uri))?;
    let forward = Arc::new(ForwardConfig::default());
    let listener = Listener::bind(listen, ListenConfig::default())?;
    println!("listening on http://{}", listener.local_addr());
    let _server = listener.serve(NonZeroUsize::new(threads).ok_or("no threads")?, {
        move |_core: Core| {
            let (upstream, forward) = (upstream.clone(), Arc::clone(&forward));
            move |request: Request<Incoming>, connection: &Arc<ConnInfo>| {
                let (upstream, forward) = (upstream.clone(), Arc::clone(&forward));
                let connection = Arc::clone(connection);
                async move {
                    match pass_through(&upstream, request, &connection, &forward, TIMEOUT).await {
                        Ok(response) => response.map(Answer::Upstream),
                        Err(error) => {
                            eprintln!("failed to {error}");
                            let mut response = Response::new(Answer::None);
                            *response.status_mut() = match error {
                                ForwardError::Send(_) => StatusCode::BAD_GATEWAY,
                                ForwardError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
                            };
                            response
                        }
                    }
                }
            }
        }
    })?;
    loop {
        std::thread::park();
    }
}

//! One request and the head of its answer, on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, Version};
use hyper::client::conn::{http1, http2};

use super::Shared;
use super::body::{Framing, RequestBody, UpstreamBody};
use super::error::{NotSent, SendError, Unknown};
use super::pool::{H1Lease, Lease, Stream};
use super::request;
use super::socket::Wire;

/// A connection at hand, for one request.
#[derive(Debug)]
pub(super) enum Connection {
    H1(H1),
    H2(H2),
}

#[derive(Debug)]
pub(super) struct H1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) wire: Arc<Wire>,
    pub(super) pool: u64,
    pub(super) is_reused: bool,
}

#[derive(Debug)]
pub(super) struct H2 {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) stream: Stream,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Exchange {
    Answered(Response<UpstreamBody>),
    Failed(SendError),
    /// Nothing left, and here is the request again.
    Unsent(Request<RequestBody>, NotSent),
}

impl Connection {
    /// Returns the connection unused.
    pub(super) fn put_back(self) {
        match self {
            Self::H1(h1) => Lease::H1(h1.into_lease(None)).finish(),
            Self::H2(h2) => Lease::H2(h2.stream).finish(),
        }
    }

    pub(super) async fn exchange(self, request: Request<RequestBody>, shared: &Shared) -> Exchange {
        match self {
            Self::H1(h1) => h1.exchange(request, shared).await,
            // Boxed to keep the usual exchange small; HTTP/2 allocates more than this for a stream.
            Self::H2(h2) => Box::pin(h2.exchange(request, shared)).await,
        }
    }
}

impl H1 {
    async fn exchange(mut self, mut request: Request<RequestBody>, shared: &Shared) -> Exchange {
        request::for_h1(&mut request, shared.connector.authority());
        count_informational(&mut request, &shared.informational);
        let is_head = request.method() == Method::HEAD;
        let is_connect = request.method() == Method::CONNECT;
        let before = self.wire.written();
        if self.is_reused {
            self.wire.ask();
        }
        match self.sender.try_send_request(request).await {
            Ok(response) => match request::framing_h1(is_head, &response) {
                Ok(_) if is_connect && response.status().is_success() => {
                    Exchange::Answered(self.answer(response, Framing::Length(0)))
                }
                Ok(framing) => Exchange::Answered(self.answer(response, framing)),
                Err(flaw) => Exchange::Failed(SendError::Unknown(Unknown::BadFraming(flaw.into()))),
            },
            Err(mut failed) => match failed.take_message() {
                Some(request) => Exchange::Unsent(request, NotSent::Closed),
                None => {
                    let untouched = self.wire.written() == before;
                    Exchange::Failed(SendError::classify(failed.into_error(), untouched))
                }
            },
        }
    }

    fn answer(
        self,
        response: Response<hyper::body::Incoming>,
        framing: Framing,
    ) -> Response<UpstreamBody> {
        let keep = keep_alive(response.headers());
        let (mut parts, incoming) = response.into_parts();
        // The version is each hop's own; an HTTP/1.0 upstream must not turn its client's
        // connection into one.
        parts.version = Version::HTTP_11;
        let lease = match framing {
            // The close that ends the body ends the connection too.
            Framing::Close => None,
            Framing::Chunked | Framing::Length(_) | Framing::Stream => {
                Some(Lease::H1(self.into_lease(keep)))
            }
        };
        Response::from_parts(parts, UpstreamBody::new(incoming, lease, framing))
    }

    fn into_lease(self, keep: Option<Duration>) -> H1Lease {
        H1Lease { sender: self.sender, wire: self.wire, pool: self.pool, keep }
    }
}

impl H2 {
    async fn exchange(mut self, mut request: Request<RequestBody>, shared: &Shared) -> Exchange {
        let connector = &shared.connector;
        if let Err(flaw) = request::for_h2(&mut request, connector.scheme(), connector.authority())
        {
            return Exchange::Failed(SendError::NotSent(NotSent::Invalid(flaw)));
        }
        // A refused stream does not give its request back, so that a copy has to be at hand.
        let spare = duplicate(&request);
        match self.sender.try_send_request(request).await {
            Ok(response) => {
                let (parts, incoming) = response.into_parts();
                let lease = Some(Lease::H2(self.stream));
                let body = UpstreamBody::new(incoming, lease, Framing::Stream);
                Exchange::Answered(Response::from_parts(parts, body))
            }
            Err(mut failed) => {
                if let Some(request) = failed.take_message() {
                    return Exchange::Unsent(request, NotSent::Closed);
                }
                match (SendError::classify(failed.into_error(), false), spare) {
                    (SendError::NotSent(reason @ NotSent::Refused), Some(spare)) => {
                        Exchange::Unsent(spare, reason)
                    }
                    (error, _) => Exchange::Failed(error),
                }
            }
        }
    }
}

/// The same request once more, if its body is at hand. Extensions belong to one exchange and stay.
fn duplicate(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let mut copy = Request::new(request.body().duplicate()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    *copy.version_mut() = request.version();
    Some(copy)
}

fn count_informational(request: &mut Request<RequestBody>, total: &Arc<AtomicU64>) {
    let total = Arc::clone(total);
    hyper::ext::on_informational(request, move |_head| {
        total.fetch_add(1, Ordering::Relaxed);
    });
}

/// `timeout` of a `Keep-Alive` field, less a second for the time on the way.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("timeout") {
            return None;
        }
        let seconds: u64 = seconds.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.saturating_sub(1)))
    })
}

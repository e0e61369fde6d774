//! The way to the application behind the gateway.
//!
//! An [`Upstream`] keeps its connections per thread: a request finds its connection in the pool of the
//! thread it runs on, without a shared structure and without a wake-up of another core. What comes
//! back says precisely how far the request got. [`SendError::NotSent`] means that the application
//! provably did not get it; [`SendError::Unknown`] means that it may have. Between the two lies the
//! first byte: a request of which a byte may have left is never sent again from here (EXE-07).

mod body;
mod config;
mod connect;
mod connection;
mod error;
mod pool;
mod request;
mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};

pub use self::body::{Framing, RequestBody, SourceError, UpstreamBody};
pub use self::config::{Http2, TlsRoots, UpstreamConfig, UpstreamConfigError};
use self::connect::Connector;
use self::connection::{Connection, Exchange};
pub use self::error::{BodyError, NotSent, SendError, Unknown};
use self::pool::Pool;

/// How often a request that provably was not sent is tried again, each time on a new connection.
const RESENDS_MAX: u32 = 2;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A client of one upstream. Cloning is cheap, and every clone uses the same settings and, on one
/// thread, the same connections.
#[derive(Clone, Debug)]
pub struct Upstream {
    shared: Arc<Shared>,
}

/// What all clones of an [`Upstream`] have in common.
#[derive(Debug)]
struct Shared {
    id: u64,
    connector: Connector,
    limits: pool::Limits,
    informational: Arc<AtomicU64>,
}

impl Upstream {
    /// Checks the settings and reads the trusted roots. No connection is made yet.
    ///
    /// # Errors
    ///
    /// [`UpstreamConfigError`] names the setting, its value and the mend.
    pub fn new(config: UpstreamConfig) -> Result<Self, UpstreamConfigError> {
        let limits = pool::Limits::from(&config);
        let connector = Connector::new(config)?;
        let shared = Shared {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            connector,
            limits,
            informational: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// `host[:port]` of the upstream, as it was configured.
    #[must_use]
    pub fn authority(&self) -> &http::uri::Authority {
        self.shared.connector.authority()
    }

    /// How many 1xx answers (other than 101) the upstream sent over HTTP/1.1. They are read and
    /// dropped, never taken for the answer (HTP-06, ruling 20).
    #[must_use]
    pub fn informational_total(&self) -> u64 {
        self.shared.informational.load(Ordering::Relaxed)
    }

    /// Sends one request and waits for the head of its answer.
    ///
    /// `gate` is asked when a connection is at hand, just before the first byte may leave, and again
    /// before each attempt on another connection; when it says no, nothing is sent. The path and query
    /// of the request go out untouched; its `Host` is kept, or set to the upstream's authority when there
    /// is none. The caller bounds the wait for the answer; only connecting has a time limit here.
    ///
    /// # Errors
    ///
    /// [`SendError::NotSent`] if the upstream provably did not get a complete request, else
    /// [`SendError::Unknown`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection (HTTP/1.1) or resets the stream (HTTP/2). Whether
    /// the request was sent is then unknown, unless `gate` was never asked.
    pub async fn send<G>(
        &self,
        request: Request<RequestBody>,
        gate: G,
    ) -> Result<Response<UpstreamBody>, SendError>
    where
        G: Fn() -> bool + Send,
    {
        let mut request = request;
        let mut pooled = true;
        let mut resends = 0;
        loop {
            let connection = match self.checkout(pooled) {
                Some(connection) => connection,
                // Boxed, because a handshake's state is large, would be part of every request's future, and
                // a future is moved several times before it is first polled.
                None => Box::pin(self.connect()).await?,
            };
            if !gate() {
                connection.put_back();
                return Err(SendError::NotSent(NotSent::GateClosed));
            }
            match connection.exchange(request, &self.shared).await {
                Exchange::Answered(response) => return Ok(response),
                Exchange::Failed(error) => return Err(error),
                Exchange::Unsent(unsent, reason) => {
                    if resends == RESENDS_MAX {
                        return Err(SendError::NotSent(reason));
                    }
                    tracing::debug!(%reason, "request not sent, trying another connection");
                    request = unsent;
                    resends += 1;
                    // What made one idle connection stale has likely made all of them stale.
                    pooled = false;
                }
            }
        }
    }

    fn checkout(&self, pooled: bool) -> Option<Connection> {
        if pooled { Pool::with(&self.shared, |pool| pool.checkout()) } else { None }
    }

    async fn connect(&self) -> Result<Connection, SendError> {
        let fresh = self.shared.connector.connect().await.map_err(SendError::NotSent)?;
        Ok(Pool::with(&self.shared, |pool| pool.adopt(fresh)))
    }
}

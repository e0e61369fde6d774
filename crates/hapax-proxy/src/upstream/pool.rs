//! The connections of one thread to one upstream, idle or shared.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};

use super::Shared;
use super::body::RequestBody;
use super::config::UpstreamConfig;
use super::connect::Fresh;
use super::connection::{Connection, H1, H2};
use super::socket::Wire;

thread_local! {
    /// A program has one upstream or a few, so that a list is the fastest map.
    static POOLS: RefCell<Vec<Pool>> = const { RefCell::new(Vec::new()) };
}

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    idle_max: usize,
    idle_timeout: Duration,
    connections_max: usize,
    streams_max: usize,
}

impl From<&UpstreamConfig> for Limits {
    fn from(config: &UpstreamConfig) -> Self {
        Self {
            idle_max: config.pool_idle_max_per_thread,
            idle_timeout: config.idle_timeout,
            connections_max: config.http2_connections_max,
            streams_max: config.http2_streams_max,
        }
    }
}

/// What one thread holds for one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    id: u64,
    owner: Weak<Shared>,
    limits: Limits,
    /// The youngest at the back; taken from there, so that spare ones grow old and are closed.
    idle: VecDeque<Idle>,
    shared: Vec<SharedH2>,
    is_reaping: bool,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    wire: Arc<Wire>,
    until: Instant,
}

#[derive(Debug)]
struct SharedH2 {
    sender: http2::SendRequest<RequestBody>,
    streams: Arc<AtomicUsize>,
    used: Instant,
}

impl Pool {
    /// Runs `act` on this thread's pool of the upstream, made now if it is the first time.
    pub(super) fn with<T>(shared: &Arc<Shared>, act: impl FnOnce(&mut Self) -> T) -> T {
        POOLS.with_borrow_mut(|pools| {
            if let Some(pool) = pools.iter_mut().find(|pool| pool.id == shared.id) {
                return act(pool);
            }
            pools.retain(|pool| pool.owner.strong_count() > 0);
            let mut pool = Self {
                id: shared.id,
                owner: Arc::downgrade(shared),
                limits: shared.limits,
                idle: VecDeque::new(),
                shared: Vec::new(),
                is_reaping: false,
            };
            let result = act(&mut pool);
            pools.push(pool);
            result
        })
    }

    /// Runs `act` on this thread's pool of the upstream with this id, if there still is one.
    fn find<T>(id: u64, act: impl FnOnce(&mut Self) -> T) -> Option<T> {
        POOLS
            .try_with(|pools| {
                let mut pools = pools.try_borrow_mut().ok()?;
                pools.iter_mut().find(|pool| pool.id == id).map(act)
            })
            .ok()
            .flatten()
    }

    /// A connection that can take a request now, as far as this thread knows.
    pub(super) fn checkout(&mut self) -> Option<Connection> {
        if !self.shared.is_empty()
            && let Some(connection) = self.checkout_shared()
        {
            return Some(connection);
        }
        let mut now = None;
        let mut index = self.idle.len();
        while index > 0 {
            index -= 1;
            let idle = self.idle.get(index)?;
            let is_over = idle.until <= *now.get_or_insert_with(Instant::now);
            if idle.sender.is_closed() || is_over {
                self.idle.remove(index);
            } else if idle.sender.is_ready() {
                let idle = self.idle.remove(index)?;
                return Some(Connection::H1(H1 {
                    sender: idle.sender,
                    wire: idle.wire,
                    pool: self.id,
                    is_reused: true,
                }));
            }
            // Else its request is still on the way out; it may become ready later.
        }
        None
    }

    fn checkout_shared(&mut self) -> Option<Connection> {
        self.shared.retain(|shared| !shared.sender.is_closed());
        let count = self.shared.len();
        let least = self.shared.iter_mut().min_by_key(|h2| h2.streams.load(Ordering::Relaxed))?;
        let is_full = least.streams.load(Ordering::Relaxed) >= self.limits.streams_max;
        if is_full && count < self.limits.connections_max {
            return None;
        }
        least.used = Instant::now();
        Some(Connection::H2(H2 {
            sender: least.sender.clone(),
            stream: Stream::open(&least.streams),
        }))
    }

    /// Takes a new connection in and hands it out for its first request.
    pub(super) fn adopt(&mut self, fresh: Fresh) -> Connection {
        match fresh {
            Fresh::H1(sender, wire) => {
                Connection::H1(H1 { sender, wire, pool: self.id, is_reused: false })
            }
            Fresh::H2(sender) => {
                let streams = Arc::<AtomicUsize>::default();
                let stream = Stream::open(&streams);
                if self.shared.len() < self.limits.connections_max {
                    let sender = sender.clone();
                    self.shared.push(SharedH2 { sender, streams, used: Instant::now() });
                    self.start_reaping();
                }
                Connection::H2(H2 { sender, stream })
            }
        }
    }

    fn keep(&mut self, lease: H1Lease) {
        if lease.sender.is_closed() {
            return;
        }
        let keep = lease.keep.map_or(self.limits.idle_timeout, |k| k.min(self.limits.idle_timeout));
        if keep.is_zero() || self.limits.idle_max == 0 {
            return;
        }
        if self.idle.len() >= self.limits.idle_max {
            self.idle.pop_front();
        }
        let until = Instant::now() + keep;
        self.idle.push_back(Idle { sender: lease.sender, wire: lease.wire, until });
        self.start_reaping();
    }

    /// Has idle connections closed in time even when no request comes by. One task per thread and
    /// upstream, and only while something is pooled.
    fn start_reaping(&mut self) {
        if self.is_reaping {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        self.is_reaping = true;
        let reaping = Reaping { id: self.id };
        let period = (self.limits.idle_timeout / 2).max(Duration::from_millis(10));
        runtime.spawn(async move {
            let id = reaping.id;
            loop {
                tokio::time::sleep(period).await;
                if !Self::find(id, Self::reap).unwrap_or(false) {
                    drop(reaping);
                    return;
                }
            }
        });
    }

    /// Closes what is over its time; whether anything is left.
    fn reap(&mut self) -> bool {
        if self.owner.strong_count() == 0 {
            self.idle.clear();
            self.shared.clear();
            return false;
        }
        let now = Instant::now();
        self.idle.retain(|idle| idle.until > now && !idle.sender.is_closed());
        let timeout = self.limits.idle_timeout;
        self.shared.retain(|h2| {
            let is_busy = h2.streams.load(Ordering::Relaxed) > 0;
            !h2.sender.is_closed() && (is_busy || now.duration_since(h2.used) <= timeout)
        });
        !self.idle.is_empty() || !self.shared.is_empty()
    }
}

/// Notes that the reaper is gone, also when its runtime is dropped under it.
struct Reaping {
    id: u64,
}

impl Drop for Reaping {
    fn drop(&mut self) {
        Pool::find(self.id, |pool| pool.is_reaping = false);
    }
}

/// One open stream on a shared connection.
#[derive(Debug)]
pub(super) struct Stream {
    streams: Arc<AtomicUsize>,
}

impl Stream {
    fn open(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self { streams: Arc::clone(streams) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection in use by an answer that is still being read.
#[derive(Debug)]
pub(super) enum Lease {
    /// To go back to the pool at the end of the answer.
    H1(H1Lease),
    /// To be counted down at the end of the answer.
    H2(Stream),
}

/// See [`Lease`].
#[derive(Debug)]
pub(super) struct H1Lease {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) wire: Arc<Wire>,
    pub(super) pool: u64,
    /// How long the upstream says it keeps the connection.
    pub(super) keep: Option<Duration>,
}

impl Lease {
    /// The answer was read to its end.
    pub(super) fn finish(self) {
        match self {
            Self::H1(lease) => {
                Pool::find(lease.pool, |pool| pool.keep(lease));
            }
            Self::H2(stream) => drop(stream),
        }
    }
}

//! The load generator: keep-alive HTTP/1.1 connections on bare sockets, one current-thread runtime
//! per core, one request in flight per connection.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::histogram::Histogram;
use crate::request::{self, Request};

/// How long one answer may take; a connection on which it takes longer is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A response head and body longer than this is not what the bench's upstream sends.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// A connection that has failed this often is not opened again.
const FAILURES_MAX: u64 = 100;

/// The keys that requests carry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    /// Each key of the set once, in turn, then the load ends.
    All { seed: u64, count: u64 },
    /// Each request another key that was never sent before.
    New { seed: u64 },
    /// Keys drawn from a set that was sent before; every answer has to be a replay.
    Known { seed: u64, count: u64 },
}

/// What to send, where, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) connections: usize,
    pub(crate) keys: Keys,
    /// Answers before this are not counted.
    pub(crate) from: Instant,
    /// No request is sent after this.
    pub(crate) until: Instant,
}

/// One second of a load.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    pub(crate) answers: u64,
    pub(crate) longest: Duration,
}

/// What a load has seen between `from` and `until`.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) latencies: Histogram,
    /// By whole seconds since `from`.
    pub(crate) seconds: Vec<Second>,
    /// Answers over the whole load, counted or not.
    pub(crate) answered: u64,
    /// Requests without the answer that was wanted, over the whole load.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        if self.seconds.len() < other.seconds.len() {
            self.seconds.resize(other.seconds.len(), Second::default());
        }
        for (second, more) in self.seconds.iter_mut().zip(&other.seconds) {
            second.answers += more.answers;
            second.longest = second.longest.max(more.longest);
        }
        self.answered += other.answered;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn answer(&mut self, since_start: Duration, latency: Duration) {
        self.latencies.record(latency);
        let at = since_start.as_secs() as usize;
        if self.seconds.len() <= at {
            self.seconds.resize(at + 1, Second::default());
        }
        self.seconds[at].answers += 1;
        self.seconds[at].longest = self.seconds[at].longest.max(latency);
    }

    fn error(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }
}

/// A load that is under way.
#[derive(Debug)]
pub(crate) struct Running {
    threads: Vec<JoinHandle<io::Result<()>>>,
    seen: Arc<Mutex<Seen>>,
}

/// Starts the load; the calling thread stays free to look at the servers meanwhile.
pub(crate) fn start(load: &Load) -> Running {
    let threads = crate::machine::cores().min(load.connections);
    let (seen, next) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicU64::new(0)));
    let threads = (0..threads).map(|thread| {
        let (load, seen, next) = (load.clone(), Arc::clone(&seen), Arc::clone(&next));
        let mine: Vec<usize> = (thread..load.connections).step_by(threads).collect();
        thread::spawn(move || run_thread(&load, &mine, &seen, &next))
    });
    Running { threads: threads.collect(), seen }
}

impl Running {
    /// Waits for the end of the load.
    pub(crate) fn finish(self) -> io::Result<Seen> {
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a thread of the load panicked"))??;
        }
        Ok(std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn run_thread(
    load: &Load,
    connections: &[usize],
    seen: &Mutex<Seen>,
    next: &Arc<AtomicU64>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tasks: Vec<_> = connections
            .iter()
            .map(|number| {
                let next = Arc::clone(next);
                tokio::spawn(Connection::new(load.clone(), *number, next).run())
            })
            .collect();
        for task in tasks {
            let more = task.await.map_err(io::Error::other)?;
            seen.lock().unwrap_or_else(PoisonError::into_inner).add(more);
        }
        Ok(())
    })
}

/// One connection and the requests on it.
struct Connection {
    load: Load,
    request: Request,
    number: u64,
    sent: u64,
    next: Arc<AtomicU64>,
    buffer: Vec<u8>,
    seen: Seen,
}

impl Connection {
    fn new(load: Load, number: usize, next: Arc<AtomicU64>) -> Self {
        let request = Request::new(load.path);
        let (seen, buffer) = (Seen::default(), Vec::with_capacity(4096));
        Self { load, request, number: number as u64, sent: 0, next, buffer, seen }
    }

    /// Sends until the load ends; a broken connection is opened again.
    async fn run(mut self) -> Seen {
        while self.seen.errors < FAILURES_MAX {
            match self.session().await {
                Ok(()) => break,
                Err(error) => self.seen.error(error.to_string()),
            }
            if Instant::now() >= self.load.until {
                break;
            }
        }
        self.seen
    }

    async fn session(&mut self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.load.address).await?;
        stream.set_nodelay(true)?;
        loop {
            let start = Instant::now();
            if start >= self.load.until {
                return Ok(());
            }
            let Some((seed, index)) = self.draw() else { return Ok(()) };
            stream.write_all(self.request.with_key(seed, index)).await?;
            let answer = tokio::time::timeout(ANSWER_LIMIT, self.read(&mut stream)).await;
            answer.map_err(|_| io::Error::other("no answer within the limit"))??;
            let end = Instant::now();
            self.seen.answered += 1;
            if end >= self.load.from && end < self.load.until {
                self.seen.answer(end - self.load.from, end - start);
            }
        }
    }

    /// The key of the next request, as its set and its number in it.
    fn draw(&mut self) -> Option<(u64, u64)> {
        self.sent += 1;
        let turn = (self.number << 40) + self.sent;
        match self.load.keys {
            Keys::All { seed, count } => {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                (index < count).then_some((seed, index))
            }
            Keys::Known { seed, count } => Some((seed, request::mix(turn) % count)),
            Keys::New { seed } => Some((seed, turn)),
        }
    }

    /// Reads one response to its end. One that is not what was wanted is counted as an error; one
    /// that cannot be understood ends the connection.
    async fn read(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.buffer.clear();
        let head = loop {
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::other("the connection was closed before the answer"));
            }
            if self.buffer.len() > RESPONSE_BYTES_MAX {
                return Err(io::Error::other("a response longer than expected"));
            }
            if let Some(head) = request::read_head(&self.buffer).map_err(io::Error::other)? {
                break head;
            }
        };
        while self.buffer.len() < head.whole_len {
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::other("the connection was closed within the answer"));
            }
        }
        let known = matches!(self.load.keys, Keys::Known { .. });
        if head.status / 100 != 2 {
            self.seen.error(format!("status {}", head.status));
        } else if known && !head.replayed {
            self.seen.error("a known key was not replayed".to_owned());
        } else if !known && head.replayed {
            self.seen.error("a new key was replayed".to_owned());
        }
        Ok(())
    }
}

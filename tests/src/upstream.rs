//! An upstream that does what a test says and counts what reaches it.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::STUCK;
use crate::wire::{self, Fields, Framing};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A request that reached the upstream whole.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its content.
    pub body: Vec<u8>,
    /// Which connection brought it, from 0.
    pub connection: usize,
    /// Its header lines.
    pub fields: Fields,
    /// The value of its Idempotency-Key field, or nothing.
    pub key: String,
    /// How many of this key have arrived, this one included.
    pub number: usize,
    /// Its method and target.
    pub start: String,
    /// What came behind its content.
    pub trailers: Fields,
}

/// What becomes of a connection after a script.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// It is closed.
    Close,
    /// It waits for the next request.
    Keep,
}

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    accepting: Option<JoinHandle<()>>,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    changed: Condvar,
    seen: Mutex<Seen>,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    /// Connections that a script has closed and the gateway then too.
    closed: usize,
    counts: BTreeMap<String, usize>,
    /// Heads that came, whether or not their bodies did.
    heads: usize,
    keep: bool,
    streams: Vec<TcpStream>,
}

/// Writes a whole answer with a length. A client that has gone is not worth a word.
pub fn respond(stream: &mut TcpStream, status: u16, fields: &[(&str, &str)], body: &[u8]) -> Next {
    let mut bytes = format!("HTTP/1.1 {status} Scripted\r\n").into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if status != 204 {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    match stream.write_all(&bytes) {
        Ok(()) => Next::Keep,
        Err(_) => Next::Close,
    }
}

fn create(arrival: &Arrival, stream: &mut TcpStream) -> Next {
    let body = format!("{{\"payment\":\"{}-{}\"}}", arrival.key.len(), arrival.number);
    let fields = [("Content-Type", "application/json"), ("Location", "/v1/payments/1")];
    respond(stream, 201, &fields, body.as_bytes())
}

impl Upstream {
    /// Runs `script` for each whole request, and keeps each for the test to look at.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn start(
        script: impl Fn(&Arrival, &mut TcpStream) -> Next + Send + Sync + 'static,
    ) -> Self {
        Self::run(script, true, ANY)
    }

    /// As [`start`](Self::start), but counts only: for long runs.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn counting(
        script: impl Fn(&Arrival, &mut TcpStream) -> Next + Send + Sync + 'static,
    ) -> Self {
        Self::run(script, false, ANY)
    }

    /// One that answers each request with 201 and a body that no other request gets.
    #[must_use]
    pub fn creating() -> Self {
        Self::start(create)
    }

    /// As [`creating`](Self::creating), where another one was before.
    ///
    /// # Panics
    /// When the address is taken.
    #[must_use]
    pub fn creating_at(address: SocketAddr) -> Self {
        Self::run(create, true, address)
    }

    fn run(
        script: impl Fn(&Arrival, &mut TcpStream) -> Next + Send + Sync + 'static,
        keep: bool,
        address: SocketAddr,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        shared.seen().keep = keep;
        let (script, accepting) = (Arc::new(script), Arc::clone(&shared));
        let accepting = thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (script, shared) = (Arc::clone(&script), Arc::clone(&accepting));
                thread::spawn(move || {
                    // What the gateway does to a connection is for the test to judge.
                    let _ended = shared.serve(stream, connection, &*script);
                });
            }
        });
        Self { accepting: Some(accepting), address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many whole requests with this key arrived.
    #[must_use]
    pub fn arrivals(&self, key: &str) -> usize {
        self.shared.seen().counts.get(key).copied().unwrap_or(0)
    }

    /// How many whole requests arrived, by key.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.shared.seen().counts.clone()
    }

    /// How many heads arrived, whether or not their bodies did.
    #[must_use]
    pub fn heads(&self) -> usize {
        self.shared.seen().heads
    }

    /// Everything that arrived, in order.
    #[must_use]
    pub fn log(&self) -> Vec<Arrival> {
        self.shared.seen().arrivals.clone()
    }

    /// Waits until so many whole requests with this key have arrived.
    ///
    /// # Panics
    /// When they do not come within [`STUCK`].
    pub fn await_arrivals(&self, key: &str, count: usize) {
        let reached = self.shared.wait(|seen| seen.counts.get(key).is_some_and(|n| *n >= count));
        assert!(reached, "fewer than {count} requests of {key} arrived");
    }

    /// Waits until so many connections that a script closed are closed by the gateway too: it knows.
    ///
    /// # Panics
    /// When it does not close them within [`STUCK`].
    pub fn await_closed(&self, count: usize) {
        let reached = self.shared.wait(|seen| seen.closed >= count);
        assert!(reached, "fewer than {count} connections were closed");
    }

    /// Waits until so many heads have arrived.
    ///
    /// # Panics
    /// When they do not come within [`STUCK`].
    pub fn await_heads(&self, count: usize) {
        assert!(self.shared.wait(|seen| seen.heads >= count), "fewer than {count} heads arrived");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.seen().streams.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts; when it has ended, nobody listens any more.
        let woken = TcpStream::connect(self.address).is_ok();
        if let (true, Some(accepting)) = (woken, self.accepting.take()) {
            let _panicked = accepting.join();
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, mut done: impl FnMut(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + STUCK;
        let mut seen = self.seen();
        while !done(&seen) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let waited = self.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn serve(
        &self,
        stream: TcpStream,
        connection: usize,
        script: &dyn Fn(&Arrival, &mut TcpStream) -> Next,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        self.seen().streams.push(stream.try_clone()?);
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some((start, fields)) = wire::read_head(&mut reader)? {
            self.seen().heads += 1;
            self.changed.notify_all();
            let framing = Framing::of_request(&fields)?;
            if fields.first("expect").is_some() {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let (body, trailers) = wire::read_body(&mut reader, framing)?;
            let key = fields.first("idempotency-key").unwrap_or_default().to_owned();
            let start = start.trim_end_matches(" HTTP/1.1").to_owned();
            let arrival = {
                let mut seen = self.seen();
                let count = seen.counts.entry(key.clone()).or_default();
                *count += 1;
                let number = *count;
                let arrival = Arrival { body, connection, fields, key, number, start, trailers };
                if seen.keep {
                    seen.arrivals.push(arrival.clone());
                }
                arrival
            };
            self.changed.notify_all();
            if script(&arrival, &mut writer) == Next::Close {
                writer.shutdown(Shutdown::Write)?;
                // What still comes is not read as a request.
                io::copy(&mut reader, &mut io::sink())?;
                self.seen().closed += 1;
                self.changed.notify_all();
                break;
            }
        }
        // The copy kept for the end would hold the connection open.
        writer.shutdown(Shutdown::Both)
    }
}

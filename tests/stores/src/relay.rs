//! A way to a server that may lead to another one from one moment to the next, as a virtual address or a
//! name does at a failover; that may lead nowhere, and that may be silent.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::port::Port;

/// A running relay; dropping it ends its connections, and nobody listens any more.
#[derive(Debug)]
pub struct Relay {
    accepting: Option<JoinHandle<()>>,
    home: SocketAddr,
    port: Arc<Port>,
    way: Arc<Way>,
}

#[derive(Debug, Default)]
struct Way {
    state: Mutex<State>,
    /// How often the server was asked something after it had answered.
    trips: AtomicU64,
    unpaused: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    paused: bool,
    streams: Vec<TcpStream>,
    to: Option<SocketAddr>,
}

impl Relay {
    /// One that leads there.
    ///
    /// # Panics
    /// When loopback has no port left.
    #[must_use]
    pub fn start(to: SocketAddr) -> Self {
        let port = Arc::new(Port::take());
        let listener = TcpListener::bind(port.address()).expect("a port of its own");
        let state = Mutex::new(State { to: Some(to), ..State::default() });
        let way = Arc::new(Way { state, ..Way::default() });
        let ours = Arc::clone(&way);
        let accepting = thread::spawn(move || {
            for client in listener.incoming() {
                if ours.state().ended {
                    return;
                }
                // A client that is led nowhere is hung up on.
                let _nowhere = client.and_then(|client| join(client, &ours));
            }
        });
        Self { accepting: Some(accepting), home: to, port, way }
    }

    /// One that leads to the server of a URL, and the URL that leads over it.
    ///
    /// # Panics
    /// When the URL names no host and port.
    #[must_use]
    pub fn before(url: &str) -> (Self, String) {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let to = host.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let relay = Self::start(to.expect("a host and a port"));
        let url = format!("{scheme}://{user}{}{path}", relay.address());
        (relay, url)
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its port, where nobody else listens when the relay is gone, for as long as this is kept.
    #[must_use]
    pub fn port(&self) -> Arc<Port> {
        Arc::clone(&self.port)
    }

    /// Ends every connection; new ones lead there, or nowhere.
    pub fn lead(&self, to: Option<SocketAddr>) {
        let mut state = self.way.state();
        state.to = to;
        state.hang_up();
    }

    /// Ends every connection; new ones lead nowhere.
    pub fn cut(&self) {
        self.lead(None);
    }

    /// Ends every connection; new ones lead where they did at first.
    pub fn mend(&self) {
        self.lead(Some(self.home));
    }

    /// Lets nothing pass, without a word, or what waits and all that follows.
    pub fn pause(&self, paused: bool) {
        self.way.state().paused = paused;
        self.way.unpaused.notify_all();
    }

    /// How often somebody asked on a connection that was new or had answered all before.
    #[must_use]
    pub fn trips(&self) -> u64 {
        self.way.trips.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        {
            let mut state = self.way.state();
            state.ended = true;
            state.hang_up();
        }
        self.pause(false);
        // Wakes the thread that accepts.
        let _refused = TcpStream::connect(self.address());
        let _panicked = self.accepting.take().map(JoinHandle::join);
    }
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while_paused(&self) {
        let paused = self.unpaused.wait_while(self.state(), |state| state.paused);
        drop(paused.unwrap_or_else(PoisonError::into_inner));
    }
}

impl State {
    fn hang_up(&mut self) {
        for stream in self.streams.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}

fn join(client: TcpStream, way: &Arc<Way>) -> io::Result<()> {
    // Held while it connects, so that no connection leads where the relay did before.
    let mut state = way.state();
    let Some(to) = state.to else { return Ok(()) };
    let server = TcpStream::connect(to)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        state.streams.push(stream.try_clone()?);
    }
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    // It has nothing more to say until it is asked.
    let answered = Arc::new(AtomicBool::new(true));
    let (asks, answers) = (Arc::clone(&answered), answered);
    let (there, back) = (Arc::clone(way), Arc::clone(way));
    thread::spawn(move || {
        pass(from_client, to_server, &there, || {
            let trip = asks.swap(false, Ordering::SeqCst);
            there.trips.fetch_add(u64::from(trip), Ordering::SeqCst);
        });
    });
    thread::spawn(move || pass(server, client, &back, || answers.store(true, Ordering::SeqCst)));
    Ok(())
}

/// Until either end has gone; then both have.
fn pass(mut from: TcpStream, mut to: TcpStream, way: &Way, note: impl Fn()) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        way.wait_while_paused();
        note();
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _gone = stream.shutdown(Shutdown::Both);
    }
}

//! A way to a server that may lead to another one from one moment to the next, as a virtual address or a
//! name does at a failover.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A running relay; dropping it ends its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    way: Arc<Mutex<Way>>,
}

#[derive(Debug, Default)]
struct Way {
    ended: bool,
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let way = Arc::new(Mutex::new(Way { to: Some(to), ..Way::default() }));
        let accepting = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming() {
                if lock(&accepting).ended {
                    return;
                }
                // A client that is led nowhere is hung up on.
                let _nowhere = client.and_then(|client| join(client, &accepting));
            }
        });
        Self { address, way }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection; new ones lead there, or nowhere.
    pub fn lead(&self, to: Option<SocketAddr>) {
        let mut way = lock(&self.way);
        way.to = to;
        way.hang_up();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        {
            let mut way = lock(&self.way);
            way.ended = true;
            way.hang_up();
        }
        // Wakes the thread that accepts.
        let _refused = TcpStream::connect(self.address);
    }
}

impl Way {
    fn hang_up(&mut self) {
        for stream in self.streams.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(client: TcpStream, way: &Mutex<Way>) -> io::Result<()> {
    // Held while it connects, so that no connection leads where the relay did before.
    let mut way = lock(way);
    let Some(to) = way.to else { return Ok(()) };
    let server = TcpStream::connect(to)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        way.streams.push(stream.try_clone()?);
    }
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass(from_client, to_server));
    thread::spawn(move || pass(server, client));
    Ok(())
}

/// Until either end has gone; then both have.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _gone = stream.shutdown(Shutdown::Both);
    }
}

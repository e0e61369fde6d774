//! The server side: one thread per core, each with its own event loop and its own connections.
//!
//! One thread accepts and hands each connection to the core that has the fewest. Letting the kernel
//! choose (`SO_REUSEPORT`) would save that hand-over, but it chooses by address hash: of a few dozen
//! long-lived connections one core often gets nearly all. A connection, its requests, their upstream
//! connections and whatever a handler spawns stay on that core's thread.
//!
//! ```text
//! Listener::bind -> Listener::serve -> Server ... Server::drain
//! ```

mod answer;
mod config;
mod connection;
mod core;
mod operations;
mod server;
mod socket;
mod tls;
mod watch;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

pub use self::answer::Answer;
pub use self::config::{ListenConfig, ListenError};
pub use self::connection::{ConnInfo, Handler};
pub use self::core::Core;
pub use self::operations::{Operation, Operations};
pub use self::server::{Drained, Server};
pub use self::tls::TlsIdentity;

/// Connections the kernel keeps for us before they are accepted.
const BACKLOG_MAX: i32 = 4096;

/// A bound address that nobody serves yet. Connections queue up in the kernel.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    local_addr: SocketAddr,
    config: Arc<ListenConfig>,
}

impl Listener {
    /// Binds `addr`; port 0 lets the system choose.
    ///
    /// # Errors
    ///
    /// [`ListenError`] names the address or the limit, and the mend.
    pub fn bind(addr: SocketAddr, config: ListenConfig) -> Result<Self, ListenError> {
        config.check()?;
        let fail = |source| ListenError::Bind { addr, source };
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))
            .map_err(fail)?;
        // A restart must not wait for the connections of the previous process to be forgotten.
        #[cfg(unix)]
        socket.set_reuse_address(true).map_err(fail)?;
        socket.set_nonblocking(true).map_err(fail)?;
        socket.bind(&addr.into()).map_err(fail)?;
        socket.listen(BACKLOG_MAX).map_err(fail)?;
        let socket = std::net::TcpListener::from(socket);
        let local_addr = socket.local_addr().map_err(fail)?;
        Ok(Self { socket, local_addr, config: Arc::new(config) })
    }

    /// The address with the port that was chosen.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Starts `threads` cores and accepts. `make_handler` is called once on each core's thread, inside
    /// its runtime, so that it may spawn tasks there.
    ///
    /// # Errors
    ///
    /// [`ListenError::Start`] if a thread or its event loop cannot be made.
    pub fn serve<M, H>(self, threads: NonZeroUsize, make_handler: M) -> Result<Server, ListenError>
    where
        M: Fn(Core) -> H + Send + Sync + 'static,
        H: Handler,
    {
        Server::start(self.socket, self.local_addr, self.config, threads, Arc::new(make_handler))
    }
}

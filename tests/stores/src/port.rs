//! A port that stays a test's own, whether or not anybody listens there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of loopback. While this is kept, nobody is given it who asks for any port, and who asks for
/// this one may listen there, end, and listen there again.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    /// Bound and deaf.
    _socket: TcpSocket,
}

impl Port {
    /// One that was free.
    ///
    /// # Panics
    /// When loopback has no port left.
    #[must_use]
    pub fn take() -> Self {
        Self::at(0).expect("loopback has a free port")
    }

    /// The one of this number.
    ///
    /// # Errors
    /// When somebody else has it.
    pub fn at(number: u16) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Two sockets share a port if both say so and at most one of them listens.
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, number).into())?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }

    /// Where to listen.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_is_listened_on_again_and_again_and_given_to_nobody_else() {
        let port = Port::take();
        for _ in 0..3 {
            let listener = TcpListener::bind(port.address()).unwrap();
            let client = TcpStream::connect(port.address()).unwrap();
            drop((listener.accept().unwrap(), client, listener));
            assert!(TcpStream::connect(port.address()).is_err(), "nobody listens");
        }
        let others: Vec<_> = (0..200).map(|_| Port::take()).collect();
        assert!(others.iter().all(|other| other.number() != port.number()));
    }
}

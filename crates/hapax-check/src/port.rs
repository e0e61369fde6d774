//! Ports that nobody else is given while they are not listened on.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// An address that stays ours: bound without listening. The system hands its port to no other
/// program by itself, and on Linux one that asks for the reuse of addresses, as servers do, can
/// listen there.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub address: SocketAddr,
    #[expect(dead_code, reason = "held, since closing it gives the port up")]
    socket: TcpSocket,
}

impl Reserved {
    /// Port 0 lets the system choose.
    pub(crate) fn at(address: SocketAddr) -> std::io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { address: socket.local_addr()?, socket })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_reserved_port_can_be_listened_on_again_and_again() {
        let reserved = Reserved::at(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        for _ in 0..3 {
            assert!(TcpStream::connect(reserved.address).await.is_err(), "nobody listens yet");
            let listener = TcpListener::bind(reserved.address).await.unwrap();
            let (client, server) =
                tokio::join!(TcpStream::connect(reserved.address), listener.accept());
            client.unwrap();
            server.unwrap();
        }
    }
}

//! The limits of a listener.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::tls::TlsIdentity;

/// The limits and the identity of a listener. Start from [`ListenConfig::default`].
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Serve TLS with this identity, HTTP/2 or HTTP/1.1 by agreement (ALPN). Without it, clear text of
    /// either version is told apart by its first bytes.
    pub tls: Option<TlsIdentity>,
    /// How long the head of an HTTP/1.1 request, or a TLS handshake, may take. Past it: 408, close.
    pub head_timeout: Duration,
    /// How long a connection without a request stays open.
    pub idle_timeout: Duration,
    /// How long a client may take none of the bytes that wait for it.
    pub write_timeout: Duration,
    /// The largest request head, start line included. Past it: 431, close.
    pub head_bytes_max: usize,
    /// The largest number of header lines. Past it: 431, close.
    pub headers_max: usize,
    /// How many connections are open at once. More wait in the kernel's queue.
    pub connections_max: usize,
    /// How many requests run at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// How much of the request body is read and discarded after an early answer (HTP-13, ruling 18).
    pub discard_bytes_max: usize,
    /// How long that may take.
    pub discard_timeout: Duration,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            tls: None,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            head_bytes_max: 64 * 1024,
            headers_max: 100,
            connections_max: 100_000,
            http2_streams_max: 200,
            discard_bytes_max: 8 * 1024 * 1024,
            discard_timeout: Duration::from_secs(2),
        }
    }
}

impl ListenConfig {
    pub(super) fn check(&self) -> Result<(), ListenError> {
        let limits = [
            ("head_timeout", self.head_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
            ("write_timeout", self.write_timeout.is_zero()),
            ("head_bytes_max", self.head_bytes_max == 0),
            ("headers_max", self.headers_max == 0),
            ("connections_max", self.connections_max == 0),
            ("http2_streams_max", self.http2_streams_max == 0),
        ];
        match limits.into_iter().find(|(_, zero)| *zero) {
            Some((setting, _)) => Err(ListenError::Zero { setting }),
            None => Ok(()),
        }
    }
}

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("listen on {addr}: {source}; {}", mend(.source))]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread or its event loop cannot be made.
    #[error("start core {core}: {source}; use fewer threads or raise the limits of the process")]
    Start {
        /// Which core, from 0.
        core: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(
        "use {what} for TLS: {reason}; give PEM files of a certificate chain and its private key"
    )]
    Tls {
        /// The file, or what the bytes were given for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit is zero.
    #[error("use {setting} = 0 for the listener: give at least 1")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
}

fn mend(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "stop the program that has it or choose another port",
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine, or 0.0.0.0 for all",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 up or grant the privilege",
        _ => "choose another address",
    }
}

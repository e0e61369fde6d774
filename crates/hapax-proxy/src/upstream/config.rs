//! The settings of an upstream.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use rustls_pki_types::CertificateDer;

/// Which HTTP version is spoken to the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// HTTP/2 where TLS agrees on it (ALPN), HTTP/1.1 else.
    #[default]
    Auto,
    /// HTTP/1.1 always.
    Never,
    /// HTTP/2 always, without asking on `http`.
    Prior,
}

/// Whom to trust for the certificate of an `https` upstream.
#[derive(Clone, Debug, Default)]
pub enum TlsRoots {
    /// These certificates and no others.
    Certificates(Vec<CertificateDer<'static>>),
    /// The roots of the operating system.
    #[default]
    Native,
    /// The PEM certificates in this file and no others.
    PemFile(PathBuf),
}

/// How to reach an upstream, and the limits on the way. Start from [`UpstreamConfig::new`].
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// `http://host[:port]` or `https://host[:port]`, without a path.
    pub uri: Uri,
    /// The limit of one connect with name lookup and handshakes.
    pub connect_timeout: Duration,
    /// Whom to trust, for `https`.
    pub tls_roots: TlsRoots,
    /// Which HTTP version to speak.
    pub http2: Http2,
    /// How many HTTP/2 connections a thread opens before it queues on them.
    pub http2_connections_max: usize,
    /// How many requests run at once on one HTTP/2 connection; the upstream may set a lower bound.
    pub http2_streams_max: usize,
    /// How many idle HTTP/1.1 connections a thread keeps.
    pub pool_idle_max_per_thread: usize,
    /// How long a connection may lie idle. It should be shorter than the upstream's own limit, because a
    /// request written to a connection that the upstream closes at that moment has an unknown outcome.
    /// The default of 4 s is below the 5 s that common application servers use, and a lower
    /// `Keep-Alive: timeout` of the upstream is obeyed.
    pub idle_timeout: Duration,
    /// The largest head of an answer.
    pub head_bytes_max: usize,
    /// The largest number of header lines in an answer.
    pub headers_max: usize,
}

impl UpstreamConfig {
    /// The defaults for one upstream.
    #[must_use]
    pub fn new(uri: Uri) -> Self {
        Self {
            uri,
            connect_timeout: Duration::from_secs(5),
            tls_roots: TlsRoots::default(),
            http2: Http2::default(),
            http2_connections_max: 4,
            http2_streams_max: 100,
            pool_idle_max_per_thread: 512,
            idle_timeout: Duration::from_secs(4),
            head_bytes_max: 64 * 1024,
            headers_max: 100,
        }
    }
}

/// What is wrong with the settings of an upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamConfigError {
    /// The URI has a path, a query or user information.
    #[error(
        "use upstream \"{0}\": give scheme, host and port only; the path comes from each request"
    )]
    Extra(Uri),
    /// The URI has no host.
    #[error("use upstream \"{0}\": give it as http://host:port or https://host:port")]
    Host(Uri),
    /// The name cannot stand in a certificate.
    #[error("use upstream \"{0}\": its host is no name that a certificate can carry")]
    Name(Uri),
    /// A limit is zero.
    #[error("use {setting} = 0 for the upstream: give at least 1")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// The trusted roots are not there.
    #[error(
        "load the trusted roots from {from}: {reason}; give a PEM file with the upstream's root"
    )]
    Roots {
        /// Where they were looked for.
        from: String,
        /// What went wrong.
        reason: String,
    },
    /// The scheme is neither `http` nor `https`.
    #[error("use upstream \"{0}\": its scheme must be http or https")]
    Scheme(Uri),
}

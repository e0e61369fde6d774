//! Name lookup, TCP, TLS and the HTTP handshake: everything before a request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::body::RequestBody;
use super::config::{Http2, TlsRoots, UpstreamConfig, UpstreamConfigError};
use super::error::NotSent;
use super::socket::{Socket, Wire};

const ALPN_H1: &[u8] = b"http/1.1";
const ALPN_H2: &[u8] = b"h2";

/// Makes connections to one upstream.
pub(super) struct Connector {
    authority: Authority,
    scheme: Scheme,
    host: String,
    port: u16,
    address: Option<IpAddr>,
    connect_timeout: Duration,
    http2: Http2,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    h1: http1::Builder,
    h2: http2::Builder<TokioExecutor>,
}

/// A connection whose handshake is done and whose task runs.
pub(super) enum Fresh {
    /// HTTP/1.1: one request at a time.
    H1(http1::SendRequest<RequestBody>, Arc<Wire>),
    /// HTTP/2: many.
    H2(http2::SendRequest<RequestBody>),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("scheme", &self.scheme)
            .field("authority", &self.authority)
            .field("http2", &self.http2)
            .finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(config: UpstreamConfig) -> Result<Self, UpstreamConfigError> {
        check_limits(&config)?;
        let uri = &config.uri;
        let scheme = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => scheme.clone(),
            Some(_) | None => return Err(UpstreamConfigError::Scheme(uri.clone())),
        };
        let authority =
            uri.authority().cloned().ok_or_else(|| UpstreamConfigError::Host(uri.clone()))?;
        if !matches!(uri.path(), "" | "/")
            || uri.query().is_some()
            || authority.as_str().contains('@')
        {
            return Err(UpstreamConfigError::Extra(uri.clone()));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(UpstreamConfigError::Host(uri.clone()));
        }
        let tls = if scheme == Scheme::HTTPS { Some(tls(&config, &host)?) } else { None };
        let default_port = if tls.is_some() { 443 } else { 80 };
        let mut h1 = http1::Builder::new();
        h1.max_header_size(config.head_bytes_max).max_headers(config.headers_max);
        let mut h2 = http2::Builder::new(TokioExecutor::new());
        h2.max_header_list_size(u32::try_from(config.head_bytes_max).unwrap_or(u32::MAX))
            .initial_max_send_streams(config.http2_streams_max);
        Ok(Self {
            port: authority.port_u16().unwrap_or(default_port),
            address: host.parse().ok(),
            connect_timeout: config.connect_timeout,
            http2: config.http2,
            authority,
            scheme,
            host,
            tls,
            h1,
            h2,
        })
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Connects and spawns the task that drives the connection. Nothing of a request is sent.
    pub(super) async fn connect(&self) -> Result<Fresh, NotSent> {
        match timeout(self.connect_timeout, self.establish()).await {
            Ok(established) => established,
            Err(_elapsed) => Err(self.timed_out()),
        }
    }

    async fn establish(&self) -> Result<Fresh, NotSent> {
        let wire = Arc::new(Wire::default());
        let stream = self.connect_tcp().await?;
        // A request is one write; waiting to fill a segment would only delay it.
        stream.set_nodelay(true).map_err(|source| self.connect_error(source))?;
        let socket = Socket::new(stream, Arc::clone(&wire));
        let Some((connector, name)) = &self.tls else {
            return match self.http2 {
                Http2::Auto | Http2::Never => self.shake_h1(socket, wire).await,
                Http2::Prior => self.shake_h2(socket).await,
            };
        };
        let stream = connector
            .connect(name.clone(), socket)
            .await
            .map_err(|source| self.handshake_error(source))?;
        if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) {
            self.shake_h2(stream).await
        } else {
            self.shake_h1(stream, wire).await
        }
    }

    async fn connect_tcp(&self) -> Result<TcpStream, NotSent> {
        if let Some(ip) = self.address {
            let address = SocketAddr::new(ip, self.port);
            return TcpStream::connect(address).await.map_err(|e| self.connect_error(e));
        }
        let deadline = Instant::now() + self.connect_timeout;
        let found: Vec<SocketAddr> = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|source| self.resolve_error(source))?
            .collect();
        let mut last =
            self.resolve_error(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        let mut left = u32::try_from(found.len()).unwrap_or(u32::MAX);
        for address in found {
            // Each address gets an equal share of what time is left, so that a silent one does not
            // take it all.
            let now = Instant::now();
            let share = now + deadline.saturating_duration_since(now) / left.max(1);
            left -= 1;
            last = match timeout_at(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => self.connect_error(source),
                Err(_elapsed) => self.timed_out(),
            };
        }
        Err(last)
    }

    async fn shake_h1<S>(&self, io: S, wire: Arc<Wire>) -> Result<Fresh, NotSent>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = self
            .h1
            .handshake(TokioIo::new(io))
            .await
            .map_err(|source| self.handshake_error(source))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Fresh::H1(sender, wire))
    }

    async fn shake_h2<S>(&self, io: S) -> Result<Fresh, NotSent>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = self
            .h2
            .handshake(TokioIo::new(io))
            .await
            .map_err(|source| self.handshake_error(source))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Fresh::H2(sender))
    }

    fn connect_error(&self, source: io::Error) -> NotSent {
        NotSent::Connect { authority: self.authority.to_string(), source }
    }

    fn resolve_error(&self, source: io::Error) -> NotSent {
        NotSent::Resolve { authority: self.authority.to_string(), source }
    }

    fn handshake_error(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> NotSent {
        NotSent::Handshake { authority: self.authority.to_string(), source: source.into() }
    }

    fn timed_out(&self) -> NotSent {
        NotSent::ConnectTimeout {
            authority: self.authority.to_string(),
            milliseconds: self.connect_timeout.as_millis(),
        }
    }
}

fn check_limits(config: &UpstreamConfig) -> Result<(), UpstreamConfigError> {
    let limits = [
        ("connect_timeout", config.connect_timeout.is_zero()),
        ("http2_connections_max", config.http2_connections_max == 0),
        ("http2_streams_max", config.http2_streams_max == 0),
        ("head_bytes_max", config.head_bytes_max == 0),
        ("headers_max", config.headers_max == 0),
    ];
    match limits.into_iter().find(|(_, zero)| *zero) {
        Some((setting, _)) => Err(UpstreamConfigError::Zero { setting }),
        None => Ok(()),
    }
}

fn tls(
    config: &UpstreamConfig,
    host: &str,
) -> Result<(TlsConnector, ServerName<'static>), UpstreamConfigError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_invalid| UpstreamConfigError::Name(config.uri.clone()))?;
    let roots = roots(&config.tls_roots, &config.uri)?;
    let provider = Arc::new(crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| roots_error("the TLS library", &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = match config.http2 {
        Http2::Auto => vec![ALPN_H2.to_vec(), ALPN_H1.to_vec()],
        Http2::Never => vec![ALPN_H1.to_vec()],
        Http2::Prior => vec![ALPN_H2.to_vec()],
    };
    Ok((TlsConnector::from(Arc::new(client)), name))
}

fn roots(roots: &TlsRoots, uri: &Uri) -> Result<RootCertStore, UpstreamConfigError> {
    let mut store = RootCertStore::empty();
    let from = match roots {
        TlsRoots::Certificates(certificates) => {
            let from = format!("the certificates given for {uri}");
            for certificate in certificates {
                store.add(certificate.clone()).map_err(|error| roots_error(&from, &error))?;
            }
            from
        }
        TlsRoots::Native => {
            let from = "the operating system".to_owned();
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if let (true, Some(error)) = (store.is_empty(), found.errors.first()) {
                return Err(roots_error(&from, error));
            }
            from
        }
        TlsRoots::PemFile(path) => {
            let from = path.display().to_string();
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| roots_error(&from, &error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| roots_error(&from, &error))?;
                store.add(certificate).map_err(|error| roots_error(&from, &error))?;
            }
            from
        }
    };
    if store.is_empty() {
        return Err(roots_error(&from, &"there is none"));
    }
    Ok(store)
}

fn roots_error(from: &str, reason: &dyn std::fmt::Display) -> UpstreamConfigError {
    UpstreamConfigError::Roots { from: from.to_owned(), reason: reason.to_string() }
}

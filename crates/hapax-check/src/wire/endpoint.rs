//! Where to connect: parsed from a URL, over TCP or TLS.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream in both directions.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The origin part of a URL and its path.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub host: String,
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}{})", self.authority(), self.path)
    }
}

impl Endpoint {
    /// Parses an absolute http or https URL; `authorities` names a PEM file of further roots.
    pub(crate) fn parse(url: &str, authorities: Option<&Path>) -> Result<Self, String> {
        let bad = |why: &str| format!("{url:?} is not usable as a URL: {why}");
        let uri: http::Uri = url.parse().map_err(|_| bad("it does not parse"))?;
        let host = uri.host().ok_or_else(|| bad("it names no host"))?.to_owned();
        let (tls, default) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(tls_config(authorities)?), 443),
            _ => return Err(bad("give it as http://HOST:PORT/PATH or https://HOST/PATH")),
        };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let port = uri.port_u16().unwrap_or(default);
        Ok(Self { host, port, path, tls })
    }

    /// The value of the Host field.
    pub(crate) fn authority(&self) -> String {
        let default = if self.tls.is_some() { 443 } else { 80 };
        match self.port == default {
            true => self.host.clone(),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether the host is this machine by name or address.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let host = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

fn tls_config(authorities: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = authorities {
        let failed = |error: &dyn fmt::Display| {
            format!("--ca-cert {:?} could not be read: {error}", path.display())
        };
        for cert in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
            roots.add(cert.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS could not be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

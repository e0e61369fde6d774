//! The identity of a TLS listener.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto};

use super::config::ListenError;

pub(super) const ALPN_H2: &[u8] = b"h2";

/// A certificate chain with its private key, ready to serve. Early data is never accepted (HTP-11).
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads a certificate chain and a key from PEM files.
    ///
    /// # Errors
    ///
    /// [`ListenError::Tls`] names the file and what is wrong with it.
    pub fn from_pem_files(cert: &Path, key: &Path) -> Result<Self, ListenError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| fail(&path.display().to_string(), &error))
        };
        let (chain, secret) = (read(cert)?, read(key)?);
        Self::build(&chain, &secret, &cert.display().to_string(), &key.display().to_string())
    }

    /// Takes a certificate chain and a key as PEM text.
    ///
    /// # Errors
    ///
    /// [`ListenError::Tls`] says what is wrong.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, ListenError> {
        Self::build(cert, key, "the certificate given", "the private key given")
    }

    fn build(
        cert: &[u8],
        key: &[u8],
        cert_name: &str,
        key_name: &str,
    ) -> Result<Self, ListenError> {
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| fail(cert_name, &error))?;
        if chain.is_empty() {
            return Err(fail(cert_name, &"it holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| fail(key_name, &error))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(cert_name, &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| fail(cert_name, &error))?;
        config.alpn_protocols = vec![ALPN_H2.to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

fn fail(what: &str, reason: &dyn std::fmt::Display) -> ListenError {
    ListenError::Tls { what: what.to_owned(), reason: reason.to_string() }
}

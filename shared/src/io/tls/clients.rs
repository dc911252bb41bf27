//! TLS of the listeners that clients connect to: one public certificate, TLS 1.2 and 1.3.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::FromDer;

use super::files::{Loaded, Watched};
use super::{TlsError, provider};
use crate::io::shutdown::Shutdown;

/// A certificate chain with its key, read again when the files change.
#[derive(Clone, Debug)]
pub struct ClientFacing(Arc<Watched<Identity>>);

impl ClientFacing {
    /// Loads a PEM chain, leaf first, and its PEM key.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        Watched::load(vec![chain.to_owned(), key.to_owned()]).map(Self)
    }

    /// The configuration for a listener; it follows the files. `protocols` are the ALPN names
    /// offered, none for protocols without one.
    pub fn server_config(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(&self.0))));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // Tickets carry the session themselves: reconnecting clients cost no memory here.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    /// Reads the files again now: whether they had changed. After an error the old ones stay.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.0.reload()
    }

    /// Looks for changed files until the shutdown.
    pub async fn watch(self, every: Duration, shutdown: Shutdown) {
        self.0.watch(every, shutdown).await;
    }

    /// Registers the certificate's end and whether reloading fails.
    pub fn register(&self, registry: &mut Registry) {
        self.0.register(registry);
    }
}

#[derive(Debug)]
struct Resolver(Arc<Watched<Identity>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().certified))
    }
}

/// A certificate chain that fits its key.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) not_after: i64,
}

impl Loaded for Identity {
    fn parse(paths: &[PathBuf], contents: &[Vec<u8>]) -> Result<Self, TlsError> {
        let (chain_path, key_path) = (&paths[0], &paths[1]);
        let chain = certificates(chain_path, &contents[0])?;
        let key = PrivateKeyDer::from_pem_slice(&contents[1])
            .map_err(|source| pem_error(key_path, "private key", source))?;
        let unusable = |source| TlsError::Unusable { path: key_path.clone(), source };
        let not_after = not_after(chain_path, &chain[0])?;
        // Also checks that the key belongs to the certificate.
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(unusable)?;
        Ok(Self { certified: Arc::new(certified), not_after })
    }

    fn not_after(&self) -> i64 {
        self.not_after
    }
}

/// All certificates of a PEM file, at least one.
pub(super) fn certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(pem_error(path, "certificate", pem::Error::NoItemsFound)),
        Err(source) => Err(pem_error(path, "certificate", source)),
    }
}

pub(super) fn pem_error(path: &Path, what: &'static str, source: pem::Error) -> TlsError {
    TlsError::Pem { path: path.to_owned(), what, source }
}

fn not_after(path: &Path, certificate: &CertificateDer<'_>) -> Result<i64, TlsError> {
    x509_parser::certificate::X509Certificate::from_der(certificate)
        .map(|(_, certificate)| certificate.validity().not_after.timestamp())
        .map_err(|_| TlsError::Certificate { path: path.to_owned() })
}

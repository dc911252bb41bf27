//! Mutual TLS between nodes, over QUIC or TCP: TLS 1.3, a private CA, no resumption, no 0-RTT.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};

use super::clients::Identity;
use super::files::{Loaded, Watched};
use super::name::{NodeName, Role};
use super::verify::{ClientVerifier, ServerVerifier, Trust};
use super::{TlsError, provider};
use crate::config::{Configure, Reader};
use crate::io::shutdown::Shutdown;

/// The line protocol's ALPN name.
pub const ALPN: &[u8] = b"linecast/1";

/// The server name a node asks for. It selects nothing: who answers proves its own name, and is
/// checked by role.
pub const SERVER_NAME: &str = "node.linecast";

/// The PEM files of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFiles {
    /// The private CA; several certificates while one replaces another.
    pub ca: PathBuf,
    /// The node's chain, leaf first. The leaf must serve as server and as client.
    pub certificate: PathBuf,
    /// The node's key.
    pub key: PathBuf,
    /// Revocation lists of the CA, if it keeps any.
    pub revoked: Option<PathBuf>,
}

impl Configure for NodeFiles {
    fn read(reader: &mut Reader) -> Self {
        Self {
            ca: reader.required("node.ca", "pki/ca.pem".into(), "PEM of the network's private CA."),
            certificate: reader.required(
                "node.certificate",
                "pki/node.pem".into(),
                "PEM certificate that names this node: <role>.<name>.linecast.",
            ),
            key: reader.required("node.key", "pki/node.key".into(), "PEM key of this node."),
            revoked: reader.optional("node.revoked", "PEM revocation lists of the CA."),
        }
    }
}

/// A node's identity and whom it trusts, read again when the files change.
#[derive(Clone, Debug)]
pub struct Nodes(Arc<Watched<Node>>);

impl Nodes {
    /// Loads a node's files.
    pub fn load(files: &NodeFiles) -> Result<Self, TlsError> {
        let mut paths = vec![files.certificate.clone(), files.key.clone(), files.ca.clone()];
        paths.extend(files.revoked.clone());
        Watched::load(paths).map(Self)
    }

    /// Who we are.
    pub fn name(&self) -> NodeName {
        self.0.current().name.clone()
    }

    /// TLS of a listener that nodes of the given roles may connect to.
    pub fn server_config(&self, accepts: &[Role]) -> Result<ServerConfig, TlsError> {
        let verifier = ClientVerifier::new(Arc::clone(&self.0), accepts);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(&self.0))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// TLS of a connection to a node that must have one of the given roles.
    pub fn client_config(&self, expects: &[Role]) -> Result<ClientConfig, TlsError> {
        let verifier = ServerVerifier::new(Arc::clone(&self.0), expects);
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(Resolver(Arc::clone(&self.0))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }

    /// [`Nodes::server_config`] for QUIC, with the default transport parameters.
    pub fn quic_server(&self, accepts: &[Role]) -> Result<quinn::ServerConfig, TlsError> {
        let crypto = QuicServerConfig::try_from(self.server_config(accepts)?)?;
        Ok(quinn::ServerConfig::with_crypto(Arc::new(crypto)))
    }

    /// [`Nodes::client_config`] for QUIC, with the default transport parameters. Connect with
    /// [`SERVER_NAME`].
    pub fn quic_client(&self, expects: &[Role]) -> Result<quinn::ClientConfig, TlsError> {
        let crypto = QuicClientConfig::try_from(self.client_config(expects)?)?;
        Ok(quinn::ClientConfig::new(Arc::new(crypto)))
    }

    /// Whether a chain that was accepted earlier would still be accepted now. Connections outlive
    /// handshakes: their owner asks this from time to time and closes those that fail.
    pub fn still_trusts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return false;
        };
        self.0.current().trust.verify_client(leaf, intermediates, UnixTime::now()).is_ok()
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

/// Everything a node's files say.
#[derive(Debug)]
pub(super) struct Node {
    identity: Identity,
    name: NodeName,
    pub(super) trust: Trust,
}

impl Loaded for Node {
    fn parse(paths: &[PathBuf], contents: &[Vec<u8>]) -> Result<Self, TlsError> {
        let identity = Identity::parse(paths, contents)?;
        let name = NodeName::of_certificate(&identity.certified.cert[0])
            .map_err(|source| TlsError::Name { path: paths[0].clone(), source })?;
        let trust = Trust::parse(&paths[2..], &contents[2..])?;
        Ok(Self { identity, name, trust })
    }

    fn not_after(&self) -> i64 {
        self.identity.not_after
    }
}

#[derive(Debug)]
struct Resolver(Arc<Watched<Node>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().identity.certified))
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current().identity.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

//! Whom a node trusts: chains of the private CA, not revoked, of the role that is wanted.
//!
//! rustls' own verifiers do the cryptography; those here ask the ones of the files' current state,
//! and then look at the role.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::clients::{certificates, pem_error};
use super::files::Watched;
use super::name::{NodeName, Role};
use super::nodes::Node;
use super::{TlsError, provider};

/// The CA with its revocation lists.
#[derive(Debug)]
pub(super) struct Trust {
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Reads the CA file and, if there is a second file, the revocation lists.
    pub(super) fn parse(paths: &[PathBuf], contents: &[Vec<u8>]) -> Result<Self, TlsError> {
        let ca = &paths[0];
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca, &contents[0])? {
            roots
                .add(certificate)
                .map_err(|source| TlsError::Unusable { path: ca.clone(), source })?;
        }
        let mut lists = Vec::new();
        if let (Some(path), Some(pem)) = (paths.get(1), contents.get(1)) {
            lists = CertificateRevocationListDer::pem_slice_iter(pem)
                .collect::<Result<_, _>>()
                .map_err(|source| pem_error(path, "revocation list", source))?;
        }
        let roots = Arc::new(roots);
        let failed = |source| TlsError::Trust { path: ca.clone(), source };
        // A CA without a list, as while one CA replaces another, revokes nothing.
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .with_crls(lists.iter().cloned())
            .allow_unknown_revocation_status()
            .build()
            .map_err(failed)?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .with_crls(lists)
            .allow_unknown_revocation_status()
            .build()
            .map_err(failed)?;
        Ok(Self { servers, clients })
    }

    pub(super) fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<NodeName, Error> {
        self.clients.verify_client_cert(leaf, intermediates, now)?;
        name_of(leaf)
    }

    fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<NodeName, Error> {
        let name = name_of(leaf)?;
        // The server is asked for by role, so it is verified under the name it claims.
        let claimed = ServerName::try_from(name.to_string())
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        self.servers.verify_server_cert(leaf, intermediates, &claimed, stapled, now)?;
        Ok(name)
    }
}

fn name_of(leaf: &CertificateDer<'_>) -> Result<NodeName, Error> {
    NodeName::of_certificate(leaf).map_err(refuse)
}

/// A certificate that is valid but not wanted.
fn refuse(reason: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}

/// A node of a role that has no business here.
#[derive(thiserror::Error)]
#[error("{name} does not have a role that is wanted here")]
struct WrongRole {
    name: NodeName,
}

/// rustls shows foreign reasons by `Debug` alone, and this one is for an operator to read.
impl fmt::Debug for WrongRole {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

fn check_role(name: NodeName, wanted: &[Role]) -> Result<(), Error> {
    if wanted.contains(&name.role) { Ok(()) } else { Err(refuse(WrongRole { name })) }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// Verifies nodes that connect to us.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    node: Arc<Watched<Node>>,
    accepts: Vec<Role>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    pub(super) fn new(node: Arc<Watched<Node>>, accepts: &[Role]) -> Self {
        Self { node, accepts: accepts.to_vec(), algorithms: algorithms() }
    }
}

impl ClientCertVerifier for ClientVerifier {
    /// No hints: a node has one certificate, and the CA may change after the configuration was
    /// made.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let name = self.node.current().trust.verify_client(leaf, intermediates, now)?;
        check_role(name, &self.accepts)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Verifies nodes that we connect to.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    node: Arc<Watched<Node>>,
    expects: Vec<Role>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(node: Arc<Watched<Node>>, expects: &[Role]) -> Self {
        Self { node, expects: expects.to_vec(), algorithms: algorithms() }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.node.current().trust.verify_server(leaf, intermediates, stapled, now)?;
        check_role(name, &self.expects)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

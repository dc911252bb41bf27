//! TLS towards clients and mutual TLS between nodes, with certificates that reload.
//!
//! 1. A configuration is built once around what `files.rs` last read successfully: a new
//!    certificate, CA or revocation list counts from the next handshake on, and a broken file
//!    changes nothing but the log and a metric.
//! 2. Between nodes a certificate names a [`NodeName`]: `edge.bj-telecom.linecast`. Each side
//!    says which roles it wants to meet; a valid certificate of another role is refused.
//! 3. Nodes never resume a session: a resumed one would not ask the verifier, so a CA that was
//!    removed would stay trusted for as long as its tickets live.
//!
//! Invariant: nothing is trusted between nodes but the private CA files; no system roots.

mod clients;
mod files;
mod name;
mod nodes;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use clients::ClientFacing;
pub use files::POLL_PERIOD;
pub use name::{NodeName, NodeNameError, Role};
pub use nodes::{ALPN, NodeFiles, Nodes, SERVER_NAME};

/// Why certificates could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no PEM, or not of what it should be.
    #[error("{} holds no valid PEM {what}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds PEM whose contents are refused.
    #[error("{} cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The CA or revocation lists cannot be used together.
    #[error("the CA in {} cannot be used", path.display())]
    Trust {
        /// The CA file.
        path: PathBuf,
        /// Why.
        source: rustls::client::VerifierBuilderError,
    },
    /// A certificate's validity cannot be read.
    #[error("the certificate in {} is malformed", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// A node's certificate does not name a node.
    #[error("the certificate in {} names no node", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NodeNameError,
    },
    /// The TLS library refuses the parameters.
    #[error("TLS cannot be configured")]
    Configure(#[from] rustls::Error),
    /// The provider lacks what QUIC needs.
    #[error("TLS cannot be configured for QUIC")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The only provider of cryptography, passed explicitly so that no default has to be installed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;

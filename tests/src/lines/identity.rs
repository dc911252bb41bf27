//! A throw-away certificate, and TLS for both ends of a connection that nobody else ever sees.

use std::sync::Arc;

use anyhow::Result;
use rcgen::CertifiedKey;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// TLS of the upstream and of the edge, which trusts nobody else.
pub(super) fn pair() -> Result<(ServerConfig, ClientConfig)> {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate: CertificateDer<'static> = cert.into();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    for protocols in [&mut server.alpn_protocols, &mut client.alpn_protocols] {
        *protocols = vec![b"lines".to_vec()];
    }
    Ok((server, client))
}

/// Who the upstream is.
pub(super) const NAME: &str = "upstream";

//! What a certificate says.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use shared::io::tls::NodeName;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::PkiError;

/// A certificate, as far as it concerns a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// What it is for.
    pub what: What,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// The same in words.
    pub ends: String,
    /// The public key, as DER.
    pub public_key: Vec<u8>,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Signing others.
    Authority,
    /// Being this node.
    Node(NodeName),
    /// Facing clients under these names.
    Hosts(Vec<String>),
}

impl fmt::Display for What {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority => out.write_str("the nodes' authority"),
            Self::Node(node) => write!(out, "node {node}"),
            Self::Hosts(hosts) => write!(out, "faces clients as {}", hosts.join(", ")),
        }
    }
}

impl Described {
    /// Reads the first certificate of a PEM text.
    pub fn read(pem: &str) -> Result<Self, PkiError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| PkiError::NotPem)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| PkiError::Malformed)?;
        let what = if parsed.is_ca() {
            What::Authority
        } else if let Ok(node) = NodeName::of_certificate(&der) {
            What::Node(node)
        } else {
            What::Hosts(hosts(&parsed)?)
        };
        let not_after = parsed.validity().not_after;
        Ok(Self {
            what,
            not_after: not_after.timestamp(),
            ends: not_after.to_string(),
            public_key: parsed.public_key().raw.to_vec(),
        })
    }
}

fn hosts(certificate: &X509Certificate<'_>) -> Result<Vec<String>, PkiError> {
    let names = certificate.subject_alternative_name().map_err(|_| PkiError::Malformed)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    Ok(names.iter().filter_map(text).collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

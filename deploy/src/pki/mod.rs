//! The certificates of a network, as values: a private authority for its nodes, the nodes'
//! certificates, and certificates that face clients.
//!
//! Nodes trust each other by the authority alone, so that its key is the key to the network; clients
//! never see it, and a certificate that faces clients is not signed by it. Keys are ECDSA P-256.
//!
//! Invariant: a node's certificate names exactly one node and serves in both directions of a line.

mod read;

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use shared::io::tls::NodeName;

pub use read::{Described, What};

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The library refused to make it.
    #[error("cannot make the certificate")]
    Make(#[source] rcgen::Error),
    /// A private key that cannot be read.
    #[error("the private key cannot be read")]
    Key(#[source] rcgen::Error),
    /// A text that is no certificate in PEM.
    #[error("this is no certificate in PEM")]
    NotPem,
    /// A certificate of a form that cannot be read.
    #[error("the certificate is malformed")]
    Malformed,
    /// A certificate that may not sign others.
    #[error("the certificate is not that of an authority")]
    NotAuthority,
    /// A certificate and a key that do not belong together.
    #[error("the key is not that of the certificate")]
    WrongKey,
    /// A name that no client could ask for.
    #[error("{0:?} is neither a host name nor an address")]
    Host(String),
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Shows the certificate alone.
impl fmt::Debug for Pair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// From when on and for how long a certificate holds.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The time it is made at; it holds from a little earlier on, for clocks that are behind.
    pub now: SystemTime,
    /// Days from then on.
    pub days: u32,
}

/// Signs the certificates of nodes.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority.
    pub fn create(name: &str, validity: Validity) -> Result<Pair, PkiError> {
        let mut params = params(name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(PkiError::Make)?;
        let certificate = params.self_signed(&key).map_err(PkiError::Make)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Reads an authority that was made before.
    pub fn read(pair: &Pair) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(&pair.key).map_err(PkiError::Key)?;
        let described = Described::read(&pair.certificate)?;
        if described.what != What::Authority {
            return Err(PkiError::NotAuthority);
        }
        if described.public_key != key.subject_public_key_info() {
            return Err(PkiError::WrongKey);
        }
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key).map_err(PkiError::Make)?;
        Ok(Self { issuer })
    }

    /// Makes a node's certificate.
    pub fn node(&self, node: &NodeName, validity: Validity) -> Result<Pair, PkiError> {
        let mut params = leaf(&node.to_string(), &[node.to_string()], validity)?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(PkiError::Make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::Make)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// Makes a certificate for listeners that clients connect to, signed by itself: a client trusts it
/// only if it is told to.
pub fn facing_clients(hosts: &[String], validity: Validity) -> Result<Pair, PkiError> {
    let name = hosts.first().map_or("linecast", String::as_str);
    let mut params = leaf(name, hosts, validity)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(PkiError::Make)?;
    let certificate = params.self_signed(&key).map_err(PkiError::Make)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn leaf(name: &str, hosts: &[String], validity: Validity) -> Result<CertificateParams, PkiError> {
    let mut params = params(name, validity);
    for host in hosts {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '*' | '_');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(PkiError::Host(host.clone()));
        }
        let named = CertificateParams::new([host.clone()]).map_err(PkiError::Make)?;
        params.subject_alt_names.extend(named.subject_alt_names);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (validity.now - CLOCKS_BEHIND).into();
    params.not_after = (validity.now + DAY * validity.days).into();
    params
}

/// How long an authority holds unless told otherwise: ten years.
pub const AUTHORITY_DAYS: u32 = 3650;
/// How long other certificates hold unless told otherwise: a year and a month.
pub const LEAF_DAYS: u32 = 397;
/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const CLOCKS_BEHIND: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use shared::io::tls::Role;

    use super::*;

    const VALIDITY: Validity = Validity { now: SystemTime::UNIX_EPOCH, days: 10 };

    fn edge() -> NodeName {
        NodeName::new(Role::Edge, "bj-telecom").unwrap()
    }

    #[test]
    fn an_authority_signs_nodes() {
        let pair = Authority::create("Linecast nodes", VALIDITY).unwrap();
        let authority = Authority::read(&pair).unwrap();
        let node = authority.node(&edge(), VALIDITY).unwrap();
        let described = Described::read(&node.certificate).unwrap();
        assert_eq!(described.what, What::Node(edge()));
        assert_eq!(described.not_after, 10 * 86_400);
        assert!(!node.key.is_empty() && !format!("{node:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_is_no_authority_signs_nothing() {
        let pair = Authority::create("Linecast nodes", VALIDITY).unwrap();
        let other = Authority::create("Linecast nodes", VALIDITY).unwrap();
        let node = Authority::read(&pair).unwrap().node(&edge(), VALIDITY).unwrap();
        assert!(matches!(Authority::read(&node), Err(PkiError::NotAuthority)));
        let mixed = Pair { key: other.key, ..pair };
        assert!(matches!(Authority::read(&mixed), Err(PkiError::WrongKey)));
        let no_key = Pair { key: "no PEM".to_owned(), ..mixed.clone() };
        assert!(matches!(Authority::read(&no_key), Err(PkiError::Key(_))));
        let nothing = Pair { certificate: String::new(), ..mixed };
        assert!(matches!(Authority::read(&nothing), Err(PkiError::NotPem)));
    }

    #[test]
    fn certificates_for_clients_name_hosts_and_addresses() {
        let hosts = ["live.example.com", "127.0.0.1", "::1"].map(str::to_owned);
        let pair = facing_clients(&hosts, VALIDITY).unwrap();
        let described = Described::read(&pair.certificate).unwrap();
        assert_eq!(described.what, What::Hosts(hosts.to_vec()));
        for wrong in ["", "a b", "https://example.com"] {
            assert!(matches!(
                facing_clients(&[wrong.to_owned()], VALIDITY),
                Err(PkiError::Host(_))
            ));
        }
    }
}

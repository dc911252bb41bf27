//! Who a node is, as its certificate says.

use std::any::Any;
use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The last part of every node's name.
const DOMAIN: &str = "linecast";

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Keeps the logs.
    Origin,
    /// Ranks the edges.
    Svrlist,
    /// Faces the clients.
    Edge,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Origin, Self::Svrlist, Self::Edge];

    /// The role's name in certificates and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Svrlist => "svrlist",
            Self::Edge => "edge",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A node's identity: its role and its name among those of the role. As text it is the DNS name
/// in its certificate, `edge.bj-telecom.linecast`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName {
    /// What the node does.
    pub role: Role,
    /// A DNS label: lower-case letters, digits and inner hyphens, at most 63.
    pub name: String,
}

/// Why a certificate or text names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeNameError {
    /// Not of the form `<role>.<name>.linecast`.
    #[error("not a node's name, which is <origin|svrlist|edge>.<name>.linecast")]
    Form,
    /// The certificate cannot be parsed.
    #[error("the certificate is malformed")]
    Malformed,
    /// No subject alternative name of a node.
    #[error("the certificate holds no DNS name <role>.<name>.linecast")]
    Absent,
    /// More than one: which one is meant would be a guess.
    #[error("the certificate names more than one node")]
    Ambiguous,
}

impl NodeName {
    /// Puts a name together; `name` must be a DNS label.
    pub fn new(role: Role, name: &str) -> Result<Self, NodeNameError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let label = (1..=63).contains(&name.len())
            && name.chars().all(plain)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !label {
            return Err(NodeNameError::Form);
        }
        Ok(Self { role, name: name.to_owned() })
    }

    /// The node that a certificate names. It does not check who signed it: the handshake does.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, NodeNameError> {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate)
            .map_err(|_| NodeNameError::Malformed)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| NodeNameError::Malformed)?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        let mut nodes = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => name.parse().ok(),
            _ => None,
        });
        match (nodes.next(), nodes.next()) {
            (Some(node), None) => Ok(node),
            (None, _) => Err(NodeNameError::Absent),
            (Some(_), Some(_)) => Err(NodeNameError::Ambiguous),
        }
    }

    /// The node at the other end, from what [`quinn::Connection::peer_identity`] returns after a
    /// handshake with the configurations of [`Nodes`](super::Nodes).
    pub fn of_peer(identity: Option<Box<dyn Any>>) -> Option<Self> {
        let chain = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        Self::of_certificate(chain.first()?).ok()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{DOMAIN}", self.role, self.name)
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let [Some(role), Some(name), Some(DOMAIN), None] = parts else {
            return Err(NodeNameError::Form);
        };
        let role = Role::ALL.into_iter().find(|known| known.as_str() == role);
        Self::new(role.ok_or(NodeNameError::Form)?, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for text in ["edge.bj-telecom.linecast", "origin.1.linecast", "svrlist.a.linecast"] {
            assert_eq!(text.parse::<NodeName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "",
            "edge.linecast",
            "edge..linecast",
            "edge.a.b.linecast",
            "relay.a.linecast",
            "edge.a.example",
            "edge.-a.linecast",
            "edge.a-.linecast",
            "edge.A.linecast",
            "edge.*.linecast",
            "edge.a.linecast.",
        ] {
            assert_eq!(text.parse::<NodeName>(), Err(NodeNameError::Form), "{text}");
        }
    }
}

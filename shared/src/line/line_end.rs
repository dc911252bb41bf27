//! Where a line begins or ends: an address, and the carrier whose network it is in.
//!
//! Lines that share a carrier tend to fail together, so whoever chooses two of them looks at both
//! ends.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// One end of lines. Its text is `ADDRESS` or `ADDRESS CARRIER`, such as `203.0.113.1:7401 telecom`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineEnd {
    /// Where datagrams go, or come from.
    pub address: SocketAddr,
    /// The carrier's name; empty where nobody said.
    pub carrier: String,
}

/// A text that is no [`LineEnd`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineEndError {
    /// The first word is no address.
    #[error("{0:?} is no address with a port, such as 203.0.113.1:7401")]
    Address(String),
    /// The rest is no carrier.
    #[error(
        "{0:?} is no carrier: at most {CARRIER_BYTES_MAX} letters, digits, '-' and '_' are allowed"
    )]
    Carrier(String),
}

impl LineEnd {
    /// An address of no known carrier.
    pub fn of(address: SocketAddr) -> Self {
        Self { address, carrier: String::new() }
    }

    /// Whether both are known to be in one carrier's network.
    pub fn shares_carrier(&self, other: &Self) -> bool {
        !self.carrier.is_empty() && self.carrier == other.carrier
    }
}

impl FromStr for LineEnd {
    type Err = LineEndError;

    fn from_str(text: &str) -> Result<Self, LineEndError> {
        let (address, carrier) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let carrier = carrier.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if carrier.len() > CARRIER_BYTES_MAX || !carrier.chars().all(allowed) {
            return Err(LineEndError::Carrier(carrier.to_owned()));
        }
        let address = address.parse().map_err(|_| LineEndError::Address(address.to_owned()))?;
        Ok(Self { address, carrier: carrier.to_owned() })
    }
}

impl fmt::Display for LineEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.address)?;
        if self.carrier.is_empty() { Ok(()) } else { write!(out, " {}", self.carrier) }
    }
}

/// Bytes of a carrier's name.
pub const CARRIER_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_faults() {
        for text in ["127.0.0.1:7711 telecom", "[::1]:7401", "10.0.0.1:0 china-mobile_2"] {
            assert_eq!(text.parse::<LineEnd>().map(|end| end.to_string()), Ok(text.into()));
        }
        for text in ["", "7401", "localhost:1", "127.0.0.1 telecom"] {
            assert!(matches!(text.parse::<LineEnd>(), Err(LineEndError::Address(_))), "{text}");
        }
        for text in ["127.0.0.1:1 a b", "127.0.0.1:1 tele,com"] {
            assert!(matches!(text.parse::<LineEnd>(), Err(LineEndError::Carrier(_))), "{text}");
        }
    }

    #[test]
    fn unknown_carriers_are_not_shared() {
        let [a, b, c, d]: [LineEnd; 4] = ["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1 x", "1.1.1.4:1 x"]
            .map(|text| text.parse().expect("an end"));
        assert!(!a.shares_carrier(&b) && !a.shares_carrier(&c) && c.shares_carrier(&d));
    }
}

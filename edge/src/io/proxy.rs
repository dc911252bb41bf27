//! What a proxy says of its client before anything else: the PROXY protocol, version 2
//! (HAProxy's specification, section 2.2).

use std::net::IpAddr;

use bytes::Buf;
use bytes::BytesMut;
use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX};

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub enum Preface {
    /// Not all of it: so many bytes must be read next, and no more, since what follows may be TLS.
    More(usize),
    /// The client's address; `None` is the proxy's own connection, a health check.
    From(Option<IpAddr>),
    /// No header, or one that is too long.
    Wrong,
}

/// Takes a header off the front of `input`.
pub fn read(input: &mut BytesMut) -> Preface {
    let known = input.len().min(PROTOCOL_PREFIX.len());
    if input[..known] != PROTOCOL_PREFIX[..known] {
        return Preface::Wrong;
    }
    if input.len() < FIXED_BYTES {
        return Preface::More(FIXED_BYTES - input.len());
    }
    let rest = usize::from(u16::from_be_bytes([input[14], input[15]]));
    if rest > REST_BYTES_MAX {
        return Preface::Wrong;
    }
    if input.len() < FIXED_BYTES + rest {
        return Preface::More(FIXED_BYTES + rest - input.len());
    }
    let Ok(header) = Header::try_from(&input[..FIXED_BYTES + rest]) else {
        return Preface::Wrong;
    };
    let address = match (header.command, header.addresses) {
        (Command::Local, _) | (_, Addresses::Unspecified | Addresses::Unix(_)) => None,
        (Command::Proxy, Addresses::IPv4(ip)) => Some(ip.source_address.into()),
        (Command::Proxy, Addresses::IPv6(ip)) => Some(ip.source_address.into()),
    };
    input.advance(FIXED_BYTES + rest);
    Preface::From(address)
}

/// Bytes up to and with the length of the rest.
pub(super) const FIXED_BYTES: usize = 16;
/// Bytes of addresses and what some proxies add, TLS client names among it.
const REST_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use ppp::v2::{Builder, Protocol, Type, Version};

    use super::*;

    fn header(command: Command) -> Vec<u8> {
        let addresses: (std::net::SocketAddr, std::net::SocketAddr) =
            (([10, 1, 2, 3], 4).into(), ([10, 0, 0, 1], 80).into());
        Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses)
            .write_tlv(Type::NoOp, b"padding")
            .and_then(Builder::build)
            .expect("a header")
    }

    #[test]
    fn a_header_is_read_to_its_end_and_no_further() {
        let mut input = BytesMut::new();
        let bytes = header(Command::Proxy);
        let mut left = bytes.as_slice();
        let mut next = FIXED_BYTES;
        while let Some((now, later)) = left.split_at_checked(next) {
            input.extend_from_slice(now);
            left = later;
            match read(&mut input) {
                Preface::More(more) => next = more,
                preface => {
                    assert_eq!(preface, Preface::From(Some([10, 1, 2, 3].into())));
                    break;
                }
            }
        }
        assert!(left.is_empty() && input.is_empty());
    }

    #[test]
    fn the_proxy_itself_may_look() {
        assert_eq!(read(&mut BytesMut::from(&header(Command::Local)[..])), Preface::From(None));
    }

    #[test]
    fn anything_else_is_refused_at_its_first_wrong_byte() {
        assert_eq!(read(&mut BytesMut::from(&b"G"[..])), Preface::Wrong);
        assert_eq!(read(&mut BytesMut::from(&b"PROXY TCP4 1.2.3.4"[..])), Preface::Wrong);
        let mut long = header(Command::Proxy);
        long[14] = 255;
        assert_eq!(read(&mut BytesMut::from(&long[..])), Preface::Wrong);
        let mut other = header(Command::Proxy);
        other[12] = 0x31;
        assert_eq!(read(&mut BytesMut::from(&other[..])), Preface::Wrong);
    }
}

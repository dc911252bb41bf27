//! Which address a client has: behind proxies, and inside the notations that wrap IPv4 in IPv6.
//!
//! Two readings are kept apart. [`canonical`] undoes only the mapping that our own sockets make,
//! and is what trust and limits use. [`normalise`] also opens tunnels, whose contents a stranger
//! chooses: good for finding a place on the map, not for trusting anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::HeaderMap;
use ipnet::IpNet;

/// The address with an IPv4-mapped one (`::ffff:10.0.0.1`, what a dual-stack socket reports)
/// turned back into IPv4.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The IPv4 address inside a mapped, NAT64 (`64:ff9b::/96`), 6to4 (`2002::/16`) or Teredo
/// (`2001::/32`) address; any other address as it is. For looking up places only.
pub fn normalise(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = canonical(address) else {
        return canonical(address);
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        [0x2002, ..] => v4(b, c),
        // Teredo keeps the client's address in the last 32 bits, inverted.
        [0x2001, 0, ..] => v4(!g, !h),
        _ => IpAddr::V6(v6),
    }
}

/// What counts as one client for limits: an IPv4 address, or a /64 of IPv6, which one subscriber
/// holds whole.
pub fn bucket(address: IpAddr) -> IpAddr {
    match canonical(address) {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// The client's address, from the `X-Forwarded-For` lines of a request: see [`forwarded`].
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").iter();
    // A line that is not text is a hop that is no address.
    forwarded(peer, lines.map(|line| line.to_str().unwrap_or("?")), trusted)
}

/// The client's address: the peer's, or, when the peer is a trusted proxy, the one in
/// `X-Forwarded-For` that stands furthest left behind trusted hops only. Whatever is further left
/// was written by a stranger. A hop that is no address ends the walk.
pub fn forwarded<'a>(
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let trusts = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = canonical(peer);
    for hop in lines.rev().flat_map(|line| line.rsplit(',')) {
        if !trusts(client) {
            break;
        }
        match parse_hop(hop) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address as proxies write it: bare, with a port, in brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let address = hop.parse::<IpAddr>().ok();
    let address = address.or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()));
    let inside = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(inside).map(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(peer: &str, lines: &[&str], trusted: &[&str]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        client_address(ip(peer), &headers, &trusted)
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(client("9.9.9.9", &["1.1.1.1"], &[]), ip("9.9.9.9"));
        assert_eq!(client("9.9.9.9", &["1.1.1.1"], &["10.0.0.0/8"]), ip("9.9.9.9"));
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 7.7.7.7"], &["10.0.0.0/8"]), ip("7.7.7.7"));
    }

    #[test]
    fn trusted_hops_are_walked_from_the_right() {
        let trusted = ["10.0.0.0/8", "192.168.0.0/16"];
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 7.7.7.7, 192.168.1.1"], &trusted), ip("7.7.7.7"));
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6", "7.7.7.7", "10.2.2.2"], &trusted),
            ip("7.7.7.7")
        );
        assert_eq!(client("10.0.0.1", &["192.168.3.3, 10.2.2.2"], &trusted), ip("192.168.3.3"));
        assert_eq!(client("10.0.0.1", &[], &trusted), ip("10.0.0.1"));
    }

    #[test]
    fn a_hop_that_is_no_address_ends_the_walk() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"], &trusted), ip("10.0.0.2"));
        assert_eq!(client("10.0.0.1", &["6.6.6.6, "], &trusted), ip("10.0.0.1"));
    }

    #[test]
    fn hops_may_carry_ports_brackets_and_mapped_addresses() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client("::ffff:10.0.0.1", &["7.7.7.7:4242"], &trusted), ip("7.7.7.7"));
        assert_eq!(client("10.0.0.1", &["[2001:db8::7]:443"], &trusted), ip("2001:db8::7"));
        assert_eq!(client("10.0.0.1", &["[2001:db8::7]"], &trusted), ip("2001:db8::7"));
        assert_eq!(client("10.0.0.1", &["::ffff:7.7.7.7"], &trusted), ip("7.7.7.7"));
    }

    #[test]
    fn a_tunnel_does_not_gain_trust() {
        let trusted = ["10.0.0.0/8"];
        let wrapped = "2002:0a00:0001::1";
        assert_eq!(client(wrapped, &["1.1.1.1"], &trusted), ip(wrapped));
    }

    #[test]
    fn wrapped_addresses_are_opened() {
        for wrapped in [
            "192.0.2.33",
            "::ffff:192.0.2.33",
            "64:ff9b::192.0.2.33",
            "2002:c000:0221::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdde",
        ] {
            assert_eq!(normalise(ip(wrapped)), ip("192.0.2.33"), "{wrapped}");
        }
        for plain in ["2001:db8::1", "2400:3200::1", "::1", "64:ff9b:1::1"] {
            assert_eq!(normalise(ip(plain)), ip(plain));
        }
        // Teredo's first group alone is no Teredo address.
        assert_eq!(normalise(ip("2001:1::1")), ip("2001:1::1"));
    }

    #[test]
    fn one_client_is_an_address_or_a_64() {
        assert_eq!(bucket(ip("192.0.2.33")), ip("192.0.2.33"));
        assert_eq!(bucket(ip("::ffff:192.0.2.33")), ip("192.0.2.33"));
        assert_eq!(bucket(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
    }
}

//! Spans of addresses, and the sweep that visits them with all that is said of each.
//!
//! Networks are laminar: two of them are apart, or one lies in the other. So a walk through the
//! addresses in order needs only a stack of the networks that it is in, the widest at the bottom,
//! and whoever asks for "the most specific" reads the stack from its top. Merging databases and
//! comparing two of them are the same walk with different questions.
//!
//! Invariant: spans come in order and apart, each as long as no network begins or ends in it, and
//! every address of every network is in exactly one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// A family of addresses; each is walked by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4, which is also where MMDB keeps `::/96`.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Bits of an address.
    const fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// A network as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    first: u128,
    prefix: u8,
}

impl Block {
    /// A network and the family that it is walked in.
    pub fn of(network: IpNet) -> Result<(Family, Self), Unstorable> {
        let network = network.trunc();
        let prefix = network.prefix_len();
        match network {
            IpNet::V4(network) => {
                let first = u128::from(network.network().to_bits());
                Ok((Family::V4, Self { first, prefix }))
            }
            IpNet::V6(network) => {
                let first = network.network().to_bits();
                if is_alias(IpNet::V6(network)) {
                    Err(Unstorable::Alias)
                } else if first >> IPV4_BITS != 0 {
                    Ok((Family::V6, Self { first, prefix }))
                } else {
                    let prefix = prefix.checked_sub(IPV4_PREFIX).ok_or(Unstorable::CoversIpv4)?;
                    Ok((Family::V4, Self { first, prefix }))
                }
            }
        }
    }

    /// How specific it is.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    fn last(self, family: Family) -> u128 {
        let free = family.bits() - u32::from(self.prefix);
        self.first | u128::MAX.checked_shr(u128::BITS - free).unwrap_or(0)
    }
}

/// Why a network has no place of its own in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unstorable {
    /// It is another spelling of IPv4 addresses.
    #[error("lies where IPv6 spells IPv4 addresses in another way")]
    Alias,
    /// It is IPv6 and would cover all of IPv4.
    #[error("covers ::/96, which is where databases keep IPv4")]
    CoversIpv4,
}

/// Whether readers look up IPv4 addresses instead of these: `::ffff:0:0/96`, Teredo, 6to4.
pub fn is_alias(network: IpNet) -> bool {
    let IpNet::V6(network) = network else { return false };
    let first = network.network().to_bits();
    ALIASES.iter().any(|(alias, prefix)| {
        network.prefix_len() >= *prefix && first >> (128 - prefix) == alias >> (128 - prefix)
    })
}

/// Addresses that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub first: u128,
    /// The last one.
    pub last: u128,
}

impl Span {
    /// How many addresses it has; one less for all of IPv6, which a number cannot hold.
    pub fn addresses(self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// The fewest networks that it consists of, in order; without other spellings of IPv4.
    pub fn networks(self, family: Family) -> impl Iterator<Item = IpNet> {
        let (v4, v6) = match family {
            Family::V4 => {
                // Spans of IPv4 have numbers of 32 bits.
                let ends = [self.first, self.last].map(|bits| Ipv4Addr::from_bits(bits as u32));
                (Some(Ipv4Subnets::new(ends[0], ends[1], 0)), None)
            }
            Family::V6 => {
                let ends = [self.first, self.last].map(Ipv6Addr::from_bits);
                (None, Some(Ipv6Subnets::new(ends[0], ends[1], 0)))
            }
        };
        let v4 = v4.into_iter().flatten().map(IpNet::V4);
        v4.chain(v6.into_iter().flatten().map(IpNet::V6)).filter(|network| !is_alias(*network))
    }

    /// Its first address.
    pub fn address(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::from_bits(self.first as u32).into(),
            Family::V6 => Ipv6Addr::from_bits(self.first).into(),
        }
    }
}

/// Something that is said of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<T> {
    /// Of which network.
    pub block: Block,
    /// What.
    pub what: T,
}

/// Visits every span of which something is said, with all of that: the widest network first, and
/// what is said of the same network in the order given. Sorts `said`.
pub fn sweep<T>(family: Family, said: &mut [Said<T>], mut visit: impl FnMut(Span, &[&Said<T>])) {
    said.sort_by_key(|said| (said.block.first, said.block.prefix));
    let mut inside: Vec<&Said<T>> = Vec::new();
    // The first address that was not visited; none behind the last one of all.
    let mut from = Some(0);
    let mut reach = |inside: &[&Said<T>], from: &mut Option<u128>, last: u128| {
        if let Some(first) = from.filter(|first| *first <= last) {
            visit(Span { first, last }, inside);
            *from = last.checked_add(1);
        }
    };
    for next in said.iter() {
        let start = next.block.first;
        while let Some(top) = inside.last() {
            let last = top.block.last(family);
            if last >= start {
                break;
            }
            reach(&inside, &mut from, last);
            inside.pop();
        }
        if !inside.is_empty() && start > 0 {
            reach(&inside, &mut from, start - 1);
        }
        from = Some(start);
        inside.push(next);
    }
    while let Some(top) = inside.last() {
        reach(&inside, &mut from, top.block.last(family));
        inside.pop();
    }
}

/// Bits of an IPv4 address.
const IPV4_BITS: u32 = 32;

/// MMDB keeps IPv4 at `::/96`.
const IPV4_PREFIX: u8 = 96;

/// What readers take for IPv4: mapped, Teredo, 6to4.
const ALIASES: [(u128, u8); 3] =
    [(0xffff_u128 << 32, 96), (0x2001_u128 << 112, 32), (0x2002_u128 << 112, 16)];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said<T>(network: &str, what: T) -> (Family, Said<T>) {
        let (family, block) = Block::of(network.parse().unwrap()).unwrap();
        (family, Said { block, what })
    }

    fn visits(family: Family, networks: &[&str]) -> Vec<String> {
        let mut all: Vec<Said<&str>> =
            networks.iter().map(|network| said(network, *network).1).collect();
        let mut visits = Vec::new();
        sweep(family, &mut all, |span, inside| {
            let inside: Vec<&str> = inside.iter().map(|said| said.what).collect();
            visits.push(format!(
                "{} +{}: {}",
                span.address(family),
                span.addresses(),
                inside.join(" ")
            ));
        });
        visits
    }

    #[test]
    fn spans_are_visited_with_all_networks_around_them() {
        assert_eq!(
            visits(Family::V4, &["10.0.0.0/8", "10.0.0.0/24", "10.1.0.0/16", "12.0.0.0/8"]),
            [
                "10.0.0.0 +256: 10.0.0.0/8 10.0.0.0/24",
                "10.0.1.0 +65280: 10.0.0.0/8",
                "10.1.0.0 +65536: 10.0.0.0/8 10.1.0.0/16",
                "10.2.0.0 +16646144: 10.0.0.0/8",
                "12.0.0.0 +16777216: 12.0.0.0/8",
            ]
        );
        let all = u128::MAX;
        assert_eq!(visits(Family::V4, &["0.0.0.0/0"]), ["0.0.0.0 +4294967296: 0.0.0.0/0"]);
        assert_eq!(
            visits(Family::V6, &["8000::/1", "ffff::/16"])[1],
            format!("ffff:: +{}: 8000::/1 ffff::/16", (all >> 16) + 1)
        );
    }

    #[test]
    fn networks_that_readers_never_reach() {
        let of = |network: &str| Block::of(network.parse().unwrap());
        for alias in
            ["2002::/16", "2002:a00::/24", "2001::/32", "::ffff:0:0/96", "::ffff:1.2.3.0/120"]
        {
            assert_eq!(of(alias), Err(Unstorable::Alias), "{alias}");
        }
        for wide in ["::/0", "::/1", "::/95"] {
            assert_eq!(of(wide), Err(Unstorable::CoversIpv4), "{wide}");
        }
        assert_eq!(of("2001::/31").map(|(family, _)| family), Ok(Family::V6));
        assert_eq!(of("::1/128"), of("0.0.0.1/32"));
        let wide = Span { first: 0x2001_u128 << 112, last: (0x2002_u128 << 112) - 1 };
        let networks: Vec<IpNet> = wide.networks(Family::V6).collect();
        assert_eq!(networks, ["2001::/16".parse::<IpNet>().unwrap()]);
        let narrow = Span { last: (0x2001_0001_u128 << 96) - 1, ..wide };
        assert_eq!(narrow.networks(Family::V6).count(), 0);
    }

    proptest! {
        /// Against a look at every address of a small world.
        #[test]
        fn every_address_is_visited_with_what_contains_it(
            networks in prop::collection::vec((any::<u8>(), 24_u8..=32), 0..40),
        ) {
            let networks: Vec<IpNet> = networks
                .into_iter()
                .map(|(low, prefix)| {
                    IpNet::new(Ipv4Addr::new(10, 0, 0, low).into(), prefix).unwrap().trunc()
                })
                .collect();
            let mut all: Vec<Said<IpNet>> = networks
                .iter()
                .map(|network| Said { block: Block::of(*network).unwrap().1, what: *network })
                .collect();
            let mut seen = vec![None; 256];
            sweep(Family::V4, &mut all, |span, inside| {
                let inside: Vec<IpNet> = inside.iter().map(|said| said.what).collect();
                assert!(inside.is_sorted_by_key(|network| network.prefix_len()));
                let parts: Vec<IpNet> = span.networks(Family::V4).collect();
                for address in span.first..=span.last {
                    let ip: IpAddr = Ipv4Addr::from_bits(address as u32).into();
                    assert_eq!(parts.iter().filter(|part| part.contains(&ip)).count(), 1);
                    let before = seen[address as usize & 0xff].replace(inside.clone());
                    assert_eq!(before, None, "visited twice");
                }
            });
            for low in 0..=255 {
                let ip: IpAddr = Ipv4Addr::new(10, 0, 0, low).into();
                let mut around: Vec<IpNet> =
                    networks.iter().copied().filter(|network| network.contains(&ip)).collect();
                around.sort_by_key(|network| network.prefix_len());
                prop_assert_eq!(seen[usize::from(low)].take().unwrap_or_default(), around);
            }
        }
    }
}

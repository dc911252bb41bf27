//! The bounds of a listener.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::address;
use crate::config::{ByteSize, Reader};

/// What one listener allows. Every field is a configuration key of the listener's section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections_max: usize,
    /// Connections at the same time from one IPv4 address or IPv6 /64.
    pub connections_per_address_max: usize,
    /// Networks that `connections_per_address_max` does not bind: proxies, back ends.
    pub unlimited: Vec<IpNet>,
    /// From accepting a connection to the end of its first request head, TLS handshake included;
    /// and from the first byte of any later head to its end.
    pub head_deadline: Duration,
    /// Request line and headers.
    pub head_bytes_max: ByteSize,
    /// From the end of the head to the end of the body.
    pub body_deadline: Duration,
    /// Request body.
    pub body_bytes_max: ByteSize,
    /// Request bodies over all connections, until they are answered.
    pub bodies_bytes_max: ByteSize,
    /// Bodies of large responses over all connections, until they are written; an eighth of that for one
    /// address.
    pub responses_bytes_max: ByteSize,
    /// A connection without a request.
    pub idle_deadline: Duration,
    /// A response that waits for a peer that reads next to nothing.
    pub write_deadline: Duration,
    /// From the shutdown to cutting off requests that are still being served.
    pub drain_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 100,
            unlimited: Vec::new(),
            head_deadline: Duration::from_secs(10),
            head_bytes_max: ByteSize::kib(16),
            body_deadline: Duration::from_secs(10),
            body_bytes_max: ByteSize::mib(1),
            bodies_bytes_max: ByteSize::mib(256),
            responses_bytes_max: ByteSize::mib(256),
            idle_deadline: Duration::from_secs(90),
            write_deadline: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(5),
        }
    }
}

/// Browsers with their cookies send heads of a few KiB: a smaller bound would turn people away.
const HEAD_BYTES_MIN: ByteSize = ByteSize::kib(4);

impl Limits {
    /// Whether bounds by address do not bind this one.
    pub(super) fn is_unlimited(&self, address: IpAddr) -> bool {
        let address = address::canonical(address);
        self.unlimited.iter().any(|net| net.contains(&address))
    }

    /// Reads the bounds from the section `section`, with `defaults` where nothing is set.
    pub fn read(reader: &mut Reader, section: &str, defaults: Self) -> Self {
        let key = |name: &str| format!("{section}.{name}");
        let deadline = Duration::from_millis(1)..=Duration::from_secs(3600);
        let limits = Self {
            connections_max: reader.ranged(
                &key("connections_max"),
                defaults.connections_max,
                1..=10_000_000,
                "Connections at the same time.",
            ),
            connections_per_address_max: reader.ranged(
                &key("connections_per_address_max"),
                defaults.connections_per_address_max,
                1..=10_000_000,
                "Connections at the same time from one IPv4 address or IPv6 /64.",
            ),
            unlimited: reader.list(
                &key("unlimited"),
                defaults.unlimited,
                "Networks that connections_per_address_max does not bind: proxies, back ends.",
            ),
            head_deadline: reader.ranged(
                &key("head_deadline"),
                defaults.head_deadline,
                deadline.clone(),
                "From accepting a connection to the end of its first request head, TLS included.",
            ),
            head_bytes_max: reader.ranged(
                &key("head_bytes_max"),
                defaults.head_bytes_max,
                HEAD_BYTES_MIN..=ByteSize::mib(1),
                "Size of a request's line and headers.",
            ),
            body_deadline: reader.ranged(
                &key("body_deadline"),
                defaults.body_deadline,
                deadline.clone(),
                "From the end of a request's head to the end of its body.",
            ),
            body_bytes_max: reader.ranged(
                &key("body_bytes_max"),
                defaults.body_bytes_max,
                ByteSize(0)..=ByteSize::mib(1024),
                "Size of a request's body.",
            ),
            bodies_bytes_max: reader.ranged(
                &key("bodies_bytes_max"),
                defaults.bodies_bytes_max,
                ByteSize(0)..=ByteSize::mib(1 << 20),
                "Size of request bodies over all connections; beyond it answers have status 503.",
            ),
            responses_bytes_max: reader.ranged(
                &key("responses_bytes_max"),
                defaults.responses_bytes_max,
                ByteSize::mib(1)..=ByteSize::mib(1 << 20),
                "Size of responses of 64 KiB or more over all connections, until they are read; beyond it, and beyond an eighth of it for one address, requests to read have status 503.",
            ),
            idle_deadline: reader.ranged(
                &key("idle_deadline"),
                defaults.idle_deadline,
                deadline.clone(),
                "How long a connection may stay open without a request.",
            ),
            write_deadline: reader.ranged(
                &key("write_deadline"),
                defaults.write_deadline,
                deadline,
                "How long a response may wait for a peer that reads nothing, or no more than about 1 KiB a second.",
            ),
            drain_deadline: reader.ranged(
                &key("drain_deadline"),
                defaults.drain_deadline,
                Duration::ZERO..=Duration::from_secs(3600),
                "How long requests being served may take to end at shutdown.",
            ),
        };
        if limits.bodies_bytes_max < limits.body_bytes_max {
            reader.fault(&key("bodies_bytes_max"), "must be at least body_bytes_max");
        }
        limits
    }
}

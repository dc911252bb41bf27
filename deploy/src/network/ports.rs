//! Every port of a network on one machine.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use shared::line::LineEnd;

use super::{CARRIERS, LINES};

/// Every port of a network, all on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The origin's HTTP APIs.
    pub origin_api: u16,
    /// The origin's metrics and health.
    pub origin_admin: u16,
    /// Where the origin answers lines (UDP).
    pub origin_line: u16,
    /// svrlist's HTTP.
    pub svrlist: u16,
    /// svrlist's metrics and health.
    pub svrlist_admin: u16,
    /// Where svrlist takes the edges' reports (UDP).
    pub svrlist_line: u16,
    /// The edges'.
    pub edges: Vec<EdgePorts>,
    /// The relay's; without one, edges call the origin directly.
    pub relay: Option<RelayPorts>,
}

/// The ports of one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgePorts {
    /// goim and danmaku over TCP.
    pub tcp: u16,
    /// HTTP and WebSocket.
    pub http: u16,
    /// goim and danmaku over TCP with TLS.
    pub tcp_tls: u16,
    /// HTTP and WebSocket with TLS.
    pub http_tls: u16,
    /// Metrics and health.
    pub admin: u16,
}

/// The ports of the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayPorts {
    /// Where lines are read and changed.
    pub admin: u16,
    /// Where each edge calls (UDP), in their order: one port for each of [`CARRIERS`].
    pub lines: Vec<[u16; LINES]>,
}

/// A socket that a service listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Who listens and what for.
    pub what: String,
    /// Over what.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// What a listener is spoken to over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A base port that leaves no room for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is no base port of a network: it must be at least 1024 and leave room for {SPAN} more"
)]
pub struct PortsError(u16);

impl Default for Ports {
    /// The ports that documentation speaks of.
    fn default() -> Self {
        Self::at(BASE, EDGES)
    }
}

impl Ports {
    /// The ports from `base` on, at the same distances as from the documented 7400.
    pub fn from_base(base: u16) -> Result<Self, PortsError> {
        if (1024..=u16::MAX - SPAN).contains(&base) {
            Ok(Self::at(base, EDGES))
        } else {
            Err(PortsError(base))
        }
    }

    /// The same for so many edges, of at most [`EDGES_MAX`].
    pub fn with_edges(self, edges: u16) -> Self {
        Self::at(self.origin_api, edges.min(EDGES_MAX))
    }

    fn at(base: u16, edges: u16) -> Self {
        let edge = |number: u16| {
            let first = base + 200 + 10 * number;
            EdgePorts {
                tcp: first + 1,
                http: first + 2,
                tcp_tls: first + 3,
                http_tls: first + 4,
                admin: first + 9,
            }
        };
        let lines = |number: u16| {
            let mut port = base + 300 + 10 * number;
            [(); LINES].map(|()| {
                port += 1;
                port
            })
        };
        Self {
            origin_api: base,
            origin_line: base + 1,
            origin_admin: base + 9,
            svrlist: base + 100,
            svrlist_line: base + 101,
            svrlist_admin: base + 109,
            edges: (1..=edges).map(edge).collect(),
            relay: Some(RelayPorts { admin: base + 309, lines: (1..=edges).map(lines).collect() }),
        }
    }

    /// Where edge `at` (from 0) calls: its lines through the relay, or the origin itself.
    pub fn upstreams(&self, at: usize) -> Vec<LineEnd> {
        match self.relay.as_ref().and_then(|relay| relay.lines.get(at)) {
            Some(ports) => {
                let line = |(port, carrier): (&u16, &str)| LineEnd {
                    address: loopback(*port),
                    carrier: carrier.to_owned(),
                };
                ports.iter().zip(CARRIERS).map(line).collect()
            }
            None => vec![LineEnd::of(loopback(self.origin_line))],
        }
    }

    /// Every socket that the services listen on.
    pub fn listeners(&self) -> Vec<Listener> {
        use Transport::{Tcp, Udp};
        let of = |what: &str, transport, port| Listener {
            what: what.to_owned(),
            transport,
            address: loopback(port),
        };
        let mut listeners = vec![
            of("the origin's API", Tcp, self.origin_api),
            of("the origin's lines", Udp, self.origin_line),
            of("the origin's admin", Tcp, self.origin_admin),
            of("svrlist", Tcp, self.svrlist),
            of("svrlist's reports", Udp, self.svrlist_line),
            of("svrlist's admin", Tcp, self.svrlist_admin),
        ];
        for (number, edge) in (1..).zip(&self.edges) {
            for (what, port) in [
                ("goim", edge.tcp),
                ("HTTP", edge.http),
                ("goim over TLS", edge.tcp_tls),
                ("HTTPS", edge.http_tls),
                ("admin", edge.admin),
            ] {
                listeners.push(of(&format!("edge {number}'s {what}"), Tcp, port));
            }
        }
        if let Some(relay) = &self.relay {
            listeners.push(of("the relay's admin", Tcp, relay.admin));
            for (number, lines) in (1..).zip(&relay.lines) {
                for (port, carrier) in lines.iter().zip(CARRIERS) {
                    listeners.push(of(&format!("edge {number}'s {carrier} line"), Udp, *port));
                }
            }
        }
        listeners
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port on loopback.
pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The lowest of the documented ports.
const BASE: u16 = 7400;

/// How many edges a network has unless told otherwise.
const EDGES: u16 = 3;

/// Of edges there are ports for so many.
pub const EDGES_MAX: u16 = 9;

/// From the lowest port to the highest.
const SPAN: u16 = 300 + 10 * EDGES_MAX + 9;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documented_ports() {
        let ports = Ports::default();
        assert_eq!((ports.origin_api, ports.origin_line, ports.origin_admin), (7400, 7401, 7409));
        assert_eq!((ports.svrlist, ports.svrlist_line, ports.svrlist_admin), (7500, 7501, 7509));
        let edge = EdgePorts { tcp: 7631, http: 7632, tcp_tls: 7633, http_tls: 7634, admin: 7639 };
        assert_eq!(ports.edges[2], edge);
        let lines = vec![[7711, 7712, 7713], [7721, 7722, 7723], [7731, 7732, 7733]];
        let relay = RelayPorts { admin: 7709, lines };
        assert_eq!(ports.relay, Some(relay));
    }

    #[test]
    fn edges_call_through_the_relay_if_there_is_one() {
        let ports = Ports::default();
        let texts = |ports: &Ports| -> Vec<String> {
            ports.upstreams(1).iter().map(LineEnd::to_string).collect()
        };
        let lines = ["127.0.0.1:7721 telecom", "127.0.0.1:7722 unicom", "127.0.0.1:7723 mobile"];
        assert_eq!(texts(&ports), lines);
        assert_eq!(texts(&Ports { relay: None, ..ports }), ["127.0.0.1:7401"]);
    }

    #[test]
    fn no_port_is_used_twice() {
        let listeners = Ports::from_base(20_000).unwrap().listeners();
        let ports: BTreeSet<u16> = listeners.iter().map(|l| l.address.port()).collect();
        assert_eq!((listeners.len(), ports.len()), (31, 31));
        let many = Ports::default().with_edges(EDGES_MAX);
        let ports: BTreeSet<u16> = many.listeners().iter().map(|l| l.address.port()).collect();
        assert_eq!((many.edges.len(), ports.len()), (9, 7 + 9 * 8));
    }

    #[test]
    fn all_ports_must_fit() {
        assert!(Ports::from_base(u16::MAX - SPAN).is_ok());
        assert!(Ports::from_base(u16::MAX - SPAN + 1).is_err());
        let error = Ports::from_base(80).unwrap_err();
        assert!(error.to_string().starts_with("80 is no base port"), "{error}");
    }
}

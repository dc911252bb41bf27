//! Where clients connect and come from, and where edges tell what they counted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::args::{LoadArgs, Sources};
use super::plan::Faults;
use super::protocol::Protocol;
use crate::network::{EdgePorts, Ports};

/// Where clients connect: what is said, or edges of `linecast up`.
pub fn targets(args: &LoadArgs) -> Result<Vec<String>, Faults> {
    if !args.targets.is_empty() || args.limit {
        return Ok(args.targets.clone());
    }
    if matches!(args.protocol, Protocol::Websocket | Protocol::NatsWs) {
        let fault = format!("--target: say where clients of {} connect", args.protocol.name());
        return Err(Faults(vec![fault]));
    }
    let port = |edge: &EdgePorts| match (args.protocol, args.tls) {
        (Protocol::GoimTcp, false) => edge.tcp,
        (Protocol::GoimTcp, true) => edge.tcp_tls,
        (_, false) => edge.http,
        (_, true) => edge.http_tls,
    };
    Ok(edges(args)?.iter().map(|edge| format!("127.0.0.1:{}", port(edge))).collect())
}

/// Where edges tell what they counted: what is said, or the edges of `linecast up`.
pub fn metrics(args: &LoadArgs) -> Result<Vec<String>, Faults> {
    if !args.metrics.is_empty() || !args.targets.is_empty() || args.limit {
        return Ok(args.metrics.clone());
    }
    let url = |edge: &EdgePorts| format!("http://127.0.0.1:{}/metrics", edge.admin);
    Ok(edges(args)?.iter().map(url).collect())
}

fn edges(args: &LoadArgs) -> Result<Vec<EdgePorts>, Faults> {
    let ports = ports(args).map_err(|fault| Faults(vec![fault]))?;
    Ok(ports.with_edges(args.edges).edges)
}

pub(super) fn ports(args: &LoadArgs) -> Result<Ports, String> {
    Ports::from_base(args.base_port).map_err(|error| format!("--base-port: {error}"))
}

/// The addresses that clients come from. Several are needed where more connections go to one address
/// than there are ports, and where a server bounds the connections of one address.
pub(super) fn sources(args: &LoadArgs, addresses: &[SocketAddr]) -> Result<Vec<IpAddr>, String> {
    let needed = args.clients.div_ceil(CLIENTS_PER_SOURCE);
    let local = args.limit
        || addresses.iter().all(|address| address.ip().is_loopback() && address.is_ipv4());
    match &args.sources {
        None if local && needed > 1 => Ok(loopback(needed)),
        None => Ok(Vec::new()),
        Some(Sources::Count(count)) if local => Ok(loopback(*count)),
        Some(Sources::Count(_)) => {
            Err("--sources: a count is of loopback addresses; name the addresses".to_owned())
        }
        Some(Sources::Network(network)) => {
            let hosts: Vec<IpAddr> = network.hosts().take(needed as usize).collect();
            if hosts.len() == needed as usize {
                Ok(hosts)
            } else {
                Err(format!("--sources: {network} has fewer than {needed} addresses"))
            }
        }
        Some(Sources::List(list)) => Ok(list.clone()),
    }
}

/// So many addresses of this machine that nobody else needs to know.
pub(super) fn loopback(count: u32) -> Vec<IpAddr> {
    let first = u32::from(Ipv4Addr::LOCALHOST);
    (0..count).map(|at| IpAddr::V4(Ipv4Addr::from(first + at))).collect()
}

/// Connections from one address to one target: Linux has 28,000 ports for them, an edge lets in 20,000.
pub(super) const CLIENTS_PER_SOURCE: u32 = 10_000;

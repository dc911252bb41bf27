//! The two answers that goim's clients and back ends ask for: `nodes/weighted` and
//! `nodes/instances`, in goim's shapes and envelope.
//!
//! goim names one TCP port and one WebSocket port for all nodes. Our edges may differ in theirs, so
//! the answer goes by the best edge: its ports, and as nodes the hosts of those edges on the list
//! that have the very same ports. A node is thus always reachable as the answer says; edges with
//! other ports are found through `/svrlist`.

use serde::Serialize;

use crate::answer::{Backoff, Pace};
use crate::edge::{Edge, Transport};
use crate::ranking::Choice;

/// goim's envelope.
#[derive(Clone, Debug, Serialize)]
pub struct Envelope<T> {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

impl<T> Envelope<T> {
    /// A success.
    pub fn of(data: T) -> Self {
        Self { code: 0, message: String::new(), data: Some(data) }
    }

    /// A refusal, with one of goim's codes (-400, -500).
    pub fn refusal(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

/// What a client should connect to. Zero fields are left out, as goim does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weighted<'a> {
    domain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ws_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wss_port: Option<u16>,
    heartbeat: u64,
    heartbeat_max: u32,
    nodes: Vec<&'a str>,
    backoff: Backoff,
}

impl<'a> Weighted<'a> {
    /// The answer made from a ranked list; `domain` is the name that clients may resolve instead of
    /// using `nodes`, the best host if there is none. `None` for an empty list.
    pub fn new(choices: &[Choice<'a>], domain: Option<&'a str>, pace: Pace) -> Option<Self> {
        let best = choices.first()?.edge;
        let mut nodes: Vec<&str> = Vec::new();
        for choice in choices.iter().filter(|choice| ports(choice.edge) == ports(best)) {
            let host = host(choice.edge);
            if !nodes.contains(&host) {
                nodes.push(host);
            }
        }
        let [tcp_port, ws_port, wss_port] = ports(best);
        Some(Self {
            domain: domain.unwrap_or_else(|| host(best)),
            tcp_port,
            ws_port,
            wss_port,
            heartbeat: pace.heartbeat,
            heartbeat_max: pace.heartbeat_max,
            nodes,
            backoff: pace.backoff,
        })
    }
}

fn ports(edge: &Edge) -> [Option<u16>; 3] {
    [Transport::GoimTcp, Transport::Http, Transport::Https]
        .map(|transport| edge.endpoint(transport).map(|endpoint| endpoint.port))
}

fn host(edge: &Edge) -> &str {
    let endpoint = edge.endpoint(Transport::GoimTcp).or_else(|| edge.endpoints.first());
    endpoint.map_or("", |endpoint| &endpoint.host)
}

/// One edge as goim's discovery describes a node. goim's numbers in `metadata` are texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Instance<'a> {
    region: String,
    zone: &'a str,
    env: &'static str,
    appid: &'static str,
    hostname: &'a str,
    addrs: Vec<String>,
    version: &'a str,
    latest_timestamp: u64,
    metadata: Metadata,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Metadata {
    addrs: String,
    conn_count: String,
    ip_count: String,
    offline: String,
    weight: String,
    carrier: &'static str,
    site: String,
}

impl<'a> Instance<'a> {
    /// The edge, heard at `heard_ns` (nanoseconds since 1970, discovery's unit).
    pub fn new(edge: &'a Edge, heard_ns: u64) -> Self {
        let address = |endpoint: &crate::edge::Endpoint| {
            let scheme = match endpoint.transport {
                Transport::GoimTcp => "tcp",
                Transport::GoimTls => "tls",
                Transport::Http => "http",
                Transport::Https => "https",
            };
            format!("{scheme}://{}:{}", endpoint.host, endpoint.port)
        };
        Self {
            region: edge.region.to_string(),
            zone: &edge.zone,
            env: "",
            appid: "linecast.edge",
            hostname: &edge.name,
            addrs: edge.endpoints.iter().map(address).collect(),
            version: &edge.version,
            latest_timestamp: heard_ns,
            metadata: Metadata {
                addrs: host(edge).to_owned(),
                conn_count: edge.connections.to_string(),
                ip_count: edge.addresses.to_string(),
                offline: edge.draining.to_string(),
                weight: edge.weight.to_string(),
                carrier: edge.carrier.as_str(),
                site: edge.site.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::fixture;
    use crate::ranking::{Ranking, Vantage};

    const PACE: Pace = Pace {
        heartbeat: 240,
        heartbeat_max: 2,
        backoff: Backoff { max_delay: 300, base_delay: 3, factor: 1.8, jitter: 0.3 },
    };

    fn edge(name: &str, host: &str, port: u16) -> Arc<Edge> {
        let mut edge = fixture::edge(name, "110000", "telecom");
        for endpoint in &mut edge.endpoints {
            endpoint.host = host.to_owned();
        }
        edge.endpoints[0].port = port;
        Arc::new(edge)
    }

    #[test]
    fn nodes_share_the_ports_of_the_best() {
        let edges = [edge("a", "a.example", 7611), edge("b", "b.example", 7611)];
        let others = [edge("c", "c.example", 7621)];
        let vantage = Vantage::default();
        let ranking = Ranking::new(vantage, edges.iter().chain(&others));
        for user in 0..50_u8 {
            let choices = ranking.choose(&[user], |_| true);
            let answer = Weighted::new(&choices, None, PACE).unwrap();
            let expected = if answer.tcp_port == Some(7611) { 2 } else { 1 };
            assert_eq!(answer.nodes.len(), expected);
            assert_eq!(answer.nodes[0], answer.domain);
        }
    }

    #[test]
    fn the_shape_is_goims() {
        let edges = [edge("a", "a.example", 7611)];
        let ranking = Ranking::new(Vantage::default(), &edges);
        let choices = ranking.choose(b"1", |_| true);
        let answer = Weighted::new(&choices, Some("live.example"), PACE).unwrap();
        assert_eq!(
            serde_json::to_value(Envelope::of(answer)).unwrap(),
            json!({ "code": 0, "message": "", "data": {
                "domain": "live.example", "tcp_port": 7611, "ws_port": 7612,
                "heartbeat": 240, "heartbeat_max": 2, "nodes": ["a.example"],
                "backoff": { "max_delay": 300, "base_delay": 3, "factor": 1.8, "jitter": 0.3 },
            }})
        );
        let refusal: Envelope<()> = Envelope::refusal(-400, "no");
        assert_eq!(
            serde_json::to_value(refusal).unwrap(),
            json!({ "code": -400, "message": "no" })
        );
        assert_eq!(Weighted::new(&[], None, PACE), None);
    }
}

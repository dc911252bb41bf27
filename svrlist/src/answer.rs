//! The JSON of `/svrlist`. These types are the border: only they serialise, and only they say how
//! an edge, a place and a reason look to clients.

use geo_data::Place;
use serde::Serialize;

use crate::edge::{Edge, Endpoint, Transport};
use crate::ranking::{Choice, Explain};

/// What every answer tells clients about their pace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pace {
    /// How often a goim client sends a heartbeat, in seconds.
    pub heartbeat: u64,
    /// How many heartbeats may be missed before the edge closes.
    pub heartbeat_max: u32,
    /// How a client waits before it connects again.
    pub backoff: Backoff,
}

/// Waiting between attempts: `min(base_delay * factor^n, max_delay)`, spread by `jitter`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Backoff {
    /// Longest wait, in seconds.
    pub max_delay: u64,
    /// First wait, in seconds.
    pub base_delay: u64,
    /// Growth from wait to wait.
    pub factor: f64,
    /// Share of each wait that is random.
    pub jitter: f64,
}

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer<'a> {
    /// Where the client is.
    pub cell: CellJson<'a>,
    /// Which edges to try, best first.
    pub servers: Vec<Server<'a>>,
    /// Whether so few edges report that this is the last state known.
    pub stale: bool,
    /// Seconds after which to ask again.
    pub ttl: u64,
    /// How often to do what.
    #[serde(flatten)]
    pub pace: Pace,
    /// The signed cell, where a secret is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
    /// Seconds from one report of a client to the next, where reports are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_interval: Option<u64>,
}

/// A client's place.
#[derive(Clone, Debug, Serialize)]
pub struct CellJson<'a> {
    country: Option<String>,
    region: String,
    province: Option<&'static str>,
    city: Option<&'a str>,
    /// The finest division known, in Latin letters.
    place: Option<&'static str>,
    carrier: &'static str,
    found: FoundJson,
}

#[derive(Clone, Debug, Serialize)]
struct FoundJson {
    country: &'static str,
    region: &'static str,
    carrier: &'static str,
    position: &'static str,
}

impl<'a> From<&'a Place> for CellJson<'a> {
    fn from(place: &'a Place) -> Self {
        Self {
            country: place.country.map(|country| country.to_string()),
            region: place.region.to_string(),
            province: place.province(),
            city: place.city(),
            place: place.region.division().map(|division| division.latin),
            carrier: place.carrier.as_str(),
            found: FoundJson {
                country: place.found.country.as_str(),
                region: place.found.region.as_str(),
                carrier: place.found.carrier.as_str(),
                position: place.found.position.as_str(),
            },
        }
    }
}

/// One edge to try.
#[derive(Clone, Debug, Serialize)]
pub struct Server<'a> {
    id: &'a str,
    name: &'a str,
    site: &'a str,
    region: String,
    city: Option<&'a str>,
    /// The same in Latin letters.
    place: Option<&'static str>,
    carrier: &'static str,
    /// The host of the first port below.
    address: &'a str,
    ports: Ports,
    urls: Urls,
    why: String,
    /// All of it, for whoever asks with `explain=1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<ExplainJson>,
}

/// Every term of a server's score, in percentage points of drop rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct ExplainJson {
    score: f64,
    behind: f64,
    mean: f64,
    residual: f64,
    load: f64,
    price: f64,
    line: f64,
    doubt: f64,
    near_best: bool,
    /// Of the cell's new clients, 0 to 1.
    share: f64,
    /// How many reports the mean is made of.
    reports: f64,
    event: bool,
    placed: &'static str,
}

impl From<&Explain> for ExplainJson {
    fn from(explain: &Explain) -> Self {
        let Explain { terms, score, behind, near, share, reports, event, placed } = *explain;
        Self {
            score,
            behind,
            mean: terms.mean,
            residual: terms.residual,
            load: terms.load,
            price: terms.price,
            line: terms.line,
            doubt: terms.doubt,
            near_best: near,
            share,
            reports,
            event,
            placed: placed.as_str(),
        }
    }
}

/// The port of each kind of listener that the edge has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Ports {
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_tls: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_tls: Option<u16>,
}

/// A URL for each protocol that the edge speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Urls {
    #[serde(skip_serializing_if = "Option::is_none")]
    goim_tcp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goim_tls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goim_ws: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goim_wss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ws: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wss: Option<String>,
}

impl<'a> Server<'a> {
    /// The server as its client sees it. Where the edge has several listeners of a kind, `turn`
    /// picks one, so that the ports on a list differ.
    pub fn new(choice: &Choice<'a>, turn: u64, explain: bool) -> Self {
        let edge: &Edge = choice.edge;
        let of = |transport| pick(edge, transport, turn);
        let tcp = of(Transport::GoimTcp);
        let tcp_tls = of(Transport::GoimTls);
        let http = of(Transport::Http);
        let http_tls = of(Transport::Https);
        let port = |endpoint: Option<&Endpoint>| endpoint.map(|endpoint| endpoint.port);
        let url = |endpoint: Option<&Endpoint>, scheme, path| {
            endpoint.map(|Endpoint { host, port, .. }| format!("{scheme}://{host}:{port}{path}"))
        };
        let first = [tcp, http, tcp_tls, http_tls].into_iter().flatten().next();
        Self {
            id: &edge.name,
            name: &edge.name,
            site: &edge.site,
            region: edge.region.to_string(),
            city: edge.city(),
            place: edge.region.division().map(|division| division.latin),
            carrier: edge.carrier.as_str(),
            address: first.map_or("", |endpoint| &endpoint.host),
            ports: Ports {
                tcp: port(tcp),
                tcp_tls: port(tcp_tls),
                http: port(http),
                http_tls: port(http_tls),
            },
            urls: Urls {
                goim_tcp: url(tcp, "tcp", ""),
                goim_tls: url(tcp_tls, "tls", ""),
                goim_ws: url(http, "ws", GOIM_PATH),
                goim_wss: url(http_tls, "wss", GOIM_PATH),
                ws: url(http, "ws", CENTRIFUGE_PATH),
                wss: url(http_tls, "wss", CENTRIFUGE_PATH),
            },
            why: choice.why.to_string(),
            explain: explain.then(|| (&choice.explain).into()),
        }
    }
}

fn pick(edge: &Edge, transport: Transport, turn: u64) -> Option<&Endpoint> {
    let listeners = || edge.endpoints.iter().filter(|endpoint| endpoint.transport == transport);
    let count = listeners().count().max(1) as u64;
    listeners().nth((turn % count) as usize)
}

/// Where an edge's HTTP listener speaks goim over WebSocket.
pub const GOIM_PATH: &str = "/sub";

/// Where an edge's HTTP listener speaks Centrifuge over WebSocket.
pub const CENTRIFUGE_PATH: &str = "/connection/websocket";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixture;
    use crate::ranking::{Ranking, Vantage};

    fn server(edge: Edge, turn: u64) -> serde_json::Value {
        let edges = [Arc::new(edge)];
        let ranking = Ranking::new(Vantage::default(), &edges);
        let choice = ranking.choose(b"1", |_| true).swap_remove(0);
        serde_json::to_value(Server::new(&choice, turn, turn == 0)).unwrap()
    }

    #[test]
    fn a_server_has_a_url_for_each_protocol_it_speaks() {
        let server = server(fixture::edge("bj-1", "110000", "telecom"), 0);
        assert_eq!(server["address"], "127.0.0.1");
        assert_eq!(server["ports"], serde_json::json!({ "tcp": 7611, "http": 7612 }));
        assert_eq!(
            server["urls"],
            serde_json::json!({
                "goim_tcp": "tcp://127.0.0.1:7611",
                "goim_ws": "ws://127.0.0.1:7612/sub",
                "ws": "ws://127.0.0.1:7612/connection/websocket",
            })
        );
        assert_eq!(server["explain"]["placed"], "near-best");
        assert_eq!(server["city"], "北京市");
        assert_eq!(server["why"], "reached over any carrier, distance unknown, load 0 %");
    }

    #[test]
    fn listeners_of_a_kind_take_turns() {
        let mut edge = fixture::edge("bj-1", "110000", "telecom");
        let second = Endpoint { port: 8612, ..edge.endpoints[1].clone() };
        edge.endpoints.push(second);
        assert_eq!(server(edge.clone(), 0)["ports"]["http"], 7612);
        assert_eq!(server(edge.clone(), 1)["ports"]["http"], 8612);
        assert_eq!(server(edge, 2)["ports"]["http"], 7612);
    }
}

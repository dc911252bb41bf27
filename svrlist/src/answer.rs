//! The JSON of `/svrlist`. These types are the border: only they serialise, and only they say how
//! an edge, a place and a reason look to clients.
//!
//! Most of an answer is the same for everybody who is told of an edge, so that part of a [`Server`]
//! is written once and kept with the edge (its [`Face`]); an answer is put together of such pieces.

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

use geo_data::region::Country;
use geo_data::{Place, Region};
use serde::{Serialize, Serializer};

use crate::edge::{Edge, Endpoint, Transport};
use crate::ranking::{Choice, Explain, Terms, Why};

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
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// Where the client is.
    pub cell: CellJson<'a>,
    /// Which edges to try, best first.
    pub servers: Vec<Server<'a>>,
    /// What else the client is told.
    pub advice: Advice<'a>,
}

/// What a client is told apart from edges.
#[derive(Clone, Debug, Serialize)]
pub struct Advice<'a> {
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

impl Answer<'_> {
    /// The answer as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(ANSWER_BYTES);
        json.extend_from_slice(b"{\"cell\":");
        put(&mut json, &self.cell);
        json.extend_from_slice(b",\"servers\":");
        let mut before = b'[';
        for server in &self.servers {
            json.push(before);
            server.put(&mut json);
            before = b',';
        }
        json.push(b']');
        // The advice is an object; its fields go on where this one's end.
        let brace = json.len();
        put(&mut json, &self.advice);
        json[brace] = b',';
        json
    }
}

/// A client's place.
#[derive(Clone, Debug, Serialize)]
pub struct CellJson<'a> {
    country: Option<&'a str>,
    region: Text<Region>,
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
            country: place.country.as_ref().map(Country::as_str),
            region: Text(place.region),
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
#[derive(Clone, Debug)]
pub struct Server<'a> {
    edge: &'a Edge,
    turn: u64,
    why: Why,
    /// For whoever asks with `explain=1`.
    explain: Option<ExplainJson>,
}

/// What everybody who is told of an edge is told of it.
#[derive(Clone, Debug, Serialize)]
struct Constant<'a> {
    id: &'a str,
    name: &'a str,
    site: &'a str,
    region: Text<Region>,
    city: Option<&'a str>,
    /// The same in Latin letters.
    place: Option<&'static str>,
    carrier: &'static str,
    /// The host of the first port below.
    address: &'a str,
    ports: Ports,
    urls: Urls,
}

/// The constant part of an edge's JSON, written when it is first wanted: an object that lacks its
/// closing brace, for each turn that listeners take. A copy of an edge has yet to write its own, as
/// it is copied to be changed.
#[derive(Default)]
pub struct Face(OnceLock<Vec<Vec<u8>>>);

impl Clone for Face {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Face")
    }
}

/// It says nothing that its edge does not.
impl PartialEq for Face {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Face {
    fn of(edge: &Edge, turn: u64) -> &[u8] {
        let turns = edge.face.0.get_or_init(|| {
            let write = |turn| {
                let mut json = Vec::new();
                put(&mut json, &Constant::new(edge, turn));
                json.pop();
                json
            };
            (0..turns(edge)).map(write).collect()
        });
        &turns[(turn % turns.len() as u64) as usize]
    }
}

/// After how many turns the listeners of an edge are at their first ones again.
fn turns(edge: &Edge) -> u64 {
    let all = [Transport::GoimTcp, Transport::GoimTls, Transport::Http, Transport::Https];
    let counts = all.map(|transport| listeners(edge, transport).count().max(1) as u64);
    let all = counts.into_iter().fold(1, |all, count| {
        let common = (1..=count).rev().find(|divisor| all % divisor == 0 && count % divisor == 0);
        all / common.unwrap_or(1) * count
    });
    all.min(TURNS_MAX)
}

/// What a score is made of, in percentage points of drop rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct TermsJson {
    mean: f64,
    residual: f64,
    load: f64,
    price: f64,
    line: f64,
    doubt: f64,
}

impl From<&Terms> for TermsJson {
    fn from(terms: &Terms) -> Self {
        let Terms { mean, residual, load, price, line, doubt } = *terms;
        Self { mean, residual, load, price, line, doubt }
    }
}

/// Why a server stands where it does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct ExplainJson {
    score: f64,
    behind: f64,
    #[serde(flatten)]
    terms: TermsJson,
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
            terms: TermsJson::from(&terms),
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
        let explain = explain.then(|| (&choice.explain).into());
        Self { edge: choice.edge, turn, why: choice.why, explain }
    }

    fn put(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(Face::of(self.edge, self.turn));
        // The reason is made of words and numbers, with nothing to escape.
        let _ = write!(json, ",\"why\":\"{}\"", self.why);
        if let Some(explain) = &self.explain {
            json.extend_from_slice(b",\"explain\":");
            put(json, explain);
        }
        json.push(b'}');
    }
}

impl<'a> Constant<'a> {
    fn new(edge: &'a Edge, turn: u64) -> Self {
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
            region: Text(edge.region),
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
        }
    }
}

fn listeners(edge: &Edge, transport: Transport) -> impl Iterator<Item = &Endpoint> {
    edge.endpoints.iter().filter(move |endpoint| endpoint.transport == transport)
}

fn pick(edge: &Edge, transport: Transport, turn: u64) -> Option<&Endpoint> {
    let count = listeners(edge, transport).count().max(1) as u64;
    listeners(edge, transport).nth((turn % count) as usize)
}

/// Writes a value behind what is there. Memory takes any write, and what is written here has texts,
/// numbers and fields, nothing that JSON could not hold.
fn put(json: &mut Vec<u8>, value: &impl Serialize) {
    let _ = serde_json::to_writer(json, value);
}

/// Written as it prints.
#[derive(Clone, Copy, Debug)]
struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An answer with five servers of four listeners each has some 3,400 bytes.
const ANSWER_BYTES: usize = 4096;

/// An edge whose listeners take more turns than this repeats them early.
const TURNS_MAX: u64 = 64;

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
        let mut json = Vec::new();
        Server::new(&choice, turn, turn == 0).put(&mut json);
        serde_json::from_slice(&json).unwrap()
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
        assert!(server["explain"]["mean"].is_number(), "terms stand beside the rest");
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

    #[test]
    fn turns_meet_where_all_kinds_begin_again() {
        let mut edge = fixture::edge("bj-1", "110000", "telecom");
        assert_eq!(turns(&edge), 1);
        let more = |edge: &mut Edge, at: usize, count| {
            let listener = edge.endpoints[at].clone();
            edge.endpoints.extend((0..count).map(|_| listener.clone()));
        };
        more(&mut edge, 0, 3);
        assert_eq!(turns(&edge), 4);
        more(&mut edge, 1, 5);
        assert_eq!(turns(&edge), 12);
        more(&mut edge, 1, 53);
        assert_eq!(turns(&edge), TURNS_MAX);
    }

    #[test]
    fn a_copy_of_an_edge_is_written_anew() {
        let edge = fixture::edge("bj-1", "110000", "telecom");
        let face = |edge: &Edge| String::from_utf8(Face::of(edge, 0).to_vec()).unwrap();
        assert!(face(&edge).contains("7612"));
        let mut other = edge.clone();
        other.endpoints[1].port = 9999;
        assert!(face(&other).contains("9999"));
        assert_eq!(edge.face, other.face, "edges are compared by what they say");
    }
}

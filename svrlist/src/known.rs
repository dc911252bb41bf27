//! The edges of the last list as they are written down, so that a svrlist that was restarted can answer
//! before any edge reports to it.
//!
//! What is read is checked like a report: it goes the same way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::wire::control;

use crate::edge::{Edge, ReportError};
use crate::learning::EDGES_MAX;
use crate::registry::List;

/// All of them, for serde.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    edges: Vec<Known>,
}

/// What is known of an edge without its lines, which say something of a moment only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    name: String,
    region: String,
    city: String,
    carrier: String,
    site: String,
    zone: String,
    version: String,
    position: Option<(f64, f64)>,
    /// Transport, host, port.
    endpoints: Vec<(String, String, u16)>,
    weight: f64,
    connections: u32,
    connections_max: u32,
    addresses: u32,
    bits_out: u64,
    bits_out_max: u64,
    begun: u64,
    ended: u64,
    load: f64,
    busy: bool,
    draining: bool,
    started_ms: u64,
}

/// A snapshot that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Another svrlist wrote it.
    #[error("the edges have version {0}, must be {VERSION}")]
    Version(u32),
    /// There are too many.
    #[error("{0} edges are known, must be at most {EDGES_MAX}")]
    Edges(usize),
    /// An edge cannot be.
    #[error("edge {0:?} cannot be used")]
    Edge(String, #[source] ReportError),
}

impl Snapshot {
    /// What to write down of a list.
    pub fn of(list: &List) -> Self {
        let known = list.edges.iter().map(|listed| Known::of(&listed.edge));
        Self { version: VERSION, edges: known.collect() }
    }

    /// The edges; an entry of `weights` outranks their own, as in reports.
    pub fn edges(self, weights: &BTreeMap<String, f64>) -> Result<Vec<Edge>, SnapshotError> {
        if self.version != VERSION {
            return Err(SnapshotError::Version(self.version));
        }
        if self.edges.len() > EDGES_MAX {
            return Err(SnapshotError::Edges(self.edges.len()));
        }
        let edge = |known: Known| {
            let (report, name) = (known.report(), known.name);
            let edge = Edge::admit(&report, &name, weights);
            edge.map_err(|error| SnapshotError::Edge(name, error))
        };
        self.edges.into_iter().map(edge).collect()
    }
}

impl Known {
    fn of(edge: &Edge) -> Self {
        let endpoint = |endpoint: &crate::edge::Endpoint| {
            (endpoint.transport.name().to_owned(), endpoint.host.clone(), endpoint.port)
        };
        Self {
            name: edge.name.to_string(),
            region: edge.region.to_string(),
            city: edge.city.clone(),
            carrier: edge.carrier.to_string(),
            site: edge.site.to_string(),
            zone: edge.zone.clone(),
            version: edge.version.clone(),
            position: edge.position.map(|at| (at.latitude(), at.longitude())),
            endpoints: edge.endpoints.iter().map(endpoint).collect(),
            weight: edge.weight,
            connections: edge.connections,
            connections_max: edge.connections_max,
            addresses: edge.addresses,
            bits_out: edge.bits_out,
            bits_out_max: edge.bits_out_max,
            begun: edge.begun,
            ended: edge.ended,
            load: edge.load,
            busy: edge.busy,
            draining: edge.draining,
            started_ms: edge.started_ms,
        }
    }

    fn report(&self) -> control::Report {
        let (latitude, longitude) = self.position.unwrap_or_default();
        let endpoint = |(protocol, host, port): &(String, String, u16)| control::Endpoint {
            protocol: protocol.clone(),
            host: host.clone(),
            port: (*port).into(),
        };
        control::Report {
            edge: self.name.clone(),
            region: self.region.clone(),
            city: self.city.clone(),
            carrier: self.carrier.clone(),
            site: self.site.clone(),
            zone: self.zone.clone(),
            version: self.version.clone(),
            latitude,
            longitude,
            endpoints: self.endpoints.iter().map(endpoint).collect(),
            weight: self.weight,
            connections: self.connections,
            connections_max: self.connections_max,
            cpu: self.load,
            bits_out: self.bits_out,
            bits_out_max: self.bits_out_max,
            draining: self.draining,
            started_ms: self.started_ms,
            addresses: self.addresses,
            busy: self.busy,
            begun: self.begun,
            ended: self.ended,
            ..control::Report::default()
        }
    }
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixture;
    use crate::registry::Registry;
    use crate::site::tests::moment;

    fn list() -> std::sync::Arc<List> {
        let mut registry = Registry::default();
        let mut full = fixture::report("bj-1", "110000", "telecom");
        full.connections = 90;
        full.latitude = 39.9;
        full.longitude = 116.4;
        let mut abroad = fixture::report("x-2", "", "");
        abroad.site = String::new();
        abroad.endpoints[0].host = "2001:db8::1".to_owned();
        for report in [full, abroad] {
            let edge = Edge::from_report(&report).unwrap();
            registry.handle_report(edge, moment().monotonic);
        }
        registry.list()
    }

    #[test]
    fn edges_are_read_as_they_were_written() {
        let list = list();
        let text = serde_json::to_string(&Snapshot::of(&list)).unwrap();
        let read: Snapshot = serde_json::from_str(&text).unwrap();
        let edges = read.clone().edges(&BTreeMap::new()).unwrap();
        let written: Vec<Edge> = list.edges.iter().map(|l| (*l.edge).clone()).collect();
        assert_eq!(edges, written);
        let weights = BTreeMap::from([("bj-1".to_owned(), 0.5)]);
        assert_eq!(read.edges(&weights).unwrap()[0].weight, 0.5);
    }

    #[test]
    fn an_edge_that_cannot_be_is_refused() {
        let text = serde_json::to_string(&Snapshot::of(&list())).unwrap();
        let read = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            let snapshot: Snapshot = serde_json::from_str(&text.replacen(from, to, 1)).unwrap();
            snapshot.edges(&BTreeMap::new()).unwrap_err()
        };
        assert_eq!(read("\"version\":1", "\"version\":2"), SnapshotError::Version(2));
        let fault = read("\"weight\":1.0", "\"weight\":-1.0");
        assert!(matches!(fault, SnapshotError::Edge(name, _) if name == "bj-1"));
    }

    #[test]
    fn a_restarted_svrlist_lists_what_it_knew_until_edges_report() {
        let mut registry = Registry::default();
        let names = ["a", "b", "c"];
        let edge = |name: &str| fixture::edge(name, "110000", "telecom");
        let start = moment().monotonic + Duration::from_secs(3600);
        let list = registry.restore(names.map(edge).into(), start).unwrap();
        assert_eq!((list.edges.len(), list.stale), (3, true));
        // However long nobody reports.
        let later = start + Duration::from_secs(7200);
        registry.handle_tick(later);
        assert_eq!((registry.list().edges.len(), registry.list().stale), (3, true));
        // Two of three report: the third has as long to follow as any edge.
        registry.handle_report(edge("a"), later);
        registry.handle_report(edge("b"), later);
        registry.handle_tick(later);
        assert_eq!((registry.list().edges.len(), registry.list().stale), (3, false));
        for seconds in [2, 4, 6, 8, 9] {
            let now = later + Duration::from_secs(seconds);
            registry.handle_report(edge("a"), now);
            registry.handle_report(edge("b"), now);
            registry.handle_tick(now);
        }
        assert_eq!((registry.list().edges.len(), registry.list().stale), (2, false));
    }
}

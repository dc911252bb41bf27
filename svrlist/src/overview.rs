//! The JSON of `/edges`: the live edges, for the page at `/`.

use std::time::Instant;

use serde::Serialize;

use crate::edge::{Edge, Line};
use crate::registry::{List, Listed};

/// All edges on the list.
#[derive(Clone, Debug, Serialize)]
pub struct Overview<'a> {
    generation: u64,
    stale: bool,
    edges: Vec<Row<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    region: String,
    city: Option<&'a str>,
    /// The same in Latin letters.
    place: Option<&'static str>,
    carrier: &'static str,
    site: &'a str,
    zone: &'a str,
    version: &'a str,
    connections: u32,
    connections_max: u32,
    load: f64,
    weight: f64,
    draining: bool,
    lines: Vec<LineJson>,
    cut_off: bool,
    /// Seconds since its last report.
    heard_s: f64,
}

/// What an edge tells of a line to its upstream.
#[derive(Clone, Debug, Serialize)]
pub struct LineJson {
    local: String,
    remote: String,
    upstream: String,
    up: bool,
    primary: bool,
    rtt_ms: f64,
    /// Share of datagrams that get lost.
    loss: f64,
}

impl From<&Line> for LineJson {
    fn from(line: &Line) -> Self {
        Self {
            local: line.local.to_string(),
            remote: line.remote.to_string(),
            upstream: line.upstream.clone(),
            up: line.up,
            primary: line.primary,
            rtt_ms: line.rtt_ms,
            loss: line.loss,
        }
    }
}

impl<'a> Overview<'a> {
    /// The list as it is at `now`.
    pub fn new(list: &'a List, now: Instant) -> Self {
        let row = |Listed { edge, heard, .. }: &'a Listed| {
            let Edge { region, carrier, .. } = **edge;
            Row {
                name: &edge.name,
                region: region.to_string(),
                city: edge.city(),
                place: region.division().map(|division| division.latin),
                carrier: carrier.as_str(),
                site: &edge.site,
                zone: &edge.zone,
                version: &edge.version,
                connections: edge.connections,
                connections_max: edge.connections_max,
                load: edge.load,
                weight: edge.weight,
                draining: edge.draining,
                lines: edge.lines.iter().map(LineJson::from).collect(),
                cut_off: edge.cut_off,
                heard_s: now.saturating_duration_since(*heard).as_secs_f64(),
            }
        };
        let List { generation, stale, edges } = list;
        Self { generation: *generation, stale: *stale, edges: edges.iter().map(row).collect() }
    }
}

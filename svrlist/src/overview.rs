//! The JSON of `/edges`: the live edges, for the page at `/`.

use std::time::Instant;

use serde::Serialize;

use crate::edge::Edge;
use crate::line::{Line, Measured};
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
    lines: Vec<LineJson<'a>>,
    cut_off: bool,
    /// Seconds since its last report.
    heard_s: f64,
}

/// A line, and what its edge measures on it.
#[derive(Clone, Debug, Serialize)]
pub struct LineJson<'a> {
    local: String,
    remote: String,
    upstream: &'a str,
    up: bool,
    state: &'a str,
    primary_in: bool,
    primary_out: bool,
    #[serde(flatten)]
    measured: Measured,
}

impl<'a> From<&'a Line> for LineJson<'a> {
    fn from(line: &'a Line) -> Self {
        Self {
            local: line.local.to_string(),
            remote: line.remote.to_string(),
            upstream: &line.upstream,
            up: line.up,
            state: &line.state,
            primary_in: line.primary_in,
            primary_out: line.primary_out,
            measured: line.measured,
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

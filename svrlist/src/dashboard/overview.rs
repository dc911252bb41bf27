//! The JSON of `/api/overview`: edges, sites, zones, alerts.

use std::collections::{BTreeMap, BTreeSet};

use geo_data::Position;
use serde::Serialize;

use super::alerts::AlertJson;
use super::facts::{Facts, Seen, State};
use crate::edge::Edge;
use crate::line::Line;
use crate::planner::SiteAccount;
use crate::ranking::Policy;

/// The whole network on one page.
#[derive(Clone, Debug, Serialize)]
pub struct Overview<'a> {
    now_ms: u64,
    generation: u64,
    stale: bool,
    edges: Vec<EdgeJson<'a>>,
    sites: Vec<SiteJson<'a>>,
    zones: Vec<ZoneJson<'a>>,
    alerts: Vec<AlertJson<'a>>,
}

/// An edge.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeJson<'a> {
    name: &'a str,
    site: &'a str,
    zone: &'a str,
    region: String,
    /// The region in Latin letters.
    place: Option<&'static str>,
    city: Option<&'a str>,
    carrier: &'static str,
    position: Option<PositionJson>,
    version: &'a str,
    connections: u32,
    connections_max: u32,
    load: f64,
    weight: f64,
    bits_out: u64,
    bits_out_max: u64,
    state: State,
    draining: bool,
    started_ms: u64,
    /// Seconds since its last report.
    heard_s: f64,
    lines: Vec<LineJson<'a>>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PositionJson {
    lat: f64,
    lon: f64,
}

impl From<Position> for PositionJson {
    fn from(position: Position) -> Self {
        Self { lat: position.latitude(), lon: position.longitude() }
    }
}

/// A line, and what its edge measures on it.
#[derive(Clone, Debug, Serialize)]
pub struct LineJson<'a> {
    line: u32,
    local: String,
    remote: String,
    local_carrier: &'a str,
    remote_carrier: &'a str,
    upstream: &'a str,
    up: bool,
    state: &'a str,
    primary: bool,
    primary_up: bool,
    rtt_ms: f64,
    jitter_ms: f64,
    delay_rise_ms: f64,
    loss: f64,
    loss_up: f64,
    burst: f64,
    firsts: u64,
    repeats: u64,
    bytes_in: u64,
    bytes_out: u64,
    down_ms: u64,
    bits_in_p95: f64,
    bits_out_p95: f64,
}

impl<'a> From<&'a Line> for LineJson<'a> {
    fn from(line: &'a Line) -> Self {
        let measured = line.measured;
        Self {
            line: line.number,
            local: line.local.address.to_string(),
            remote: line.remote.address.to_string(),
            local_carrier: &line.local.carrier,
            remote_carrier: &line.remote.carrier,
            upstream: &line.upstream,
            up: line.up,
            state: &line.state,
            primary: line.primary_in,
            primary_up: line.primary_out,
            rtt_ms: measured.rtt_ms,
            jitter_ms: measured.jitter_ms,
            delay_rise_ms: measured.delay_rise_ms,
            loss: measured.loss_in,
            loss_up: measured.loss_out,
            burst: measured.burst,
            firsts: measured.firsts,
            repeats: measured.repeats,
            bytes_in: measured.bytes_in,
            bytes_out: measured.bytes_out,
            down_ms: measured.down_ms,
            bits_in_p95: measured.bits_in_p95,
            bits_out_p95: measured.bits_out_p95,
        }
    }
}

impl<'a> From<&'a Seen> for EdgeJson<'a> {
    fn from(Seen { edge, silent_for, state }: &'a Seen) -> Self {
        Self {
            name: &edge.name,
            site: &edge.site,
            zone: &edge.zone,
            region: edge.region.to_string(),
            place: edge.region.division().map(|division| division.latin),
            city: edge.city(),
            carrier: edge.carrier.as_str(),
            position: edge.position.map(PositionJson::from),
            version: &edge.version,
            connections: edge.connections,
            connections_max: edge.connections_max,
            load: edge.load,
            weight: edge.weight,
            bits_out: edge.bits_out,
            bits_out_max: edge.bits_out_max,
            state: *state,
            draining: edge.draining,
            started_ms: edge.started_ms,
            heard_s: silent_for.as_secs_f64(),
            lines: edge.lines.iter().map(LineJson::from).collect(),
        }
    }
}

/// A site: the sums of its edges that are not lost.
#[derive(Clone, Debug, Default, Serialize)]
struct SiteJson<'a> {
    site: &'a str,
    region: String,
    place: Option<&'static str>,
    carriers: BTreeSet<&'static str>,
    position: Option<PositionJson>,
    edges: Vec<&'a str>,
    connections: u64,
    /// The highest of its edges.
    load: f64,
    bits_out: u64,
    bits_out_max: u64,
    /// `null` while nothing is wished for.
    budget: Option<BudgetJson>,
}

/// The account of a site: rates in bits per second, slots of five minutes.
#[derive(Clone, Copy, Debug, Serialize)]
struct BudgetJson {
    /// What is to be kept.
    level: f64,
    /// The month's 95th percentile so far.
    billed: f64,
    /// Free slots of the month, and those beyond an even share for the slots to come.
    left: u32,
    saved: f64,
    running: bool,
    /// In percentage points of drop rate.
    price: f64,
}

impl From<&SiteAccount> for BudgetJson {
    fn from(account: &SiteAccount) -> Self {
        let SiteAccount { level, billed, left, saved, running, price, .. } = *account;
        Self { level, billed, left, saved, running, price }
    }
}

/// A zone.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ZoneJson<'a> {
    zone: &'a str,
    /// Percent of users; `null` where it shares what the others leave.
    share: Option<f64>,
    versions: BTreeSet<&'a str>,
    edges: BTreeSet<&'a str>,
    connections: u64,
    drained: bool,
}

impl<'a> Overview<'a> {
    /// The overview of a moment.
    pub fn new(facts: &'a Facts) -> Self {
        let heard = facts.edges.iter().map(|seen| (&*seen.edge, seen.state != State::Lost));
        Self {
            now_ms: facts.now_ms,
            generation: facts.generation,
            stale: facts.stale,
            edges: facts.edges.iter().map(EdgeJson::from).collect(),
            sites: sites(facts),
            zones: zones(&facts.conditions().policy, heard),
            alerts: facts.alerts.iter().map(AlertJson::from).collect(),
        }
    }
}

fn sites(facts: &Facts) -> Vec<SiteJson<'_>> {
    let mut sites: BTreeMap<&str, SiteJson<'_>> = BTreeMap::new();
    for Seen { edge, state, .. } in &facts.edges {
        let site = sites.entry(&edge.site).or_insert_with(|| SiteJson {
            site: &edge.site,
            region: edge.region.to_string(),
            place: edge.region.division().map(|division| division.latin),
            position: edge.position.map(PositionJson::from),
            budget: facts
                .planned
                .sites
                .get(&edge.site)
                .filter(|account| account.level > 0.0)
                .map(BudgetJson::from),
            ..SiteJson::default()
        });
        site.carriers.insert(edge.carrier.as_str());
        site.edges.push(&edge.name);
        if *state != State::Lost {
            site.connections += u64::from(edge.connections);
            site.load = site.load.max(edge.load);
            site.bits_out = site.bits_out.saturating_add(edge.bits_out);
            site.bits_out_max = site.bits_out_max.saturating_add(edge.bits_out_max);
        }
    }
    sites.into_values().collect()
}

/// The zones that a policy names or edges are in; of each edge whether its connections count.
pub(crate) fn zones<'a>(
    policy: &'a Policy,
    edges: impl Iterator<Item = (&'a Edge, bool)>,
) -> Vec<ZoneJson<'a>> {
    let named = |zone: &str| policy.zone_shares.get(zone).copied();
    let mut zones: BTreeMap<&str, ZoneJson<'_>> = BTreeMap::new();
    for zone in policy.zone_shares.keys().chain(&policy.drained.zones) {
        zones.entry(zone).or_default();
    }
    for (edge, counts) in edges {
        let zone = zones.entry(&edge.zone).or_default();
        zone.versions.insert(&edge.version);
        zone.edges.insert(&edge.name);
        if counts {
            zone.connections += u64::from(edge.connections);
        }
    }
    let filled = zones.into_iter().map(|(name, zone)| ZoneJson {
        zone: name,
        share: named(name),
        drained: policy.drained.zones.contains(name) || named(name).is_some_and(|s| s <= 0.0),
        ..zone
    });
    filled.collect()
}

//! The network that is simulated: what is true, whoever knows it.

use std::sync::Arc;

use geo_data::region::divisions;
use geo_data::{Carrier, Cell, Position, Region};
use shared::wire::control;
use svrlist::edge::Edge;
use svrlist::ranking::Vantage;

use super::dice::Luck;
use super::drive::Scale;

/// A network, and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) cells: Vec<Place>,
    pub(super) edges: Vec<Node>,
    /// The drop rate of (cell, edge) on a good day, row by row of cells.
    base: Vec<f64>,
    pub(super) events: Vec<Event>,
    /// Sessions that begin in a tick of five seconds at the peak.
    pub(super) arrivals: f64,
}

/// A cell.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) cell: Cell,
    pub(super) vantage: Vantage,
    /// Its share of all clients.
    pub(super) weight: f64,
}

/// An edge.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) model: Edge,
    pub(super) capacity: f64,
    pub(super) dies: Option<usize>,
}

/// An illness of an edge for one carrier's clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) edge: usize,
    pub(super) carrier: Carrier,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) drop: f64,
}

impl World {
    /// The world of a seed, for so many ticks.
    pub(super) fn new(seed: u64, scale: &Scale) -> Self {
        let mut luck = Luck::new(seed);
        let cells = cells(&mut luck);
        let arrivals = scale.sessions / SESSION_TICKS;
        let mut edges = edges(&mut luck, scale.edges, &cells);
        let sum: f64 = edges.iter().map(|edge| edge.capacity).sum();
        edges.iter_mut().for_each(|edge| edge.capacity *= scale.sessions / PEAK_LOAD / sum);
        let mut base = Vec::with_capacity(cells.len() * edges.len());
        for place in &cells {
            for edge in &edges {
                let km = km(place.vantage.position, edge.model.position);
                let own = luck.gamma2(BASE_DROP + DROP_PER_KM * km);
                let cross = luck.between(0.01, 0.10);
                let foreign = place.cell.carrier != edge.model.carrier;
                base.push(own + if foreign { cross } else { 0.0 });
            }
        }
        let mut events = Vec::new();
        if scale.incidents {
            for tick in 0..scale.ticks {
                for edge in 0..edges.len() {
                    if luck.happens(TICK_SECONDS / (100.0 * 60.0)) {
                        let lasts = luck.between(300.0, 1200.0) / TICK_SECONDS;
                        let carrier = CARRIERS[luck.below(3)];
                        let drop = luck.between(0.08, 0.40);
                        events.push(Event {
                            edge,
                            carrier,
                            from: tick,
                            to: tick + lasts as usize,
                            drop,
                        });
                    }
                }
            }
            for edge in &mut edges {
                let at = luck.below(scale.ticks.max(1));
                edge.dies = luck.happens(0.04).then_some(at);
            }
        }
        Self { cells, edges, base, events, arrivals }
    }

    /// The drop rates of a tick, row by row of cells, for edges so loaded.
    pub(super) fn drops(&self, tick: usize, loads: &[f64]) -> Vec<f64> {
        let width = self.edges.len();
        let mut ill = vec![[0.0; 3]; width];
        for event in self.events.iter().filter(|event| (event.from..event.to).contains(&tick)) {
            for (at, carrier) in CARRIERS.iter().enumerate() {
                if *carrier == event.carrier {
                    ill[event.edge][at] += event.drop;
                }
            }
        }
        let mut drops = self.base.clone();
        for (row, place) in drops.chunks_mut(width).zip(&self.cells) {
            let of =
                CARRIERS.iter().position(|carrier| *carrier == place.cell.carrier).unwrap_or(0);
            for (edge, drop) in row.iter_mut().enumerate() {
                let load = loads[edge];
                // What is too much is lost.
                let over = if load > 1.0 { (load - 1.0) / load } else { 0.0 };
                let alive = self.edges[edge].dies.is_none_or(|dies| tick < dies);
                *drop = if alive { (*drop + ill[edge][of] + over).min(1.0) } else { 1.0 };
            }
        }
        drops
    }

    pub(super) fn base(&self) -> &[f64] {
        &self.base
    }

    pub(super) fn is_dead(&self, edge: usize, tick: usize) -> bool {
        self.edges[edge].dies.is_some_and(|dies| dies <= tick)
    }

    /// The edges as svrlist has them: what they reported two ticks ago, without those it has missed.
    pub(super) fn listed(&self, tick: usize, late: &[f64]) -> Vec<Arc<Edge>> {
        let heard =
            |(at, _): &(usize, &Node)| !self.is_dead(*at, tick.saturating_sub(MISSED_TICKS));
        let listed = self.edges.iter().enumerate().filter(heard).map(|(at, node)| {
            let connections = (late[at] * node.capacity) as u32;
            let connections_max = node.capacity as u32;
            Arc::new(Edge { load: late[at], connections, connections_max, ..node.model.clone() })
        });
        listed.collect()
    }
}

fn cells(luck: &mut Luck) -> Vec<Place> {
    let provinces = divisions().map(|row| Region::Division(row.code)).filter(|region| {
        let itself = region.province().is_some_and(|row| Region::Division(row.code) == *region);
        itself && region.is_mainland() && region.position().is_some()
    });
    let mut cells = Vec::new();
    for region in provinces.take(PROVINCES) {
        let people = luck.gamma2(1.0);
        for carrier in CARRIERS {
            let vantage = Vantage { carrier, position: region.position(), ..Vantage::default() };
            let weight = people * luck.between(0.5, 1.5);
            cells.push(Place { cell: Cell { region, carrier }, vantage, weight });
        }
    }
    // Every carrier has as many clients as it has edges for.
    for carrier in CARRIERS {
        let of = |place: &&mut Place| place.cell.carrier == carrier;
        let sum: f64 = cells.iter_mut().filter(of).map(|place| place.weight).sum();
        cells.iter_mut().filter(of).for_each(|place| place.weight /= 3.0 * sum);
    }
    cells
}

fn edges(luck: &mut Luck, count: usize, cells: &[Place]) -> Vec<Node> {
    let sites = count.div_ceil(EDGES_A_SITE);
    let places: Vec<usize> = (0..sites)
        .map(|site| {
            // Where people are.
            let carrier = CARRIERS[site % 3];
            let mut left = luck.between(0.0, 1.0 / 3.0);
            let of = cells.iter().enumerate().filter(|(_, place)| place.cell.carrier == carrier);
            let mut chosen = 0;
            for (at, place) in of {
                chosen = at;
                left -= place.weight;
                if left < 0.0 {
                    break;
                }
            }
            chosen
        })
        .collect();
    let node = |at: usize| {
        let place = &cells[places[at % sites]];
        let endpoint = control::Endpoint {
            protocol: "http".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 443,
        };
        let report = control::Report {
            edge: format!("edge-{at}"),
            region: place.cell.region.to_string(),
            carrier: place.cell.carrier.to_string(),
            site: format!("site-{}", at % sites),
            endpoints: vec![endpoint],
            weight: 1.0,
            connections_max: 1,
            ..control::Report::default()
        };
        // A report written here is a good one.
        #[allow(clippy::expect_used, reason = "a report with constant fields")]
        let model = Edge::from_report(&report).expect("a good report");
        Node { model, capacity: luck.between(0.5, 1.5), dies: None }
    };
    (0..count).map(node).collect()
}

fn km(a: Option<Position>, b: Option<Position>) -> f64 {
    a.zip(b).map_or(1000.0, |(a, b)| a.distance_km(b))
}

pub(super) const CARRIERS: [Carrier; 3] = [Carrier::Telecom, Carrier::Unicom, Carrier::Mobile];

const PROVINCES: usize = 30;

const EDGES_A_SITE: usize = 3;

/// A tick is five seconds.
pub(super) const TICK_SECONDS: f64 = 5.0;

/// Sessions last ten minutes on average.
pub(super) const SESSION_TICKS: f64 = 600.0 / TICK_SECONDS;

/// Of all capacity, at the peak.
pub(super) const PEAK_LOAD: f64 = 0.72;

/// An edge is missed within ten seconds.
const MISSED_TICKS: usize = 2;

/// The mean next door; with this the oracle's drop rate is that of the evaluation.
const BASE_DROP: f64 = 0.025;

const DROP_PER_KM: f64 = 0.018 / 1000.0;

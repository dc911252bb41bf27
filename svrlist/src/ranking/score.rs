//! What an edge costs a client: the terms of the score, each in percentage points of drop rate.
//!
//! `score = max(0, mean + residual) + load + price + line`: what clients of the cell met there, what
//! one more client does to it, what its bandwidth costs, and what its own lines lose.
//!
//! Every term is on an absolute scale, whatever the other edges are.

use geo_data::{Carrier, Position};

use super::entry::LOAD_FULL;
use crate::edge::Edge;
use crate::learning::Estimate;
use crate::line::Line;

/// The score of an edge for a cell, by what it is made of; in percentage points.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// The drop rate that is usual.
    pub mean: f64,
    /// What is to be added right now, or taken off.
    pub residual: f64,
    /// For what the edge carries already.
    pub load: f64,
    /// The shadow price of the site's bandwidth.
    pub price: f64,
    /// For what the edge's lines to its upstream lose.
    pub line: f64,
    /// How far [`score`](Self::score) may be too high, because little was heard.
    pub doubt: f64,
}

impl Terms {
    pub(super) fn of(edge: &Edge, estimate: &Estimate, price: f64) -> Self {
        Self {
            mean: estimate.mean_pp,
            residual: estimate.residual_pp,
            load: load_cost(edge.load),
            price,
            line: line_cost(&edge.lines),
            doubt: if estimate.event { 0.0 } else { doubt(estimate.reports) },
        }
    }

    /// The sum: the smaller, the better.
    pub fn score(&self) -> f64 {
        (self.mean + self.residual).max(0.0) + self.load + self.price + self.line
    }
}

/// The drop rate to be expected before anything is known, in percentage points, by what causes it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// For crossing from one carrier to another.
    pub carrier: f64,
    /// For the way.
    pub distance: f64,
    /// The way in kilometres, where both ends are known.
    pub distance_km: Option<f64>,
}

/// What crossing carriers and the way are thought to cost.
pub fn prior(carrier: Carrier, position: Option<Position>, edge: &Edge) -> Cost {
    let distance_km = position.zip(edge.position).map(|(client, edge)| client.distance_km(edge));
    Cost {
        carrier: carrier_cost(carrier, edge.carrier),
        distance: match (distance_km, position) {
            (Some(km), _) => (km / KM_PER_PP).min(DISTANCE_MAX_PP),
            (None, Some(_)) => DISTANCE_UNKNOWN_PP,
            // All edges are equally far from nowhere.
            (None, None) => 0.0,
        },
        distance_km,
    }
}

fn carrier_cost(client: Carrier, edge: Carrier) -> f64 {
    match (client, edge) {
        // It may be the same one; two unknown ones are no more likely to be.
        (Carrier::Unknown, _) | (_, Carrier::Unknown) => BETWEEN_CARRIERS_PP,
        _ if client == edge => 0.0,
        // A cloud is connected to every carrier.
        (Carrier::Cloud, _) | (_, Carrier::Cloud) => BETWEEN_CARRIERS_PP,
        _ => OTHER_CARRIER_PP,
    }
}

/// Nothing up to [`LOAD_EASY`], then a gentle line to [`LOAD_HIGH`], then a steep one.
pub(super) fn load_cost(load: f64) -> f64 {
    if load <= LOAD_EASY {
        0.0
    } else if load <= LOAD_HIGH {
        LOAD_HIGH_PP * (load - LOAD_EASY) / (LOAD_HIGH - LOAD_EASY)
    } else {
        let steep = (load - LOAD_HIGH) / (LOAD_FULL - LOAD_HIGH);
        LOAD_HIGH_PP + (LOAD_FULL_PP - LOAD_HIGH_PP) * steep.min(1.0)
    }
}

/// What the best two lines lose together, and the delay of the better one where that is long. An
/// edge that tells of no lines is not held to them.
fn line_cost(lines: &[Line]) -> f64 {
    let mut up: Vec<(f64, f64)> = lines
        .iter()
        .filter(|line| line.up)
        .map(|line| (line.measured.loss_in.clamp(0.0, 1.0), line.measured.rtt_ms))
        .collect();
    up.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let Some((best, rtt_ms)) = up.first().copied() else { return 0.0 };
    let second = up.get(1).map_or(1.0, |(loss, _)| *loss);
    // One line repairs by itself, two by each other: what both lose is late for the client.
    let late = if up.len() > 1 { best * second } else { best * LATE_OF_LOST };
    let long = (rtt_ms / 2.0 - DELAY_EASY_MS).max(0.0) / DELAY_MS_PER_PP;
    (100.0 * late + long).min(LINE_MAX_PP)
}

/// Half a standard error, for a client's report that scatters as it does.
fn doubt(reports: f64) -> f64 {
    DOUBT_PP / (DOUBT_REPORTS + reports).sqrt()
}

/// Crossing between two carriers, which costs 1 to 10 points and several tens of milliseconds.
pub(super) const OTHER_CARRIER_PP: f64 = 6.0;

/// From or to a cloud or an unknown carrier.
pub(super) const BETWEEN_CARRIERS_PP: f64 = 2.0;

/// Within one carrier, a thousand kilometres (ten milliseconds there and back) cost a point.
const KM_PER_PP: f64 = 1_000.0;

/// The way costs no more than this, or the far west would have no carrier of its own.
const DISTANCE_MAX_PP: f64 = 5.0;

/// The way to an edge whose place is unknown.
const DISTANCE_UNKNOWN_PP: f64 = 2.5;

/// Load that costs nothing.
pub(super) const LOAD_EASY: f64 = 0.80;

/// Load from which every client more is felt.
const LOAD_HIGH: f64 = 0.92;

/// Cost of [`LOAD_HIGH`]: as far as a thousand kilometres. Loads are known late, so a steeper price would
/// send everybody back and forth.
const LOAD_HIGH_PP: f64 = 1.0;

/// Cost of [`LOAD_FULL`]: worse than any carrier at any distance.
pub(super) const LOAD_FULL_PP: f64 = 20.0;

/// Of what one line alone loses, what comes too late for all repairing.
const LATE_OF_LOST: f64 = 0.1;

/// A delay from the origin that nobody minds.
const DELAY_EASY_MS: f64 = 60.0;

/// Beyond it, what is worth a point.
const DELAY_MS_PER_PP: f64 = 100.0;

/// However bad the lines are, they repair.
pub(super) const LINE_MAX_PP: f64 = 5.0;

const DOUBT_PP: f64 = 1.0;

const DOUBT_REPORTS: f64 = 4.0;

// The same carrier anywhere beats another carrier next door, while neither is loaded.
const _: () = assert!(DISTANCE_MAX_PP < OTHER_CARRIER_PP);
const _: () = assert!(BETWEEN_CARRIERS_PP < OTHER_CARRIER_PP);
const _: () = assert!(LOAD_FULL_PP > OTHER_CARRIER_PP + DISTANCE_MAX_PP);
const _: () = assert!(LOAD_EASY < LOAD_HIGH && LOAD_HIGH < LOAD_FULL);

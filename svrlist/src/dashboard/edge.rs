//! The JSON of `/api/edges/NAME`: one edge, and what cells have to expect of it.

use geo_data::Cell;
use serde::Serialize;

use super::facts::{Facts, name};
use super::map::REPORTS_MIN;
use super::overview::EdgeJson;
use crate::learning::Estimate;

/// An edge's page.
#[derive(Clone, Debug, Serialize)]
pub struct EdgePage<'a> {
    now_ms: u64,
    edge: EdgeJson<'a>,
    /// Those with the most reports first, at most [`CELLS_MAX`].
    cells: Vec<CellRow>,
}

#[derive(Clone, Debug, Serialize)]
struct CellRow {
    cell: String,
    name: String,
    city: Option<&'static str>,
    carrier: &'static str,
    #[serde(flatten)]
    estimate: EstimateJson,
}

/// What is known of a pair of a cell and an edge.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EstimateJson {
    drop_pp: f64,
    mean_pp: f64,
    residual_pp: f64,
    reports: f64,
    event: bool,
    rtt_ms: Option<f64>,
}

impl From<&Estimate> for EstimateJson {
    fn from(estimate: &Estimate) -> Self {
        Self {
            drop_pp: estimate.expected_pp(),
            mean_pp: estimate.mean_pp,
            residual_pp: estimate.residual_pp,
            reports: estimate.reports,
            event: estimate.event,
            rtt_ms: estimate.rtt_ms,
        }
    }
}

impl<'a> EdgePage<'a> {
    /// The page of an edge; `None` if none of this name reported of late.
    pub fn new(facts: &'a Facts, edge: &str) -> Option<Self> {
        let seen = facts.edge(edge)?;
        let view = &facts.conditions().view;
        let estimate =
            |cell: Cell| (cell, view.row(cell).estimate(&seen.edge, cell.region.position()));
        let known =
            |(_, estimate): &(Cell, Estimate)| estimate.reports >= REPORTS_MIN || estimate.event;
        let mut cells: Vec<(Cell, Estimate)> = view.cells().map(estimate).filter(known).collect();
        cells
            .sort_by(|(left, a), (right, b)| b.reports.total_cmp(&a.reports).then(left.cmp(right)));
        cells.truncate(CELLS_MAX);
        let row = |(cell, estimate): &(Cell, Estimate)| CellRow {
            cell: cell.to_string(),
            name: name(cell.region),
            city: cell.region.division().map(|division| division.name),
            carrier: cell.carrier.as_str(),
            estimate: estimate.into(),
        };
        let cells = cells.iter().map(row).collect();
        Some(Self { now_ms: facts.now_ms, edge: seen.into(), cells })
    }
}

/// Cells on one page.
pub const CELLS_MAX: usize = 300;

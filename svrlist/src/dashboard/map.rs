//! The JSON of `/api/map`: the drop rate that clients of each cell have to expect of each edge.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use geo_data::Cell;
use serde::Serialize;

use super::facts::{Facts, Seen, State, name, vantage};
use crate::learning::Estimate;
use crate::ranking::Ranking;

/// Cells by edges.
#[derive(Clone, Debug, Serialize)]
pub struct Map<'a> {
    edges: Vec<EdgeHead<'a>>,
    cells: Vec<Row<'a>>,
    /// Cells that are left out because there are too many; those with the most reports are there.
    left_out: usize,
}

#[derive(Clone, Debug, Serialize)]
struct EdgeHead<'a> {
    name: &'a str,
    site: &'a str,
    carrier: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Row<'a> {
    cell: String,
    name: String,
    city: Option<&'static str>,
    carrier: &'static str,
    /// Sessions that its clients are expected to begin in the whole network, in
    /// [`TICK`](crate::learning::TICK).
    sessions: f64,
    /// Reports of late, over all edges.
    reports: f64,
    /// In the order of the edges; `null` where nothing is known and nobody is sent.
    values: Vec<Option<Value<'a>>>,
}

#[derive(Clone, Debug, Serialize)]
struct Value<'a> {
    edge: &'a str,
    /// In percentage points.
    drop_pp: f64,
    reports: f64,
    event: bool,
    /// Of the cell's new clients, those who are told this edge first.
    share: f64,
}

impl<'a> Map<'a> {
    /// The map of a moment.
    pub fn new(facts: &'a Facts) -> Self {
        let edges: Vec<&Seen> =
            facts.edges.iter().filter(|seen| seen.state != State::Lost).collect();
        let view = &facts.conditions().view;
        let estimates = |cell: Cell| -> Vec<Estimate> {
            let (row, at) = (view.row(cell), cell.region.position());
            edges.iter().map(|seen| row.estimate(&seen.edge, at)).collect()
        };
        let mut known: BTreeMap<Cell, f64> = view.cells().map(|cell| (cell, 0.0)).collect();
        for (cell, _, reports) in view.pairs() {
            *known.entry(cell).or_default() += reports;
        }
        let mut sessions: BTreeMap<Cell, f64> = BTreeMap::new();
        for demand in &facts.planned.demands {
            known.entry(demand.cell).or_default();
            *sessions.entry(demand.cell).or_default() += demand.sessions;
        }
        let mut cells: Vec<(f64, Cell)> =
            known.into_iter().map(|(cell, reports)| (reports, cell)).collect();
        cells.sort_by(|(a, left), (b, right)| b.total_cmp(a).then(left.cmp(right)));
        let shown = (VALUES_MAX / edges.len().max(1)).min(cells.len());
        let left_out = cells.len() - shown;
        cells.truncate(shown);
        cells.sort_by_key(|(_, cell)| *cell);
        let row = |(reports, cell): (f64, Cell)| {
            let ranking = Ranking::of(vantage(cell), cell, facts.listed(), facts.conditions());
            let shares: HashMap<&str, f64> =
                ranking.shares().map(|(edge, share)| (&*edge.name, share)).collect();
            let value = |(seen, estimate): (&&'a Seen, Estimate)| {
                let share = shares.get(&*seen.edge.name).copied().unwrap_or(0.0);
                let nothing = estimate.reports < REPORTS_MIN && !estimate.event && share == 0.0;
                (!nothing).then(|| Value {
                    edge: &seen.edge.name,
                    drop_pp: estimate.expected_pp(),
                    reports: estimate.reports,
                    event: estimate.event,
                    share,
                })
            };
            Row {
                cell: cell.to_string(),
                name: name(cell.region),
                city: cell.region.division().map(|division| division.name),
                carrier: cell.carrier.as_str(),
                sessions: sessions.get(&cell).copied().unwrap_or(0.0),
                reports,
                values: edges.iter().zip(estimates(cell)).map(value).collect(),
            }
        };
        let head = |seen: &&'a Seen| EdgeHead {
            name: &seen.edge.name,
            site: &seen.edge.site,
            carrier: seen.edge.carrier.as_str(),
        };
        Self {
            cells: cells.into_iter().map(row).collect(),
            edges: edges.iter().map(head).collect(),
            left_out,
        }
    }
}

/// How long a map is told again before it is drawn anew.
pub const LASTS: Duration = Duration::from_secs(5);

/// Values of a map: some 5 MB.
pub const VALUES_MAX: usize = 50_000;

/// With fewer reports, all that is said of a pair is a guess by its class.
pub(super) const REPORTS_MIN: f64 = 0.05;

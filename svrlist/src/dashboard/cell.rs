//! The JSON of `/api/cells/REGION/CARRIER`: one cell, and what its clients have to expect of edges.

use std::collections::HashMap;

use geo_data::Cell;
use serde::Serialize;

use super::edge::EstimateJson;
use super::facts::{Facts, Seen, State, name, vantage};
use crate::answer::TermsJson;
use crate::learning::Estimate;
use crate::ranking::{Ranking, Terms};

/// A cell's page.
#[derive(Clone, Debug, Serialize)]
pub struct CellPage<'a> {
    now_ms: u64,
    cell: String,
    name: String,
    city: Option<&'static str>,
    carrier: &'static str,
    /// Whether anything was ever heard from its clients.
    known: bool,
    /// Those that most of its clients are sent to first, then the best; at most [`EDGES_MAX`].
    edges: Vec<EdgeRow<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct EdgeRow<'a> {
    edge: &'a str,
    site: &'a str,
    carrier: &'static str,
    state: State,
    load: f64,
    /// Of the cell's new clients, those who are told this edge first.
    share: f64,
    distance_km: Option<f64>,
    /// In percentage points, the smaller the better; nothing for an edge that is told to nobody.
    score: Option<f64>,
    terms: Option<TermsJson>,
    #[serde(flatten)]
    estimate: EstimateJson,
}

impl<'a> CellPage<'a> {
    /// The page of a cell.
    pub fn new(facts: &'a Facts, cell: Cell) -> Self {
        let (view, at) = (&facts.conditions().view, cell.region.position());
        let row = view.row(cell);
        let ranking = Ranking::of(vantage(cell), cell, facts.listed(), facts.conditions());
        let shares: HashMap<&str, f64> =
            ranking.shares().map(|(edge, share)| (&*edge.name, share)).collect();
        let terms: HashMap<&str, Terms> =
            ranking.terms().map(|(edge, terms)| (&*edge.name, terms)).collect();
        let priced = |seen: &'a Seen| {
            let share = shares.get(&*seen.edge.name).copied().unwrap_or(0.0);
            (seen, share, row.estimate(&seen.edge, at))
        };
        let mut edges: Vec<(&Seen, f64, Estimate)> = facts.edges.iter().map(priced).collect();
        edges.sort_by(|(a, share_a, left), (b, share_b, right)| {
            let drops = left.expected_pp().total_cmp(&right.expected_pp());
            let names = || a.edge.name.cmp(&b.edge.name);
            share_b.total_cmp(share_a).then(a.state.cmp(&b.state)).then(drops).then_with(names)
        });
        edges.truncate(EDGES_MAX);
        let row = |(seen, share, estimate): &(&'a Seen, f64, Estimate)| EdgeRow {
            edge: &seen.edge.name,
            site: &seen.edge.site,
            carrier: seen.edge.carrier.as_str(),
            state: seen.state,
            load: seen.edge.load,
            share: *share,
            distance_km: at.zip(seen.edge.position).map(|(at, edge)| at.distance_km(edge)),
            score: terms.get(&*seen.edge.name).map(Terms::score),
            terms: terms.get(&*seen.edge.name).map(TermsJson::from),
            estimate: estimate.into(),
        };
        Self {
            now_ms: facts.now_ms,
            cell: cell.to_string(),
            name: name(cell.region),
            city: cell.region.division().map(|division| division.name),
            carrier: cell.carrier.as_str(),
            known: view.cells().any(|known| known == cell),
            edges: edges.iter().map(row).collect(),
        }
    }
}

/// Edges on one page.
pub const EDGES_MAX: usize = 300;

//! What is known, to be read while more is learnt.

use std::collections::HashMap;
use std::sync::Arc;

use geo_data::{Carrier, Cell, Position};

use super::index::Slot;
use super::{HALF_LIFE, State};
use crate::edge::Edge;

/// What was known at one tick; cheap to clone.
#[derive(Clone, Debug)]
pub struct View(Arc<State>);

/// What is known for one cell.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    state: &'a State,
    cell: Cell,
    slot: Option<Slot>,
}

/// What a client of a cell has to expect of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The drop rate that is usual, in percentage points.
    pub mean_pp: f64,
    /// What is to be added right now.
    pub residual_pp: f64,
    /// Reports of late that the usual rate is made of, and a tenth of older ones; the prior is not
    /// counted.
    pub reports: f64,
    /// Whether an incident is going on for the carrier's clients.
    pub event: bool,
    /// Whether clients' reports have cut the edge.
    pub cut: bool,
    /// The round trip, where clients told.
    pub rtt_ms: Option<f64>,
}

impl Estimate {
    /// The rate to be expected.
    pub fn expected_pp(&self) -> f64 {
        (self.mean_pp + self.residual_pp).max(0.0)
    }
}

impl View {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self(state)
    }

    /// What is known for a cell. Asking makes nothing known, so it costs no memory.
    pub fn row(&self, cell: Cell) -> Row<'_> {
        Row { state: &self.0, cell, slot: self.0.cells.get(&cell) }
    }

    /// The incidents that are going on: whose clients have trouble with which edge.
    pub fn events(&self) -> impl Iterator<Item = (Carrier, &Arc<str>)> {
        let state = &*self.0;
        let names: HashMap<Slot, &Arc<str>> =
            state.edges.iter().map(|(name, slot)| (slot, name)).collect();
        let on = state.residuals.iter().filter(|(_, residual)| residual.event(state.clock));
        on.filter_map(move |((carrier, slot), _)| Some((*carrier, *names.get(slot)?)))
    }

    /// The pairs of which anything is known, with their reports of late as [`Estimate::reports`]
    /// counts them.
    pub fn pairs(&self) -> impl Iterator<Item = (Cell, &Arc<str>, f64)> {
        let state = &*self.0;
        let edges: HashMap<Slot, &Arc<str>> =
            state.edges.iter().map(|(name, slot)| (slot, name)).collect();
        let cells: HashMap<Slot, Cell> =
            state.cells.iter().map(|(cell, slot)| (slot, *cell)).collect();
        state.pairs.iter().filter_map(move |((cell, edge), pair)| {
            Some((*cells.get(cell)?, *edges.get(edge)?, pair.known(state.clock)))
        })
    }

    /// The cells of which anything is known.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        self.0.cells.iter().map(|(cell, _)| *cell)
    }
}

impl Default for View {
    fn default() -> Self {
        super::Lessons::default().view()
    }
}

impl Row<'_> {
    /// Whose it is.
    pub fn cell(&self) -> Cell {
        self.cell
    }

    /// What is known of an edge, by clients who are about at `position`.
    pub fn estimate(&self, edge: &Edge, position: Option<Position>) -> Estimate {
        let State { clock: at, .. } = *self.state;
        let slot = self.state.edges.get(&*edge.name);
        let pair = self.slot.zip(slot).and_then(|pair| self.state.pairs.get(&pair));
        let residual = slot.and_then(|slot| self.state.residuals.get(&(self.cell.carrier, slot)));
        let rtt = pair.map(|pair| &pair.rtt_ms).filter(|rtt| rtt.weight(at, HALF_LIFE) > 0.0);
        Estimate {
            mean_pp: 100.0 * self.state.usual(pair, self.cell.carrier, position, edge),
            residual_pp: residual.map_or(0.0, |residual| 100.0 * residual.get(at)),
            reports: pair.map_or(0.0, |pair| pair.known(at)),
            event: residual.is_some_and(|residual| residual.event(at)),
            cut: slot.is_some_and(|slot| self.state.cut.contains(&slot)),
            rtt_ms: rtt.map(|rtt| rtt.get(0.0, 0.0, at, HALF_LIFE)),
        }
    }
}

//! What was learnt, as it is written down over a restart. Who has spoken, and who is cut, is not:
//! both are matters of a minute.

use std::collections::BTreeSet;
use std::sync::Arc;

use geo_data::{Carrier, Cell, Region};
use serde::{Deserialize, Serialize};

use super::index::Slot;
use super::mean::Mean;
use super::residual::Residual;
use super::{Class, Intake, Learning, Lessons, PAIRS_MAX, Pair};

/// All that is worth keeping, for serde.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    clock: f64,
    cells: Vec<String>,
    edges: Vec<String>,
    pairs: Vec<(u32, u32, Mean, Mean)>,
    residuals: Vec<(String, u32, Residual)>,
    classes: Vec<(u8, u8, Mean)>,
    usual: Vec<(String, Mean, Mean)>,
}

/// A snapshot that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Another svrlist wrote it.
    #[error("the snapshot has version {0}, must be {VERSION}")]
    Version(u32),
    /// It was damaged.
    #[error("the snapshot contradicts itself")]
    Damaged,
}

impl Lessons {
    /// What to write down.
    pub fn snapshot(&self) -> Snapshot {
        let state = &*self.state;
        let mut cells: Vec<(Slot, Cell)> = state.cells.iter().map(|(c, slot)| (slot, *c)).collect();
        let mut edges: Vec<(Slot, &Arc<str>)> = state.edges.iter().map(|(e, s)| (s, e)).collect();
        cells.sort();
        edges.sort();
        let cell_at = |slot: &Slot| cells.binary_search_by_key(slot, |(slot, _)| *slot).ok();
        let edge_at = |slot: &Slot| edges.binary_search_by_key(slot, |(slot, _)| *slot).ok();
        let pairs = state.pairs.iter().filter_map(|((cell, edge), pair)| {
            Some((cell_at(cell)? as u32, edge_at(edge)? as u32, pair.rate, pair.long))
        });
        let residuals = state.residuals.iter().filter_map(|((carrier, edge), residual)| {
            Some((carrier.to_string(), edge_at(edge)? as u32, *residual))
        });
        let classes =
            state.classes.iter().map(|(class, mean)| (class.relation, class.distance, *mean));
        let usual = state.usual.iter().map(|(carrier, (e, r))| (carrier.to_string(), *e, *r));
        let mut snapshot = Snapshot {
            version: VERSION,
            clock: state.clock,
            cells: cells.iter().map(|(_, cell)| cell.to_string()).collect(),
            edges: edges.iter().map(|(_, edge)| edge.to_string()).collect(),
            pairs: pairs.collect(),
            residuals: residuals.collect(),
            classes: classes.collect(),
            usual: usual.collect(),
        };
        // One state has one text.
        snapshot.pairs.sort_by_key(|(cell, edge, ..)| (*cell, *edge));
        snapshot.residuals.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        snapshot.classes.sort_by_key(|(relation, distance, _)| (*relation, *distance));
        snapshot.usual.sort_by(|a, b| a.0.cmp(&b.0));
        snapshot
    }
}

impl Learning {
    /// Goes on from a snapshot; the time in between does not count.
    pub fn restore(snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        if snapshot.version != VERSION {
            return Err(SnapshotError::Version(snapshot.version));
        }
        let carrier = |name: &str| Carrier::parse(name).ok_or(SnapshotError::Damaged);
        if !snapshot.clock.is_finite() || snapshot.pairs.len() > PAIRS_MAX {
            return Err(SnapshotError::Damaged);
        }
        let mut lessons = Lessons::default();
        let state = Arc::make_mut(&mut lessons.state);
        state.clock = snapshot.clock;
        let (mut cells, mut edges) = (Vec::new(), Vec::new());
        for name in &snapshot.cells {
            let parsed = name.split_once('/').and_then(|(region, carrier)| {
                Some(Cell { region: Region::parse(region)?, carrier: Carrier::parse(carrier)? })
            });
            let slot = state.cells.insert(&parsed.ok_or(SnapshotError::Damaged)?);
            cells.push(slot.ok_or(SnapshotError::Damaged)?);
        }
        for name in &snapshot.edges {
            let slot =
                state.edges.insert(&Arc::from(name.as_str())).ok_or(SnapshotError::Damaged)?;
            state.listed.insert(slot, snapshot.clock);
            edges.push(slot);
        }
        let at = |slots: &[Slot], number: u32| {
            slots.get(number as usize).copied().ok_or(SnapshotError::Damaged)
        };
        for (cell, edge, rate, long) in &snapshot.pairs {
            let pair = Pair { rate: *rate, long: *long, ..Pair::default() };
            state.pairs.insert((at(&cells, *cell)?, at(&edges, *edge)?), pair);
        }
        for (of, edge, residual) in &snapshot.residuals {
            state.residuals.insert((carrier(of)?, at(&edges, *edge)?), *residual);
        }
        for (relation, distance, mean) in &snapshot.classes {
            state.classes.insert(Class { relation: *relation, distance: *distance }, *mean);
        }
        for (of, ends, reports) in &snapshot.usual {
            state.usual.insert(carrier(of)?, (*ends, *reports));
        }
        state.cut = BTreeSet::new();
        let names = snapshot.edges.iter().map(|edge| Arc::from(edge.as_str()));
        Ok(Self { intake: Intake::new(snapshot.clock, names), lessons })
    }
}

const VERSION: u32 = 1;

//! What is known at one moment: the ground of all views.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geo_data::{Carrier, Cell, Region};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::alerts::Alert;
use crate::edge::Edge;
use crate::planner::Planned;
use crate::ranking::{Conditions, LOAD_FULL, Vantage};
use crate::registry::{List, SILENT_AFTER};
use crate::site::Moment;

use super::map;

/// Everything that views show.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Of the list.
    pub generation: u64,
    /// Whether the list is.
    pub stale: bool,
    /// Edges by name, those that are lost among them.
    pub edges: Vec<Seen>,
    /// What edges are ranked by.
    pub planned: Arc<Planned>,
    /// What is wrong, the worst first.
    pub alerts: Vec<Alert>,
    /// What was wrong of late.
    pub past: Vec<Arc<Alert>>,
}

/// An edge, and how it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The edge, as it last reported.
    pub edge: Arc<Edge>,
    /// Time since then.
    pub silent_for: Duration,
    /// In a word.
    pub state: State,
}

/// How an edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It gets new clients.
    Open,
    /// Its load is at the bound.
    Full,
    /// It refuses new clients, having too much to do.
    Busy,
    /// It is about to end.
    Draining,
    /// The operator gives it no clients.
    Drained,
    /// Those who use it agree that it is of no use.
    Cut,
    /// No line to its upstream is up.
    CutOff,
    /// It is silent.
    Lost,
}

impl Facts {
    /// The edge of this name.
    pub fn edge(&self, name: &str) -> Option<&Seen> {
        let at = self.edges.binary_search_by(|seen| (*seen.edge.name).cmp(name)).ok()?;
        Some(&self.edges[at])
    }

    /// What edges are ranked by.
    pub(super) fn conditions(&self) -> &Conditions {
        &self.planned.conditions
    }

    /// A number that changes with what an overview says, but for the time.
    pub(super) fn print(&self) -> u64 {
        let mut bytes = Vec::with_capacity(2 * self.edges.len() + 16);
        bytes.extend(self.generation.to_le_bytes());
        bytes.push(u8::from(self.stale));
        bytes.extend(self.edges.iter().map(|seen| seen.state as u8));
        for alert in &self.alerts {
            bytes.extend(alert.id.as_bytes());
            bytes.push(u8::from(alert.acknowledged.is_some()));
        }
        xxh3_64(&bytes)
    }

    /// A number that changes when the map is to be drawn anew.
    pub(super) fn map_turn(&self) -> u64 {
        self.now_ms / map::LASTS.as_millis() as u64
    }

    /// Edges that a ranking may name.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Arc<Edge>> {
        self.edges.iter().filter(|seen| seen.state != State::Lost).map(|seen| &seen.edge)
    }
}

/// Remembers edges that left the list, so that they can be shown as lost.
#[derive(Debug, Default)]
pub struct Roster {
    known: BTreeMap<Arc<str>, (Arc<Edge>, Instant)>,
}

impl Roster {
    /// The facts of a moment.
    pub fn handle_list(&mut self, list: &List, planned: Arc<Planned>, now: Moment) -> Facts {
        let conditions = &planned.conditions;
        for listed in &list.edges {
            let known = (Arc::clone(&listed.edge), listed.heard);
            self.known.insert(Arc::clone(&listed.edge.name), known);
        }
        let silent = |heard: &Instant| now.monotonic.saturating_duration_since(*heard);
        let on_list = |name: &Arc<str>| {
            list.edges.binary_search_by(|listed| listed.edge.name.cmp(name)).is_ok()
        };
        // Who was to go, and had no clients any more, is not missed.
        let gone = |edge: &Edge| {
            edge.connections == 0 && (edge.draining || conditions.policy.drains(edge))
        };
        self.known.retain(|name, (edge, heard)| {
            on_list(name) || (!gone(edge) && silent(heard) < SHOWN_FOR)
        });
        let row = conditions.view.row(Cell::default());
        let seen = |(edge, heard): &(Arc<Edge>, Instant)| {
            let silent_for = silent(heard);
            let lost = silent_for >= SILENT_AFTER || !on_list(&edge.name);
            let cut = row.estimate(edge, None).cut;
            let state = if lost { State::Lost } else { State::of(edge, conditions, cut) };
            Seen { edge: Arc::clone(edge), silent_for, state }
        };
        Facts {
            now_ms: now.since_1970_ms(),
            generation: list.generation,
            stale: list.stale,
            edges: self.known.values().map(seen).collect(),
            planned,
            alerts: Vec::new(),
            past: Vec::new(),
        }
    }
}

impl State {
    fn of(edge: &Edge, conditions: &Conditions, cut: bool) -> Self {
        if conditions.policy.weight(edge) <= 0.0 {
            Self::Drained
        } else if edge.draining {
            Self::Draining
        } else if edge.cut_off {
            Self::CutOff
        } else if cut {
            Self::Cut
        } else if edge.busy {
            Self::Busy
        } else if edge.load >= LOAD_FULL {
            Self::Full
        } else {
            Self::Open
        }
    }
}

/// Reads `REGION/CARRIER`.
pub fn cell(text: &str) -> Option<Cell> {
    let (region, carrier) = text.split_once('/')?;
    Some(Cell { region: Region::parse(region)?, carrier: Carrier::parse(carrier)? })
}

/// From where clients of a cell look, as far as the cell tells.
pub(super) fn vantage(cell: Cell) -> Vantage {
    Vantage { carrier: cell.carrier, position: cell.region.position(), ..Vantage::default() }
}

/// What a region is called in Latin letters, or its code.
pub(super) fn name(region: Region) -> String {
    region.division().map_or_else(|| region.to_string(), |division| division.latin.to_owned())
}

/// How long a lost edge is shown.
pub const SHOWN_FOR: Duration = Duration::from_secs(3600);

//! What clients and edges tell, until the next lesson takes it: the half of [`Learning`](super::Learning) that
//! they wait for. Nothing here takes longer the more is known, so that who tells something never waits for a
//! lesson or for what is written down.
//!
//! Invariants: memory is bounded by [`EDGES_MAX`], [`PAIRS_MAX`] and the gate's bounds; time stands still while
//! nothing is heard.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use geo_data::Cell;

use super::gate::{Gate, Speaker};
use super::{EDGE_FORGOTTEN_AFTER, EDGES_MAX, ENDS_MAX, Ends, PAIRS_MAX, Refusal, Report, Tally};

/// The machine that hears.
#[derive(Debug, Default)]
pub struct Intake {
    gate: Gate,
    /// Edges of which is heard, and when they were last listed.
    edges: HashMap<Arc<str>, f64>,
    tallies: HashMap<(Cell, Arc<str>), Tally>,
    /// Seconds during which something was heard, as of the last tick.
    clock: f64,
    /// When the last tick was, and when anything was last heard by then.
    ticked: Option<Instant>,
    heard: Option<Instant>,
    heard_since: bool,
}

/// What was heard between two ticks.
#[derive(Debug)]
pub struct Heard {
    /// Seconds during which something was heard since the beginning.
    pub(super) clock: f64,
    pub(super) tallies: HashMap<(Cell, Arc<str>), Tally>,
}

impl Intake {
    /// Goes on at this time of learning, knowing these edges.
    pub(super) fn new(clock: f64, edges: impl IntoIterator<Item = Arc<str>>) -> Self {
        let edges = edges.into_iter().map(|edge| (edge, clock)).collect();
        Self { clock, edges, ..Self::default() }
    }

    /// These edges are listed: what is told of them is heard from now on.
    pub fn handle_list<'a>(&mut self, edges: impl IntoIterator<Item = &'a Arc<str>>) {
        for edge in edges {
            if let Some(listed) = self.edges.get_mut(edge) {
                *listed = self.clock;
            } else if self.edges.len() < EDGES_MAX {
                self.edges.insert(Arc::clone(edge), self.clock);
            }
        }
    }

    /// An edge told how sessions of a cell ended since it last told. Edges speak for themselves
    /// by their certificates, so this passes no gate, and one that will be listed by the next tick is
    /// heard already.
    pub fn handle_ends(&mut self, edge: &Arc<str>, cell: Cell, ends: &Ends) {
        self.handle_list([edge]);
        // What is more than an edge can mean weighs as much as that: one gone mad outvotes nobody for long.
        let (told, abnormal) = (ends.counted() as f64, ends.abnormal() as f64);
        let ends = told.min(ENDS_MAX);
        let abnormal = if told > 0.0 { abnormal * (ends / told) } else { 0.0 };
        self.handle_tally(edge, cell, &Tally { ends, abnormal, ..Tally::default() });
    }

    /// A client told of itself.
    pub fn handle_report(&mut self, report: &Report<'_>, now: Instant) -> Result<(), Refusal> {
        let at = self.clock_at(now);
        let (edge, _) = self.edges.get_key_value(report.edge).ok_or(Refusal::Edge)?;
        let edge = Arc::clone(edge);
        let pair = number(report.cell, &edge);
        let Report { session, address, roams, .. } = *report;
        let weight = self.gate.admit(pair, Speaker { session, address, roams }, at)?;
        let rtt = report.rtt.map_or(0.0, |rtt| weight * rtt.as_secs_f64().min(60.0) * 1000.0);
        let rtts = if report.rtt.is_some() { (weight, rtt) } else { (0.0, 0.0) };
        let bad = weight * report.bad();
        let tally = Tally { reports: weight, bad, rtts, ..Tally::default() };
        self.tell((report.cell, edge), &tally);
        Ok(())
    }

    /// Many admitted observations at once. Unknown edges are ignored.
    pub fn handle_tally(&mut self, edge: &str, cell: Cell, tally: &Tally) {
        if let Some((edge, _)) = self.edges.get_key_value(edge) {
            let edge = Arc::clone(edge);
            self.tell((cell, edge), tally);
        }
    }

    fn tell(&mut self, pair: (Cell, Arc<str>), tally: &Tally) {
        self.heard_since = true;
        if self.tallies.len() < PAIRS_MAX || self.tallies.contains_key(&pair) {
            self.tallies.entry(pair).or_default().add(tally);
        }
    }

    /// To be called every [`TICK`](super::TICK). Answers what was heard since the last one, for the lesson.
    pub fn handle_tick(&mut self, now: Instant) -> Heard {
        self.clock = self.clock_at(now);
        if std::mem::take(&mut self.heard_since) {
            self.heard = Some(now);
        }
        self.ticked = Some(now);
        let clock = self.clock;
        self.edges.retain(|_, listed| clock - *listed < EDGE_FORGOTTEN_AFTER.as_secs_f64());
        self.gate.handle_tick(clock);
        // About as much will be heard until the next one.
        let empty = HashMap::with_capacity(self.tallies.len());
        Heard { clock, tallies: std::mem::replace(&mut self.tallies, empty) }
    }

    /// How many sessions and prefixes are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        self.gate.len()
    }

    /// The clock stands still while nothing is heard for longer than [`STILL_AFTER`].
    fn clock_at(&self, now: Instant) -> f64 {
        let Some(ticked) = self.ticked else { return self.clock };
        let runs = self.heard_since || self.heard.is_some_and(|heard| heard + STILL_AFTER > now);
        let passed = now.saturating_duration_since(ticked).min(STEP_MAX);
        self.clock + if runs { passed.as_secs_f64() } else { 0.0 }
    }
}

/// The number of a cell and an edge, for the gate.
fn number(cell: Cell, edge: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (cell, edge).hash(&mut hasher);
    hasher.finish()
}

/// Without any report for so long, nobody can be heard, and what is known is kept as it is.
pub const STILL_AFTER: Duration = Duration::from_secs(30);

/// A tick that comes later than this was held up with the whole process.
const STEP_MAX: Duration = Duration::from_secs(30);

//! What is known of edges from those who use them: a machine that hears edges and clients and
//! estimates, for every (cell, edge), the drop rate that a client has to expect.
//!
//! - The *usual* rate, [`Estimate::mean_pp`], belongs to (cell, edge) and is slow: half of it is younger than
//!   [`HALF_LIFE`]. Where little was heard it is that of its class: pairs of the same relation of carriers
//!   and about the same distance.
//! - The [`residual`] belongs to (carrier, edge) and is fast: an incident hits all regions of a
//!   carrier at once, so all of them together tell of it within one tick. What it explains is taken
//!   out of what the usual rate learns.
//! - [`gate`] says whose reports count and how much; [`cut`] takes edges out that all agree on.
//!
//! It has two halves, so that who tells something waits for nobody who learns: the [`Intake`] hears, and every
//! [`TICK`] the [`Lessons`] take what it has heard.
//!
//! Two sources feed it: [`handle_ends`](Intake::handle_ends), how sessions ended by what their edges tell, and
//! [`handle_report`](Intake::handle_report), what clients tell of themselves. Sessions end abnormally for reasons of
//! their own (a phone in a lift), so what is usual for a carrier is taken off first.
//!
//! Invariants: memory is bounded by [`CELLS_MAX`], [`EDGES_MAX`], [`PAIRS_MAX`] and the gate's bounds, whatever
//! is reported; when nothing is heard, time stands still and the last state stays (fail static).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geo_data::{Carrier, Cell, Position, Region};

use crate::edge::Edge;
use crate::ranking::prior;

mod cut;
mod gate;
mod index;
mod intake;
mod mean;
mod residual;
mod snapshot;
mod view;

pub use self::cut::{CUT_OVER, CUT_SHARE_MAX, CUT_WINDOW, QUORUM, QUORUM_CELLS};
pub use self::gate::{INTERVAL, PREFIX_SHARE, PREFIXES_MAX, ROAMING_SHARE, Refusal, SESSIONS_MAX};
pub use self::intake::{Heard, Intake, STILL_AFTER};
pub use self::snapshot::{Snapshot, SnapshotError};
pub use self::view::{Estimate, Row, View};

use self::cut::{Cuts, Sizes, Verdict};
use self::index::{Index, Slot};
use self::mean::Mean;
use self::residual::Residual;

/// How the sessions of one cell on one edge ended since the edge last told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// As the client or the edge meant it to.
    pub normal: u64,
    /// The connection was reset.
    pub reset: u64,
    /// Nothing came any more.
    pub time_out: u64,
    /// The client broke the protocol: its own fault, so it says nothing of the edge.
    pub protocol: u64,
    /// The edge's fault.
    pub ours: u64,
}

impl Ends {
    fn counted(&self) -> u64 {
        self.normal.saturating_add(self.abnormal())
    }

    fn abnormal(&self) -> u64 {
        self.reset.saturating_add(self.time_out).saturating_add(self.ours)
    }
}

/// What a client tells of an edge since it last told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report<'a> {
    /// A number of the client's session, the same in every report of it.
    pub session: u64,
    /// Where the report came from.
    pub address: IpAddr,
    /// The client's cell, as svrlist signed it.
    pub cell: Cell,
    /// Whether the address lies outside that cell.
    pub roams: bool,
    /// The edge's name.
    pub edge: &'a str,
    /// Attempts to connect.
    pub attempts: u32,
    /// Those that failed.
    pub failures: u32,
    /// Connections that broke.
    pub drops: u32,
    /// The share of messages that were missed, where the client can tell.
    pub lost: Option<f64>,
    /// Round trip.
    pub rtt: Option<Duration>,
}

impl Report<'_> {
    /// The share of what was tried that went wrong. A session that lives and tried nothing new has
    /// tried to live.
    fn bad(&self) -> f64 {
        let tried = self.attempts.max(1);
        let wrong = self.failures.saturating_add(self.drops).min(tried);
        let broken = f64::from(wrong) / f64::from(tried);
        1.0 - (1.0 - broken) * (1.0 - share(self.lost.unwrap_or(0.0)))
    }
}

/// Many reports of one cell on one edge, already admitted: what a tick adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Reports.
    pub reports: f64,
    /// The sum of their bad shares.
    pub bad: f64,
    /// Sessions that ended, normally or not.
    pub ends: f64,
    /// Those that ended abnormally.
    pub abnormal: f64,
    /// Reports of a round trip, and the sum of those, in milliseconds.
    pub rtts: (f64, f64),
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.reports += other.reports;
        self.bad += other.bad;
        self.ends += other.ends;
        self.abnormal += other.abnormal;
        self.rtts.0 += other.rtts.0;
        self.rtts.1 += other.rtts.1;
    }
}

/// Both halves, for whoever tells and learns by turns.
#[derive(Debug, Default)]
pub struct Learning {
    /// What is heard.
    pub intake: Intake,
    /// What is made of it.
    pub lessons: Lessons,
}

/// The machine that learns from what was heard.
#[derive(Clone, Debug)]
pub struct Lessons {
    state: Arc<State>,
    cuts: Cuts,
    swept: f64,
}

/// What is known; shared with whoever ranks by it.
#[derive(Clone, Debug)]
struct State {
    /// Seconds during which something was heard.
    clock: f64,
    cells: Index<Cell>,
    edges: Index<Arc<str>>,
    /// Of the edges: when they were last listed.
    listed: HashMap<Slot, f64>,
    pairs: HashMap<(Slot, Slot), Pair>,
    residuals: HashMap<(Carrier, Slot), Residual>,
    /// What pairs of a class have beyond their prior.
    classes: HashMap<Class, Mean>,
    /// What sessions' ends, and reports, say on average: two scales of one thing.
    usual: HashMap<Carrier, (Mean, Mean)>,
    cut: BTreeSet<Slot>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Pair {
    rate: Mean,
    /// The same of the last hours: what is expected where nobody has been of late.
    long: Mean,
    rtt_ms: Mean,
}

impl Pair {
    /// How well it is known, in reports of late.
    fn known(&self, at: f64) -> f64 {
        let long = self.long.weight(at, LONG_HALF_LIFE);
        self.rate.weight(at, HALF_LIFE) + LONG_WORTH * long
    }
}

/// Pairs that are alike before anything is known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Class {
    relation: u8,
    distance: u8,
}

impl Learning {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`Intake::handle_tally`].
    pub fn handle_tally(&mut self, edge: &str, cell: Cell, tally: &Tally) {
        self.intake.handle_tally(edge, cell, tally);
    }

    /// See [`Lessons::handle_tick`].
    pub fn handle_tick<'a>(
        &mut self,
        edges: impl IntoIterator<Item = &'a Arc<Edge>>,
        now: Instant,
    ) -> View {
        let edges: Vec<&Arc<Edge>> = edges.into_iter().collect();
        self.intake.handle_list(edges.iter().map(|edge| &edge.name));
        self.lessons.handle_tick(self.intake.handle_tick(now), edges)
    }

    /// What is known, as of the last tick.
    pub fn view(&self) -> View {
        self.lessons.view()
    }

    /// How many cells, edges, pairs, sessions and prefixes are remembered.
    pub fn len(&self) -> [usize; 5] {
        let (sessions, prefixes) = self.intake.len();
        let State { cells, edges, pairs, .. } = &*self.lessons.state;
        [cells.len(), edges.len(), pairs.len(), sessions, prefixes]
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.lessons.state.pairs.is_empty()
    }
}

impl Default for Lessons {
    fn default() -> Self {
        let state = State {
            clock: 0.0,
            cells: Index::new(CELLS_MAX),
            edges: Index::new(EDGES_MAX),
            listed: HashMap::new(),
            pairs: HashMap::new(),
            residuals: HashMap::new(),
            classes: HashMap::new(),
            usual: HashMap::new(),
            cut: BTreeSet::new(),
        };
        Self { state: Arc::new(state), cuts: Cuts::default(), swept: 0.0 }
    }
}

impl Lessons {
    /// To be called every [`TICK`] with what was heard since the last call and the edges that are listed.
    /// Answers what is known from now on.
    pub fn handle_tick<'a>(
        &mut self,
        heard: Heard,
        edges: impl IntoIterator<Item = &'a Arc<Edge>>,
    ) -> View {
        let Heard { clock: at, tallies } = heard;
        let state = Arc::make_mut(&mut self.state);
        state.clock = at;
        let listed = state.list(edges);
        let pending = state.pending(tallies);
        let samples = state.samples(&pending, &listed);
        state.learn(&samples);
        self.cuts.handle_tick(&state.verdicts(&samples), &sizes(&listed), at);
        state.cut = self.cuts.iter().collect();
        if at - self.swept >= SWEEP_EVERY.as_secs_f64() {
            self.swept = at;
            state.sweep();
        }
        self.view()
    }

    /// What is known, as of the last tick.
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.state))
    }
}

/// What was heard of a pair in a tick, as shares on the scale of clients' reports.
struct Sample<'a> {
    pair: (Slot, Slot),
    cell: Cell,
    edge: &'a Edge,
    /// Observations: reports, and ends as far as they count.
    count: f64,
    /// Their mean.
    rate: f64,
    /// The same for what is slow, where an end counts less: it is a yes or no, and scatters more.
    slow: (f64, f64),
    rtts: (f64, f64),
}

impl Sample<'_> {
    fn position(&self) -> Option<Position> {
        self.cell.region.position()
    }
}

impl State {
    /// Notes which edges are listed; forgets those that have not been for long.
    fn list<'a>(
        &mut self,
        edges: impl IntoIterator<Item = &'a Arc<Edge>>,
    ) -> HashMap<Slot, &'a Edge> {
        let at = self.clock;
        let mut listed = HashMap::new();
        for edge in edges {
            if let Some(slot) = self.edges.insert(&edge.name) {
                self.listed.insert(slot, at);
                listed.insert(slot, &**edge);
            }
        }
        listed
    }

    /// What was heard, by numbers: the same whatever the order in which it was told.
    fn pending(
        &mut self,
        tallies: HashMap<(Cell, Arc<str>), Tally>,
    ) -> BTreeMap<(Slot, Slot), Tally> {
        let mut tallies: Vec<((Cell, Arc<str>), Tally)> = tallies.into_iter().collect();
        tallies.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut pending: BTreeMap<(Slot, Slot), Tally> = BTreeMap::new();
        for ((cell, edge), tally) in tallies {
            let Some(slot) = self.edges.insert(&edge) else { continue };
            self.listed.entry(slot).or_insert(self.clock);
            if let Some(cell) = self.cell(cell) {
                pending.entry((cell, slot)).or_default().add(&tally);
            }
        }
        pending
    }

    /// The cell's number; when there are too many cells, that of its carrier as a whole.
    fn cell(&mut self, cell: Cell) -> Option<Slot> {
        if let Some(slot) = self.cells.get(&cell) {
            return Some(slot);
        }
        let whole = Cell { region: Region::Unknown, carrier: cell.carrier };
        let spare = self.cells.len() + Carrier::ALL.len() < CELLS_MAX;
        self.cells.insert(if spare { &cell } else { &whole })
    }

    /// Brings ends and reports to one scale, and takes both together.
    fn samples<'a>(
        &mut self,
        pending: &BTreeMap<(Slot, Slot), Tally>,
        listed: &HashMap<Slot, &'a Edge>,
    ) -> Vec<Sample<'a>> {
        let at = self.clock;
        let cells: HashMap<Slot, Cell> =
            self.cells.iter().map(|(cell, slot)| (slot, *cell)).collect();
        let mut samples = Vec::with_capacity(pending.len());
        for (pair @ (cell, edge), tally) in pending {
            let (Some(cell), Some(edge)) = (cells.get(cell), listed.get(edge)) else { continue };
            let usual = self.usual.get(&cell.carrier).copied().unwrap_or_default();
            let of = |mean: &Mean| mean.get(0.0, USUAL_PRIOR, at, USUAL_HALF_LIFE);
            // Until enough ended to know what is usual, ends say nothing.
            let known = usual.0.weight(at, USUAL_HALF_LIFE) >= USUAL_PRIOR;
            let ends = if known { tally.ends } else { 0.0 };
            let shift = of(&usual.1) - of(&usual.0);
            let abnormal = if tally.ends > 0.0 { tally.abnormal / tally.ends + shift } else { 0.0 };
            let mix = |weight: f64| {
                let count = tally.reports + weight * ends;
                (count, (tally.bad + weight * ends * abnormal) / count)
            };
            let (count, rate) = mix(END_WEIGHT);
            if count > 0.0 {
                let (slow, rtts) = (mix(END_WEIGHT_SLOW), tally.rtts);
                samples.push(Sample { pair: *pair, cell: *cell, edge, count, rate, slow, rtts });
            }
        }
        // What is usual changes after it was used, so that the order of the pairs does not matter.
        for ((cell, _), tally) in pending {
            let Some(cell) = cells.get(cell) else { continue };
            let (ends, reports) = self.usual.entry(cell.carrier).or_default();
            for (mean, bad, count) in
                [(ends, tally.abnormal, tally.ends), (reports, tally.bad, tally.reports)]
            {
                if count > 0.0 {
                    mean.add(bad / count, count, at, USUAL_HALF_LIFE);
                }
            }
        }
        samples
    }

    /// The rate that is usual for a pair.
    fn usual(
        &self,
        pair: Option<&Pair>,
        carrier: Carrier,
        position: Option<Position>,
        edge: &Edge,
    ) -> f64 {
        let (class, prior) = class(carrier, position, edge);
        let beyond = self
            .classes
            .get(&class)
            .map_or(0.0, |mean| mean.get(0.0, CLASS_PRIOR_WEIGHT, self.clock, CLASS_HALF_LIFE));
        let prior = share(prior + beyond);
        pair.map_or(prior, |pair| {
            let long = pair.long.get(prior, PRIOR_WEIGHT, self.clock, LONG_HALF_LIFE);
            pair.rate.get(long, PRIOR_WEIGHT, self.clock, HALF_LIFE)
        })
    }

    fn learn(&mut self, samples: &[Sample<'_>]) {
        let at = self.clock;
        let mut excesses: BTreeMap<(Carrier, Slot), (f64, f64, f64)> = BTreeMap::new();
        for sample in samples {
            let usual = self.usual(
                self.pairs.get(&sample.pair),
                sample.cell.carrier,
                sample.position(),
                sample.edge,
            );
            // What nobody knows of a pair is no incident: the first reports make the mean. Nor is what is
            // left of a wrong prior, or cells that are new to an edge would drive the others away.
            let known = self.pairs.get(&sample.pair).map_or(0.0, |pair| pair.known(at));
            let trust = sample.count * (known / (known + KNOWN_REPORTS)).powi(2);
            let sums = excesses.entry((sample.cell.carrier, sample.pair.1)).or_default();
            sums.0 += trust;
            sums.1 += trust * (sample.rate - usual);
            sums.2 += trust * usual;
        }
        for (key, (count, excess, usual)) in excesses {
            if count > 0.0 {
                let residual = self.residuals.entry(key).or_default();
                residual.add(excess / count, usual / count, count, at);
            }
        }
        for sample in samples {
            let residual = self.residuals.get(&(sample.cell.carrier, sample.pair.1));
            let explained = residual.map_or(0.0, |residual| residual.explains(at));
            let event = residual.is_some_and(|residual| residual.event(at));
            let (count, rate) = sample.slow;
            let rate = share(rate - explained);
            let (class, prior) = class(sample.cell.carrier, sample.position(), sample.edge);
            if !event {
                let mean = self.classes.entry(class).or_default();
                mean.add(rate - prior, count, at, CLASS_HALF_LIFE);
                mean.limit(CLASS_WEIGHT_MAX);
            }
            if self.pairs.len() < PAIRS_MAX || self.pairs.contains_key(&sample.pair) {
                let pair = self.pairs.entry(sample.pair).or_default();
                pair.rate.add(rate, count, at, HALF_LIFE);
                if !event {
                    pair.long.add(rate, count, at, LONG_HALF_LIFE);
                    pair.long.limit(LONG_WEIGHT_MAX);
                }
                let (rtts, sum) = sample.rtts;
                if rtts > 0.0 {
                    pair.rtt_ms.add(sum / rtts, rtts, at, HALF_LIFE);
                }
            }
        }
    }

    fn verdicts(&self, samples: &[Sample<'_>]) -> BTreeMap<Slot, Verdict> {
        let mut verdicts: BTreeMap<Slot, Verdict> = BTreeMap::new();
        for Sample { pair, count, rate, .. } in samples {
            let verdict = verdicts.entry(pair.1).or_default();
            verdict.reports += count;
            verdict.bad += count * share(*rate);
            verdict.bad_cells += u32::from(*rate > CUT_OVER);
        }
        verdicts
    }

    /// Forgets what has faded.
    fn sweep(&mut self) {
        let at = self.clock;
        self.pairs.retain(|_, pair| pair.known(at) > FADED);
        self.residuals.retain(|_, residual| !residual.is_faded(at));
        let listed = &mut self.listed;
        listed.retain(|_, last| at - *last < EDGE_FORGOTTEN_AFTER.as_secs_f64());
        self.edges.retain(|_, slot| listed.contains_key(&slot));
        self.pairs.retain(|(_, edge), _| listed.contains_key(edge));
        self.residuals.retain(|(_, edge), _| listed.contains_key(edge));
        let used: BTreeSet<Slot> = self.pairs.keys().map(|(cell, _)| *cell).collect();
        self.cells.retain(|_, slot| used.contains(&slot));
        shrink(&mut self.pairs);
        shrink(&mut self.residuals);
    }
}

/// Gives back the memory of what was forgotten: a map keeps its size, and every tick may copy it.
fn shrink<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 4 * map.len() {
        map.shrink_to(2 * map.len());
    }
}

fn sizes(listed: &HashMap<Slot, &Edge>) -> Sizes {
    let size = |edge: &Edge| f64::from(edge.connections_max.max(1));
    listed.iter().map(|(slot, edge)| (*slot, (edge.carrier, size(edge)))).collect()
}

/// The class of a pair, and what it has to expect before anything is known of the class.
fn class(carrier: Carrier, position: Option<Position>, edge: &Edge) -> (Class, f64) {
    let prior = prior(carrier, position, edge);
    let distance = prior
        .distance_km
        .map_or(u8::MAX, |km| DISTANCES_KM.iter().filter(|step| km >= **step).count() as u8);
    // Same, between, other: a handful of values, told apart by their tenths.
    let class = Class { relation: (prior.carrier * 10.0).min(250.0) as u8, distance };
    (class, (BASE_PP + prior.carrier + prior.distance) / 100.0)
}

/// Into 0 to 1; what is no number is nothing bad.
fn share(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

/// How often [`Learning::handle_tick`] is called: as fast as anything is cut.
pub const TICK: Duration = Duration::from_secs(5);

/// Half of what makes the usual rate is younger than this.
pub const HALF_LIFE: Duration = Duration::from_secs(180);

/// And of what is expected where nobody has been for a while.
pub const LONG_HALF_LIFE: Duration = Duration::from_secs(3600);

/// Reports of hours that are remembered for it.
const LONG_WEIGHT_MAX: f64 = 200.0;

/// What a report of an hour is worth beside one of a minute.
const LONG_WORTH: f64 = 0.1;

/// Reports that the prior weighs.
pub const PRIOR_WEIGHT: f64 = 4.0;

/// A pair with so many reports says half of half what it would say of incidents if it were known well.
const KNOWN_REPORTS: f64 = 5.0 * PRIOR_WEIGHT;

/// Cells that are told apart: every prefecture of China with every carrier, and countries. Beyond
/// them, a carrier's cells are one.
pub const CELLS_MAX: usize = 4096;

/// Ends of one cell's sessions that one message of an edge counts as at most: a full edge that loses all of
/// them at once.
pub const ENDS_MAX: f64 = 100_000.0;

/// Edges that are known, in three sizes of the largest network thought of.
pub const EDGES_MAX: usize = 4096;

/// (cell, edge) pairs with observations of the last hours, 130 bytes each: 65 MiB at most.
pub const PAIRS_MAX: usize = 1 << 19;

/// What a client loses in the next room, in percentage points, until a class is known better.
const BASE_PP: f64 = 0.5;

/// Pairs of about the same distance have about the same prior.
const DISTANCES_KM: [f64; 4] = [300.0, 800.0, 1500.0, 2500.0];

const CLASS_PRIOR_WEIGHT: f64 = 50.0;

/// A class is a slow thing.
const CLASS_HALF_LIFE: Duration = Duration::from_secs(3600);

/// So that a class learns from pairs that are new, too.
const CLASS_WEIGHT_MAX: f64 = 1e6;

/// What is usual for a carrier, a day's matter at heart.
const USUAL_HALF_LIFE: Duration = Duration::from_secs(1800);

/// Ends after which what is usual is known to a few points.
const USUAL_PRIOR: f64 = 100.0;

/// A session's end, in reports, where speed matters: it comes at once, a report of a client some seconds late.
const END_WEIGHT: f64 = 0.5;

/// And where it does not.
const END_WEIGHT_SLOW: f64 = 0.1;

/// Pairs with less left than this are as good as new: nine hours after the last report of the best known
/// ones ([`LONG_WEIGHT_MAX`] fades for so long), so that what an evening taught lasts until the morning.
const FADED: f64 = 0.05;

const SWEEP_EVERY: Duration = Duration::from_secs(60);

const EDGE_FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;

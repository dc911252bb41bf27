//! Which edges there are: a machine that hears reports and knows who has fallen silent.
//!
//! An edge reports every two seconds. One that has been silent for [`SILENT_AFTER`] is listed no
//! more, within ten seconds of its death whatever killed it. When nobody reports, or fewer than half
//! of at least [`JUDGES_MIN`], it is likelier that this svrlist is cut off than that most of the
//! network died at once, so the last state stays in force and is marked stale (fail static). Should
//! those who are heard witness the silence of the others for [`KEPT_FOR`], these leave one by one.
//!
//! Invariant: once an edge has ever reported, the list is never empty, and it never loses more edges
//! at once than it keeps, but for those that said goodbye.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::edge::Edge;
use crate::pace::Pace;

/// All edges that were ever heard of, and the list last made from them.
#[derive(Debug)]
pub struct Registry {
    known: BTreeMap<Arc<str>, Listed>,
    list: Arc<List>,
    /// Whether a report came in since the list was made.
    changed: bool,
    /// Whether clients should hear of one of them before the next tick.
    urgent: bool,
    relisted: Pace,
    outage: Outage,
}

/// Whether too few are heard to believe that the silent ones are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Outage {
    #[default]
    None,
    /// Silent edges stay listed.
    Lasts {
        /// How many were listed when it began; half of them end it.
        of: usize,
        /// When the next silent edge leaves, if anybody is heard then.
        next_out: Instant,
    },
    /// Enough are heard again, and the others have as long to follow as after a report of their own:
    /// the first to come back must not get every client for a while.
    Ends {
        /// Until when.
        until: Instant,
    },
}

/// The edges that may be handed to clients, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// Counts lists; a new number means that something may differ.
    pub generation: u64,
    /// The edges, by name.
    pub edges: Vec<Listed>,
    /// Whether so few report that the others are listed as they were last known.
    pub stale: bool,
}

/// An edge on the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The edge.
    pub edge: Arc<Edge>,
    /// When it last reported, as of the making of the list.
    pub heard: Instant,
    /// Since when it says that no line to its upstream is up.
    pub cut_off_since: Option<Instant>,
}

impl Listed {
    fn silent(&self, now: Instant) -> bool {
        self.heard + SILENT_AFTER <= now
    }
}

impl Registry {
    /// An edge reported. Answers a new list at once when clients must hear of it before the next
    /// tick: an edge that is new, or that began or stopped draining or being busy. When there is more such
    /// news, [`handle_urgent`](Self::handle_urgent) brings it. An edge that says it is cut off
    /// counts as such after [`CUT_OFF_AFTER`] of saying so: when the origin restarts, all edges are
    /// cut off for a moment and tell it one by one, and nobody should run from one to the next.
    pub fn handle_report(&mut self, mut edge: Edge, now: Instant) -> Option<Arc<List>> {
        let name = Arc::clone(&edge.name);
        let takes = (edge.draining, edge.busy);
        let since_before = self.known.get(&name).and_then(|known| known.cut_off_since);
        let cut_off_since = edge.cut_off.then(|| since_before.unwrap_or(now));
        edge.cut_off = cut_off_since.is_some_and(|since| since + CUT_OFF_AFTER <= now);
        let known = Listed { edge: Arc::new(edge), heard: now, cut_off_since };
        let before = self.known.insert(name, known);
        self.changed = true;
        let listed = before.filter(|before| !before.silent(now));
        let urgent = listed.is_none_or(|before| (before.edge.draining, before.edge.busy) != takes);
        self.urgent |= urgent;
        if urgent { self.handle_urgent(now) } else { None }
    }

    /// To be called every [`RELIST_EVERY`]. Answers the list that urgent reports have been waiting for: however
    /// many come, each new list means that edges are priced anew for every cell.
    pub fn handle_urgent(&mut self, now: Instant) -> Option<Arc<List>> {
        if self.urgent && self.relisted.pass(now) { self.handle_tick(now) } else { None }
    }

    /// Goes on with edges that were known before a restart. They are listed as when all fall
    /// silent at once: until edges report.
    pub fn restore(&mut self, edges: Vec<Edge>, now: Instant) -> Option<Arc<List>> {
        // A machine that has just started has no earlier instant; then they are silent a little later.
        let heard = now.checked_sub(SILENT_AFTER).unwrap_or(now);
        for edge in edges {
            let name = Arc::clone(&edge.name);
            let known = Listed { edge: Arc::new(edge), heard, cut_off_since: None };
            self.known.entry(name).or_insert(known);
        }
        self.changed = true;
        self.handle_tick(now)
    }

    /// To be called every [`TICK`]. Answers a new list when reports came in or somebody fell silent.
    pub fn handle_tick(&mut self, now: Instant) -> Option<Arc<List>> {
        if self.known.is_empty() {
            return None;
        }
        let kept = self.keep(now);
        self.known.retain(|name, known| known.heard + FORGOTTEN_AFTER > now || kept.contains(name));
        let listed = |known: &&Listed| !known.silent(now) || kept.contains(&known.edge.name);
        let edges: Vec<Listed> = self.known.values().filter(listed).cloned().collect();
        let stale = matches!(self.outage, Outage::Lasts { .. });
        let names = |edges: &[Listed]| -> Vec<Arc<str>> {
            edges.iter().map(|listed| Arc::clone(&listed.edge.name)).collect()
        };
        let same = stale == self.list.stale && names(&edges) == names(&self.list.edges);
        if same && !self.changed {
            return None;
        }
        (self.changed, self.urgent) = (false, false);
        let generation = self.list.generation + 1;
        self.list = Arc::new(List { generation, edges, stale });
        Some(Arc::clone(&self.list))
    }

    /// Judges whose fault the silence is. Answers which of the silent edges are listed all the same.
    fn keep(&mut self, now: Instant) -> BTreeSet<Arc<str>> {
        let heard = self.known.values().filter(|known| !known.silent(now)).count();
        let mut missed = self.missed(heard, now);
        self.outage = match self.outage {
            Outage::Ends { until } if heard > 0 && now < until => Outage::Ends { until },
            Outage::Lasts { of, .. } if 2 * heard >= of => {
                Outage::Ends { until: now + SILENT_AFTER }
            }
            Outage::Lasts { of, next_out } if heard > 0 => {
                let out = missed.iter().min_by_key(|name| self.known.get(*name).map(|k| k.heard));
                let out = out.filter(|_| next_out <= now).cloned();
                let left = out.is_some_and(|out| missed.remove(&out));
                match missed.is_empty() {
                    true => Outage::None,
                    false if left => Outage::Lasts { of, next_out: now + OUT_EVERY },
                    false => Outage::Lasts { of, next_out },
                }
            }
            _ if cut_off(heard, missed.len()) => {
                Outage::Lasts { of: heard + missed.len(), next_out: now + KEPT_FOR }
            }
            _ => {
                missed.clear();
                Outage::None
            }
        };
        missed
    }

    /// The silent edges that may be out of our hearing rather than gone: those on the list, and
    /// those that left it a moment ago, since an outage silences edges one after the other. Whoever
    /// said goodbye is gone, unless that would leave nobody.
    fn missed(&self, heard: usize, now: Instant) -> BTreeSet<Arc<str>> {
        let on_list = |name: &Arc<str>| {
            self.list.edges.binary_search_by(|listed| listed.edge.name.cmp(name)).is_ok()
        };
        let missed = self.known.iter().filter(|(name, known)| {
            let lately = known.heard + SILENT_AFTER + BACK_WITHIN > now;
            let gone = known.edge.draining && heard > 0;
            known.silent(now) && !gone && (lately || on_list(name))
        });
        missed.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// The list last made.
    pub fn list(&self) -> Arc<List> {
        Arc::clone(&self.list)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            list: Arc::default(),
            changed: false,
            urgent: false,
            relisted: Pace::new(RELIST_EVERY, RELISTS_AT_ONCE),
            outage: Outage::None,
        }
    }
}

/// Whether so many edges heard, and so many missed, mean that it is us who cannot hear.
fn cut_off(heard: usize, missed: usize) -> bool {
    let of = heard + missed;
    missed > 0 && (heard == 0 || of >= JUDGES_MIN && 2 * heard < of)
}

/// Silence after which an edge is listed no more: four missed reports. With a tick of at most one
/// second it is gone after nine, within the ten that are promised.
pub const SILENT_AFTER: Duration = Duration::from_secs(8);

/// Edges from which on their number says something: of two, one falls silent as easily as the line
/// to it.
pub const JUDGES_MIN: usize = 3;

/// How long silent edges stay listed while too few are heard: longer than an outage of our own that
/// mends itself, shorter than clients should be sent to edges that are gone.
pub const KEPT_FOR: Duration = Duration::from_secs(60);

/// Then, how often one of them leaves: clients have time to spread over the others.
pub const OUT_EVERY: Duration = Duration::from_secs(10);

/// How long after it left the list an edge is back when most others fall silent too: two reports,
/// since that is about how far apart the last words of edges are that are cut off together.
pub const BACK_WITHIN: Duration = Duration::from_secs(4);

/// How often silence is looked for, and the pace at which changes of load reach the ranking.
pub const TICK: Duration = Duration::from_secs(1);

/// How often urgent reports make a new list: the first ones at once, the others together.
pub const RELIST_EVERY: Duration = Duration::from_millis(250);

/// Lists that urgent reports make at once after a rest: as many as in a second.
pub const RELISTS_AT_ONCE: u32 = 4;

/// How long an edge says that it is cut off before it counts: several reports, and longer than an
/// origin takes to restart.
pub const CUT_OFF_AFTER: Duration = Duration::from_secs(6);

/// Silence after which an edge is no longer remembered.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;

//! Conditions, read out of the facts of one moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use geo_data::Carrier;

use super::cause::Cause;
use crate::dashboard::facts::{Facts, Seen, State};
use crate::edge::Edge;
use crate::line::Line;

/// Of how things are, what matters for an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Raises an alert.
    Bad,
    /// Neither raises nor clears one.
    Between,
    /// Clears it.
    Good,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) level: Level,
    /// In a sentence.
    pub(super) title: String,
}

/// Signs by cause; what has none is good, but for what nobody can see.
#[derive(Debug, Default)]
pub(super) struct Signs(pub(super) BTreeMap<Cause, Sign>, BTreeSet<Arc<str>>);

impl Signs {
    /// How it is with a cause, and the same in a sentence where anything new is known.
    pub(super) fn of(&self, cause: &Cause) -> (Level, Option<&str>) {
        match self.0.get(cause) {
            Some(Sign { level, title }) => (*level, Some(title)),
            None if cause.edge().is_some_and(|edge| self.1.contains(edge)) => {
                (Level::Between, None)
            }
            None => (Level::Good, None),
        }
    }

    /// Bad from one threshold on, good below the other.
    fn note(
        &mut self,
        cause: Cause,
        is_bad: bool,
        is_between: bool,
        title: impl FnOnce() -> String,
    ) {
        let level = if is_bad { Level::Bad } else { Level::Between };
        if is_bad || is_between {
            self.0.insert(cause, Sign { level, title: title() });
        }
    }
}

/// What was refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Reports of edges.
    pub edges: u64,
    /// Reports of clients.
    pub clients: u64,
    /// Reports of clients that were heard.
    pub clients_heard: u64,
    /// New place databases.
    pub places: u64,
    /// New place databases that were taken.
    pub places_taken: u64,
}

/// Counts of the last minute.
#[derive(Debug, Default)]
pub(super) struct Window {
    counts: VecDeque<(Instant, Refused)>,
    places_bad: bool,
}

/// What was refused within [`WINDOW`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lately {
    edges: u64,
    clients: u64,
    clients_heard: u64,
    places_bad: bool,
}

impl Window {
    pub(super) fn handle_count(&mut self, refused: Refused, now: Instant) -> Lately {
        if let Some((_, before)) = self.counts.back() {
            if refused.places_taken > before.places_taken {
                self.places_bad = false;
            } else if refused.places > before.places {
                self.places_bad = true;
            }
        }
        self.counts.push_back((now, refused));
        while self.counts.get(1).is_some_and(|(at, _)| *at + WINDOW <= now) {
            self.counts.pop_front();
        }
        let first = self.counts.front().map_or(refused, |(_, first)| *first);
        Lately {
            edges: refused.edges.saturating_sub(first.edges),
            clients: refused.clients.saturating_sub(first.clients),
            clients_heard: refused.clients_heard.saturating_sub(first.clients_heard),
            places_bad: self.places_bad,
        }
    }
}

/// Reads all signs.
pub(super) fn read(facts: &Facts, lately: &Lately) -> Signs {
    let mut signs = Signs::default();
    signs.note(Cause::ListStale, facts.stale, false, || {
        "Most edges fell silent at once: this svrlist may be cut off".to_owned()
    });
    let heard: Vec<&Seen> = facts.edges.iter().filter(|seen| seen.state != State::Lost).collect();
    edges(facts, &mut signs);
    for seen in &heard {
        for line in &seen.edge.lines {
            self::line(seen, line, &mut signs);
        }
    }
    carriers(facts, &heard, &mut signs);
    upstream(&heard, &mut signs);
    sites(facts, &mut signs);
    zones(facts, &mut signs);
    refusals(lately, &mut signs);
    signs
}

fn edges(facts: &Facts, signs: &mut Signs) {
    for Seen { edge, state, .. } in &facts.edges {
        let name = || Arc::clone(&edge.name);
        let lost = *state == State::Lost;
        if lost {
            signs.1.insert(name());
        }
        signs.note(Cause::EdgeLost(name()), lost, false, || {
            let policy = &facts.planned.conditions.policy;
            if edge.draining || policy.drains(edge) {
                let Edge { name, connections, .. } = &**edge;
                format!("{name} is silent: it was drained and still had {connections} clients")
            } else {
                format!("{} is silent", edge.name)
            }
        });
        signs.note(Cause::EdgeCutOff(name()), !lost && edge.cut_off, false, || {
            format!("{} has no line to its upstream", edge.name)
        });
        signs.note(Cause::EdgeCut(name()), *state == State::Cut, false, || {
            format!("{} is cut: clients of several cells report that it fails", edge.name)
        });
    }
}

fn line(Seen { edge, .. }: &Seen, line: &Line, signs: &mut Signs) {
    let named = || {
        let named = format!("Line {} of {}", line.number, edge.name);
        match pair(edge, line) {
            Some((one, other)) => format!("{named} ({one} – {other})"),
            None => named,
        }
    };
    let cause = |of: fn(Arc<str>, u32) -> Cause| of(Arc::clone(&edge.name), line.number);
    // A line that is given up in order is not missed.
    let leaves = line.state == "draining";
    signs.note(cause(Cause::LineDown), !line.up && !leaves, false, || {
        format!("{} is down", named())
    });
    if !line.up {
        return;
    }
    let loss = line.measured.loss_in.max(line.measured.loss_out);
    signs.note(cause(Cause::LineLossy), loss >= LOSS_BAD, loss >= LOSS_GOOD, || {
        format!("{} loses {:.0} %", named(), 100.0 * loss)
    });
    let rise = line.measured.delay_rise_ms;
    signs.note(cause(Cause::LineSlow), rise >= RISE_BAD_MS, rise >= RISE_GOOD_MS, || {
        format!("{} is {rise:.0} ms slower than it was", named())
    });
}

/// Whether any line between these carriers is down, lossy or slow.
fn is_bad(line: &Line) -> bool {
    let measured = &line.measured;
    let slow = measured.delay_rise_ms >= RISE_BAD_MS;
    !line.up && line.state != "draining"
        || line.up && (measured.loss_in.max(measured.loss_out) >= LOSS_BAD || slow)
}

/// The carriers of a line's ends, in order; `None` where one is not known. An end of which nobody says
/// otherwise is in the network that its edge stands in.
pub(super) fn pair<'a>(edge: &'a Edge, line: &'a Line) -> Option<(&'a str, &'a str)> {
    let own = Some(edge.carrier).filter(|carrier| *carrier != Carrier::Unknown);
    let said = Some(line.local.carrier.as_str()).filter(|carrier| !carrier.is_empty());
    let (local, remote) = (said.or(own.map(Carrier::as_str))?, line.remote.carrier.as_str());
    (!remote.is_empty()).then(|| (local.min(remote), local.max(remote)))
}

fn carriers(facts: &Facts, heard: &[&Seen], signs: &mut Signs) {
    // Of each pair of carriers: edges with lines between them, and those with bad ones.
    let mut pairs: BTreeMap<(&str, &str), [BTreeSet<&str>; 2]> = BTreeMap::new();
    for seen in heard {
        for line in &seen.edge.lines {
            let Some(pair) = pair(&seen.edge, line) else { continue };
            let [all, bad] = pairs.entry(pair).or_default();
            all.insert(&seen.edge.name);
            if is_bad(line) {
                bad.insert(&seen.edge.name);
            }
        }
    }
    let mut of_carrier: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for ((one, other), [all, bad]) in &pairs {
        let many = Many { bad: bad.len(), all: all.len() };
        for carrier in BTreeSet::from([*one, *other]) {
            let (pairs, bad) = of_carrier.entry(carrier).or_default();
            *pairs += 1;
            *bad += usize::from(many.is_bad());
        }
        let cause = Cause::CarrierLines((*one).into(), (*other).into());
        signs.note(cause, many.is_bad(), many.is_between(), || {
            let Many { bad, all } = many;
            format!("Lines {one} – {other} have trouble on {bad} of {all} edges")
        });
    }
    let mut events: BTreeMap<Carrier, BTreeSet<&Arc<str>>> = BTreeMap::new();
    let mut carriers: BTreeMap<&Arc<str>, BTreeSet<Carrier>> = BTreeMap::new();
    for (carrier, edge) in facts.planned.conditions.view.events() {
        let Some(seen) = facts.edge(edge).filter(|seen| seen.state != State::Lost) else {
            continue;
        };
        events.entry(carrier).or_default().insert(&seen.edge.name);
        carriers.entry(&seen.edge.name).or_default().insert(carrier);
        let edge = &seen.edge.name;
        signs.note(Cause::Incident(Arc::clone(edge), carrier), true, false, || {
            format!("Clients of {carrier} have trouble with {edge}")
        });
    }
    for (edge, carriers) in carriers {
        signs.note(Cause::EdgeIncident(Arc::clone(edge)), carriers.len() >= 2, false, || {
            let names: Vec<&str> = carriers.iter().map(|carrier| carrier.as_str()).collect();
            format!("Clients of {} have trouble with {edge}", names.join(", "))
        });
    }
    let names = of_carrier.keys().copied().chain(events.keys().map(|carrier| carrier.as_str()));
    for name in names.collect::<BTreeSet<&str>>() {
        let (pairs, bad_pairs) = of_carrier.get(name).copied().unwrap_or_default();
        let lines_bad = bad_pairs >= 2 && bad_pairs == pairs;
        let with_event = Carrier::parse(name).and_then(|carrier| events.get(&carrier));
        let own = heard.iter().filter(|seen| seen.edge.carrier.as_str() == name).count();
        // Its clients are on edges of their own carrier for the most part.
        let many = Many { bad: with_event.map_or(0, BTreeSet::len), all: own.max(1) };
        let cause = Cause::Carrier(name.into());
        signs.note(cause, lines_bad || many.is_bad(), many.is_between(), || {
            if lines_bad {
                format!("Lines of {name} have trouble wherever they lead")
            } else {
                format!("Clients of {name} have trouble with {} edges", many.bad)
            }
        });
    }
}

fn upstream(heard: &[&Seen], signs: &mut Signs) {
    let bad = heard.iter().filter(|seen| seen.edge.cut_off).count();
    let all = heard.len();
    let is_bad = bad >= 2 && 2 * bad >= all;
    let is_between = bad >= 2 && 10 * bad >= 3 * all;
    signs.note(Cause::Upstream, is_bad, is_between, || {
        format!("{bad} of {all} edges are cut off from their upstream: it may be down")
    });
}

fn sites(facts: &Facts, signs: &mut Signs) {
    let mut sites: BTreeMap<&Arc<str>, (usize, usize)> = BTreeMap::new();
    for Seen { edge, state, .. } in &facts.edges {
        let (all, lost) = sites.entry(&edge.site).or_default();
        *all += 1;
        *lost += usize::from(*state == State::Lost);
    }
    for (site, (all, lost)) in sites {
        signs.note(Cause::SiteLost(Arc::clone(site)), all >= 2 && lost == all, false, || {
            format!("All {all} edges of site {site} are silent")
        });
    }
    for (site, account) in &facts.planned.sites {
        if account.level <= 0.0 {
            continue;
        }
        let of_level = account.bits_out as f64 / account.level;
        let counts = !account.running;
        let bad = counts && of_level >= OVER_BAD;
        signs.note(Cause::SiteOver(Arc::clone(site)), bad, counts && of_level >= OVER_GOOD, || {
            format!("Site {site} sends {:.0} % of the level that it is to keep", 100.0 * of_level)
        });
        signs.note(Cause::SiteSpent(Arc::clone(site)), account.left == 0, false, || {
            format!("Site {site} has spent its free samples of this month")
        });
    }
}

fn zones(facts: &Facts, signs: &mut Signs) {
    let policy = &facts.planned.conditions.policy;
    let mut zones: BTreeMap<&str, bool> = BTreeMap::new();
    for Seen { edge, state, .. } in &facts.edges {
        *zones.entry(&edge.zone).or_default() |= *state == State::Open;
    }
    for (zone, open) in zones {
        let drained = policy.drained.zones.contains(zone)
            || policy.zone_shares.get(zone).is_some_and(|share| *share <= 0.0);
        signs.note(Cause::ZoneClosed(zone.into()), !open && !drained, false, || {
            let named = if zone.is_empty() { "without a name" } else { zone };
            format!("No edge of zone {named} takes new clients")
        });
    }
}

fn refusals(lately: &Lately, signs: &mut Signs) {
    signs.note(Cause::Places, lately.places_bad, false, || {
        "New place databases were refused; the old ones stay in use".to_owned()
    });
    let Lately { edges, clients, clients_heard, .. } = *lately;
    signs.note(Cause::EdgeReports, edges >= EDGE_REPORTS_BAD, edges > 0, || {
        format!("{edges} reports of edges were refused within a minute; the log says why")
    });
    let all = clients + clients_heard;
    let bad = clients >= CLIENT_REPORTS_BAD && 5 * clients >= all;
    let between = 2 * clients >= CLIENT_REPORTS_BAD && 10 * clients >= all;
    signs.note(Cause::ClientReports, bad, between, || {
        format!("{clients} of {all} reports of clients were refused within a minute")
    });
}

/// How many of how many edges.
#[derive(Clone, Copy)]
struct Many {
    bad: usize,
    all: usize,
}

impl Many {
    fn is_bad(self) -> bool {
        self.bad >= MANY && 2 * self.bad >= self.all
    }

    fn is_between(self) -> bool {
        self.bad + 1 >= MANY && 10 * self.bad >= 3 * self.all
    }
}

/// So many edges with the same trouble have one cause.
const MANY: usize = 3;

/// Share of datagrams, either way.
const LOSS_BAD: f64 = 0.10;
const LOSS_GOOD: f64 = 0.05;

/// Above the least delay of the last minute.
const RISE_BAD_MS: f64 = 100.0;
const RISE_GOOD_MS: f64 = 50.0;

/// Of a site's level.
const OVER_BAD: f64 = 1.02;
const OVER_GOOD: f64 = 0.97;

/// In [`WINDOW`]: an edge whose reports are all refused has thirty.
const EDGE_REPORTS_BAD: u64 = 3;

/// In [`WINDOW`], if a fifth of all.
const CLIENT_REPORTS_BAD: u64 = 100;

/// For how long refusals are counted.
const WINDOW: Duration = Duration::from_secs(60);

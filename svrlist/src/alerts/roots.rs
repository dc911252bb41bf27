//! Which alert is under which: the cause above all that it led to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cause::Cause;
use super::signs::pair;
use crate::dashboard::facts::{Facts, State};

/// For each of the raised causes the one that explains it: itself where none does.
pub(super) fn find<'a>(
    raised: impl Iterator<Item = &'a Cause>,
    facts: &Facts,
) -> BTreeMap<Cause, Cause> {
    let raised: BTreeSet<&Cause> = raised.collect();
    let mut roots = BTreeMap::new();
    for cause in &raised {
        let mut root = (*cause).clone();
        // Each step goes up, and there are four heights.
        while let Some(above) = above(&root, &raised, facts) {
            root = above;
        }
        roots.insert((*cause).clone(), root);
    }
    let mut of_edges: BTreeMap<&Arc<str>, &Cause> = BTreeMap::new();
    for cause in raised.iter().filter(|cause| cause.line().is_none()) {
        if let Some(edge) = cause.edge() {
            of_edges.entry(edge).or_insert(cause);
        }
    }
    // A zone is closed by what happened to its edges, if that is one thing.
    for cause in &raised {
        let Cause::ZoneClosed(zone) = cause else { continue };
        let closed = facts.edges.iter().filter(|seen| seen.edge.zone == **zone);
        let by = closed.map(|seen| roots.get(*of_edges.get(&seen.edge.name)?).cloned());
        let by: BTreeSet<Option<Cause>> = by.collect();
        if let (1, Some(Some(root))) = (by.len(), by.first()) {
            roots.insert((*cause).clone(), root.clone());
        }
    }
    roots
}

/// The raised cause right above another.
fn above(cause: &Cause, raised: &BTreeSet<&Cause>, facts: &Facts) -> Option<Cause> {
    let first = |causes: Vec<Cause>| causes.into_iter().find(|above| raised.contains(above));
    let edge = || cause.edge().map(Arc::clone);
    match cause {
        Cause::EdgeLost(name) => {
            let site = facts.edge(name).map(|seen| Cause::SiteLost(Arc::clone(&seen.edge.site)));
            first(site.into_iter().chain([Cause::ListStale]).collect())
        }
        Cause::SiteLost(_) => first(vec![Cause::ListStale]),
        Cause::EdgeCutOff(name) => first(vec![Cause::EdgeLost(Arc::clone(name)), Cause::Upstream]),
        Cause::EdgeCut(name) | Cause::EdgeIncident(name) => {
            let mut causes =
                vec![Cause::EdgeLost(Arc::clone(name)), Cause::EdgeCutOff(Arc::clone(name))];
            if matches!(cause, Cause::EdgeIncident(_)) {
                causes.push(Cause::EdgeCut(Arc::clone(name)));
            }
            first(causes)
        }
        Cause::Incident(name, carrier) => {
            let of_edge: [fn(Arc<str>) -> Cause; 3] =
                [Cause::EdgeLost, Cause::EdgeCutOff, Cause::EdgeCut];
            let mut causes: Vec<Cause> = of_edge.map(|of| of(Arc::clone(name))).into();
            causes.push(Cause::Carrier(carrier.as_str().into()));
            causes.push(Cause::EdgeIncident(Arc::clone(name)));
            first(causes)
        }
        Cause::LineDown(name, number)
        | Cause::LineLossy(name, number)
        | Cause::LineSlow(name, number) => {
            let seen = facts.edge(name);
            let lines = seen.and_then(|seen| {
                let line = seen.edge.lines.iter().find(|line| line.number == *number)?;
                let (one, other) = pair(&seen.edge, line)?;
                Some(Cause::CarrierLines(one.into(), other.into()))
            });
            let edge = edge()?;
            let lost = seen.is_none_or(|seen| seen.state == State::Lost);
            let of_edge = [Cause::EdgeLost(Arc::clone(&edge)), Cause::EdgeCutOff(edge)];
            // An edge that is heard of is cut off by what happens to its carriers, not the other way.
            let mut causes: Vec<Cause> = of_edge.into();
            if lost {
                causes.extend(lines)
            } else {
                causes.splice(0..0, lines);
            }
            first(causes)
        }
        Cause::CarrierLines(one, other) => {
            let carriers = [one, other].map(|carrier| Cause::Carrier(Arc::clone(carrier)));
            first([vec![Cause::Upstream], carriers.into()].concat())
        }
        Cause::Carrier(_) => first(vec![Cause::Upstream]),
        Cause::SiteOver(site) => first(vec![Cause::SiteSpent(Arc::clone(site))]),
        _ => None,
    }
}

//! Edges that clients agree are of no use, though their heartbeats still come.
//!
//! [`QUORUM`] reports from [`QUORUM_CELLS`] cells within a tick that lose more than [`CUT_OVER`] of
//! what they try cut an edge at once. It comes back when it is reported well of, or after a
//! while, twice as long each time it fails again.
//!
//! Invariant: at most [`CUT_SHARE_MAX`] of a carrier's capacity is cut in [`CUT_WINDOW`]: when all edges
//! are bad it is not the edges (fail static).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use geo_data::Carrier;

use super::index::Slot;

/// Which edges are cut, and were.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts {
    cuts: BTreeMap<Slot, Cut>,
    /// What was cut of late: when, whose, how much.
    recent: Vec<(f64, Carrier, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    until: f64,
    lasts: Duration,
    open: bool,
}

/// What was heard of an edge in a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Reports that counted.
    pub(super) reports: f64,
    /// The bad ones among them, or the bad shares of each.
    pub(super) bad: f64,
    /// Cells in which more than [`CUT_OVER`] was bad.
    pub(super) bad_cells: u32,
}

impl Verdict {
    fn share(&self) -> f64 {
        if self.reports > 0.0 { self.bad / self.reports } else { 0.0 }
    }

    fn condemns(&self) -> bool {
        self.reports >= QUORUM && self.bad_cells >= QUORUM_CELLS && self.share() > CUT_OVER
    }

    fn acquits(&self) -> bool {
        self.reports >= QUORUM && self.share() < CUT_OVER / 2.0
    }
}

/// Whose an edge is, and how much of it there is.
pub(super) type Sizes = HashMap<Slot, (Carrier, f64)>;

impl Cuts {
    pub(super) fn handle_tick(&mut self, heard: &BTreeMap<Slot, Verdict>, sizes: &Sizes, at: f64) {
        self.recent.retain(|(when, ..)| at - when < CUT_WINDOW.as_secs_f64());
        for (slot, cut) in &mut self.cuts {
            let acquitted = heard.get(slot).is_some_and(Verdict::acquits);
            cut.open = cut.open || cut.until <= at || acquitted;
        }
        // Who has behaved for long begins anew.
        self.cuts.retain(|slot, cut| {
            sizes.contains_key(slot) && at < cut.until + 2.0 * CUT_FOR_MAX.as_secs_f64()
        });
        let mut condemned: Vec<(&Slot, &Verdict)> = heard
            .iter()
            .filter(|(slot, verdict)| verdict.condemns() && !self.is_cut(**slot))
            .collect();
        condemned.sort_by(|(_, a), (_, b)| b.share().total_cmp(&a.share()));
        for (slot, _) in condemned {
            let Some((carrier, size)) = sizes.get(slot) else { continue };
            let of = |(_, of, size): &(f64, Carrier, f64)| if of == carrier { *size } else { 0.0 };
            let recent: f64 = self.recent.iter().map(of).sum();
            let whole: f64 = sizes.values().filter(|(of, _)| of == carrier).map(|(_, s)| s).sum();
            let cut = self.cuts.iter().filter(|(_, cut)| !cut.open);
            let cut: f64 = cut
                .filter_map(|(slot, _)| sizes.get(slot))
                .map(|(of, size)| if of == carrier { *size } else { 0.0 })
                .sum();
            if recent + size > CUT_SHARE_MAX * whole || cut + size > CUT_IN_ALL_MAX * whole {
                continue;
            }
            let before = self.cuts.get(slot).map(|cut| (cut.lasts * 2).min(CUT_FOR_MAX));
            let lasts = before.unwrap_or(CUT_FOR);
            let until = at + lasts.as_secs_f64();
            self.cuts.insert(*slot, Cut { until, lasts, open: false });
            self.recent.push((at, *carrier, *size));
        }
    }

    pub(super) fn is_cut(&self, slot: Slot) -> bool {
        self.cuts.get(&slot).is_some_and(|cut| !cut.open)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.cuts.iter().filter(|(_, cut)| !cut.open).map(|(slot, _)| *slot)
    }
}

/// Reports in a tick that can cut an edge.
pub const QUORUM: f64 = 20.0;

/// From so many cells, or it is the cell's fault.
pub const QUORUM_CELLS: u32 = 3;

/// Bad share that cuts.
pub const CUT_OVER: f64 = 0.3;

/// Share of a carrier's capacity that may be cut in [`CUT_WINDOW`].
pub const CUT_SHARE_MAX: f64 = 0.2;

/// Share that may be cut at any time.
pub(super) const CUT_IN_ALL_MAX: f64 = 0.5;

/// The time for which [`CUT_SHARE_MAX`] holds.
pub const CUT_WINDOW: Duration = Duration::from_secs(60);

/// How long an edge is cut the first time.
pub(super) const CUT_FOR: Duration = Duration::from_secs(60);

/// And at most.
pub(super) const CUT_FOR_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(edges: u32) -> Sizes {
        (0..edges).map(|slot| (Slot(slot), (Carrier::Telecom, 100.0))).collect()
    }

    fn all(edges: u32, bad: f64) -> BTreeMap<Slot, Verdict> {
        let verdict = Verdict { reports: 100.0, bad: 100.0 * bad, bad_cells: 3 };
        (0..edges).map(|slot| (Slot(slot), verdict)).collect()
    }

    #[test]
    fn a_quorum_cuts_in_one_tick_and_time_heals() {
        let mut cuts = Cuts::default();
        cuts.handle_tick(&all(1, 0.5), &sizes(10), 0.0);
        assert_eq!(cuts.iter().collect::<Vec<_>>(), [Slot(0)]);
        cuts.handle_tick(&BTreeMap::new(), &sizes(10), 59.0);
        assert!(cuts.is_cut(Slot(0)));
        cuts.handle_tick(&BTreeMap::new(), &sizes(10), 60.0);
        assert!(!cuts.is_cut(Slot(0)));
        cuts.handle_tick(&all(1, 0.5), &sizes(10), 65.0);
        cuts.handle_tick(&BTreeMap::new(), &sizes(10), 180.0);
        assert!(cuts.is_cut(Slot(0)), "the second time it takes longer");
        cuts.handle_tick(&all(1, 0.01), &sizes(10), 181.0);
        assert!(!cuts.is_cut(Slot(0)), "good reports open it");
    }

    #[test]
    fn too_few_reports_or_cells_cut_nothing() {
        let mut cuts = Cuts::default();
        let few = Verdict { reports: 19.0, bad: 19.0, bad_cells: 9 };
        let one_cell = Verdict { reports: 500.0, bad: 500.0, bad_cells: 2 };
        let heard = BTreeMap::from([(Slot(0), few), (Slot(1), one_cell)]);
        cuts.handle_tick(&heard, &sizes(10), 0.0);
        assert_eq!(cuts.iter().count(), 0);
    }

    #[test]
    fn never_more_than_a_fifth_of_a_carrier_in_a_minute() {
        let mut cuts = Cuts::default();
        for tick in 0..12 {
            cuts.handle_tick(&all(10, 0.9), &sizes(10), f64::from(tick) * 5.0);
        }
        assert_eq!(cuts.iter().count(), 2);
        let mut cuts = Cuts::default();
        cuts.handle_tick(&all(3, 0.9), &sizes(3), 0.0);
        assert_eq!(cuts.iter().count(), 0, "of three edges each is too much");
    }
}

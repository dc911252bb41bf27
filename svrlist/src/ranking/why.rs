//! Why an edge stands where it does, for people and for programs.

use std::fmt;

use super::entry::{Entry, Standing};
use super::score::{Cost, OTHER_CARRIER_PP, Terms};

/// Why an edge stands where it does, in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Why {
    /// What place and carrier alone would cost.
    pub cost: Cost,
    /// What it can be given.
    pub standing: Standing,
    /// Its load, 1 being exhausted.
    pub load: f64,
}

/// All of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explain {
    /// The score's terms.
    pub terms: Terms,
    /// Their sum.
    pub score: f64,
    /// How far behind the best edge of the cell.
    pub behind: f64,
    /// Whether it is among the near-best.
    pub near: bool,
    /// The share of the cell's new clients that it gets, 0 to 1.
    pub share: f64,
    /// Reports that the usual rate is made of.
    pub reports: f64,
    /// Whether an incident is going on between it and the client's carrier.
    pub event: bool,
    /// What brought it onto this list.
    pub placed: Placed,
}

/// What brought an edge onto a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The operator prefers it for this network.
    Preferred,
    /// It is the user's among the near-best.
    NearBest,
    /// The near-best have no room for all, and this one has.
    Spill,
    /// It is the next best.
    Next,
    /// It was brought in so that there is a second carrier.
    OtherCarrier,
    /// It was brought in so that there is a second site.
    OtherSite,
    /// Little is known of it: somebody has to try.
    Exploration,
    /// It is of the other zone, but there is no better.
    OtherZone,
    /// Nothing that takes clients is left.
    LastResort,
}

impl Placed {
    /// In a word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preferred => "preferred",
            Self::NearBest => "near-best",
            Self::Spill => "spill",
            Self::Next => "next",
            Self::OtherCarrier => "other-carrier",
            Self::OtherSite => "other-site",
            Self::Exploration => "exploration",
            Self::OtherZone => "other-zone",
            Self::LastResort => "last-resort",
        }
    }
}

impl Explain {
    pub(super) fn of(entry: &Entry, best: f64, placed: Placed) -> Self {
        Self {
            terms: entry.terms,
            score: entry.score,
            behind: entry.score - best,
            near: entry.near,
            share: entry.share,
            reports: entry.reports,
            event: entry.event,
            placed,
        }
    }
}

impl Why {
    /// How the edge's carrier relates to the client's, as a word for metrics.
    pub fn carrier_match(&self) -> &'static str {
        if self.cost.carrier == 0.0 {
            "same"
        } else if self.cost.carrier < OTHER_CARRIER_PP {
            "between"
        } else {
            "other"
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.carrier_match() {
            "same" => "same carrier",
            "between" => "reached over any carrier",
            _ => "other carrier",
        })?;
        match self.cost.distance_km {
            Some(km) => write!(f, ", {km:.0} km")?,
            None => f.write_str(", distance unknown")?,
        }
        write!(f, ", load {:.0} %", self.load * 100.0)?;
        match self.standing {
            Standing::Open => Ok(()),
            Standing::Full => f.write_str(", full"),
            Standing::Cut => f.write_str(", cut: clients fail there"),
            Standing::CutOff => f.write_str(", cut off from its upstream"),
            Standing::Draining => f.write_str(", draining"),
        }
    }
}

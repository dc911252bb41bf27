//! What operators want: weights, drains, shares of zones, rules for networks, wishes for bandwidth.
//!
//! A [`Control`] is a value. Every change makes a new one, which is kept with who made it, when,
//! from where and why ([`revisions`]), so that any of them can be had back at once. It comes from
//! the API and from a file ([`wanted`]); parts that the file names are the file's alone. What became
//! of each request is written down ([`audit`]).
//!
//! Several svrlists do not talk about it: each is told by itself, and [`Control::digest`] is equal
//! where they were told the same.
//!
//! Invariant: a control that exists passed [`Control::check`].

pub mod audit;
mod change;
pub mod revisions;
pub mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use blake2::{Blake2s256, Digest};

use crate::edge::Edge;
use crate::ranking::{Drained, Override, Policy};

/// What operators want. The default wants nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    /// Shares of clients relative to equals, by edge, in place of what edges say of themselves.
    pub weights: BTreeMap<String, f64>,
    /// What takes no new clients, and sends those it has on.
    pub drained: Drains,
    /// Percent of users, by zone; zones that are not named share the rest.
    pub zones: BTreeMap<String, f64>,
    /// Rules for clients of some networks; the first that fits holds.
    pub overrides: Vec<Override>,
    /// Bits a second that a site's 95th percentile should stay below, by site.
    pub wishes: BTreeMap<String, f64>,
}

/// Clients that an edge sends on each second, by the name of what is drained; 0 leaves those who
/// are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drains {
    /// Edges.
    pub edges: BTreeMap<String, f64>,
    /// Sites: each of its edges drains at that rate.
    pub sites: BTreeMap<String, f64>,
    /// Zones: each of its edges drains at that rate.
    pub zones: BTreeMap<String, f64>,
}

/// A part of a control, which has one owner: the file or the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// [`Control::weights`].
    Weights,
    /// [`Control::drained`].
    Drained,
    /// [`Control::zones`].
    Zones,
    /// [`Control::overrides`].
    Overrides,
    /// [`Control::wishes`].
    Wishes,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Weights, Self::Drained, Self::Zones, Self::Overrides, Self::Wishes];

    /// Its name in JSON and TOML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Drained => "drained",
            Self::Zones => "zones",
            Self::Overrides => "overrides",
            Self::Wishes => "wishes",
        }
    }
}

/// Something that cannot be wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, must be {allowed}")]
pub struct Fault {
    /// Where, as a path of names.
    pub field: String,
    /// What was said.
    pub value: String,
    /// What may be said.
    pub allowed: String,
}

/// Everything that cannot be wanted, as far as it is told: the first [`FAULTS_MAX`] faults, each cut
/// to a readable length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    told: Vec<Fault>,
    more: usize,
}

impl Faults {
    /// One fault.
    pub fn of(
        field: impl Into<String>,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        let mut faults = Self::default();
        faults.push(field, value, allowed);
        faults
    }

    /// Those that are told.
    pub fn told(&self) -> &[Fault] {
        &self.told
    }

    /// A line for each that is told, and one for the others.
    pub fn lines(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.told.iter().map(ToString::to_string).chain(more).collect()
    }

    fn push(
        &mut self,
        field: impl Into<String>,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        if self.told.len() < FAULTS_MAX {
            let (field, value, allowed) = (cut(field), cut(value), cut(allowed));
            self.told.push(Fault { field, value, allowed });
        } else {
            self.more += 1;
        }
    }

    /// An error if there is any.
    fn none(self) -> Result<(), Self> {
        if self.told.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}

impl std::error::Error for Faults {}

fn cut(text: impl Into<String>) -> String {
    let mut text = text.into();
    if let Some((at, _)) = text.char_indices().nth(FAULT_CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// A note that can be kept.
pub fn note(text: String) -> Result<String, Faults> {
    match text.len() {
        0..=NOTE_BYTES_MAX => Ok(text),
        bytes => {
            let allowed = format!("at most {NOTE_BYTES_MAX} bytes");
            Err(Faults::of("note", format!("{bytes} bytes"), allowed))
        }
    }
}

impl Control {
    /// Everything that cannot be wanted, in order of its field.
    pub fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        self.find(&mut faults);
        faults.none()
    }

    fn find(&self, faults: &mut Faults) {
        faults.numbers("weights", &self.weights, WEIGHT_MAX);
        let Drains { edges, sites, zones } = &self.drained;
        for (kind, drains) in [("edges", edges), ("sites", sites), ("zones", zones)] {
            faults.numbers(&format!("drained.{kind}"), drains, RATE_MAX);
        }
        faults.numbers("zones", &self.zones, 100.0);
        if self.zones.len() > ZONES_MAX {
            let count = self.zones.len();
            faults.push("zones", format!("{count} zones"), format!("at most {ZONES_MAX}"));
        }
        let sum: f64 = self.zones.values().sum();
        if sum > 100.0 + 1e-9 {
            faults.push("zones", format!("{sum} % together"), "at most 100 % together");
        }
        faults.numbers("wishes", &self.wishes, WISH_MAX);
        if self.overrides.len() > OVERRIDES_MAX {
            let count = self.overrides.len();
            faults.push("overrides", format!("{count} rules"), format!("at most {OVERRIDES_MAX}"));
        }
        for (at, rule) in self.overrides.iter().enumerate() {
            for (kind, edges) in [("prefer", &rule.prefer), ("forbid", &rule.forbid)] {
                let field = format!("overrides[{at}].{kind}");
                faults.names(&field, edges.iter());
                if edges.len() > NAMES_OF_RULE_MAX {
                    let allowed = format!("at most {NAMES_OF_RULE_MAX}");
                    faults.push(&field, format!("{} edges", edges.len()), allowed);
                }
            }
        }
    }

    /// What the ranking follows.
    pub fn policy(&self) -> Policy {
        let names = |drains: &BTreeMap<String, f64>| drains.keys().cloned().collect();
        let Drains { edges, sites, zones } = &self.drained;
        Policy {
            weights: self.weights.clone(),
            drained: Drained { edges: names(edges), sites: names(sites), zones: names(zones) },
            zone_shares: self.zones.clone(),
            overrides: self.overrides.clone(),
            ..Policy::default()
        }
    }

    /// The wishes as accounts take them.
    pub fn wished(&self) -> BTreeMap<Arc<str>, f64> {
        self.wishes.iter().map(|(site, bits)| (site.as_str().into(), *bits)).collect()
    }

    /// How many clients this edge is to send on each second: the most that is said of it, its site
    /// and its zone; 0 for none.
    pub fn drain_rate(&self, edge: &Edge) -> f64 {
        let Drains { edges, sites, zones } = &self.drained;
        let said = [edges.get(&*edge.name), sites.get(&*edge.site), zones.get(&edge.zone)];
        said.into_iter().flatten().copied().fold(0.0, f64::max)
    }

    /// Equal where the same is wanted: 16 hexadecimal digits.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(&wanted::ControlJson::from(self)).unwrap_or_default();
        Blake2s256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// This one with some parts of another.
    pub fn with(&self, other: &Self, parts: impl IntoIterator<Item = Part>) -> Self {
        let mut control = self.clone();
        for part in parts {
            match part {
                Part::Weights => control.weights = other.weights.clone(),
                Part::Drained => control.drained = other.drained.clone(),
                Part::Zones => control.zones = other.zones.clone(),
                Part::Overrides => control.overrides = other.overrides.clone(),
                Part::Wishes => control.wishes = other.wishes.clone(),
            }
        }
        control
    }

    /// Parts that differ.
    pub fn differing(&self, other: &Self) -> Vec<Part> {
        let differs = |part: &Part| match part {
            Part::Weights => self.weights != other.weights,
            Part::Drained => self.drained != other.drained,
            Part::Zones => self.zones != other.zones,
            Part::Overrides => self.overrides != other.overrides,
            Part::Wishes => self.wishes != other.wishes,
        };
        Part::ALL.into_iter().filter(differs).collect()
    }

    /// What is named and not among `edges`: a slip, or something that will come.
    pub fn unknown<'a>(&self, edges: impl Iterator<Item = &'a Edge> + Clone) -> Vec<String> {
        let Drains { edges: drained, sites, zones } = &self.drained;
        let known = |of: fn(&'a Edge) -> &'a str| edges.clone().map(of).collect::<BTreeSet<&str>>();
        let known_edges = known(|edge| &edge.name);
        let known_sites = known(|edge| &edge.site);
        let known_zones = known(|edge| &edge.zone);
        let ruled = self.overrides.iter().flat_map(|rule| rule.prefer.iter().chain(&rule.forbid));
        let mut unknown: Vec<String> = Vec::new();
        let mut note = |kind: &str, name: &str, known: &BTreeSet<&str>| {
            if unknown.len() >= WARNINGS_MAX || known.contains(name) {
                return;
            }
            let warning = format!("no {kind} called {name} is known");
            if !unknown.contains(&warning) {
                unknown.push(warning);
            }
        };
        for name in self.weights.keys().chain(drained.keys()).chain(ruled) {
            note("edge", name, &known_edges);
        }
        for name in sites.keys().chain(self.wishes.keys()) {
            note("site", name, &known_sites);
        }
        for name in zones.keys().chain(self.zones.keys()) {
            note("zone", name, &known_zones);
        }
        unknown
    }
}

impl Faults {
    fn names<'a>(&mut self, field: &str, names: impl Iterator<Item = &'a String>) {
        for name in names {
            let fits = name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
            if !fits {
                let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
                let allowed = format!("a printable name of at most {NAME_BYTES_MAX} bytes");
                self.push(field, format!("{shown:?}"), allowed);
            }
        }
    }

    fn numbers(&mut self, field: &str, numbers: &BTreeMap<String, f64>, max: f64) {
        self.names(field, numbers.keys());
        if numbers.len() > ENTRIES_MAX {
            let count = numbers.len();
            self.push(field, format!("{count} entries"), format!("at most {ENTRIES_MAX}"));
        }
        for (name, number) in numbers {
            if !(0.0..=max).contains(number) {
                let allowed = format!("a number from 0 to {max}");
                self.push(format!("{field}.{name}"), number.to_string(), allowed);
            }
        }
    }
}

/// Clients that a drained edge sends on each second where nothing is said of it.
pub const RATE: f64 = 50.0;
/// Fastest drain, clients a second.
const RATE_MAX: f64 = 1e6;
/// Largest weight.
const WEIGHT_MAX: f64 = 1000.0;
/// Largest wish, bits a second.
const WISH_MAX: f64 = 1e15;
/// Longest name, as in reports.
const NAME_BYTES_MAX: usize = 64;
/// Entries of one table.
const ENTRIES_MAX: usize = 10_000;
/// Zones with a share of their own: users are drawn among them for every answer.
const ZONES_MAX: usize = 64;
/// Rules: they are walked for every answer.
const OVERRIDES_MAX: usize = 256;
/// Edges that a rule prefers or forbids.
const NAMES_OF_RULE_MAX: usize = 1000;
/// Faults that are told at once.
pub const FAULTS_MAX: usize = 20;
/// Longest text of a fault, characters.
const FAULT_CHARS_MAX: usize = 300;
/// Longest note.
const NOTE_BYTES_MAX: usize = 500;
/// Warnings that are told at once.
const WARNINGS_MAX: usize = 20;

#[cfg(test)]
mod tests;

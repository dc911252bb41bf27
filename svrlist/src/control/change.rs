//! What differs between two controls, in words.

use std::collections::{BTreeMap, BTreeSet};

use super::Control;
use crate::ranking::Override;

/// One line for each thing that differs; so many at most.
pub(super) fn lines(before: &Control, after: &Control) -> Vec<String> {
    let mut lines = Vec::new();
    let number = |number: &f64| number.to_string();
    let percent = |share: &f64| format!("{share} %");
    let rate = |rate: &f64| format!("drained at {rate}/s");
    let bits = |bits: &f64| format!("{} Mbit/s", bits / 1e6);
    tables(&mut lines, "weight of", &before.weights, &after.weights, number, "its own");
    let (was, is) = (&before.drained, &after.drained);
    tables(&mut lines, "edge", &was.edges, &is.edges, rate, "not drained");
    tables(&mut lines, "site", &was.sites, &is.sites, rate, "not drained");
    tables(&mut lines, "zone", &was.zones, &is.zones, rate, "not drained");
    tables(&mut lines, "share of zone", &before.zones, &after.zones, percent, "what is left");
    tables(&mut lines, "wish of site", &before.wishes, &after.wishes, bits, "its own");
    overrides(&mut lines, &before.overrides, &after.overrides);
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn tables(
    lines: &mut Vec<String>,
    what: &str,
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
    show: impl Fn(&f64) -> String,
    nothing: &str,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let [was, is] = [before, after].map(|table| table.get(name));
        if was != is {
            let said = |number: Option<&f64>| number.map_or_else(|| nothing.to_owned(), &show);
            lines.push(format!("{what} {name}: {} → {}", said(was), said(is)));
        }
    }
}

fn overrides(lines: &mut Vec<String>, before: &[Override], after: &[Override]) {
    let of = |rules: &[Override], rule: &Override| rules.iter().any(|other| other == rule);
    let gone = before.iter().filter(|rule| !of(after, rule)).map(|rule| ("no longer", rule));
    let new = after.iter().filter(|rule| !of(before, rule)).map(|rule| ("from now on", rule));
    let count = lines.len();
    for (when, rule) in gone.chain(new) {
        let names = |names: &BTreeSet<String>| {
            let shown: Vec<&str> = names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
            match names.len().saturating_sub(NAMES_SHOWN) {
                _ if shown.is_empty() => "none".to_owned(),
                0 => shown.join(" "),
                more => format!("{} and {more} more", shown.join(" ")),
            }
        };
        let (prefer, forbid) = (names(&rule.prefer), names(&rule.forbid));
        lines.push(format!("{when}: {} prefers {prefer}, forbids {forbid}", rule.network));
    }
    if before != after && lines.len() == count {
        lines.push("rules for networks: another order".to_owned());
    }
}

/// Names of a rule that its line shows.
const NAMES_SHOWN: usize = 10;
/// Lines that are kept of a change.
const LINES_MAX: usize = 50;

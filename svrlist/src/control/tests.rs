//! Controls and their revisions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::revisions::{Author, KEPT_BYTES_MAX, KEPT_MAX, Kept, Revisions};
use super::wanted::Wanted;
use super::*;
use crate::fixture::report;

fn control(json: &str) -> Control {
    Wanted::from_json(json.as_bytes()).unwrap().control().unwrap()
}

fn edge(name: &str) -> Edge {
    let mut edge = Edge::from_report(&report(name, "110000", "telecom")).unwrap();
    (edge.site, edge.zone) = ("bj".into(), "blue".to_owned());
    edge
}

fn ann() -> Author {
    Author { who: "ann".into(), from: "192.0.2.1".into() }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
}

#[test]
fn an_edge_drains_as_fast_as_anything_says_of_it() {
    let drained = |json: &str| control(json).drain_rate(&edge("bj-1"));
    assert_eq!(drained("{}"), 0.0);
    assert_eq!(drained(r#"{"drained": {"edges": {"bj-2": {}}}}"#), 0.0);
    assert_eq!(drained(r#"{"drained": {"edges": {"bj-1": {"rate": 0}}}}"#), 0.0);
    assert_eq!(
        drained(r#"{"drained": {"edges": {"bj-1": {"rate": 3}}, "sites": {"bj": {"rate": 7}}}}"#),
        7.0
    );
    assert_eq!(drained(r#"{"drained": {"zones": {"blue": {}}}}"#), RATE);
}

#[test]
fn the_ranking_follows() {
    let policy = control(
        r#"{"weights": {"a": 2}, "drained": {"edges": {"b": {}}, "sites": {"s": {}}, "zones": {"z": {}}},
            "zones": {"blue": {"share": 10}}, "overrides": [{"network": "10.0.0.0/8", "forbid": ["a"]}]}"#,
    )
    .policy();
    assert_eq!(policy.check(), Ok(()));
    assert_eq!((policy.weights["a"], policy.zone_shares["blue"]), (2.0, 10.0));
    assert!(policy.drained.edges.contains("b") && policy.drained.sites.contains("s"));
    assert!(policy.drained.zones.contains("z") && policy.overrides[0].forbid.contains("a"));
}

#[test]
fn what_nobody_has_heard_of_is_named() {
    let wanted = control(
        r#"{"weights": {"bj-1": 1, "bj-9": 1}, "wishes": {"sh": 1}, "zones": {"green": {"share": 1}, "blue": {"share": 1}}}"#,
    );
    let edges = [edge("bj-1")];
    assert_eq!(
        wanted.unknown(edges.iter()),
        [
            "no edge called bj-9 is known",
            "no site called sh is known",
            "no zone called green is known"
        ]
    );
}

#[test]
fn changes_are_told_in_words() {
    let mut revisions = Revisions::default();
    let mut changes = |json: &str| {
        assert!(revisions.change(control(json), ann(), String::new(), at(0)));
        revisions.current().changes.clone()
    };
    assert_eq!(
        changes(r#"{"zones": {"blue": {"share": 10}}, "drained": {"edges": {"a": {"rate": 5}}}}"#),
        ["edge a: not drained → drained at 5/s", "share of zone blue: what is left → 10 %"]
    );
    assert_eq!(
        changes(
            r#"{"zones": {"blue": {"share": 50}}, "overrides": [{"network": "10.0.0.0/8", "prefer": ["a"]}]}"#
        ),
        [
            "edge a: drained at 5/s → not drained",
            "share of zone blue: 10 % → 50 %",
            "from now on: 10.0.0.0/8 prefers a, forbids none"
        ]
    );
    assert_eq!(changes(r#"{"wishes": {"bj": 2e9}}"#).len(), 3);
}

#[test]
fn any_kept_revision_can_be_had_back() {
    let mut revisions = Revisions::default();
    for share in 1..=150 {
        let json = format!(r#"{{"zones": {{"blue": {{"share": {}}}}}}}"#, f64::from(share) / 2.0);
        assert!(revisions.change(control(&json), ann(), format!("step {share}"), at(share as u64)));
    }
    assert!(!revisions.change((*revisions.current().control).clone(), ann(), String::new(), at(0)));
    assert_eq!(revisions.current().number, 150, "what changes nothing is no revision");
    assert_eq!(revisions.iter().count(), KEPT_MAX);
    let missing = revisions.get(50).unwrap_err().to_string();
    assert_eq!(missing, "revision 50 is not kept; 51 to 150 are");
    let old = (*revisions.get(51).unwrap().control).clone();
    revisions.change(old.clone(), ann(), String::new(), at(1));
    assert_eq!((revisions.current().number, &*revisions.current().control), (151, &old));
    assert_eq!(revisions.current().changes, ["share of zone blue: 75 % → 25.5 %"]);

    let kept = Kept { revisions, owned: vec![Part::Weights, Part::Wishes] };
    let loaded = Kept::load(&kept.save()).unwrap();
    assert!(loaded.revisions.iter().eq(kept.revisions.iter()));
    assert_eq!(loaded.revisions.current().control.digest(), old.digest());
    assert_eq!(loaded.owned, kept.owned);
    for broken in [&b""[..], b"[]", b"{}", &kept.save()[1..]] {
        assert!(Kept::load(broken).is_err());
    }
    let saved: serde_json::Value = serde_json::from_slice(&kept.save()).unwrap();
    let alone = Kept::load(saved["revisions"].to_string().as_bytes()).unwrap();
    assert!(alone.revisions.iter().eq(kept.revisions.iter()) && alone.owned.is_empty());
}

#[test]
fn an_old_revision_that_breaks_a_newer_bound_is_forgotten_and_the_one_in_force_is_not() {
    let zones = |count: u32| (0..count).map(|zone| (format!("z{zone}"), 1.0)).collect();
    let saved = |counts: &[u32]| {
        let mut revisions = Revisions::default();
        for count in counts {
            let control = Control { zones: zones(*count), ..Control::default() };
            assert!(revisions.change(control, ann(), String::new(), at(0)));
        }
        Kept { revisions, owned: Vec::new() }.save()
    };
    let loaded = Kept::load(&saved(&[1, 65, 2, 3])).unwrap().revisions;
    let numbers: Vec<u64> = loaded.iter().map(|revision| revision.number).collect();
    assert_eq!(numbers, [4, 3, 1, 0]);
    assert_eq!(loaded.get(2).unwrap_err().to_string(), "revision 2 is not kept; 3 to 4 are");
    assert_eq!(loaded.get(5).unwrap_err().to_string(), "revision 5 is not kept; 0 to 4 are");
    let refused = Kept::load(&saved(&[1, 65])).unwrap_err().to_string();
    assert!(refused.starts_with("revision 2: zones is 65 zones"), "{refused}");
}

#[test]
fn revisions_take_no_more_than_their_share_of_memory() {
    let large = |number: u32| {
        let weight = |edge| (format!("edge-{edge:05}-{}", "x".repeat(50)), f64::from(number % 7));
        Control { weights: (0..10_000).map(weight).collect(), ..Control::default() }
    };
    let mut revisions = Revisions::default();
    for number in 1..=40 {
        assert!(revisions.change(large(number), ann(), String::new(), at(0)));
    }
    let kept = Kept { revisions, owned: Vec::new() };
    let bytes = kept.save().len();
    assert!((KEPT_BYTES_MAX / 2..KEPT_BYTES_MAX + 10_000).contains(&bytes), "{bytes}");
    let loaded = Kept::load(&kept.save()).unwrap();
    assert!(loaded.revisions.iter().eq(kept.revisions.iter()));
    assert_eq!(loaded.revisions.current().number, 40);
    let missing = loaded.revisions.get(1).unwrap_err().to_string();
    assert!(missing.ends_with(" to 40 are"), "{missing}");
}

#[test]
fn there_are_so_many_zones_and_no_more() {
    let zones = |count: u32| (0..count).map(|zone| (format!("z{zone}"), 1.0)).collect();
    let of = |count| Control { zones: zones(count), ..Control::default() }.check();
    assert_eq!(of(64), Ok(()));
    assert_eq!(of(65).unwrap_err().to_string(), "zones is 65 zones, must be at most 64");
}

#[test]
fn a_line_of_a_change_is_short_whatever_changes() {
    let named = |names: usize| (0..names).map(|edge| format!("edge-{edge:059}")).collect();
    let network = "10.0.0.0/8".parse().unwrap();
    let rule = Override { network, prefer: named(100), forbid: named(10) };
    let mut revisions = Revisions::default();
    let control = Control { overrides: vec![rule; 60], ..Control::default() };
    control.check().unwrap();
    revisions.change(control, ann(), String::new(), at(0));
    let changes = &revisions.current().changes;
    assert_eq!((changes.len(), changes.last().unwrap().as_str()), (51, "and 10 more"));
    assert!(
        changes[0].len() < 1_500 && changes[0].contains(" and 90 more, forbids"),
        "{changes:?}"
    );
}

#[test]
fn digests_tell_controls_apart() {
    let (one, other) = (control(r#"{"weights": {"a": 1}}"#), control(r#"{"weights": {"a": 2}}"#));
    assert_ne!(one.digest(), other.digest());
    assert_eq!(one.digest(), one.clone().digest());
    assert_eq!(one.digest().len(), 16);
}

#[test]
fn parts_are_taken_one_by_one() {
    let file = control(r#"{"weights": {"a": 1}, "zones": {"blue": {"share": 1}}}"#);
    let api = control(r#"{"weights": {"a": 2}, "wishes": {"bj": 1}}"#);
    let merged = api.with(&file, [Part::Weights]);
    assert_eq!(merged, control(r#"{"weights": {"a": 1}, "wishes": {"bj": 1}}"#));
    assert_eq!(merged.differing(&api), [Part::Weights]);
}

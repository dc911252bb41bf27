//! Who is on the list, second by second.

use proptest::prelude::*;

use super::*;
use crate::fixture::edge;

/// A registry on a clock of its own.
struct World {
    registry: Registry,
    start: Instant,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of the test")]
    fn new() -> Self {
        Self { registry: Registry::default(), start: Instant::now() }
    }

    fn report(&mut self, name: &str, at_s: u64) -> Option<Arc<List>> {
        let now = self.start + Duration::from_secs(at_s);
        self.registry.handle_report(edge(name, "110000", "telecom"), now)
    }

    fn names(&mut self, at_s: u64) -> (Vec<String>, bool) {
        self.registry.handle_tick(self.start + Duration::from_secs(at_s));
        let list = self.registry.list();
        (list.edges.iter().map(|listed| listed.edge.name.to_string()).collect(), list.stale)
    }
}

fn list(names: &[&str], stale: bool) -> (Vec<String>, bool) {
    (names.iter().map(|name| (*name).to_owned()).collect(), stale)
}

#[test]
fn a_new_edge_is_listed_at_once_and_a_known_one_at_the_tick() {
    let mut world = World::new();
    assert_eq!(world.report("a", 0).unwrap().generation, 1);
    assert_eq!(world.report("a", 2), None);
    assert_eq!(world.names(2), list(&["a"], false));
    assert_eq!(world.registry.list().generation, 2);
    assert_eq!(world.names(3), list(&["a"], false));
    assert_eq!(world.registry.list().generation, 2, "nothing happened in between");
}

#[test]
fn draining_is_heard_at_once() {
    let mut world = World::new();
    world.report("a", 0);
    let mut leaving = edge("a", "110000", "telecom");
    leaving.draining = true;
    let now = world.start + Duration::from_secs(2);
    let list = world.registry.handle_report(leaving, now).unwrap();
    assert!(list.edges[0].edge.draining);
}

#[test]
fn an_edge_is_cut_off_when_it_says_so_for_a_while() {
    let mut world = World::new();
    let mut say = |cut_off, at_s| {
        let now = world.start + Duration::from_secs(at_s);
        let said = Edge { cut_off, ..edge("a", "110000", "telecom") };
        world.registry.handle_report(said, now);
        world.registry.handle_tick(now);
        world.registry.list().edges[0].edge.cut_off
    };
    assert!(!say(true, 0));
    assert!(!say(true, 4));
    assert!(!say(false, 5), "back in time");
    assert!(!say(true, 6));
    assert!(!say(true, 10));
    assert!(say(true, 12));
    assert!(!say(false, 14), "back at once");
}

#[test]
fn a_silent_edge_is_gone_within_ten_seconds() {
    let mut world = World::new();
    world.report("dead", 0);
    for at in 0..=9 {
        if at % 2 == 0 {
            world.report("alive", at);
        }
        let expected =
            if at < 8 { list(&["alive", "dead"], false) } else { list(&["alive"], false) };
        assert_eq!(world.names(at), expected, "at {at} s");
    }
    assert_eq!(world.report("dead", 10).unwrap().edges.len(), 2, "back at once");
}

#[test]
fn when_everybody_is_silent_the_last_state_stays() {
    let mut world = World::new();
    world.report("gone before", 0);
    for at in (0..=20).step_by(2) {
        world.report("a", at);
        world.report("b", at + 1);
        world.names(at + 1);
    }
    // The last reports came at 20 (a) and 21 (b).
    assert_eq!(world.names(28), list(&["b"], false));
    assert_eq!(world.names(29), list(&["a", "b"], true), "nobody is heard: both are back");
    assert_eq!(world.names(100_000), list(&["a", "b"], true), "nobody is forgotten");
    world.report("b", 100_001).unwrap();
    assert_eq!(world.names(100_008), list(&["a", "b"], false), "a may take a moment");
    world.report("b", 100_008);
    assert_eq!(world.names(100_009), list(&["b"], false));
}

/// Says of each of the edges at every second whether it reports, and follows the list.
fn follow(world: &mut World, from_s: u64, to_s: u64, reporting: &[&str]) {
    for at in from_s..=to_s {
        if at % 2 == 0 {
            for name in reporting {
                world.report(name, at);
            }
        }
        world.names(at);
    }
}

#[test]
fn when_most_are_silent_the_list_stays_and_says_so() {
    let mut world = World::new();
    follow(&mut world, 0, 20, &["a", "b", "c"]);
    follow(&mut world, 21, 27, &["a"]);
    assert_eq!(world.names(27), list(&["a", "b", "c"], false));
    follow(&mut world, 28, 40, &["a"]);
    assert_eq!(world.names(40), list(&["a", "b", "c"], true));
    // Most are back: the one that is still silent gets a moment, then it is gone.
    follow(&mut world, 41, 49, &["a", "b"]);
    assert_eq!(world.names(49), list(&["a", "b", "c"], false));
    follow(&mut world, 50, 50, &["a", "b"]);
    assert_eq!(world.names(50), list(&["a", "b"], false));
}

#[test]
fn a_minority_goes_at_once_and_so_does_one_of_two() {
    let mut world = World::new();
    follow(&mut world, 0, 20, &["a", "b", "c", "d"]);
    follow(&mut world, 21, 29, &["a", "b"]);
    assert_eq!(world.names(29), list(&["a", "b"], false), "half of them are heard");
    follow(&mut world, 30, 38, &["b"]);
    assert_eq!(world.names(38), list(&["b"], false));
}

#[test]
fn those_who_fell_silent_a_moment_before_most_did_are_back() {
    let mut world = World::new();
    follow(&mut world, 0, 20, &["a", "b", "c", "d", "e"]);
    // The last words come at 20, 22 and 23.
    follow(&mut world, 21, 22, &["c", "d", "e"]);
    world.report("e", 23);
    follow(&mut world, 24, 29, &[]);
    assert_eq!(world.names(29), list(&["c", "d", "e"], false));
    assert_eq!(world.names(30), list(&["a", "b", "c", "d", "e"], true));
}

#[test]
fn silence_that_lasts_takes_edges_out_one_by_one() {
    let mut world = World::new();
    follow(&mut world, 0, 20, &["a", "b", "c", "d"]);
    follow(&mut world, 21, 22, &["a", "b", "c"]);
    // The list is stale from 30 on.
    follow(&mut world, 23, 89, &["a"]);
    assert_eq!(world.names(89), list(&["a", "b", "c", "d"], true), "kept for a minute");
    follow(&mut world, 90, 99, &["a"]);
    assert_eq!(world.names(99), list(&["a", "b", "c"], true), "the longest silent first");
    follow(&mut world, 100, 102, &["a"]);
    assert_eq!(world.names(102), list(&["a", "c"], true));
    assert_eq!(world.report("d", 103).unwrap().edges.len(), 3, "back at once");
}

#[test]
fn the_minute_is_of_silence_that_somebody_witnesses() {
    let mut world = World::new();
    follow(&mut world, 0, 20, &["a", "b", "c"]);
    follow(&mut world, 21, 200, &[]);
    assert_eq!(world.names(200), list(&["a", "b", "c"], true));
    follow(&mut world, 201, 259, &["a"]);
    assert_eq!(world.names(259), list(&["a", "b", "c"], true));
    follow(&mut world, 260, 275, &["a"]);
    assert_eq!(world.names(275), list(&["a"], false), "it is the others that are gone");
    follow(&mut world, 276, 300, &[]);
    assert_eq!(world.names(300), list(&["a"], true), "never empty");
}

#[test]
fn edges_that_said_goodbye_are_not_kept_and_prove_nothing() {
    let mut world = World::new();
    follow(&mut world, 0, 20, &["a", "b", "c"]);
    for name in ["b", "c"] {
        let now = world.start + Duration::from_secs(20);
        let leaving = Edge { draining: true, ..edge(name, "110000", "telecom") };
        world.registry.handle_report(leaving, now);
    }
    follow(&mut world, 21, 28, &["a"]);
    assert_eq!(world.names(28), list(&["a"], false));
}

#[test]
fn a_clock_that_leapt_empties_no_list() {
    let mut world = World::new();
    follow(&mut world, 0, 20, &["a", "b", "c"]);
    assert_eq!(world.names(100_000), list(&["a", "b", "c"], true));
}

#[test]
fn nobody_was_ever_heard() {
    let mut world = World::new();
    assert_eq!(world.names(5), list(&[], false));
    assert_eq!(world.registry.list().generation, 0);
}

/// A list for people.
fn shown(list: &List) -> (Vec<&str>, bool) {
    (list.edges.iter().map(|listed| &*listed.edge.name).collect(), list.stale)
}

proptest! {
    /// Each number is a moment at which one of five edges goes away or comes back.
    #[test]
    fn never_empty_and_never_much_less(moments in prop::collection::vec((0..30_u64, 0..5_usize), 0..40)) {
        let names = ["a", "b", "c", "d", "e"];
        let mut world = World::new();
        let mut up = [true; 5];
        let mut at = 0;
        follow(&mut world, 0, 0, &names);
        for (wait, edge) in moments {
            let until = at + wait;
            while at < until {
                at += 1;
                let before = world.registry.list();
                let reporting: Vec<&str> =
                    names.into_iter().zip(up).filter(|(_, up)| *up).map(|(name, _)| name).collect();
                follow(&mut world, at, at, &reporting);
                let after = world.registry.list();
                let has = |list: &List, name: &str| list.edges.iter().any(|l| *l.edge.name == *name);
                let gone = before.edges.iter().filter(|l| !has(&after, &l.edge.name)).count();
                prop_assert!(
                    gone <= after.edges.len(),
                    "at {at}: {:?} then {:?}", shown(&before), shown(&after)
                );
                prop_assert!(!after.edges.is_empty());
                // Reports come in even seconds.
                let heard = at % 2 == 1 || reporting.iter().all(|name| has(&after, name));
                prop_assert!(heard, "at {at}: {reporting:?} but {:?}", shown(&after));
            }
            up[edge] = !up[edge];
        }
    }
}

#[test]
fn a_flood_of_urgent_reports_makes_four_lists_a_second() {
    let mut world = World::new();
    world.report("a", 0).unwrap();
    let at = |ms| world.start + Duration::from_millis(ms);
    let mut lists = Vec::new();
    for ms in 0..2_000 {
        // Busy at an even millisecond, at an odd one not.
        let flapping = Edge { busy: ms % 2 == 0, ..edge("a", "110000", "telecom") };
        lists.extend(world.registry.handle_report(flapping, at(ms)).map(|list| (ms, list)));
    }
    let times: Vec<u64> = lists.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [0, 1, 2, 250, 500, 750, 1000, 1250, 1500, 1750]);
    assert_eq!(lists.last().unwrap().1.generation, 11);
    // The last word is in force a moment later, though nobody says it again, and then there is no more.
    assert!(world.registry.list().edges[0].edge.busy);
    assert_eq!(world.registry.handle_urgent(at(1_999)), None);
    assert!(!world.registry.handle_urgent(at(2_000)).unwrap().edges[0].edge.busy);
    assert_eq!(world.registry.handle_urgent(at(3_000)), None);
}

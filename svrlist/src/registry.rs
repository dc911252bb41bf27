//! Which edges there are: a machine that hears reports and knows who has fallen silent.
//!
//! An edge reports every two seconds. One that has been silent for [`SILENT_AFTER`] is listed no
//! more, within ten seconds of its death whatever killed it. When *nobody* reports, it is this
//! svrlist that is cut off, not the whole network that died, so the last state stays in force and is
//! marked stale (fail static).
//!
//! Invariant: once an edge has ever reported, the list is never empty.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::edge::Edge;

/// All edges that were ever heard of, and the list last made from them.
#[derive(Debug, Default)]
pub struct Registry {
    known: BTreeMap<Arc<str>, Listed>,
    list: Arc<List>,
    /// Whether a report came in since the list was made.
    changed: bool,
}

/// The edges that may be handed to clients, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// Counts lists; a new number means that something may differ.
    pub generation: u64,
    /// The edges, by name.
    pub edges: Vec<Listed>,
    /// Whether nobody reports any more and this is the last state known.
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

impl Registry {
    /// An edge reported. Answers a new list at once when clients must hear of it before the next
    /// tick: an edge that is new, or that began or stopped draining. An edge that says it is cut off
    /// counts as such after [`CUT_OFF_AFTER`] of saying so: when the origin restarts, all edges are
    /// cut off for a moment and tell it one by one, and nobody should run from one to the next.
    pub fn handle_report(&mut self, mut edge: Edge, now: Instant) -> Option<Arc<List>> {
        let name = Arc::clone(&edge.name);
        let draining = edge.draining;
        let since_before = self.known.get(&name).and_then(|known| known.cut_off_since);
        let cut_off_since = edge.cut_off.then(|| since_before.unwrap_or(now));
        edge.cut_off = cut_off_since.is_some_and(|since| since + CUT_OFF_AFTER <= now);
        let known = Listed { edge: Arc::new(edge), heard: now, cut_off_since };
        let before = self.known.insert(name, known);
        self.changed = true;
        let listed = before.filter(|before| before.heard + SILENT_AFTER > now);
        let urgent = listed.is_none_or(|before| before.edge.draining != draining);
        if self.list.stale {
            self.hear_again(now);
        }
        if urgent { self.handle_tick(now) } else { None }
    }

    /// The first report after nobody was heard: everyone in the list gets as long as after a report
    /// of its own, or the first edge to come back would get every client for a while.
    fn hear_again(&mut self, now: Instant) {
        for listed in &self.list.edges {
            if let Some(known) = self.known.get_mut(&listed.edge.name) {
                known.heard = now;
            }
        }
    }

    /// To be called every [`TICK`]. Answers a new list when reports came in or somebody fell silent.
    pub fn handle_tick(&mut self, now: Instant) -> Option<Arc<List>> {
        let newest = self.known.values().map(|known| known.heard).max()?;
        // Silence is measured from now while anybody is heard, else from the last sound there was.
        let stale = newest + SILENT_AFTER <= now;
        let reference = if stale { newest } else { now };
        if !stale {
            self.known.retain(|_, known| known.heard + FORGOTTEN_AFTER > now);
        }
        let heard = self.known.values().filter(|known| known.heard + SILENT_AFTER > reference);
        let edges: Vec<Listed> = heard.cloned().collect();
        let same =
            !self.changed && stale == self.list.stale && edges.len() == self.list.edges.len();
        if same {
            return None;
        }
        self.changed = false;
        let generation = self.list.generation + 1;
        self.list = Arc::new(List { generation, edges, stale });
        Some(Arc::clone(&self.list))
    }

    /// The list last made.
    pub fn list(&self) -> Arc<List> {
        Arc::clone(&self.list)
    }
}

/// Silence after which an edge is listed no more: four missed reports. With a tick of at most one
/// second it is gone after nine, within the ten that are promised.
pub const SILENT_AFTER: Duration = Duration::from_secs(8);

/// How often silence is looked for, and the pace at which changes of load reach the ranking.
pub const TICK: Duration = Duration::from_secs(1);

/// How long an edge says that it is cut off before it counts: several reports, and longer than an
/// origin takes to restart.
pub const CUT_OFF_AFTER: Duration = Duration::from_secs(6);

/// Silence after which an edge is no longer remembered.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::edge;

    /// A registry on a clock of its own.
    struct World {
        registry: Registry,
        start: Instant,
    }

    impl World {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as the zero of the test"
        )]
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

    #[test]
    fn nobody_was_ever_heard() {
        let mut world = World::new();
        assert_eq!(world.names(5), list(&[], false));
        assert_eq!(world.registry.list().generation, 0);
    }
}

//! Made-up networks that get into trouble, at given times.

use geo_data::{Carrier, Cell, Region};

use super::*;
use crate::edge::Edge;
use crate::fixture::{Scene, line_report, report};
use crate::learning::{Learning, Tally};
use crate::planner::{Planned, SiteAccount};
use crate::ranking::Policy;
use crate::registry::{List, Listed};

/// A network that is looked at every second while its edges report.
struct World {
    scene: Scene,
    planned: Planned,
    refused: Refused,
    alerts: Alerts,
    edges: BTreeMap<&'static str, Edge>,
}

impl World {
    fn new() -> Self {
        Self {
            scene: Scene::new(),
            planned: Planned::default(),
            refused: Refused::default(),
            alerts: Alerts::default(),
            edges: BTreeMap::new(),
        }
    }

    /// Edges of a site each, with a line through telecom and one through unicom.
    fn with(names: &[&'static str]) -> Self {
        let mut world = Self::new();
        for name in names {
            let mut report = report(name, "110000", "telecom");
            for (number, carrier) in [(0, "telecom"), (1, "unicom")] {
                let mut line = line_report();
                (line.line, line.local_carrier) = (number, "telecom".to_owned());
                line.remote_carrier = carrier.to_owned();
                report.lines.push(line);
            }
            world.edges.insert(name, Edge::from_report(&report).unwrap());
        }
        world
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Edge)) {
        change(self.edges.get_mut(name).unwrap());
    }

    fn line(&mut self, name: &str, number: usize, change: impl FnOnce(&mut crate::line::Line)) {
        self.change(name, |edge| change(&mut edge.lines[number]));
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.scene.wait(1);
            self.edges.values().for_each(|edge| self.scene.report(edge.clone()));
            let list = self.scene.list();
            self.see(&list);
        }
    }

    fn see(&mut self, list: &List) {
        let facts = self.scene.facts(list, self.planned.clone());
        self.alerts.handle_facts(&facts, self.refused, self.scene.now);
    }

    /// What is open, each with what is under it.
    fn open(&self) -> Vec<(String, Vec<String>)> {
        let about = |alert: &Alert| {
            let parts = [alert.cause.edge().map(|edge| edge.to_string()), alert.cause.carrier()];
            let site = alert.cause.site().or(alert.cause.zone()).map(str::to_owned);
            let line = alert.cause.line().map(|line| line.to_string());
            let parts = parts.into_iter().chain([site, line]).flatten();
            [vec![alert.cause.kind().to_owned()], parts.collect()].concat().join(" ")
        };
        let open = self.alerts.open();
        open.iter().map(|alert| (about(alert), alert.related.iter().map(about).collect())).collect()
    }

    fn causes(&self) -> Vec<String> {
        self.open().into_iter().map(|(cause, _)| cause).collect()
    }
}

#[test]
fn nothing_is_wrong_with_a_good_network() {
    let mut world = World::with(&["a", "b", "c"]);
    world.pass(120);
    assert_eq!(world.open(), []);
    assert!(world.alerts.poll_notices().is_empty());
}

#[test]
fn a_line_that_is_down_for_a_while_is_told_and_one_that_flaps_is_told_once() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    world.pass(5);
    world.line("a", 0, |line| line.up = false);
    world.pass(9);
    assert_eq!(world.causes(), [""; 0]);
    world.pass(2);
    assert_eq!(world.causes(), ["line-down a 0"]);
    let first = world.alerts.open()[0].clone();
    assert_eq!(first.since_ms, 1_800_000_006_000, "since it was down");
    for _ in 0..3 {
        world.line("a", 0, |line| line.up = true);
        world.pass(20);
        world.line("a", 0, |line| line.up = false);
        world.pass(20);
    }
    assert_eq!(world.alerts.open()[0].id, first.id);
    world.line("a", 0, |line| line.up = true);
    world.pass(32);
    assert_eq!(world.causes(), [""; 0]);
    let past = world.alerts.past();
    assert_eq!((past.len(), &past[0].id), (1, &first.id));
    assert!(past[0].until_ms.unwrap() > first.since_ms);
    world.pass(PAST_FOR.as_secs());
    assert!(world.alerts.past().is_empty());
}

#[test]
fn loss_is_raised_at_one_threshold_and_cleared_at_another() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    let mut at = |loss: f64, seconds| {
        world.line("a", 1, |line| line.measured.loss_out = loss);
        world.pass(seconds);
        world.causes()
    };
    assert_eq!(at(0.09, 60), [""; 0]);
    assert_eq!(at(0.11, 14), [""; 0]);
    assert_eq!(at(0.11, 3), ["line-lossy a 1"]);
    assert_eq!(at(0.06, 120), ["line-lossy a 1"]);
    assert_eq!(at(0.04, 29), ["line-lossy a 1"]);
    assert_eq!(at(0.04, 3), [""; 0]);
    world.line("a", 1, |line| line.measured.delay_rise_ms = 150.0);
    world.pass(20);
    assert_eq!(world.causes(), ["line-slow a 1"]);
}

#[test]
fn the_trouble_of_a_lost_edge_is_one_alert() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    world.pass(5);
    world.line("a", 0, |line| line.up = false);
    world.pass(20);
    assert_eq!(world.causes(), ["line-down a 0"]);
    let lost = world.edges.remove("a").unwrap();
    world.pass(10);
    assert_eq!(world.open(), [("edge-lost a".to_owned(), vec!["line-down a 0".to_owned()])]);
    world.pass(100);
    assert_eq!(world.open()[0].1, ["line-down a 0"], "nobody sees whether it is up");
    world.edges.insert("a", Edge { lines: Vec::new(), ..lost });
    world.pass(40);
    assert_eq!(world.open(), []);
    let past = world.alerts.past();
    let causes: Vec<_> = past.iter().map(|alert| alert.cause.kind()).collect();
    assert_eq!(causes, ["line-down", "edge-lost"], "the line was seen again later");
}

#[test]
fn a_site_that_vanishes_is_one_alert() {
    let mut world = World::with(&["a", "b", "c", "d", "e", "f", "g"]);
    for name in ["a", "b", "c"] {
        world.change(name, |edge| edge.site = "south".into());
    }
    world.pass(5);
    for name in ["a", "b", "c"] {
        world.edges.remove(name);
    }
    world.pass(12);
    let under = ["a", "b", "c"].map(|name| format!("edge-lost {name}"));
    assert_eq!(world.open(), [("site-lost south".to_owned(), under.to_vec())]);
}

#[test]
fn lines_of_a_pair_of_carriers_are_one_alert_and_so_is_a_carrier() {
    let mut world = World::with(&["a", "b", "c", "d", "e"]);
    world.pass(5);
    for name in ["a", "b", "c"] {
        world.line(name, 1, |line| line.measured.loss_in = 0.3);
    }
    world.line("d", 0, |line| line.up = false);
    world.pass(20);
    let under = ["a", "b", "c"].map(|name| format!("line-lossy {name} 1")).to_vec();
    assert_eq!(world.open().len(), 2);
    assert!(world.open().contains(&("carrier-lines telecom – unicom".to_owned(), under)));
    for name in ["a", "b", "c"] {
        world.line(name, 0, |line| line.measured.loss_in = 0.3);
    }
    world.pass(20);
    let open = world.open();
    assert_eq!(open.iter().map(|(cause, _)| &**cause).collect::<Vec<_>>(), ["carrier telecom"]);
    assert_eq!(open[0].1.len(), 2 + 7, "two pairs and seven lines: {open:?}");
}

#[test]
fn a_line_whose_own_end_is_not_named_is_of_its_edges_carrier() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    for name in ["a", "b", "c"] {
        world.line(name, 1, |line| (line.local.carrier, line.up) = (String::new(), false));
    }
    world.pass(12);
    let open = world.open();
    assert_eq!((&*open[0].0, open[0].1.len()), ("carrier-lines telecom – unicom", 3), "{open:?}");
    assert!(world.alerts.open()[0].related[0].title.ends_with("(telecom – unicom) is down"));
}

#[test]
fn an_upstream_that_is_down_is_one_alert() {
    let mut world = World::with(&["a", "b", "c"]);
    world.pass(5);
    for name in ["a", "b", "c"] {
        world.change(name, |edge| {
            edge.cut_off = true;
            edge.lines.iter_mut().for_each(|line| line.up = false);
        });
    }
    world.pass(30);
    let open = world.open();
    let causes: Vec<_> = open.iter().map(|(cause, _)| cause.as_str()).collect();
    assert_eq!(causes, ["upstream"], "{open:?}");
    for under in ["edge-cut-off b", "line-down c 1", "zone-closed "] {
        assert!(open[0].1.iter().any(|one| one.starts_with(under.trim_end())), "{under}: {open:?}");
    }
}

#[test]
fn silence_of_most_edges_is_about_this_svrlist() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    world.pass(5);
    world.edges.clear();
    world.pass(20);
    let open = world.open();
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!((&*open[0].0, open[0].1.len()), ("list-stale", 5), "four edges and their zone");
}

#[test]
fn an_edge_that_was_to_go_is_missed_while_it_has_clients() {
    let open = |connections, draining, drained: &str| {
        let mut world = World::with(&["a", "b", "c", "d"]);
        let mut policy = Policy::default();
        policy.drained.sites.insert(drained.to_owned());
        world.planned.conditions.policy = Arc::new(policy);
        world.change("a", |edge| (edge.connections, edge.draining) = (connections, draining));
        world.pass(5);
        world.edges.remove("a");
        world.pass(20);
        world.alerts.open().into_iter().map(|alert| alert.title).collect::<Vec<_>>()
    };
    // It said goodbye, or was stopped when all had left it.
    assert_eq!(open(0, true, ""), [""; 0]);
    assert_eq!(open(0, false, "site-a"), [""; 0], "whether or not clients were sent on");
    // It died in the middle of it.
    let died = ["a is silent: it was drained and still had 3 clients"];
    assert_eq!(open(3, true, ""), died);
    assert_eq!(open(3, false, "site-a"), died);
    assert_eq!(open(0, false, ""), ["a is silent"]);
}

#[test]
fn clients_that_have_trouble_with_an_edge_are_an_alert() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    world.pass(2);
    let cell = Cell { region: Region::parse("440100").unwrap(), carrier: Carrier::Mobile };
    let mut learning = Learning::new();
    for tick in 0..30 {
        let bad = if tick < 20 { 0.01 } else { 0.4 };
        let edges: Vec<Arc<Edge>> = world.edges.values().cloned().map(Arc::new).collect();
        let view = learning.handle_tick(&edges, world.scene.now.monotonic);
        world.planned.conditions.view = view;
        let reports = 500.0;
        let good = Tally { reports, bad: 0.01 * reports, ..Tally::default() };
        for edge in ["b", "c", "d"] {
            learning.handle_tally(edge, cell, &good);
        }
        learning.handle_tally("a", cell, &Tally { bad: bad * reports, ..good });
        world.pass(5);
    }
    assert_eq!(world.causes(), ["incident a mobile"]);
}

#[test]
fn budgets_zones_and_refusals() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    let site: Arc<str> = "site-a".into();
    let account = SiteAccount {
        bits_out: 1_100,
        bits_out_max: 0,
        level: 1_000.0,
        billed: 900.0,
        left: 5,
        saved: 0.0,
        running: false,
        price: 1.0,
    };
    world.planned.sites.insert(Arc::clone(&site), account.clone());
    world.pass(59);
    assert_eq!(world.causes(), [""; 0]);
    world.pass(2);
    assert_eq!(world.causes(), ["site-over site-a"]);
    world.planned.sites.insert(Arc::clone(&site), SiteAccount { left: 0, ..account.clone() });
    world.pass(61);
    assert_eq!(
        world.open(),
        [("site-spent site-a".to_owned(), vec!["site-over site-a".to_owned()])]
    );
    world
        .planned
        .sites
        .insert(site, SiteAccount { bits_out: 10, left: 5, running: true, ..account });
    world.pass(61);
    assert_eq!(world.causes(), [""; 0]);

    world.change("a", |edge| (edge.zone, edge.draining) = ("blue".to_owned(), true));
    world.pass(12);
    assert_eq!(world.causes(), ["zone-closed blue"]);
    world.change("a", |edge| edge.draining = false);
    world.pass(12);
    assert_eq!(world.causes(), [""; 0]);

    world.refused.places += 1;
    world.pass(1);
    assert_eq!(world.causes(), ["places"]);
    world.refused.places_taken += 1;
    world.pass(1);
    assert_eq!(world.causes(), [""; 0]);

    (world.refused.edges, world.refused.clients) = (5, 90);
    world.pass(1);
    assert_eq!(world.causes(), ["edge-reports"]);
    (world.refused.clients, world.refused.clients_heard) = (200, 100_000);
    world.pass(1);
    assert_eq!(world.causes(), ["edge-reports"], "few of many");
    world.refused.clients = 100_000;
    world.pass(1);
    assert_eq!(world.causes(), ["client-reports", "edge-reports"]);
    world.pass(125);
    assert_eq!(world.causes(), [""; 0]);
}

#[test]
fn an_operator_acknowledges_an_alert_and_takes_it_back() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    world.pass(2);
    world.edges.remove("a");
    world.pass(12);
    let id = Arc::clone(&world.alerts.open()[0].id);
    let by = Acknowledged { by: "ops".into(), at_ms: 7 };
    assert_eq!(world.alerts.acknowledge(&id, Some(by.clone())), Some("a is silent"));
    world.pass(5);
    assert_eq!(world.alerts.open()[0].acknowledged, Some(by));
    assert!(world.alerts.acknowledge(&id, None).is_some());
    assert_eq!(world.alerts.open()[0].acknowledged, None);
    assert_eq!(world.alerts.acknowledge("nonsense", None), None);
}

#[test]
fn somebody_outside_is_told_of_roots_alone_and_of_their_end() {
    let mut world = World::with(&["a", "b", "c", "d"]);
    world.pass(2);
    let lost = world.edges.remove("a").unwrap();
    world.pass(9);
    assert!(world.alerts.poll_notices().is_empty(), "it may still converge");
    world.pass(8);
    let told = world.alerts.poll_notices();
    assert_eq!(told.len(), 1);
    assert!(!told[0].is_over && told[0].alert.cause == Cause::EdgeLost("a".into()));
    world.pass(60);
    assert!(world.alerts.poll_notices().is_empty(), "once");
    world.edges.insert("a", lost);
    world.pass(12);
    let told = world.alerts.poll_notices();
    assert!(told.len() == 1 && told[0].is_over && told[0].alert.until_ms.is_some(), "{told:?}");
}

#[test]
fn memory_is_bounded() {
    let mut world = World::new();
    let mut big = report("a", "110000", "telecom");
    let line = |number| {
        let mut line = line_report();
        (line.line, line.up) = (number, false);
        line
    };
    big.lines = (0..128).map(line).collect();
    let names: Vec<String> = (0..200).map(|number| format!("e{number}")).collect();
    for name in names {
        let edge = Edge { name: name.as_str().into(), ..Edge::from_report(&big).unwrap() };
        world.edges.insert(Box::leak(name.into_boxed_str()), edge);
    }
    world.pass(12);
    assert_eq!(world.alerts.conditions.len(), CONDITIONS_MAX);
    assert!(world.alerts.open().iter().all(|alert| alert.related.len() <= RELATED_MAX));
    world.edges.clear();
    world.pass(1);
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = schedule.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// A network in which everything fails and then heals: so many edges of a zone with `lines` lines each, none of
/// which has anything in common with another. What that costs, by seconds, and how many alerts there were.
fn outage(edges: usize, lines: usize) -> (Vec<Duration>, usize) {
    let mut world = World::new();
    let mut made: Vec<Arc<Edge>> = Vec::new();
    for number in 0..edges {
        let mut report = report("a", "110000", "telecom");
        let line = |number| {
            let mut line = line_report();
            (line.line, line.remote_carrier) = (number, String::new());
            line
        };
        report.lines = (0..lines as u32).map(line).collect();
        let edge =
            Edge { name: format!("e{number:04}").into(), ..Edge::from_report(&report).unwrap() };
        made.push(Arc::new(edge));
    }
    let (mut times, mut most) = (Vec::new(), 0);
    for second in 0..80 {
        // Down from second 5 to 25; all edges are busy with it, too, so that their zone is closed.
        let down = (5..25).contains(&second);
        world.scene.wait(1);
        let listed = made.iter().map(|edge| {
            let mut edge = Edge::clone(edge);
            edge.busy = down;
            edge.lines.iter_mut().for_each(|line| line.up = !down);
            Listed { edge: Arc::new(edge), heard: world.scene.now.monotonic, cut_off_since: None }
        });
        let list = List { generation: second, edges: listed.collect(), stale: false };
        let facts = world.scene.facts(&list, Planned::default());
        let before = cpu_time();
        world.alerts.handle_facts(&facts, world.refused, world.scene.now);
        most = most.max(world.alerts.open().len());
        world.alerts.poll_notices();
        times.push(cpu_time() - before);
    }
    (times, most)
}

#[test]
fn an_outage_of_four_times_as_much_costs_about_four_times_as_much() {
    let cost = |edges| {
        let (times, most) = outage(edges, 10);
        assert_eq!(most, 10 * edges + 1, "each line and the zone");
        let (sum, worst) = (times.iter().sum::<Duration>(), times.into_iter().max());
        println!("{edges} edges: {sum:?} in all, {worst:?} in the worst second");
        sum.as_secs_f64()
    };
    let (small, large) = (cost(100), cost(400));
    // Sorting costs a little more, what is quadratic sixteen times as much.
    assert!(large <= 8.0 * small, "{small} s and {large} s");
}

use super::*;
use crate::fixture::report;
use crate::registry::Registry;
use crate::site::tests::moment;

/// A planner and the edges that report to it.
struct World {
    planner: Planner,
    registry: Registry,
    asks: Asks,
    now: Moment,
    edges: Vec<shared::wire::control::Report>,
}

impl World {
    fn new(edges: &[(&str, &str)]) -> Self {
        let edge = |(name, site): &(&str, &str)| {
            let mut report = report(name, "110000", "telecom");
            report.site = (*site).to_owned();
            report.connections_max = 1000;
            report
        };
        Self {
            planner: Planner::default(),
            registry: Registry::default(),
            asks: Asks::default(),
            now: moment(),
            edges: edges.iter().map(edge).collect(),
        }
    }

    fn ask(&self, region: &str, count: u64) {
        let region = Region::parse(region).unwrap();
        let cell = Cell { region, carrier: Carrier::Telecom };
        let vantage = Vantage {
            carrier: Carrier::Telecom,
            position: region.position(),
            ..Vantage::default()
        };
        self.asks.counter(cell, vantage).fetch_add(count, Ordering::Relaxed);
    }

    fn tick(&mut self) -> Planned {
        for report in &self.edges {
            let edge = Edge::from_report(report).unwrap();
            self.registry.handle_report(edge, self.now.monotonic);
        }
        self.now.monotonic += TICK;
        self.now.calendar += TICK;
        self.registry.handle_tick(self.now.monotonic);
        self.plan()
    }

    fn plan(&mut self) -> Planned {
        let (list, asked) = (self.registry.list(), self.asks.take());
        self.planner.handle_tick(&list, View::default(), &asked, self.now).0
    }
}

fn sessions(planned: &Planned) -> f64 {
    planned.demands.iter().map(|demand| demand.sessions).sum()
}

#[test]
fn demand_is_what_cells_ask_scaled_to_the_sessions_that_began() {
    let mut world = World::new(&[("a", "a"), ("b", "b")]);
    let mut planned = Planned::default();
    for _ in 0..100 {
        world.ask("110000", 30);
        world.ask("310000", 10);
        world.edges[0].begun += 15;
        world.edges[1].begun += 5;
        planned = world.tick();
    }
    // Every second answer brings a session.
    let of = |region: &str| {
        let region = Region::parse(region).unwrap();
        planned.demands.iter().find(|demand| demand.cell.region == region).unwrap().sessions
    };
    assert!((14.5..15.5).contains(&of("110000")), "{:?}", planned.demands);
    assert!((4.5..5.5).contains(&of("310000")), "{:?}", planned.demands);
    // Nobody asks any more.
    for _ in 0..200 {
        planned = world.tick();
    }
    assert!(planned.demands.is_empty());
}

#[test]
fn counters_that_go_backwards_or_leap_do_not_upset_demand() {
    let mut world = World::new(&[("a", "a")]);
    for _ in 0..50 {
        world.ask("110000", 10);
        world.edges[0].begun += 10;
        world.tick();
    }
    let steady = world.tick();
    for (begun, ended) in [(u64::MAX, u64::MAX), (3, 2), (0, 0), (u64::MAX / 2, 0)] {
        (world.edges[0].begun, world.edges[0].ended) = (begun, ended);
        world.ask("110000", 10);
        let planned = world.tick();
        assert!(sessions(&planned).is_finite());
        // A thousand places can change hands ten times in a tick, a tenth of which counts at once.
        assert!(sessions(&planned) < sessions(&steady) * 64.0 + 1000.0, "{:?}", planned.demands);
    }
}

#[test]
fn an_edge_whose_clock_is_wrong_counts_like_any_other() {
    let run = |started_ms| {
        let mut world = World::new(&[("a", "a")]);
        world.edges[0].started_ms = started_ms;
        let mut planned = Planned::default();
        for _ in 0..50 {
            world.ask("110000", 10);
            world.edges[0].begun += 20;
            planned = world.tick();
        }
        planned.demands
    };
    let hour = 3_600_000;
    let right = run(1_800_000_000_000);
    assert_eq!(run(1_800_000_000_000 + hour), right);
    assert_eq!(run(1_800_000_000_000 - hour), right);
    assert_eq!(run(u64::MAX), right);
}

#[test]
fn an_edge_gets_no_more_than_it_can_take() {
    let mut world = World::new(&[("full", "a"), ("empty", "b")]);
    world.edges[0].connections = 985;
    let mut first = Vec::new();
    for _ in 0..60 {
        world.ask("110000", 100);
        let planned = world.tick();
        let edges: Vec<_> =
            world.registry.list().edges.iter().map(|l| Arc::clone(&l.edge)).collect();
        let demand = planned.demands[0];
        let ranking = Ranking::of(demand.vantage, demand.cell, &edges, &planned.conditions);
        first = ranking.shares().map(|(edge, share)| (edge.name.to_string(), share)).collect();
    }
    let share = |name: &str| first.iter().find(|(n, _)| n == name).map_or(0.0, |(_, s)| *s);
    assert!(share("empty") > 0.95, "{first:?}");
}

#[test]
fn departures_make_room() {
    let mut world = World::new(&[("a", "a")]);
    world.edges[0].connections = 900;
    world.edges[0].begun = 900;
    let leaving = |world: &World| world.planner.flows["a"].leaving;
    world.tick();
    let usual = leaving(&world);
    assert!((7.0..8.0).contains(&usual), "{usual}");
    for _ in 0..50 {
        world.edges[0].begun += 50;
        world.edges[0].ended += 50;
        world.tick();
    }
    assert!((49.0..51.0).contains(&leaving(&world)), "{}", leaving(&world));
    // A tick that comes late counts as what it would have been in time.
    world.edges[0].begun += 500;
    world.edges[0].ended += 500;
    world.now.monotonic += 9 * TICK;
    world.tick();
    assert!((49.0..51.0).contains(&leaving(&world)), "{}", leaving(&world));
}

#[test]
fn a_site_is_the_sum_of_its_edges_and_its_price_reaches_the_ranking() {
    let mut world = World::new(&[("a1", "a"), ("a2", "a"), ("b", "b")]);
    for (edge, bits) in world.edges.iter_mut().zip([300, 400, 100]) {
        (edge.bits_out, edge.bits_out_max) = (bits * 1_000_000, 1_000_000_000);
    }
    world.edges[2].bits_out_max = 0;
    world.planner.set_wishes(BTreeMap::from([("a".into(), 600e6), ("b".into(), 600e6)]));
    world.tick();
    let planned = world.tick();
    let (a, b) = (&planned.sites["a"], &planned.sites["b"]);
    assert_eq!((a.bits_out, a.bits_out_max), (700_000_000, 2_000_000_000));
    assert_eq!((b.bits_out, b.bits_out_max), (100_000_000, 0), "one does not say");
    assert!(a.price > 0.0 && b.price == 0.0, "{planned:?}");
    assert_eq!(planned.conditions.prices["a"], a.price);
}

#[test]
fn while_nobody_is_heard_nothing_is_counted() {
    let mut world = World::new(&[("a", "a"), ("b", "b"), ("c", "c")]);
    world.edges[0].bits_out = 1_000_000;
    world.tick();
    let before = world.planner.accounts().snapshot();
    for _ in 0..20 {
        world.now.monotonic += TICK;
        world.registry.handle_tick(world.now.monotonic);
        assert_eq!(world.plan().sites["a"].bits_out, 1_000_000);
    }
    assert!(world.registry.list().stale);
    // The time stood still on the calendar, so that not even a slot ended.
    let after = world.planner.accounts().snapshot();
    assert_eq!(serde_json::to_value(after).unwrap(), serde_json::to_value(before).unwrap());
}

#[test]
fn policy_and_turn_are_passed_on() {
    let mut world = World::new(&[("a", "a")]);
    let mut policy = Policy::default();
    policy.weights.insert("a".to_owned(), 3.0);
    world.planner.set_policy(Arc::new(policy.clone()));
    let first = world.tick();
    assert_eq!(*first.conditions.policy, policy);
    let later = (0..12).map(|_| world.tick()).last().unwrap();
    assert_eq!(later.conditions.turn, first.conditions.turn + 1);
}

#[test]
fn a_million_cells_are_counted_within_the_bound() {
    let asks = Asks::default();
    let vantage = |n: i32| Vantage {
        carrier: Carrier::Telecom,
        position: geo_data::Position::new(f64::from(n / 1000) / 10.0, f64::from(n % 1000) / 10.0),
        ..Vantage::default()
    };
    for n in 0..100_000 {
        asks.counter(Cell::default(), vantage(n)).fetch_add(1, Ordering::Relaxed);
    }
    assert!(asks.counters.lock().unwrap().len() <= DEMANDS_MAX);
    let asked = asks.take();
    assert_eq!(asked.iter().map(|asked| asked.count).sum::<u64>(), 100_000, "all are counted");
    let held = asks.counter(Cell::default(), vantage(0));
    assert!(asks.take().is_empty());
    assert_eq!(asks.counters.lock().unwrap().len(), 1, "the others are forgotten");
    held.fetch_add(2, Ordering::Relaxed);
    assert_eq!(asks.take()[0].count, 2);

    let mut planner = Planner::default();
    for n in 0..10 {
        let asked: Vec<Asked> = (0..10_000)
            .map(|m| Asked { cell: Cell::default(), vantage: vantage(n * 10_000 + m), count: 1 })
            .collect();
        let planned = planner.handle_tick(&List::default(), View::default(), &asked, moment()).0;
        assert!(planned.demands.len() <= DEMANDS_MAX);
    }
}

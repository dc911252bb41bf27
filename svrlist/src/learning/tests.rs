//! What is learnt from whom, and that nobody makes us forget our bounds.

use super::*;
use crate::fixture;

struct World {
    learning: Learning,
    edges: Vec<Arc<Edge>>,
    start: Instant,
    seconds: u64,
}

impl World {
    #[allow(clippy::disallowed_methods, reason = "a beginning that any other would do for")]
    fn new() -> Self {
        let edge = |name, region| Arc::new(fixture::edge(name, region, "telecom"));
        let edges = vec![edge("bj", "110000"), edge("sh", "310000"), edge("gz", "440100")];
        let mut world =
            Self { learning: Learning::new(), edges, start: Instant::now(), seconds: 0 };
        world.tick();
        world
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    fn tick(&mut self) -> View {
        self.seconds += 5;
        self.learning.handle_tick(&self.edges, self.now())
    }

    fn estimate(&self, region: &str, edge: usize) -> Estimate {
        let cell = cell(region);
        let view = self.learning.view();
        view.row(cell).estimate(&self.edges[edge], cell.region.position())
    }

    /// Ticks in which clients of these regions tell the same of an edge.
    fn reports(&mut self, ticks: usize, regions: &[&str], edge: usize, bad: f64) {
        let name = Arc::clone(&self.edges[edge].name);
        for _ in 0..ticks {
            for region in regions {
                let tally = Tally { reports: 50.0, bad: 50.0 * bad, ..Tally::default() };
                self.learning.handle_tally(&name, cell(region), &tally);
            }
            self.tick();
        }
    }
}

fn cell(region: &str) -> Cell {
    Cell { region: Region::parse(region).unwrap(), carrier: Carrier::Telecom }
}

fn report(session: u64, edge: &str, region: &str) -> Report<'static> {
    let edge = match edge {
        "bj" => "bj",
        "sh" => "sh",
        _ => "nobody",
    };
    Report {
        session,
        address: IpAddr::from(((session as u32) << 8).to_be_bytes()),
        cell: cell(region),
        roams: false,
        edge,
        attempts: 1,
        failures: 0,
        drops: 0,
        lost: None,
        rtt: None,
    }
}

const PROVINCES: [&str; 4] = ["110000", "320000", "330000", "440000"];

#[test]
fn nothing_known_is_the_prior() {
    let world = World::new();
    let (near, far) = (world.estimate("110000", 0), world.estimate("110000", 2));
    assert_eq!((near.mean_pp, near.residual_pp, near.reports), (0.5, 0.0, 0.0));
    assert!(far.mean_pp > near.mean_pp + 1.0, "{far:?}");
}

#[test]
fn the_usual_rate_is_that_of_cell_and_edge() {
    let mut world = World::new();
    world.reports(60, &["110000"], 0, 0.04);
    let known = world.estimate("110000", 0);
    assert!((3.5..4.1).contains(&known.expected_pp()), "{known:?}");
    let other = world.estimate("650000", 0);
    assert!(other.mean_pp > 1.0, "{other:?}");
    assert!(!known.event);
}

#[test]
fn an_incident_is_known_to_all_cells_of_the_carrier_at_once_and_spoils_no_mean() {
    let mut world = World::new();
    world.reports(60, &PROVINCES, 0, 0.01);
    world.reports(1, &PROVINCES, 0, 0.16);
    let seen = world.estimate("110000", 0);
    let untold = world.estimate("610000", 0);
    assert!(seen.event && seen.residual_pp > 10.0, "{seen:?}");
    assert_eq!(seen.residual_pp, untold.residual_pp);
    assert_eq!(world.estimate("110000", 1).residual_pp, 0.0);
    world.reports(60, &PROVINCES, 0, 0.16);
    let lasting = world.estimate("110000", 0);
    assert!(lasting.mean_pp < 1.5 && lasting.expected_pp() > 14.0, "{lasting:?}");
    world.reports(3, &PROVINCES, 0, 0.01);
    let over = world.estimate("110000", 0);
    assert!(!over.event && over.expected_pp() < 2.0, "{over:?}");
}

#[test]
fn sessions_that_end_abnormally_tell_of_an_incident_too() {
    let mut world = World::new();
    let ends = |world: &mut World, ticks: usize, abnormal: u64| {
        for _ in 0..ticks {
            for region in PROVINCES {
                // A tenth of all sessions end so on a good day, and some clients are broken.
                let ends = Ends {
                    normal: 100 - abnormal,
                    reset: abnormal,
                    protocol: 30,
                    ..Ends::default()
                };
                world.learning.intake.handle_ends(&"bj".into(), cell(region), &ends);
            }
            world.tick();
        }
    };
    ends(&mut world, 60, 10);
    let calm = world.estimate("110000", 0);
    assert!(calm.expected_pp() < 1.5 && !calm.event, "{calm:?}");
    ends(&mut world, 1, 40);
    let bad = world.estimate("110000", 0);
    assert!(bad.event && bad.expected_pp() > 20.0, "{bad:?}");
}

#[test]
fn a_quorum_cuts_an_edge_and_never_too_much() {
    let mut world = World::new();
    world
        .edges
        .extend((0..9).map(|n| Arc::new(fixture::edge(&format!("e{n}"), "110000", "telecom"))));
    world.tick();
    for session in 0..60 {
        let region = PROVINCES[session as usize % 3];
        let told = Report { failures: 1, ..report(session, "bj", region) };
        assert_eq!(world.learning.intake.handle_report(&told, world.now()), Ok(()));
    }
    world.tick();
    assert!(world.estimate("110000", 0).cut);
    for edge in 1..12 {
        world.reports(1, &PROVINCES, edge, 0.9);
    }
    let cut = (0..12).filter(|edge| world.estimate("110000", *edge).cut).count();
    assert_eq!(cut, 2);
}

#[test]
fn when_nothing_is_heard_nothing_is_forgotten() {
    let mut world = World::new();
    world.reports(20, &PROVINCES, 0, 0.04);
    for _ in 0..10 {
        world.tick();
    }
    let before = world.estimate("110000", 0);
    world.seconds += 86_400;
    world.tick();
    assert_eq!(world.estimate("110000", 0), before);
}

#[test]
fn reports_say_what_went_wrong() {
    let good = report(1, "bj", "110000");
    assert_eq!(good.bad(), 0.0);
    assert_eq!(Report { attempts: 4, failures: 1, drops: 1, ..good }.bad(), 0.5);
    assert_eq!(Report { attempts: 0, drops: 7, ..good }.bad(), 1.0);
    assert_eq!(Report { lost: Some(0.25), ..good }.bad(), 0.25);
    assert_eq!(Report { lost: Some(f64::NAN), ..good }.bad(), 0.0);
    let half = Report { attempts: 2, failures: 1, lost: Some(0.5), ..good };
    assert_eq!(half.bad(), 0.75);
}

#[test]
fn strangers_are_refused() {
    let mut world = World::new();
    let now = world.now();
    let mut told = |report| world.learning.intake.handle_report(&report, now);
    assert_eq!(told(report(1, "nobody", "110000")), Err(Refusal::Edge));
    assert_eq!(told(report(1, "bj", "110000")), Ok(()));
    assert_eq!(told(report(1, "sh", "110000")), Err(Refusal::Again));
}

#[test]
fn a_liar_moves_a_cell_by_its_share() {
    let mut world = World::new();
    for round in 0..40_u64 {
        for session in 0..200 {
            let told = report(session, "bj", "110000");
            world.learning.intake.handle_report(&told, world.now()).unwrap();
        }
        for session in 0..5_000 {
            let address = IpAddr::from([203, 0, 113, session as u8]);
            let id = 1_000_000 + round * 10_000 + session;
            let told = Report { address, failures: 1, ..report(id, "bj", "110000") };
            let _ = world.learning.intake.handle_report(&told, world.now());
        }
        (0..4).for_each(|_| drop(world.tick()));
    }
    let estimate = world.estimate("110000", 0);
    assert!(estimate.expected_pp() < 7.0 && !estimate.cut, "{estimate:?}");
}

#[test]
fn a_million_cells_do_not_grow_memory() {
    let mut world = World::new();
    let view = world.tick();
    let regions: Vec<Region> =
        geo_data::region::divisions().map(|row| Region::Division(row.code)).collect();
    for n in 0..1_000_000_usize {
        let carrier = Carrier::ALL[n % 9];
        let letters = [b'A' + (n / 9 % 26) as u8, b'A' + (n / 234 % 26) as u8];
        let country = std::str::from_utf8(&letters).unwrap();
        let region = Region::parse(country).unwrap_or(regions[n % regions.len()]);
        let cell = Cell { region, carrier };
        // Asking costs nothing; telling has bounds.
        view.row(cell).estimate(&world.edges[0], None);
        let tally = Tally { reports: 1.0, ..Tally::default() };
        world.learning.handle_tally("bj", cell, &tally);
        if n % 5 == 0 {
            let told = Report { cell, ..report(n as u64, "bj", "110000") };
            let _ = world.learning.intake.handle_report(&told, world.now());
        }
    }
    world.tick();
    let [cells, edges, pairs, sessions, prefixes] = world.learning.len();
    assert!(cells <= CELLS_MAX && edges <= EDGES_MAX && pairs <= PAIRS_MAX, "{cells} {pairs}");
    assert!(sessions <= SESSIONS_MAX && prefixes <= PREFIXES_MAX);
    assert!(cells > CELLS_MAX / 2 && pairs >= cells, "{cells} {pairs}");
    // What is not heard of again is forgotten within nine hours, and its memory is given back.
    let capacity = world.learning.lessons.state.pairs.capacity();
    for _ in 0..9 * 120 {
        world.seconds += 25;
        world.reports(1, &["110000"], 0, 0.0);
    }
    let [cells, _, pairs, ..] = world.learning.len();
    assert!((1..20).contains(&cells) && (1..20).contains(&pairs), "{cells} {pairs}");
    let left = world.learning.lessons.state.pairs.capacity();
    assert!(left < capacity / 16, "{left} of {capacity}");
}

#[test]
fn a_snapshot_goes_on_where_it_was() {
    let mut world = World::new();
    world.reports(60, &PROVINCES, 0, 0.03);
    world.reports(2, &PROVINCES, 1, 0.3);
    let text = serde_json::to_string(&world.learning.lessons.snapshot()).unwrap();
    let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
    let before = [world.estimate("110000", 0), world.estimate("110000", 1)];
    world.learning = Learning::restore(&snapshot).unwrap();
    let after = [world.estimate("110000", 0), world.estimate("110000", 1)];
    for (before, after) in before.into_iter().zip(after) {
        assert!((before.expected_pp() - after.expected_pp()).abs() < 1e-9, "{before:?} {after:?}");
    }
    assert_eq!(world.learning.lessons.snapshot(), snapshot);
    let damaged = text.replacen("\"110000/telecom\"", "\"here/telecom\"", 1);
    let damaged: Snapshot = serde_json::from_str(&damaged).unwrap();
    assert_eq!(Learning::restore(&damaged).unwrap_err(), SnapshotError::Damaged);
}

#[test]
fn an_edge_that_tells_absurd_numbers_hides_no_incident_of_others() {
    let mut world = World::new();
    let cell = |region| Cell { region: Region::parse(region).unwrap(), carrier: Carrier::Telecom };
    let ends = |normal, reset| Ends { normal, reset, ..Ends::default() };
    for _ in 0..20 {
        world.learning.intake.handle_ends(&"sh".into(), cell("110000"), &ends(9_000, 1_000));
        world.tick();
    }
    world.learning.intake.handle_ends(&"bj".into(), cell("440000"), &ends(0, u64::MAX));
    world.tick();
    for _ in 0..40 {
        world.learning.intake.handle_ends(&"sh".into(), cell("110000"), &ends(4_000, 6_000));
        world.tick();
    }
    let estimate = world.estimate("110000", 1);
    assert!(estimate.expected_pp() > 5.0, "{estimate:?}");
}

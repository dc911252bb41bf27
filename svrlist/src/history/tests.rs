//! Samples at given times.

use std::collections::BTreeMap;

use super::*;

const NOW: u64 = 1_800_000_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn load(edge: &str) -> Series {
    Series::parse(&format!("edge.{edge}.load")).unwrap()
}

fn write(history: &mut History, series: &Series, value: f64, at_ms: u64) -> Outcome {
    history.handle_samples([(series.clone(), value)], at_ms)
}

fn read(history: &History, series: &Series, time: Range<u64>, now: u64) -> Vec<Option<f64>> {
    let points = history.read(series, &Grid::new(time, 1000, now));
    points.into_iter().map(|(_, value)| value).collect()
}

#[test]
fn samples_become_means_and_silence_is_no_zero() {
    let mut history = History::new(10);
    for (value, at) in [(1.0, 0), (3.0, 9_999), (5.0, 10_000), (7.0, 40_000)] {
        write(&mut history, &load("a"), value, NOW + at);
    }
    let times = history.read(&load("a"), &Grid::new(NOW - 10_000..NOW + 50_000, 1000, NOW));
    let expected =
        [(-1, None), (0, Some(2.0)), (1, Some(5.0)), (2, None), (3, None), (4, Some(7.0))];
    let expected =
        expected.map(|(at, value): (i64, _)| (NOW.wrapping_add_signed(10_000 * at), value));
    assert_eq!(times, expected);
    write(&mut history, &load("a"), f64::NAN, NOW + 50_000);
    assert_eq!(read(&history, &load("a"), NOW + 50_000..NOW + 60_000, NOW), [None]);
    assert_eq!(read(&history, &load("b"), NOW..NOW + 20_000, NOW), [None, None]);
}

#[test]
fn a_long_time_comes_as_fewer_points() {
    let mut history = History::new(10);
    for minute in 0..60 {
        write(&mut history, &load("a"), f64::from(minute), NOW + MINUTE * u64::from(minute as u32));
    }
    let grid = Grid::new(NOW..NOW + HOUR, 6, NOW + HOUR);
    assert_eq!((grid.step_ms, grid.points), (10 * MINUTE, 6));
    let values: Vec<_> = history.read(&load("a"), &grid).iter().map(|(_, v)| v.unwrap()).collect();
    assert_eq!(values, [4.5, 14.5, 24.5, 34.5, 44.5, 54.5]);
    for (points, least) in [(1, 1), (7, 6), (360, 360), (2000, 360)] {
        let grid = Grid::new(NOW..NOW + HOUR, points, NOW + HOUR);
        assert!((least..=points + 1).contains(&grid.points), "{grid:?}");
    }
}

#[test]
fn fine_means_last_six_hours_and_coarse_ones_a_month() {
    let mut history = History::new(10);
    let end = NOW + 40 * DAY;
    for at in (NOW..end).step_by(MINUTE as usize) {
        write(&mut history, &load("a"), (at / DAY) as f64, at);
    }
    let recent = read(&history, &load("a"), end - 10 * MINUTE..end, end);
    assert_eq!(recent.iter().flatten().count(), 10, "one in six: {recent:?}");
    let month = history.read(&load("a"), &Grid::new(end - 31 * DAY..end, 31, end));
    assert!(
        month
            .iter()
            .take(31)
            .all(|(at, value)| value.is_some_and(|v| (v - (at / DAY) as f64).abs() < 1.0))
    );
    let before = read(&history, &load("a"), end - 35 * DAY..end - 32 * DAY, end);
    assert_eq!(before.iter().flatten().count(), 0, "older than a month");
}

#[test]
fn a_clock_that_was_wrong_heals() {
    let mut history = History::new(10);
    write(&mut history, &load("a"), 1.0, NOW);
    write(&mut history, &load("a"), 2.0, NOW + HOUR);
    write(&mut history, &load("a"), 3.0, NOW + MINUTE);
    let values = read(&history, &load("a"), NOW..NOW + 2 * HOUR, NOW);
    assert_eq!(values.iter().flatten().copied().collect::<Vec<_>>(), [1.0, 3.0]);
    write(&mut history, &load("a"), 4.0, 0);
    assert_eq!(read(&history, &load("a"), 0..10_000, 0), [Some(4.0)]);
    write(&mut history, &load("a"), 5.0, NOW);
    assert_eq!(read(&history, &load("a"), NOW..NOW + 10_000, NOW), [Some(5.0)]);
}

#[test]
fn the_least_recently_written_leaves_and_those_in_use_stay() {
    let mut history = History::new(3);
    for (edge, at) in [("a", 0), ("b", MINUTE), ("c", MINUTE)] {
        assert_eq!(write(&mut history, &load(edge), 1.0, NOW + at).taken, 1);
    }
    let late = NOW + IDLE_FOR.as_millis() as u64;
    let outcome = history.handle_samples(["d", "e"].map(|edge| (load(edge), 2.0)), late);
    assert_eq!(outcome, Outcome { taken: 1, refused: 1 });
    let known = |edge: &str| history.read(&load(edge), &Grid::new(NOW..late + 1, 1000, late));
    let known = |edge: &str| known(edge).iter().any(|(_, value)| value.is_some());
    assert_eq!(["a", "b", "c", "d", "e"].map(known), [false, true, true, true, false]);
}

/// A store as its changes make it.
#[derive(Default)]
struct Store(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store {
    fn apply(&mut self, history: &mut History) -> usize {
        let changes = history.poll_changes();
        let count = changes.len();
        for Change { key, value } in changes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
        count
    }

    fn load(&self, now_ms: u64) -> History {
        let mut history = History::new(3);
        for (key, value) in &self.0 {
            history.restore(key, value).unwrap();
        }
        history.handle_restored(now_ms);
        history
    }
}

#[test]
fn what_a_store_was_told_comes_back() {
    let (mut history, mut store) = (History::new(3), Store::default());
    let end = NOW + 2 * DAY;
    for at in (NOW..end).step_by(20_000) {
        write(&mut history, &load("a"), (at % DAY) as f64, at);
        if at % HOUR == 0 {
            store.apply(&mut history);
        }
    }
    write(&mut history, &load("b"), 1.0, NOW);
    store.apply(&mut history);
    assert_eq!(store.apply(&mut history), 0, "nothing changed since");
    let back = store.load(end);
    for (edge, time) in [("a", end - 6 * HOUR..end), ("a", NOW..end), ("b", NOW..NOW + MINUTE)] {
        let [before, after] = [&history, &back].map(|of| read(of, &load(edge), time.clone(), end));
        assert!(before.iter().any(Option::is_some) && before == after, "{edge} {time:?}");
    }
    assert_eq!(
        store.0.keys().filter(|key| key.starts_with(b"edge.a.")).count(),
        36 + 1 + 3,
        "old chunks left"
    );
}

#[test]
fn what_leaves_leaves_the_store() {
    let (mut history, mut store) = (History::new(1), Store::default());
    write(&mut history, &load("a"), 1.0, NOW);
    store.apply(&mut history);
    assert_eq!(store.0.len(), 2);
    write(&mut history, &load("b"), 1.0, NOW + HOUR);
    store.apply(&mut history);
    assert!(store.0.keys().all(|key| key.starts_with(b"edge.b.")), "{:?}", store.0.keys());
    // A jump of the clock, and back.
    write(&mut history, &load("b"), 1.0, NOW + 400 * DAY);
    store.apply(&mut history);
    assert_eq!(store.0.len(), 2);
    write(&mut history, &load("b"), 1.0, NOW + 2 * HOUR);
    store.apply(&mut history);
    assert_eq!(store.0.len(), 2);
    let mut back = store.load(NOW + 100 * DAY);
    assert!(back.is_empty(), "nothing of the last month");
    store.apply(&mut back);
    assert!(store.0.is_empty());
}

#[test]
fn more_series_than_allowed_are_not_restored() {
    let (mut history, mut store) = (History::new(5), Store::default());
    for (number, edge) in (0..).zip(["a", "b", "c", "d", "e"]) {
        write(&mut history, &load(edge), 1.0, NOW + number * HOUR);
    }
    store.apply(&mut history);
    let back = store.load(NOW + DAY);
    assert_eq!(back.len(), 3);
    assert!(back.kept.contains_key(&load("e")) && !back.kept.contains_key(&load("a")));
}

#[test]
fn nonsense_in_a_store_is_noticed() {
    let mut history = History::new(3);
    let good = key("edge.a.load", FINE, 1);
    assert!(history.restore(&good, &[0; 240]).is_ok());
    let bad: [(&[u8], usize); 6] = [
        (&good, 239),
        (&good, 0),
        (b"edge.a.load", 240),
        (&key("edge.a.nonsense", FINE, 1), 240),
        (&key("edge.a.load", b'x', 1), 240),
        (&key("edge.a.load", FINE, u64::MAX), 240),
    ];
    for (key, bytes) in bad {
        assert!(history.restore(key, &vec![0; bytes]).is_err(), "{key:?} {bytes}");
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for name in [
        "line.bj-1.0.rtt_ms",
        "line.bj.1.12.loss_up",
        "edge.bj-1.connections",
        "site.beijing.south.price",
        "pair.110000/telecom.bj-1.drop_pp",
        "pair.SG/overseas.a.b.drop_pp",
    ] {
        assert_eq!(Series::parse(name).map(|series| series.to_string()).as_deref(), Some(name));
    }
    let long = format!("edge.{}.load", "a".repeat(200));
    for name in [
        "",
        ".",
        "edge",
        "edge..load",
        "edge.a.price",
        "line.a.rtt_ms",
        "line.a.+1.up",
        "line.a.01.up",
        "line..1.up",
        "pair.110000.a.drop_pp",
        "pair.110000/telecom..drop_pp",
        "pair.110000/telecom.a.load",
        "edge.a\0b.load",
        &long,
    ] {
        assert_eq!(Series::parse(name), None, "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn a_name_that_is_read_is_written_the_same(
        name in "(line|edge|site|pair|[a-z]{0,4})[.]([a-z0-9./-]{0,20}|110000/telecom[.]a)[.]\\PC{0,12}|\\PC{0,40}",
    ) {
        if let Some(series) = Series::parse(&name) {
            proptest::prop_assert_eq!(series.to_string(), name);
        }
    }

    #[test]
    fn whatever_the_clock_does_memory_is_bounded(
        times in proptest::collection::vec((0_u64..4_000_000_000_000, 0_u8..4), 1..200),
    ) {
        let (mut history, mut store) = (History::new(2), Store::default());
        for (at, edge) in times {
            write(&mut history, &load(&edge.to_string()), 1.0, at);
            store.apply(&mut history);
            proptest::prop_assert!(history.len() <= 2);
            proptest::prop_assert!(store.0.len() <= 2 * (38 + 33), "{}", store.0.len());
        }
    }
}

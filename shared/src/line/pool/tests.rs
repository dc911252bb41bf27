use std::collections::BTreeMap;

use super::*;

#[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const A: LineId = LineId(0);
const B: LineId = LineId(1);

/// Two ends and the lines between them, which deliver after their delay.
struct Pair {
    now: Instant,
    ends: [Pool; 2],
    /// Of what is sent by the first end, and by the second; none: nothing arrives.
    delays: BTreeMap<LineId, [Option<Duration>; 2]>,
    flying: BTreeMap<(Instant, u64), (usize, LineId, u64, Beat)>,
    count: u64,
}

impl Pair {
    fn new(delays: &[(LineId, u64, u64)]) -> Self {
        let now = start();
        let mut pair = Self {
            now,
            ends: [Pool::new(1, now), Pool::new(2, now)],
            delays: BTreeMap::new(),
            flying: BTreeMap::new(),
            count: 0,
        };
        for (line, out, back) in delays {
            pair.delays.insert(*line, [Some(ms(*out)), Some(ms(*back))]);
            pair.open(0, *line);
            pair.open(1, *line);
        }
        pair
    }

    fn open(&mut self, end: usize, line: LineId) {
        let here = LineEnd::of(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        self.ends[end].handle_opened(line, here.clone(), here, self.now);
    }

    /// Lets time pass; both ends beat.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += ms(1);
            while let Some(entry) = self.flying.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, line, seq, beat) = entry.remove();
                self.ends[to].handle_datagram(line, seq, 100, self.now);
                self.ends[to].handle_beat(line, &beat, self.now);
            }
            for end in 0..2 {
                if self.ends[end].handle_deadline(self.now) {
                    self.beat(end);
                }
            }
        }
    }

    fn beat(&mut self, end: usize) {
        for line in self.ends[end].ids().collect::<Vec<_>>() {
            let beat = self.ends[end].beat(line, 0, self.now);
            let seq = self.ends[end].next_seq(line, 100).unwrap();
            if let Some(delay) = self.delays[&line][end] {
                self.count += 1;
                self.flying.insert((self.now + delay, self.count), (1 - end, line, seq, beat));
            }
        }
    }
}

#[test]
fn a_slow_line_is_slow_and_not_bad() {
    let mut pair = Pair::new(&[(A, 20, 20), (B, 20, 140)]);
    for _ in 0..400 {
        pair.ends.iter_mut().zip([pair.now; 2]).for_each(|(end, now)| end.handle_live(true, now));
        pair.pass(ms(25));
        assert_ne!(pair.ends[1].tier(B), Some(Tier::Gray));
    }
    let [near, far] = &pair.ends;
    assert_eq!(far.tier(B), Some(Tier::Good));
    assert!((ms(115)..=ms(125)).contains(&near.lag(B)), "{:?}", near.lag(B));
    let status = near.status().find(|status| status.id == B).unwrap();
    assert_eq!(status.counts.lost, 0);
    assert!(status.rtt.is_some_and(|rtt| rtt.least == ms(160)), "{:?}", status.rtt);
}

#[test]
fn what_was_sent_on_an_earlier_connection_is_not_missed() {
    let mut pair = Pair::new(&[(A, 20, 20), (B, 20, 20)]);
    pair.pass(ms(20_000));
    for end in &mut pair.ends {
        end.handle_closed(B, pair.now);
    }
    pair.flying.retain(|_, (_, line, ..)| *line != B);
    // The far end takes the connection while a beat that tells of the earlier one is under way.
    pair.open(0, B);
    let mut old = pair.ends[1].beat(A, 0, pair.now);
    old.number += 1;
    old.lines.push(LineNote { line: B.0, sent: 500, ..LineNote::default() });
    pair.ends[0].handle_beat(A, &old, pair.now);
    pair.pass(ms(30));
    pair.open(1, B);
    pair.pass(ms(5000));
    let status = pair.ends[0].status().find(|status| status.id == B).unwrap();
    assert_eq!((status.counts.lost, status.tier), (0, Tier::Good));
}

#[test]
fn beats_are_hastened_within_bounds_and_by_changes_only() {
    let mut pair = Pair::new(&[(A, 20, 20), (B, 20, 20)]);
    pair.pass(ms(2000));
    let before = pair.ends[0].beats();
    for _ in 0..1000 {
        pair.pass(ms(1));
        pair.ends[0].beat_soon(pair.now);
    }
    let beats = pair.ends[0].beats() - before;
    assert!((38..=41).contains(&beats), "{beats} in a second");
    // Nothing more is heard of a line: that is told soon, and once.
    pair.pass(ms(2000));
    pair.delays.insert(B, [Some(ms(20)), None]);
    let before = pair.ends[0].beats();
    pair.pass(ms(1800));
    assert_eq!(pair.ends[1].tier(B), Some(Tier::Silent));
    assert!(pair.ends[0].beats() - before <= 10, "{}", pair.ends[0].beats() - before);
}

#[test]
fn a_line_that_drains_is_leaving_whatever_it_loses() {
    let mut pair = Pair::new(&[(A, 20, 20)]);
    pair.pass(ms(1000));
    let mut beat = pair.ends[1].beat(A, 0, pair.now);
    for (verdict, tier) in [(Verdict::Gray, Tier::Gray), (Verdict::Silent, Tier::Silent)] {
        beat.number += 1;
        beat.lines[0].verdict = verdict;
        pair.ends[0].handle_beat(A, &beat, pair.now);
        assert_eq!(pair.ends[0].tier(A), Some(tier));
    }
    pair.ends[0].handle_draining(A, pair.now);
    assert_eq!(pair.ends[0].tier(A), Some(Tier::Silent));
    beat.number += 1;
    beat.lines[0].verdict = Verdict::Gray;
    pair.ends[0].handle_beat(A, &beat, pair.now);
    assert_eq!(pair.ends[0].tier(A), Some(Tier::Draining));
}

#[test]
fn only_lines_that_the_last_beat_names_have_heard() {
    let mut pair = Pair::new(&[(A, 20, 20), (B, 20, 20)]);
    pair.pass(ms(5000));
    let mut beat = pair.ends[1].beat(A, 0, pair.now);
    beat.number += 1;
    beat.lines.truncate(1);
    beat.lines[0].beats = 0b100;
    pair.ends[0].handle_beat(A, &beat, pair.now);
    assert_eq!(pair.ends[0].heard_beats().1, 0b100);
}

//! What a row of the table is: how much is sent, for how long, and what happens to the lines meanwhile.
//!
//! Every row has three lines with a round trip of 40 ms. What a line is like when nothing is wrong with
//! it is [`own`]; everything else is a preset of the relay on top of it.
//!
//! Invariant: a row is plain data, and everything about it is known before it runs, except which line
//! [`Which::Busiest`] will be.

use std::time::Duration;

use deploy::relay::{Both, Preset, Settings};
use shared::message::Class;

/// One load over lines that change.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is called: fault, messages a second where there are several, class if urgent.
    pub name: String,
    /// Messages a second.
    pub rate: u32,
    /// How a set-up that knows classes is to treat them.
    pub class: Class,
    /// How long messages count.
    pub duration: Duration,
    /// How long messages are sent before any counts.
    pub warm_up: Duration,
    /// How long to wait for messages after the last was due.
    pub settle: Duration,
    /// What all lines are like from the warm-up on.
    pub start: Both<Settings>,
    /// What becomes of them, in order of time.
    pub changes: Vec<Change>,
}

/// Lines become something else.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// When, after the first message that counts.
    pub at: Duration,
    /// Which.
    pub lines: Which,
    /// What they become.
    pub settings: Both<Settings>,
    /// What a person calls it.
    pub label: &'static str,
}

/// Which lines a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that the change before was about.
    Same,
    /// The one that carried most towards the edge during the last second: the primary, as far as a
    /// stranger can see.
    Busiest,
}

impl Row {
    /// How many messages are sent before any counts.
    pub fn warm(&self) -> u64 {
        count(self.rate, self.warm_up)
    }

    /// How many messages are sent in all.
    pub fn count(&self) -> u64 {
        self.warm() + count(self.rate, self.duration)
    }

    /// When message `n` is due, after the first of the warm-up.
    pub fn due(&self, n: u64) -> Duration {
        Duration::from_secs_f64(n as f64 / f64::from(self.rate))
    }

    fn new(name: &str, rate: u32, duration: Duration, preset: Preset) -> Self {
        Self {
            name: name.to_owned(),
            rate,
            class: Class::Normal,
            duration,
            warm_up: WARM_UP,
            settle: SETTLE,
            start: all(preset),
            changes: Vec::new(),
        }
    }

    /// The primary becomes `preset` when half of the time is over.
    fn breaks(mut self, preset: Preset, label: &'static str) -> Self {
        let at = self.duration / 2;
        self.changes.push(Change { at, lines: Which::Busiest, settings: all(preset), label });
        self
    }

    /// The same line becomes what it was, after five seconds or half of what is left.
    fn heals(mut self) -> Self {
        let at = self.duration / 2 + HEALED_AFTER.min(self.duration / 4);
        let settings = self.start;
        self.changes.push(Change { at, lines: Which::Same, settings, label: "healed" });
        self
    }

    fn urgent(mut self) -> Self {
        self.name += "-urgent";
        self.class = Class::Urgent;
        self
    }
}

/// All rows, in the order of the table. `seconds` overrides how long each one counts.
pub fn rows(seconds: Option<u64>) -> Vec<Row> {
    let time = |usual: u64| Duration::from_secs(seconds.unwrap_or(usual));
    let mut rows = Vec::new();
    let losses = [
        ("clean", Preset::Clean),
        ("loss1", Preset::Loss1),
        ("loss5", Preset::Loss5),
        ("loss25", Preset::Loss25),
    ];
    for (name, preset) in losses {
        for (rate, usual) in [(50, 60), (500, 20)] {
            rows.push(Row::new(&format!("{name}-{rate}"), rate, time(usual), preset));
        }
    }
    rows.push(Row::new("bursts25", 50, time(60), Preset::Bursts25));
    // As in the measurements that set the goals, all lines lose 1 % besides.
    let one = |name: &str| Row::new(name, FAULT_RATE, time(20), Preset::Loss1);
    rows.push(one("blackhole").breaks(Preset::Blackhole, "blackhole"));
    rows.push(one("blackhole-heals").breaks(Preset::Blackhole, "blackhole").heals());
    let mut rows: Vec<Row> = rows.into_iter().flat_map(|row| [row.clone(), row.urgent()]).collect();
    rows.push(one("gray60").breaks(Preset::Gray60, "60 % lost"));
    rows.push(one("delay200").breaks(Preset::Delay200, "+200 ms each way"));
    rows.push(Row::new("equal5", 50, time(180), Preset::Loss5));
    rows
}

/// A short row in which nothing is wrong.
pub fn smoke() -> Row {
    Row {
        warm_up: Duration::from_millis(200),
        // Where it runs, much else may run.
        settle: Duration::from_secs(15),
        ..Row::new("smoke", 100, Duration::from_secs(1), Preset::Clean)
            .breaks(Preset::Loss1, "1 % lost")
    }
}

/// A line when nothing is wrong: 20 ms each way, and jitter below the distance of two messages.
pub(super) fn own() -> Settings {
    let (delay, jitter) = (Duration::from_millis(20), Duration::from_millis(1));
    Settings { delay, jitter, ..Settings::default() }
}

fn all(preset: Preset) -> Both<Settings> {
    Both { up: own(), down: own() }.map(|own| preset.over(own))
}

fn count(rate: u32, time: Duration) -> u64 {
    (f64::from(rate) * time.as_secs_f64()).round() as u64
}

/// Lines of every row.
pub(super) const LINES: usize = 3;

/// Bytes of a message.
pub(super) const MESSAGE_BYTES: usize = 300;

/// Messages a second where one line breaks: often enough to see 10 ms.
const FAULT_RATE: u32 = 100;

/// Fifty round trips: windows and pools have found their pace.
const WARM_UP: Duration = Duration::from_secs(2);

/// What is not there by then is of no use to anybody.
const SETTLE: Duration = Duration::from_secs(5);

const HEALED_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_have_names_of_their_own_and_their_changes_come_in_time() {
        for seconds in [None, Some(1)] {
            let rows = rows(seconds);
            let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(names.len(), rows.len());
            for row in &rows {
                let mut last = Duration::ZERO;
                for change in &row.changes {
                    assert!(change.at > last && change.at < row.duration, "{}", row.name);
                    last = change.at;
                }
            }
        }
    }

    #[test]
    fn messages_are_due_evenly_from_the_warm_up_on() {
        let row = smoke();
        assert_eq!((row.warm(), row.count()), (20, 120));
        assert_eq!(row.due(row.warm()), row.warm_up);
        assert_eq!(row.due(row.count()), row.warm_up + row.duration);
    }
}

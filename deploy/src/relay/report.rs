//! What the admin API tells of lines, and how a person reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::config::Raw;

use super::line::{Both, Counters, Traffic};
use super::link::Reason;
use super::settings::Settings;

/// All lines of a relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// In the order of their tables' names.
    pub lines: Vec<LineReport>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineReport {
    /// What it is called.
    pub name: String,
    /// Where it is called.
    pub listen: SocketAddr,
    /// Where it leads.
    pub target: SocketAddr,
    /// How many addresses call over it.
    pub clients: usize,
    /// Towards the target.
    pub up: DirectionReport,
    /// Back.
    pub down: DirectionReport,
}

/// A direction of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectionReport {
    /// Every setting by its name.
    pub settings: BTreeMap<String, Value>,
    /// All that came.
    pub offered: TrafficReport,
    /// What left.
    pub passed: TrafficReport,
    /// What is under way.
    pub waiting: TrafficReport,
    /// What was lost, by every reason there is.
    pub dropped: BTreeMap<String, TrafficReport>,
    /// How long a datagram left after it was due, in microseconds, on average.
    pub late_us_mean: u64,
    /// The same, at the worst.
    pub late_us_max: u64,
}

/// An amount of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReport {
    /// How many.
    pub datagrams: u64,
    /// Their payload.
    pub bytes: u64,
}

impl From<Traffic> for TrafficReport {
    fn from(Traffic { datagrams, bytes }: Traffic) -> Self {
        Self { datagrams, bytes }
    }
}

impl DirectionReport {
    /// What there is to tell of both directions.
    pub fn both(settings: Both<Settings>, counters: Both<Counters>) -> Both<Self> {
        Both {
            up: Self::new(settings.up, counters.up),
            down: Self::new(settings.down, counters.down),
        }
    }

    fn new(settings: Settings, counters: Counters) -> Self {
        let dropped =
            Reason::NAMED.map(|(name, reason)| (name.to_owned(), counters.dropped(reason).into()));
        Self {
            settings: named(settings).collect(),
            offered: counters.offered.into(),
            passed: counters.passed.into(),
            waiting: counters.waiting.into(),
            dropped: dropped.into(),
            late_us_mean: micros(counters.late_mean()),
            late_us_max: micros(counters.late_max),
        }
    }

    /// The settings that are not those of a perfect link.
    fn faults(&self) -> String {
        let usual: BTreeMap<String, Value> = named(Settings::default()).collect();
        let faults = self.settings.iter().filter(|(name, value)| usual.get(*name) != Some(value));
        let faults = faults.map(|(name, value)| match value {
            Value::Bool(true) => name.clone(),
            Value::String(text) => format!("{name}={text}"),
            value => format!("{name}={value}"),
        });
        let faults: Vec<String> = faults.collect();
        if faults.is_empty() { "clean".to_owned() } else { faults.join(" ") }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.lines.iter().map(LineReport::to_string).collect();
        out.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for LineReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, listen, target, clients, up, down } = self;
        let callers = if *clients == 1 { "caller" } else { "callers" };
        writeln!(out, "{name}  {listen} -> {target}, {clients} {callers}")?;
        writeln!(out, "  up    {up}")?;
        write!(out, "  down  {down}")
    }
}

impl fmt::Display for DirectionReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (faults, passed, waiting) =
            (self.faults(), self.passed.datagrams, self.waiting.datagrams);
        write!(out, "{faults:<24} passed {passed}, waiting {waiting}, ")?;
        let lost = self.dropped.iter().filter(|(_, lost)| lost.datagrams > 0);
        let lost: Vec<String> =
            lost.map(|(reason, lost)| format!("{reason} {}", lost.datagrams)).collect();
        if lost.is_empty() {
            out.write_str("lost none")
        } else {
            write!(out, "lost by {}", lost.join(", "))
        }
    }
}

fn named(settings: Settings) -> impl Iterator<Item = (String, Value)> {
    settings.fields().into_iter().map(|(name, value)| (name.to_owned(), json(value)))
}

/// A setting as JSON: numbers and truths as such, everything else as a text.
fn json(value: Raw) -> Value {
    match value {
        Raw::Bool(value) => value.into(),
        Raw::Integer(number) => match u64::try_from(number) {
            Ok(number) => number.into(),
            Err(_) => number.to_string().into(),
        },
        Raw::Float(number) => number.into(),
        Raw::Text(text) | Raw::Word(text) | Raw::Other(text) => text.into(),
        Raw::List(items) => items.into_iter().map(json).collect(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::line::{Direction, Line};
    use super::super::settings::Preset;
    use super::*;

    fn report() -> LineReport {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = std::time::Instant::now();
        let slow = Settings { delay: Duration::from_millis(20), ..Settings::default() };
        let settings = Both { up: Preset::Blackhole.over(slow), down: Settings::default() };
        let mut line = Line::new(settings, 1, now);
        line.handle_datagram(Direction::Up, 7, now, || ());
        line.handle_datagram(Direction::Down, 300, now, || ());
        line.poll_due(now).unwrap();
        line.handle_datagram(Direction::Down, 500, now, || ());
        let Both { up, down } = DirectionReport::both(line.settings(), line.counters());
        let [listen, target] = [7711, 7401].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        LineReport { name: "bj-telecom".to_owned(), listen, target, clients: 1, up, down }
    }

    #[test]
    fn people_read_what_is_wrong_and_what_it_did() {
        let text = "bj-telecom  127.0.0.1:7711 -> 127.0.0.1:7401, 1 caller\n  \
                    up    blackhole delay=20ms     passed 0, waiting 0, lost by blackhole 1\n  \
                    down  clean                    passed 1, waiting 1, lost none";
        assert_eq!(report().to_string(), text);
    }

    #[test]
    fn programs_read_everything() {
        let value = serde_json::to_value(report()).unwrap();
        assert_eq!(value["up"]["settings"]["blackhole"], json!(true));
        assert_eq!(value["up"]["settings"]["delay"], json!("20ms"));
        assert_eq!(value["up"]["dropped"]["blackhole"], json!({ "datagrams": 1, "bytes": 7 }));
        assert_eq!(value["down"]["offered"], json!({ "datagrams": 2, "bytes": 800 }));
        assert_eq!(value["down"]["waiting"], json!({ "datagrams": 1, "bytes": 500 }));
        assert_eq!(serde_json::from_value::<LineReport>(value).unwrap(), report());
    }
}

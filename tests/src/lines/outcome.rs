//! What a run came to, as a line of the table and a line of CSV.
//!
//! Latency is in order unless said otherwise, and counts from when a message was due, not from when a
//! late sender got round to it. A quantile that lies among messages that never came is `never` (`inf` in
//! CSV), which is worse than any number.
//!
//! Invariant: table and CSV print the same values.

use std::fmt;
use std::time::Duration;

use deploy::relay::Both;

use super::arrivals::Message;
use super::row::{LINES, MESSAGE_BYTES, Row};

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was sent.
    pub row: Row,
    /// What carried it.
    pub setup: &'static str,
    /// The luck of the lines.
    pub seed: u64,
    /// Every message that counts.
    pub messages: Vec<Message>,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub out_of_order: u64,
    /// Bytes offered to the lines while messages counted, with the headers of UDP and IPv4.
    pub wire: Both<u64>,
    /// When the primary line changed, after the first message that counts; warm-up left out.
    pub switches: Vec<Duration>,
    /// What happened to the lines.
    pub faults: Vec<Fault>,
    /// The worst that this machine itself was late.
    pub stall: Duration,
    /// Why it stopped carrying before it was asked to.
    pub ended: Option<String>,
}

/// Something happened to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// When it was done, after the first message that counts.
    pub at: Duration,
    /// What, and to which line.
    pub label: String,
}

/// A latency, or that it never ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    /// It took so long.
    Took(Duration),
    /// It did not end while anybody waited.
    Never,
}

impl Outcome {
    /// The latency that this share of the messages does not exceed, in order.
    pub fn delivered(&self, share: f64) -> Latency {
        quantile(self.messages.iter().map(|message| message.delivered), share)
    }

    /// The same for messages as they came, whatever was before them.
    pub fn arrived(&self, share: f64) -> Latency {
        quantile(self.messages.iter().map(|message| message.arrived), share)
    }

    /// How many messages never came.
    pub fn undelivered(&self) -> usize {
        self.messages.iter().filter(|message| message.arrived.is_none()).count()
    }

    /// Bytes on the lines for each byte of the messages that came.
    pub fn over_useful(&self) -> Both<f64> {
        let useful = (self.messages.len() - self.undelivered()) * MESSAGE_BYTES;
        self.wire.map(|bytes| bytes as f64 / useful as f64)
    }

    /// How long after the first fault the primary changed.
    pub fn left_after(&self) -> Option<Duration> {
        let fault = self.faults.first()?.at;
        self.switches.iter().find(|at| **at >= fault).map(|at| *at - fault)
    }

    /// Whether the machine was too busy for the run to be trusted.
    pub fn is_doubtful(&self) -> bool {
        self.stall > STALL_MAX
    }

    fn switches_per_line_hour(&self) -> f64 {
        let hours = self.row.duration.as_secs_f64() / 3600.0;
        self.switches.len() as f64 / (hours * LINES as f64)
    }

    /// The heads of the CSV's columns.
    pub fn csv_head() -> String {
        COLUMNS.join(",")
    }

    /// A line of CSV.
    pub fn csv(&self) -> String {
        let or_inf = |latency| match latency {
            Latency::Took(time) => millis(time),
            Latency::Never => "inf".to_owned(),
        };
        let Both { up, down } = self.over_useful();
        let fields: [String; COLUMNS.len()] = [
            self.row.name.clone(),
            self.setup.to_owned(),
            self.seed.to_string(),
            self.row.rate.to_string(),
            self.row.duration.as_secs().to_string(),
            self.messages.len().to_string(),
            self.undelivered().to_string(),
            self.duplicated.to_string(),
            self.out_of_order.to_string(),
            or_inf(self.delivered(0.5)),
            or_inf(self.delivered(0.99)),
            or_inf(self.delivered(0.999)),
            or_inf(self.delivered(1.0)),
            or_inf(self.arrived(0.5)),
            or_inf(self.arrived(0.99)),
            or_inf(self.arrived(0.999)),
            format!("{down:.3}"),
            format!("{up:.3}"),
            self.switches.len().to_string(),
            format!("{:.1}", self.switches_per_line_hour()),
            self.left_after().map(millis).unwrap_or_default(),
            millis(self.stall),
            self.ended.clone().unwrap_or_default().replace([',', '\n', '"'], " "),
        ];
        fields.join(",")
    }

    /// The head of the table.
    pub fn table_head() -> String {
        format!(
            "{:<24}{:<15}{:>8}{:>8}{:>8}{:>8}{:>9}{:>8}{:>6}{:>8}{:>8}{:>8}{:>9}{:>8}{:>8}",
            "milliseconds, in order",
            "set-up",
            "p50",
            "p99",
            "p99.9",
            "max",
            "unsorted",
            "missing",
            "twice",
            "unorder",
            "x down",
            "x up",
            "switches",
            "left",
            "stall"
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| self.delivered(share));
        let Both { up, down } = self.over_useful();
        let left = self.left_after().map_or("-".to_owned(), whole_millis);
        write!(
            out,
            "{:<24}{:<15}{p50:>8}{p99:>8}{p999:>8}{max:>8}{:>9}{:>8}{:>6}{:>8}{down:>8.2}{up:>8.2}\
             {:>9}{left:>8}{:>7}{}",
            self.row.name,
            self.setup,
            self.arrived(0.99),
            self.undelivered(),
            self.duplicated,
            self.out_of_order,
            self.switches.len(),
            millis(self.stall),
            if self.is_doubtful() { '!' } else { ' ' },
        )?;
        match &self.ended {
            Some(why) => write!(out, " {why}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Took(time) => out.pad(&millis(*time)),
            Self::Never => out.pad("never"),
        }
    }
}

/// The nearest rank; no messages take no time.
fn quantile(latencies: impl Iterator<Item = Option<Duration>>, share: f64) -> Latency {
    let mut latencies: Vec<Latency> =
        latencies.map(|latency| latency.map_or(Latency::Never, Latency::Took)).collect();
    latencies.sort_unstable();
    let rank = (share * latencies.len() as f64).ceil() as usize;
    let found = latencies.get(rank.saturating_sub(1)).copied();
    found.unwrap_or(Latency::Took(Duration::ZERO))
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

fn whole_millis(time: Duration) -> String {
    time.as_millis().to_string()
}

/// Of the CSV.
const COLUMNS: [&str; 23] = [
    "row",
    "setup",
    "seed",
    "messages_per_second",
    "seconds",
    "messages",
    "undelivered",
    "duplicated",
    "out_of_order",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
    "unsorted_p50_ms",
    "unsorted_p99_ms",
    "unsorted_p999_ms",
    "down_bytes_over_useful",
    "up_bytes_over_useful",
    "switches",
    "switches_per_line_hour",
    "left_after_ms",
    "stall_ms",
    "ended",
];

/// A run in which something was later than this says little about the far tail.
const STALL_MAX: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::super::row::smoke;
    use super::*;

    fn outcome(millis: &[Option<u64>]) -> Outcome {
        let message = |latency: &Option<u64>| {
            let latency = latency.map(Duration::from_millis);
            Message { due: Duration::ZERO, arrived: latency, delivered: latency }
        };
        Outcome {
            row: smoke(),
            setup: "none",
            seed: 1,
            messages: millis.iter().map(message).collect(),
            duplicated: 0,
            out_of_order: 0,
            wire: Both { up: 300, down: 1800 },
            switches: Vec::new(),
            faults: Vec::new(),
            stall: Duration::ZERO,
            ended: None,
        }
    }

    #[test]
    fn quantiles_are_nearest_ranks_and_what_never_came_is_the_worst() {
        let of = outcome(&[Some(30), None, Some(10), Some(20)]);
        let took = |millis| Latency::Took(Duration::from_millis(millis));
        assert_eq!(of.delivered(0.25), took(10));
        assert_eq!(of.delivered(0.5), took(20));
        assert_eq!(of.delivered(0.75), took(30));
        assert_eq!(of.delivered(0.76), Latency::Never);
        assert_eq!(of.undelivered(), 1);
    }

    #[test]
    fn bytes_count_over_what_came() {
        let over = outcome(&[Some(1), None, Some(1), Some(1)]).over_useful();
        assert_eq!((over.down, over.up), (2.0, 1.0 / 3.0));
    }

    #[test]
    fn a_fault_is_left_by_the_first_switch_after_it() {
        let mut of = outcome(&[Some(1)]);
        let millis = Duration::from_millis;
        of.switches = vec![millis(50), millis(700), millis(900)];
        assert_eq!(of.left_after(), None);
        of.faults = vec![Fault { at: millis(600), label: "blackhole".to_owned() }];
        assert_eq!(of.left_after(), Some(millis(100)));
    }

    #[test]
    fn a_line_of_csv_has_a_field_for_every_column() {
        let mut of = outcome(&[Some(1), None]);
        of.ended = Some("lost, \"timed out\"".to_owned());
        let (head, line) = (Outcome::csv_head(), of.csv());
        assert_eq!(head.split(',').count(), line.split(',').count(), "{line}");
        assert!(line.contains(",inf,"), "{line}");
    }

    #[test]
    fn the_table_is_straight() {
        let line = outcome(&[Some(1), None]).to_string();
        assert_eq!(line.chars().count(), Outcome::table_head().chars().count(), "{line}");
    }
}

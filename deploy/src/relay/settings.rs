//! How bad a link is: plain values, as configuration, the admin API and people say them.
//!
//! Invariant: [`Settings::FIELDS`] names every field once, for reading, printing and changing alike.

use std::fmt;
use std::time::Duration;

use shared::config::{Raw, Reader, Setting};

/// The quality of one direction of a line. The default is a perfect one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Every datagram is lost, silently.
    pub blackhole: bool,
    /// Share of datagrams lost, each on its own.
    pub loss: f64,
    /// Share of datagrams lost while a burst lasts; 0 is no bursts.
    pub burst_loss: f64,
    /// How long a burst lasts on average. Bursts are of time, not of datagrams: a thin stream meets
    /// the same outages as a thick one.
    pub burst_bad: Duration,
    /// How long the link is good between bursts, on average.
    pub burst_good: Duration,
    /// Payload that leaves in a second; 0 is any amount.
    pub bits_per_second: u64,
    /// The longest that a datagram waits for the rate; what would wait longer is lost.
    pub queue: Duration,
    /// How long every datagram is under way at least.
    pub delay: Duration,
    /// How much longer it may be under way, evenly spread.
    pub jitter: Duration,
    /// Whether jitter may change the order; otherwise a datagram waits for the one before it, and
    /// jitter above the distance of two datagrams bunches them.
    pub reorder: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            blackhole: false,
            loss: 0.0,
            burst_loss: 0.0,
            burst_bad: Duration::from_millis(350),
            burst_good: Duration::from_secs(1),
            bits_per_second: 0,
            queue: Duration::from_millis(60),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: false,
        }
    }
}

impl Settings {
    /// The names of all fields.
    pub const FIELDS: [&str; 10] = [
        "blackhole",
        "loss",
        "burst_loss",
        "burst_bad",
        "burst_good",
        "bits_per_second",
        "queue",
        "delay",
        "jitter",
        "reorder",
    ];

    /// Every field with its value, in the order of [`Settings::FIELDS`].
    pub fn fields(&self) -> [(&'static str, Raw); 10] {
        let values = [
            self.blackhole.print(),
            self.loss.print(),
            self.burst_loss.print(),
            self.burst_bad.print(),
            self.burst_good.print(),
            self.bits_per_second.print(),
            self.queue.print(),
            self.delay.print(),
            self.jitter.print(),
            self.reorder.print(),
        ];
        let mut values = values.into_iter();
        Self::FIELDS.map(|name| (name, values.next().unwrap_or(Raw::Bool(false))))
    }
}

/// Some fields, to be set over others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Patch {
    blackhole: Option<bool>,
    loss: Option<f64>,
    burst_loss: Option<f64>,
    burst_bad: Option<Duration>,
    burst_good: Option<Duration>,
    bits_per_second: Option<u64>,
    queue: Option<Duration>,
    delay: Option<Duration>,
    jitter: Option<Duration>,
    reorder: Option<bool>,
}

impl Patch {
    /// Reads the fields that are set in `section`, which ends with a point unless it is empty.
    pub(super) fn read(reader: &mut Reader, section: &str) -> Self {
        let default = Settings::default();
        let key = |name: &str| format!("{section}{name}");
        let span = Duration::from_millis(1)..=SPAN_MAX;
        Self {
            blackhole: flag(reader, &key("blackhole"), "Loses every datagram, silently."),
            loss: share(reader, &key("loss"), "Share of datagrams lost, each on its own."),
            burst_loss: share(
                reader,
                &key("burst_loss"),
                "Share of datagrams lost while a burst lasts; 0 is no bursts.",
            ),
            burst_bad: said(reader, &key("burst_bad"), |reader, key| {
                let meaning = "How long a burst lasts on average.";
                reader.ranged(key, default.burst_bad, span.clone(), meaning)
            }),
            burst_good: said(reader, &key("burst_good"), |reader, key| {
                let meaning = "How long the link is good between bursts, on average.";
                reader.ranged(key, default.burst_good, span, meaning)
            }),
            bits_per_second: said(reader, &key("bits_per_second"), |reader, key| {
                let meaning = "Payload that leaves in a second; 0 is any amount.";
                reader.ranged(key, default.bits_per_second, 0..=BITS_PER_SECOND_MAX, meaning)
            }),
            queue: said(reader, &key("queue"), |reader, key| {
                let meaning = "Longest that a datagram waits for the rate before it is lost.";
                reader.ranged(key, default.queue, Duration::ZERO..=DELAY_MAX, meaning)
            }),
            delay: said(reader, &key("delay"), |reader, key| {
                let meaning = "How long every datagram is under way at least.";
                reader.ranged(key, default.delay, Duration::ZERO..=DELAY_MAX, meaning)
            }),
            jitter: said(reader, &key("jitter"), |reader, key| {
                let meaning = "How much longer it may be under way, evenly spread.";
                reader.ranged(key, default.jitter, Duration::ZERO..=DELAY_MAX, meaning)
            }),
            reorder: flag(
                reader,
                &key("reorder"),
                "Whether jitter may change the order of datagrams.",
            ),
        }
    }

    /// `settings` with these fields.
    pub(super) fn over(&self, settings: Settings) -> Settings {
        Settings {
            blackhole: self.blackhole.unwrap_or(settings.blackhole),
            loss: self.loss.unwrap_or(settings.loss),
            burst_loss: self.burst_loss.unwrap_or(settings.burst_loss),
            burst_bad: self.burst_bad.unwrap_or(settings.burst_bad),
            burst_good: self.burst_good.unwrap_or(settings.burst_good),
            bits_per_second: self.bits_per_second.unwrap_or(settings.bits_per_second),
            queue: self.queue.unwrap_or(settings.queue),
            delay: self.delay.unwrap_or(settings.delay),
            jitter: self.jitter.unwrap_or(settings.jitter),
            reorder: self.reorder.unwrap_or(settings.reorder),
        }
    }
}

/// Reads a key, always, and answers its value if it is set.
fn said<T>(reader: &mut Reader, key: &str, read: impl FnOnce(&mut Reader, &str) -> T) -> Option<T> {
    let set = reader.is_set(key);
    let value = read(reader, key);
    set.then_some(value)
}

fn flag(reader: &mut Reader, key: &str, meaning: &'static str) -> Option<bool> {
    said(reader, key, |reader, key| reader.value(key, false, meaning))
}

fn share(reader: &mut Reader, key: &str, meaning: &'static str) -> Option<f64> {
    said(reader, key, |reader, key| reader.ranged(key, 0.0, 0.0..=1.0, meaning))
}

/// What can be wrong with a line, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Every datagram is lost.
    Blackhole,
    /// 24 % are lost in bursts: 92 % of what is sent in 350 ms of every 1.35 s, on average.
    Bursts25,
    /// Nothing.
    #[default]
    Clean,
    /// 200 ms more under way.
    Delay200,
    /// A gray failure: 60 % are lost, and the line still answers.
    Gray60,
    /// 1 % are lost, each on its own.
    Loss1,
    /// 5 % are lost, each on its own.
    Loss5,
    /// 25 % are lost, each on its own.
    Loss25,
}

impl Preset {
    /// All, with their names.
    pub const NAMED: [(&str, Self); 8] = [
        ("clean", Self::Clean),
        ("loss1", Self::Loss1),
        ("loss5", Self::Loss5),
        ("loss25", Self::Loss25),
        ("bursts25", Self::Bursts25),
        ("gray60", Self::Gray60),
        ("blackhole", Self::Blackhole),
        ("delay+200", Self::Delay200),
    ];

    /// What a link that is `own` when nothing is wrong becomes.
    pub fn over(self, own: Settings) -> Settings {
        match self {
            Self::Blackhole => Settings { blackhole: true, ..own },
            Self::Bursts25 => Settings {
                burst_loss: 0.92,
                burst_bad: Duration::from_millis(350),
                burst_good: Duration::from_secs(1),
                ..own
            },
            Self::Clean => own,
            Self::Delay200 => {
                let delay = own.delay + Duration::from_millis(200);
                Settings { delay: delay.min(DELAY_MAX), ..own }
            }
            Self::Gray60 => Settings { loss: 0.6, ..own },
            Self::Loss1 => Settings { loss: 0.01, ..own },
            Self::Loss5 => Settings { loss: 0.05, ..own },
            Self::Loss25 => Settings { loss: 0.25, ..own },
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMED.iter().find(|(_, preset)| preset == self);
        out.write_str(named.map_or("", |(name, _)| name))
    }
}

impl Setting for Preset {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let word = raw.text().unwrap_or_default().trim();
        let named = Self::NAMED.iter().find(|(name, _)| *name == word);
        named.map(|(_, preset)| *preset).ok_or_else(|| format!("must be {}", Self::allowed()))
    }

    fn print(&self) -> Raw {
        Raw::Text(self.to_string())
    }

    fn allowed() -> String {
        let names: Vec<&str> = Self::NAMED.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    }
}

/// Longer than anything on Earth, and short enough to wait for.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// Outages of an hour.
const SPAN_MAX: Duration = Duration::from_secs(3600);

/// 100 Gbit/s: a byte is 80 ps there, and times are counted in nanoseconds.
const BITS_PER_SECOND_MAX: u64 = 100_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_called_by_their_names() {
        for (name, preset) in Preset::NAMED {
            assert_eq!(preset.to_string(), name);
            assert_eq!(Preset::parse(&preset.print()), Ok(preset));
        }
        let error = Preset::parse(&Raw::Word("broken".to_owned())).unwrap_err();
        assert!(error.contains("clean, loss1"), "{error}");
    }

    #[test]
    fn a_preset_keeps_what_the_line_is_like_without_it() {
        let own = Settings { delay: Duration::from_millis(30), ..Settings::default() };
        for (name, preset) in Preset::NAMED {
            let delay = if name == "delay+200" { 230 } else { 30 };
            assert_eq!(preset.over(own).delay, Duration::from_millis(delay), "{name}");
        }
        assert_eq!(Preset::Clean.over(own), own);
    }

    #[test]
    fn every_field_is_named_beside_its_value() {
        let settings = Settings { jitter: Duration::from_millis(2), ..Settings::default() };
        let fields = settings.fields();
        assert_eq!(fields.clone().map(|(name, _)| name), Settings::FIELDS);
        assert!(fields.contains(&("jitter", Raw::Text("2ms".to_owned()))));
        assert!(fields.contains(&("queue", Raw::Text("60ms".to_owned()))));
    }
}

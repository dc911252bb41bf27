//! What is published, and what happens to the lines: the acceptance matrix.

use std::time::Duration;

use deploy::relay::{Preset, Settings};
use shared::message::Class;

/// One row of the matrix.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// How the lines are from the start, apart from their delay: up and down.
    pub start: [Preset; 2],
    /// What happens when.
    pub changes: Vec<(Duration, Change)>,
    /// How long messages are published.
    pub publish_for: Duration,
    /// The pulls: messages a second, bytes, class.
    pub pulls: Vec<(u32, usize, Class)>,
    /// Whether messages may be gone for good.
    pub may_lose: bool,
    /// Figures that must hold over all seeds together.
    pub goals: Goals,
}

/// What the figures of a row must not exceed, where it says anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Goals {
    /// From published to arrived, milliseconds: of 99 % of the messages.
    pub p99_ms: Option<f64>,
    /// Of 99.9 %.
    pub p999_ms: Option<f64>,
    /// Of all, in 99 of 100 seeds.
    pub max_ms: Option<f64>,
    /// Bytes on the wire downwards over those of bodies.
    pub over_useful: Option<f64>,
    /// Until the primary was left after the first change, milliseconds, in 95 % of the seeds.
    pub left_ms: Option<f64>,
    /// Changes of primary per line and hour.
    pub switches_per_hour: Option<f64>,
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Lines become so, upwards and downwards.
    Lines(Which, [Preset; 2]),
    /// The upstream's process is another one; its log may be too.
    Restart {
        /// Whether the log is lost.
        log_lost: bool,
    },
    /// A line's connection ends.
    Close(Which),
}

/// Which lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that the upstream's single copies go by.
    Primary,
    /// All but that one.
    Others,
    /// Every one.
    All,
    /// By its number.
    Line(u32),
}

/// How fast a shared or slow line is, bits a second, and its lines.
impl Scenario {
    fn new(name: &'static str, preset: Preset) -> Self {
        Self {
            name,
            start: [preset; 2],
            changes: Vec::new(),
            publish_for: secs(4),
            pulls: vec![(100, 300, Class::Normal)],
            may_lose: false,
            goals: Goals::default(),
        }
    }

    fn then(mut self, at: Duration, change: Change) -> Self {
        self.changes.push((at, change));
        self
    }

    fn lines(self, at: Duration, which: Which, preset: Preset) -> Self {
        self.then(at, Change::Lines(which, [preset; 2]))
    }

    fn lasting(self, publish_for: Duration) -> Self {
        Self { publish_for, ..self }
    }

    fn pulls(self, pulls: &[(u32, usize, Class)]) -> Self {
        Self { pulls: pulls.to_vec(), ..self }
    }

    fn goals(self, goals: Goals) -> Self {
        Self { goals, ..self }
    }
}

/// The matrix.
pub fn scenarios() -> Vec<Scenario> {
    use Preset::{Blackhole, Bursts25, Clean, Delay200, Gray60, Loss1, Loss5, Loss25};
    let (none, second) = (Goals::default(), secs(1));
    let normal = [(500, 300, Class::Normal)];
    let urgent = [(500, 300, Class::Urgent)];
    let over = |over| Goals { over_useful: Some(over), ..none };
    let mut flapping = Scenario::new("flapping", Clean).lasting(secs(10));
    for n in 0..2 {
        flapping = flapping.lines(secs(1 + 4 * n), Which::Line(0), Blackhole).lines(
            secs(3 + 4 * n),
            Which::Line(0),
            Clean,
        );
    }
    vec![
        Scenario::new("clean", Clean).goals(Goals { max_ms: Some(40.0), ..none }),
        Scenario::new("loss1", Loss1).pulls(&normal).goals(over(1.35)),
        Scenario::new("loss5", Loss5).pulls(&normal).goals(over(1.5)),
        Scenario::new("loss5-long", Loss5)
            .lasting(secs(40))
            .pulls(&[(50, 300, Class::Normal)])
            .goals(Goals { switches_per_hour: Some(1.0), ..none }),
        Scenario::new("loss25", Loss25).pulls(&normal).goals(Goals { p99_ms: Some(150.0), ..none }),
        Scenario::new("loss25-urgent", Loss25).pulls(&urgent).goals(Goals {
            p99_ms: Some(100.0),
            p999_ms: Some(160.0),
            over_useful: Some(2.7),
            ..none
        }),
        Scenario::new("bursts25", Bursts25).lasting(secs(6)),
        Scenario::new("bursts25-urgent", Bursts25)
            .lasting(secs(6))
            .pulls(&[(50, 300, Class::Urgent)])
            .goals(Goals { p99_ms: Some(250.0), ..none }),
        Scenario { start: [Clean, Loss25], ..Scenario::new("loss25-down", Clean) },
        Scenario { start: [Loss25, Clean], ..Scenario::new("loss25-up", Clean) },
        Scenario::new("gray60", Loss1)
            .lines(second, Which::Primary, Gray60)
            .goals(Goals { left_ms: Some(300.0), ..none }),
        Scenario::new("blackhole", Loss1).lines(second, Which::Primary, Blackhole).goals(Goals {
            max_ms: Some(200.0),
            left_ms: Some(200.0),
            ..none
        }),
        Scenario::new("blackhole-urgent", Loss1)
            .pulls(&[(100, 300, Class::Urgent)])
            .lines(second, Which::Primary, Blackhole)
            .goals(Goals { max_ms: Some(100.0), ..none }),
        // Every message goes by a stream of its own.
        Scenario::new("blackhole-large", Loss1)
            .pulls(&[(10, 3000, Class::Normal)])
            .lines(second, Which::Primary, Blackhole)
            .goals(Goals { max_ms: Some(700.0), left_ms: Some(250.0), ..none }),
        Scenario::new("loss25-large", Loss25).pulls(&[(10, 3000, Class::Normal)]).goals(Goals {
            p99_ms: Some(500.0),
            p999_ms: Some(700.0),
            ..none
        }),
        Scenario::new("blackhole-two", Loss1).lines(second, Which::Others, Blackhole).lines(
            secs(3),
            Which::All,
            Clean,
        ),
        Scenario::new("blackhole-all", Clean)
            .lasting(secs(9))
            .lines(second, Which::All, Blackhole)
            .lines(secs(6), Which::All, Clean),
        Scenario::new("blackhole-down", Loss1)
            .then(second, Change::Lines(Which::Primary, [Loss1, Blackhole]))
            .lines(secs(3), Which::All, Clean),
        Scenario::new("blackhole-up", Loss1)
            .then(second, Change::Lines(Which::Primary, [Blackhole, Loss1]))
            .lines(secs(3), Which::All, Clean),
        flapping,
        Scenario::new("delay200", Clean).lines(second, Which::Primary, Delay200),
        Scenario::new("restart", Loss5).then(second, Change::Restart { log_lost: false }),
        Scenario {
            may_lose: true,
            ..Scenario::new("restart-epoch", Loss5).then(second, Change::Restart { log_lost: true })
        },
        Scenario::new("closing", Loss5)
            .then(second, Change::Close(Which::Primary))
            .then(secs(2), Change::Close(Which::Others))
            .then(secs(3), Change::Close(Which::All)),
        Scenario::new("mixed", Loss5).pulls(&[
            (200, 200, Class::Normal),
            (20, 300, Class::Urgent),
            (50, 100, Class::Droppable),
            (2, 50_000, Class::Normal),
            (5, 900, Class::Normal),
        ]),
    ]
}

/// How a link is that is `preset` on a path of this round-trip time.
pub(super) fn link(preset: Preset, rtt: Duration) -> Settings {
    let path = Settings { delay: rtt / 2, jitter: rtt / 20, ..Settings::default() };
    preset.over(path)
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

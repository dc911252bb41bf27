//! The impairment relay: what stands between an edge and its upstream when lines are to be slow,
//! lossy or dead on purpose.
//!
//! 1. A [`Link`] is the model of one direction of a line: a datagram is offered, and it arrives at
//!    some time or is lost for some reason. [`Settings`] say how; a [`Preset`] is one in a word.
//! 2. A [`Line`] is two links and what is under way on them, with counters.
//! 3. The shell, [`io::relay`](crate::io::relay), carries real datagrams as a line decides; a
//!    simulator can do the same with imagined ones.
//!
//! Invariant: nothing here reads a clock or rolls foreign dice, so a seed and a list of offers name
//! one run for ever.

mod change;
mod clients;
mod config;
mod dice;
mod line;
mod link;
mod order;
mod report;
mod settings;

pub use change::{ChangeError, change};
pub use clients::Clients;
pub use config::{Config, LineConfig, PREFIX};
pub use dice::Dice;
pub use line::{Both, Counters, Direction, Due, Line, Traffic};
pub use link::{Fate, Link, Reason};
pub use order::{Order, Refusal};
pub use report::{DirectionReport, LineReport, Report, TrafficReport};
pub use settings::{Preset, Settings};

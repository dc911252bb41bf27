//! Lines that fail: how long messages take over three lines that lose, delay and die, and what carries
//! them best.
//!
//! A [`Row`] is a load and what happens to the lines; a [`Setup`] is something that carries messages
//! from an upstream to an edge over them. Every set-up meets every row: the same messages, at the same
//! times, through the product's own relay. Both ends and the relay live in one process, on one clock.
//!
//! What is unfair, and to whom:
//! - A set-up with one connection has one line, whose fault is then the fault of all it has. That is what
//!   one connection is.
//! - Losses are decided datagram by datagram from the row's seed. A set-up that sends other datagrams
//!   meets other luck, so rows with few messages compare by orders, not by milliseconds.
//! - Latency is in order, from when a message was due. A set-up that delivers as messages come is judged
//!   by the order it could have given; the column `unsorted` has what it gave.
//! - Everything shares the machine's cores, so a set-up's own CPU time counts against it, as in life.
//! - Messages of 300 bytes pay much for headers; the ratios are of these.
//!
//! To add a set-up, implement `carriage::Carriage`, and name it in [`Setup`].

use anyhow::Result;
use shared::message::Class;

mod arrivals;
mod carriage;
mod drive;
mod identity;
mod multipath;
mod outcome;
mod paths;
mod plot;
mod report;
mod row;
mod single;
mod streams;
mod trunk;

pub use arrivals::Message;
pub use outcome::{Fault, Latency, Outcome};
pub use report::{CSV, Report};
pub use row::{Change, Row, Which, rows, smoke};

use self::multipath::Multipath;
use self::single::Single;
use self::streams::Order;
use self::trunk::Trunk;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// quinn: one connection over one line, one stream.
    QuinnOrdered,
    /// quinn: one connection over one line, a stream for each message.
    QuinnStreams,
    /// noq: one multipath connection over all lines, a stream for each message.
    Noq,
    /// The product's trunk over all lines.
    Linecast,
}

impl Setup {
    /// All, with their names.
    pub const NAMED: [(&str, Self); 4] = [
        ("linecast", Self::Linecast),
        ("quinn-ordered", Self::QuinnOrdered),
        ("quinn-streams", Self::QuinnStreams),
        ("noq", Self::Noq),
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuinnOrdered => "quinn-ordered",
            Self::QuinnStreams => "quinn-streams",
            Self::Noq => "noq",
            Self::Linecast => "linecast",
        }
    }

    /// Whether a row says something about it that no other row says: to a set-up without classes an
    /// urgent message is like any other.
    pub fn suits(self, row: &Row) -> bool {
        match self {
            Self::QuinnOrdered | Self::QuinnStreams | Self::Noq => row.class != Class::Urgent,
            Self::Linecast => true,
        }
    }

    /// Runs a row; fails only if it cannot be run.
    pub async fn measure(self, row: &Row, seed: u64) -> Result<Outcome> {
        let name = self.name();
        match self {
            Self::QuinnOrdered => drive::drive(name, Single::listen(Order::One)?, row, seed).await,
            Self::QuinnStreams => drive::drive(name, Single::listen(Order::Each)?, row, seed).await,
            Self::Noq => drive::drive(name, Multipath::listen()?, row, seed).await,
            Self::Linecast => drive::drive(name, Trunk::listen()?, row, seed).await,
        }
    }
}

/// Whether `name` is what `pattern` describes, in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("loss25-50", "loss25-50", true),
            ("loss25-50", "loss25-500", false),
            ("loss*", "loss25-50", true),
            ("*urgent", "loss25-50-urgent", true),
            ("*25*", "loss25-50", true),
            ("l*-5*t", "loss25-50-urgent", true),
            ("*x*", "loss25-50", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn set_ups_are_called_by_their_names() {
        for (name, setup) in Setup::NAMED {
            assert_eq!(setup.name(), name);
        }
    }
}

//! The names of series.

use std::fmt;
use std::sync::Arc;

use geo_data::Cell;

use crate::dashboard::facts;

/// What has a history. Prints as, and is read from, `line.EDGE.N.rtt_ms`, `edge.NAME.load`,
/// `site.NAME.price`, `pair.REGION/CARRIER.EDGE.drop_pp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Series {
    /// A value of a line.
    Line {
        /// The edge.
        edge: Arc<str>,
        /// Its number for the line.
        line: u32,
        /// Which.
        value: LineValue,
    },
    /// A value of an edge.
    Edge {
        /// Its name.
        edge: Arc<str>,
        /// Which.
        value: EdgeValue,
    },
    /// A value of a site.
    Site {
        /// Its name.
        site: Arc<str>,
        /// Which.
        value: SiteValue,
    },
    /// The drop rate that a cell has to expect of an edge.
    Pair {
        /// The cell.
        cell: Cell,
        /// The edge.
        edge: Arc<str>,
    },
}

/// What values are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// From 0 to 1.
    Share,
    /// Connections of clients.
    Connections,
    /// Bits per second.
    BitsPerSecond,
    /// Hundredths of sessions.
    PercentagePoints,
}

impl Unit {
    /// Its sign.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Share => "share",
            Self::Connections => "connections",
            Self::BitsPerSecond => "bit/s",
            Self::PercentagePoints => "pp",
        }
    }
}

macro_rules! values {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident $text:literal $unit:ident)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$of])* $variant),* }

        impl $name {
            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit),* }
            }

            fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

values! {
    /// Values of a line.
    LineValue {
        /// Round trip.
        Rtt "rtt_ms" Milliseconds
        /// Share of datagrams towards the edge that get lost.
        Loss "loss" Share
        /// The same from the edge.
        LossUp "loss_up" Share
        /// Of the delay towards the edge.
        Jitter "jitter_ms" Milliseconds
        /// How much of the time it works.
        Up "up" Share
    }
}

values! {
    /// Values of an edge.
    EdgeValue {
        /// Of clients.
        Connections "connections" Connections
        /// The scarcest of its means.
        Load "load" Share
        /// What it sends.
        BitsOut "bits_out" BitsPerSecond
    }
}

values! {
    /// Values of a site.
    SiteValue {
        /// What its edges send.
        BitsOut "bits_out" BitsPerSecond
        /// What one session more costs.
        Price "price" PercentagePoints
    }
}

impl Series {
    /// What its values are counted in.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Line { value, .. } => value.unit(),
            Self::Edge { value, .. } => value.unit(),
            Self::Site { value, .. } => value.unit(),
            Self::Pair { .. } => Unit::PercentagePoints,
        }
    }

    /// Reads what [`Display`](fmt::Display) prints.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > NAME_BYTES_MAX || text.contains('\0') {
            return None;
        }
        let (kind, rest) = text.split_once('.')?;
        let (named, value) = rest.rsplit_once('.')?;
        let some = |name: &str| (!name.is_empty()).then(|| Arc::from(name));
        match kind {
            "line" => {
                let (edge, line) = named.rsplit_once('.')?;
                // A sign or a leading zero would be a second name of the same series.
                let number = line.parse().ok().filter(|number: &u32| number.to_string() == line)?;
                Some(Self::Line {
                    edge: some(edge)?,
                    line: number,
                    value: LineValue::parse(value)?,
                })
            }
            "edge" => Some(Self::Edge { edge: some(named)?, value: EdgeValue::parse(value)? }),
            "site" => Some(Self::Site { site: some(named)?, value: SiteValue::parse(value)? }),
            "pair" => {
                let (cell, edge) = named.split_once('.')?;
                let cell = facts::cell(cell).filter(|read| read.to_string() == cell)?;
                (value == PAIR_VALUE).then_some(Self::Pair { cell, edge: some(edge)? })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { edge, line, value } => write!(f, "line.{edge}.{line}.{}", value.as_str()),
            Self::Edge { edge, value } => write!(f, "edge.{edge}.{}", value.as_str()),
            Self::Site { site, value } => write!(f, "site.{site}.{}", value.as_str()),
            Self::Pair { cell, edge } => write!(f, "pair.{cell}.{edge}.{PAIR_VALUE}"),
        }
    }
}

const PAIR_VALUE: &str = "drop_pp";

/// Longest name: an edge's or site's, and what surrounds it.
const NAME_BYTES_MAX: usize = 128;

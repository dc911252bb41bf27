//! What the parent and its workers say to each other: lines of JSON over the workers' standard input
//! and output.
//!
//! A worker ends when its standard input does, so that none outlives the run. Histograms go as pairs of
//! value and count.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::checker::Tally;
use super::plan::Plan;

/// What the parent wants of a worker or a sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first one: what the run is, and which process this is. A worker connects at once.
    Begin {
        /// The run.
        plan: Box<Plan>,
        /// What the process is.
        role: Role,
        /// Its number among those of its role.
        number: u32,
    },
    /// Messages flow from `start`; those due from `from` until before `until` are measured.
    /// Microseconds of the monotonic clock.
    Measure {
        /// When the first message is due.
        start: u64,
        /// The start of the measured span.
        from: u64,
        /// Its end, when the last message is due too.
        until: u64,
    },
    /// Nothing is published any more: how many messages each room had, and how long to wait for them.
    Finish {
        /// By the rooms' numbers.
        counts: Vec<u32>,
        /// Microseconds of the monotonic clock.
        deadline: u64,
    },
}

/// What a child process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It holds clients.
    Worker,
    /// It is the bare loop.
    Sender,
}

/// What a worker or a sender tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// A sender listens here.
    Listening(SocketAddr),
    /// How far a worker is, several times a second.
    Progress(Progress),
    /// What came in a second.
    Second(Second),
    /// What a sender did; its last word.
    Sent {
        /// Sends in the measured span.
        sends: u64,
        /// Messages sent in all, to one client.
        messages: u32,
        /// Microseconds on a processor in the measured span.
        cpu: u64,
        /// Microseconds from the first to the last measured send.
        took: u64,
    },
    /// All that a worker saw; its last word.
    Final(Box<Final>),
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Clients that connected, logged in and subscribed.
    pub ready: u32,
    /// Clients that could not, or whose connection ended.
    pub lost: u32,
    /// When the last one got ready; microseconds of the monotonic clock.
    pub ready_at: u64,
    /// Messages received.
    pub received: u64,
    /// Microseconds on a processor.
    pub cpu: u64,
}

/// What came in a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Which: microseconds of the monotonic clock, divided by a million.
    pub at: u64,
    /// Messages received.
    pub received: u64,
    /// Latencies of measured messages by group, in microseconds: value and count.
    pub latencies: Vec<Vec<(u64, u64)>>,
}

/// All that a worker saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Final {
    /// By group, of clients that read.
    pub tallies: Vec<Tally>,
    /// Of clients that read little or nothing.
    pub slow: Tally,
    /// Clients that got ready, those that joined later too.
    pub ready: u32,
    /// Clients that left while messages flowed.
    pub left: u32,
    /// Why clients could not come, and how many.
    pub refused: BTreeMap<String, u32>,
    /// Why connections of clients that read ended, and how many.
    pub ended: BTreeMap<String, u32>,
    /// Why connections of slow clients ended, and how many.
    pub slow_ended: BTreeMap<String, u32>,
    /// Messages of other runs or of others.
    pub foreign: u64,
    /// From the start of a connection until it was subscribed, in microseconds: value and count.
    pub connects: Vec<(u64, u64)>,
    /// Microseconds on a processor in the measured span.
    pub cpu: u64,
    /// When the last measured message came; microseconds of the monotonic clock.
    pub last_at: u64,
    /// Socket reads that brought bytes.
    pub reads: u64,
}

/// A histogram of microseconds up to a minute, in three digits.
pub fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants and a test makes one")]
    Histogram::new_with_bounds(1, HIGHEST_MICROS, 3).expect("bounds that are in order")
}

/// A histogram as pairs.
pub fn pairs(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let recorded = histogram.iter_recorded();
    recorded.map(|step| (step.value_iterated_to(), step.count_since_last_iteration())).collect()
}

/// Adds pairs to a histogram.
pub fn add_pairs(histogram: &mut Histogram<u64>, pairs: &[(u64, u64)]) {
    for (value, count) in pairs {
        histogram.saturating_record_n(*value, *count);
    }
}

/// Latencies above a minute count as a minute.
const HIGHEST_MICROS: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn histograms_survive_the_pipe(values in proptest::collection::vec(1_u64..100_000_000, 0..200)) {
            let mut there = histogram();
            for value in &values {
                there.saturating_record(*value);
            }
            let mut here = histogram();
            add_pairs(&mut here, &pairs(&there));
            prop_assert_eq!(here, there);
        }
    }
}

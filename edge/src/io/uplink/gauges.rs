//! What others may look at of an uplink: numbers for metrics, reports and readiness.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::line::ledger::Ledger;
use shared::line::pool::LineStatus;
use shared::line::{LineEnd, LineId};

/// What others may look at: numbers for metrics, reports and readiness.
#[derive(Debug, Default)]
pub(in crate::io) struct Gauges {
    /// A line of the upstream that is pulled from works.
    pub(in crate::io) line_up: AtomicBool,
    /// Whom is pulled from: 0 is the origin, others are neighbours by their place in the list.
    pub(in crate::io) upstream: AtomicU32,
    /// Times that another upstream was pulled from.
    pub(in crate::io) upstream_switches: AtomicU64,
    /// Other edges with a session here.
    pub(in crate::io) neighbours: AtomicU32,
    /// Lines that were opened so far.
    pub(in crate::io) lines_opened: AtomicU64,
    /// Times another line became the primary.
    pub(in crate::io) switches: AtomicU64,
    /// Channels pulled.
    pub(in crate::io) channels: AtomicU32,
    /// Messages taken from lines.
    pub(in crate::io) messages: AtomicU64,
    /// Messages that had come before.
    pub(in crate::io) duplicates: AtomicU64,
    /// Messages that came after they were asked for.
    pub(in crate::io) repaired: AtomicU64,
    /// Requests for missing messages.
    pub(in crate::io) nacks: AtomicU64,
    /// Messages given up as gone.
    pub(in crate::io) lost: AtomicU64,
    /// Gaps told to clients.
    pub(in crate::io) gaps: AtomicU64,
    /// Uplink requests that failed.
    pub(in crate::io) requests_failed: AtomicU64,
    /// Uplink requests that were sent by another line too.
    pub(in crate::io) requests_hedged: AtomicU64,
    /// What trunks were like when they were last looked at.
    trunks: Mutex<Vec<TrunkView>>,
}

/// What a trunk is like.
#[derive(Clone, Debug, Default)]
pub(in crate::io) struct TrunkView {
    /// The node at its other end; empty while there is none.
    pub(in crate::io) upstream: String,
    /// Whether what the origin sends can be had by it, and how long that takes where it is known.
    pub(in crate::io) leads_up: bool,
    pub(in crate::io) delivery: Option<Duration>,
    /// Every line that is tried.
    pub(in crate::io) lines: Vec<LineView>,
}

/// What a line is like.
#[derive(Clone, Debug)]
pub(in crate::io) struct LineView {
    pub(in crate::io) id: LineId,
    pub(in crate::io) local: LineEnd,
    pub(in crate::io) remote: LineEnd,
    /// Where it is connected.
    pub(in crate::io) status: Option<LineStatus>,
    /// Live messages that it brought first, and those that had come before.
    pub(in crate::io) firsts: (u64, u64),
    pub(in crate::io) ledger: Ledger,
}

impl Gauges {
    /// What the trunks were like when they were last looked at, the origin's first.
    pub(in crate::io) fn trunks(&self) -> Vec<TrunkView> {
        self.trunks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::io) fn show(&self, trunks: Vec<TrunkView>) {
        *self.trunks.lock().unwrap_or_else(PoisonError::into_inner) = trunks;
    }
}

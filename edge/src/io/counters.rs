//! What one shard counts: written by its thread, read by metrics, reports and whoever balances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::connection::WriteCounts;
use crate::ends::Table;
use crate::session::Blame;

/// What a shard counts; read by metrics.
#[derive(Debug)]
pub(super) struct Counters {
    /// Open connections.
    pub(super) connections: AtomicU64,
    /// Connections accepted so far.
    pub(super) accepted: AtomicU64,
    /// Sessions so far: connections whose client said who it is.
    pub(super) sessions: AtomicU64,
    /// Those of them that have ended.
    pub(super) sessions_ended: AtomicU64,
    /// Messages written to clients.
    pub(super) deliveries: AtomicU64,
    /// Bytes written to clients.
    pub(super) bytes: AtomicU64,
    /// Writes that carried them.
    pub(super) writes: AtomicU64,
    /// Subscriptions that lost messages and were told.
    pub(super) lost: AtomicU64,
    /// Droppable messages that slow clients did not get.
    pub(super) shed: AtomicU64,
    /// Droppable messages that were not in a room's sample.
    pub(super) sampled_out: AtomicU64,
    /// Clients that were sent on because the edge drains or ends.
    pub(super) moved: AtomicU64,
    cpu: Mutex<(Instant, Duration)>,
    /// How sessions ended, until somebody takes it.
    ends: Mutex<Table>,
    /// Ends by the client's leaving or fault.
    pub(super) ended_peer: AtomicU64,
    /// Ends by our decision or fault.
    pub(super) ended_us: AtomicU64,
    /// Ends by the path between.
    pub(super) ended_network: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            connections: AtomicU64::default(),
            accepted: AtomicU64::default(),
            sessions: AtomicU64::default(),
            sessions_ended: AtomicU64::default(),
            deliveries: AtomicU64::default(),
            bytes: AtomicU64::default(),
            writes: AtomicU64::default(),
            lost: AtomicU64::default(),
            shed: AtomicU64::default(),
            sampled_out: AtomicU64::default(),
            moved: AtomicU64::default(),
            cpu: Mutex::new((Instant::now(), Duration::ZERO)),
            ends: Mutex::default(),
            ended_peer: AtomicU64::default(),
            ended_us: AtomicU64::default(),
            ended_network: AtomicU64::default(),
        }
    }
}

impl Counters {
    /// Segments were written.
    pub(super) fn wrote(&self, counts: WriteCounts) {
        self.deliveries.fetch_add(counts.messages, Ordering::Relaxed);
        self.writes.fetch_add(counts.writes, Ordering::Relaxed);
        self.shed.fetch_add(counts.shed, Ordering::Relaxed);
    }

    /// A connection ended.
    pub(super) fn ended(&self, blame: Blame) {
        let counter = match blame {
            Blame::Left | Blame::Peer => &self.ended_peer,
            Blame::Order | Blame::Us => &self.ended_us,
            Blame::Network | Blame::Silence => &self.ended_network,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// These sessions ended.
    pub(super) fn put_ends(&self, ends: Table) {
        let mut waiting = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            *waiting = ends;
        } else {
            waiting.merge(&ends);
        }
    }

    /// How sessions ended since the last call.
    pub(super) fn take_ends(&self) -> Table {
        std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what this thread, the shard's, has used of a processor by now.
    pub(super) fn read_cpu(&self, now: Instant) {
        *self.cpu.lock().unwrap_or_else(PoisonError::into_inner) = (now, thread_cpu());
    }

    /// CPU time of the shard's thread, and when it was that.
    pub(super) fn cpu(&self) -> (Instant, Duration) {
        *self.cpu.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32) // neither is negative
}

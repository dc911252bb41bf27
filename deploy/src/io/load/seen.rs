//! What the clients of a worker saw.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::load::checker::{Checker, Tally};
use crate::load::message::Stamp;
use crate::load::pipe::{Final, Second, histogram, pairs};
use crate::load::plan::Plan;

/// What the clients of a worker saw.
#[derive(Debug)]
pub(super) struct Seen {
    run: u16,
    span: Option<Span>,
    total: Final,
    received: u64,
    connects: Histogram<u64>,
    /// Of this second, by group.
    latencies: Vec<Histogram<u64>>,
    second: u64,
    second_received: u64,
    cpu_from: Option<u64>,
    cpu_until: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    from: u64,
    until: u64,
}

impl Seen {
    pub(super) fn new(plan: &Plan) -> Self {
        let groups = plan.rooms.groups.len();
        Self {
            run: plan.run,
            span: None,
            total: Final { tallies: vec![Tally::default(); groups], ..Final::default() },
            received: 0,
            connects: histogram(),
            latencies: (0..groups).map(|_| histogram()).collect(),
            second: 0,
            second_received: 0,
            cpu_from: None,
            cpu_until: None,
        }
    }

    pub(super) fn measure(&mut self, start: u64, from: u64, until: u64) {
        self.span = Some(Span { start, from, until });
    }

    /// Whether messages flow.
    pub(super) fn flows(&self, now: u64) -> bool {
        self.span.is_some_and(|span| (span.start..span.until).contains(&now))
    }

    /// Microseconds since messages began to flow.
    pub(super) fn flowed(&self, now: u64) -> u64 {
        self.span.map_or(0, |span| now.saturating_sub(span.start))
    }

    /// Notes how much of a processor was used by the ends of the span.
    pub(super) fn mark_cpu(&mut self, now: u64, cpu: impl Fn() -> u64) {
        let Some(span) = self.span else { return };
        if now >= span.from && self.cpu_from.is_none() {
            self.cpu_from = Some(cpu());
        }
        if now >= span.until && self.cpu_until.is_none() {
            self.cpu_until = Some(cpu());
        }
    }

    /// A client got a message.
    #[inline]
    pub(super) fn take(
        &mut self,
        body: &[u8],
        room: u32,
        group: usize,
        slow: bool,
        checker: &mut Checker,
        now: u64,
    ) {
        let stamp = Stamp::find(body).filter(|stamp| stamp.run == self.run && stamp.room == room);
        let Some(stamp) = stamp else {
            self.total.foreign += 1;
            return;
        };
        self.received += 1;
        self.second_received += 1;
        if slow {
            return checker.take(stamp.sequence, &mut self.total.slow);
        }
        checker.take(stamp.sequence, &mut self.total.tallies[group]);
        if let Some(span) = self.span
            && (span.from..span.until).contains(&stamp.due)
        {
            self.latencies[group].saturating_record(now.saturating_sub(stamp.due).max(1));
            self.total.last_at = now;
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn count_reads(&mut self, reads: u64) {
        self.total.reads += reads;
    }

    pub(super) fn ready(&mut self, took: u64) {
        self.total.ready += 1;
        self.connects.saturating_record(took.max(1));
    }

    pub(super) fn leave(&mut self) {
        self.total.left += 1;
    }

    pub(super) fn refuse(&mut self, why: String) {
        *self.total.refused.entry(why).or_default() += 1;
    }

    pub(super) fn end(&mut self, why: String, slow: bool) {
        let ends: &mut BTreeMap<_, _> =
            if slow { &mut self.total.slow_ended } else { &mut self.total.ended };
        *ends.entry(why).or_default() += 1;
    }

    pub(super) fn finish(
        &mut self,
        checker: Checker,
        group: usize,
        slow: bool,
        count: Option<u32>,
    ) {
        let tally = if slow { &mut self.total.slow } else { &mut self.total.tallies[group] };
        checker.finish(count, tally);
    }

    /// What came in the last second, once another one begins.
    pub(super) fn second(&mut self, now: u64) -> Option<Second> {
        let this = now / 1_000_000;
        if this == self.second {
            return None;
        }
        let at = std::mem::replace(&mut self.second, this);
        let received = std::mem::take(&mut self.second_received);
        if received == 0 {
            return None;
        }
        let latencies = self.latencies.iter().map(pairs).collect();
        self.latencies.iter_mut().for_each(Histogram::reset);
        Some(Second { at, received, latencies })
    }

    /// All of it.
    pub(super) fn last(&mut self) -> Final {
        let cpu = self.cpu_until.zip(self.cpu_from).map_or(0, |(until, from)| until - from);
        Final { cpu, connects: pairs(&self.connects), ..std::mem::take(&mut self.total) }
    }
}

//! What the origin counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::publish::{Published, Refusal};

/// The counters of one origin. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    published: Counter,
    duplicates: Counter,
    refused: Family<Reason, Counter>,
    refused_pulls: Family<Reason, Counter>,
    commit_seconds: Histogram,
    commit_messages: Histogram,
    requests: Family<Method, Counter>,
    hook_seconds: Histogram,
    hook_failures: Counter,
    damaged: Counter,
    channels: Gauge,
    store_bytes: Gauge,
    ring_bytes: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.1 ms to 1.6 s, and 1 to 4096.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 15));
        Self {
            published: Counter::default(),
            duplicates: Counter::default(),
            refused: Family::default(),
            refused_pulls: Family::default(),
            commit_seconds: seconds(),
            commit_messages: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            requests: Family::default(),
            hook_seconds: seconds(),
            hook_failures: Counter::default(),
            damaged: Counter::default(),
            channels: Gauge::default(),
            store_bytes: Gauge::default(),
            ring_bytes: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers everything.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("published", "Messages made durable", self.published.clone());
        registry.register(
            "duplicates",
            "Publishes answered with an earlier message of the same idempotency key",
            self.duplicates.clone(),
        );
        registry.register("refused", "Publishes refused, by reason", self.refused.clone());
        registry.register(
            "refused_pulls",
            "Pulls of edges refused, by reason",
            self.refused_pulls.clone(),
        );
        registry.register_with_unit(
            "commit",
            "From taking a group of messages to showing them to readers",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register(
            "commit_messages",
            "Messages that one commit made durable",
            self.commit_messages.clone(),
        );
        registry.register("requests", "Calls of the APIs, by method", self.requests.clone());
        registry.register_with_unit(
            "hook",
            "Calls of the back end's hooks",
            Unit::Seconds,
            self.hook_seconds.clone(),
        );
        registry.register(
            "hook_failures",
            "Calls of the back end's hooks without a usable answer",
            self.hook_failures.clone(),
        );
        registry.register("damaged", "Reads that found damage in the log", self.damaged.clone());
        registry.register("channels", "Channels in memory", self.channels.clone());
        registry.register_with_unit(
            "ring",
            "Messages in memory",
            Unit::Bytes,
            self.ring_bytes.clone(),
        );
        registry.register_with_unit(
            "store",
            "The log on disk",
            Unit::Bytes,
            self.store_bytes.clone(),
        );
    }

    pub(super) fn committed(&self, messages: usize, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_messages.observe(messages as f64);
    }

    pub(super) fn published(&self, outcome: &Result<Published, Refusal>) {
        match outcome {
            Ok(published) if published.duplicate => self.duplicates.inc(),
            Ok(_) => self.published.inc(),
            Err(refusal) => self.refused(refusal),
        };
    }

    pub(super) fn refused(&self, refusal: &Refusal) -> u64 {
        self.refused.get_or_create(&Reason { reason: refusal.reason() }).inc()
    }

    pub(super) fn refused_pull(&self, refusal: &Refusal) {
        self.refused_pulls.get_or_create(&Reason { reason: refusal.reason() }).inc();
    }

    pub(super) fn requested(&self, method: &'static str) {
        self.requests.get_or_create(&Method { method }).inc();
    }

    pub(super) fn hook(&self, took: Duration, answered: bool) {
        self.hook_seconds.observe(took.as_secs_f64());
        if !answered {
            self.hook_failures.inc();
        }
    }

    pub(super) fn damaged(&self) {
        self.damaged.inc();
    }

    pub(super) fn sizes(&self, channels: usize, ring_bytes: usize, store_bytes: u64) {
        self.channels.set(i64::try_from(channels).unwrap_or(i64::MAX));
        self.ring_bytes.set(i64::try_from(ring_bytes).unwrap_or(i64::MAX));
        self.store_bytes.set(i64::try_from(store_bytes).unwrap_or(i64::MAX));
    }
}

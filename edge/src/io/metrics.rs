//! What an edge tells its operators: counters of the shards and of the uplink, summed when asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use shared::io::telemetry::Telemetry;

use super::uplink::Gauges;
use super::world::Counters;

/// Registers everything that an edge counts.
pub(super) fn register(telemetry: &Telemetry, gauges: &Arc<Gauges>, shards: &[Arc<Counters>]) {
    let sums = Sums { gauges: Arc::clone(gauges), shards: shards.to_vec() };
    telemetry.register(|registry| registry.register_collector(Box::new(sums)));
}

#[derive(Debug)]
struct Sums {
    gauges: Arc<Gauges>,
    shards: Vec<Arc<Counters>>,
}

type Of = fn(&Counters) -> &AtomicU64;

const SHARD_COUNTERS: [(&str, &str, Of); 9] = [
    ("accepted", "Connections accepted", |c| &c.accepted),
    ("refused", "Connections turned away at the door", |c| &c.refused),
    ("deliveries", "Messages written to clients", |c| &c.deliveries),
    ("delivered_bytes", "Bytes of messages written to clients", |c| &c.bytes),
    ("writes", "Writes that carried messages", |c| &c.writes),
    ("lost_subscriptions", "Subscriptions that lost messages and were told", |c| &c.lost),
    ("ended_by_peer", "Connections that ended by the client's leaving or fault", |c| &c.ended_peer),
    ("ended_by_us", "Connections that ended by our decision or fault", |c| &c.ended_us),
    ("ended_by_network", "Connections that ended by the path between", |c| &c.ended_network),
];

impl Collector for Sums {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for (name, help, of) in SHARD_COUNTERS {
            let sum = self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum();
            counter(&mut encoder, name, help, sum)?;
        }
        let connections =
            self.shards.iter().map(|shard| shard.connections.load(Ordering::Relaxed)).sum();
        gauge(&mut encoder, "connections", "Open connections", connections)?;
        let gauges = &self.gauges;
        let line_up = u64::from(gauges.line_up.load(Ordering::Relaxed));
        gauge(&mut encoder, "line_up", "Whether a line to the upstream is up", line_up)?;
        let channels = u64::from(gauges.channels.load(Ordering::Relaxed));
        gauge(&mut encoder, "channels", "Channels pulled", channels)?;
        let rtt_us = gauges.rtt_us.load(Ordering::Relaxed);
        gauge(&mut encoder, "line_rtt_microseconds", "Smoothed round-trip time", rtt_us)?;
        for (name, help, cell) in [
            ("lines_opened", "Lines opened", &gauges.lines_opened),
            ("messages", "Messages taken from the line", &gauges.messages),
            ("duplicates", "Messages that had come before", &gauges.duplicates),
            ("gaps", "Gaps in what the upstream sent, told to clients", &gauges.gaps),
            ("requests_failed", "Uplink requests without an answer", &gauges.requests_failed),
        ] {
            counter(&mut encoder, name, help, cell.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    // Counts of things that fit in memory.
    let metric = ConstGauge::new(value as i64);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

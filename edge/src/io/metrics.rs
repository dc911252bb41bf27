//! What an edge tells its operators: counters of the shards and of the uplink, summed when asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use shared::io::telemetry::Telemetry;
use shared::line::pool::LineStatus;
use tokio::sync::watch;

use super::counters::Counters;
use super::door::Door;
use super::uplink::{Gauges, LineView, TrunkView};
use crate::pressure::Pressure;

/// Registers everything that an edge counts.
pub(super) fn register(
    telemetry: &Telemetry,
    gauges: &Arc<Gauges>,
    shards: &[Arc<Counters>],
    door: &Arc<Door>,
    pressure: &watch::Receiver<Pressure>,
) {
    let sums = Sums {
        gauges: Arc::clone(gauges),
        shards: shards.to_vec(),
        door: Arc::clone(door),
        pressure: pressure.clone(),
    };
    telemetry.register(|registry| registry.register_collector(Box::new(sums)));
}

#[derive(Debug)]
struct Sums {
    gauges: Arc<Gauges>,
    shards: Vec<Arc<Counters>>,
    door: Arc<Door>,
    pressure: watch::Receiver<Pressure>,
}

type Of = fn(&Counters) -> &AtomicU64;

const SHARD_COUNTERS: [(&str, &str, Of); 13] = [
    ("accepted", "Connections accepted", |c| &c.accepted),
    ("sessions", "Connections whose client said who it is", |c| &c.sessions),
    ("ended_sessions", "Those of them that have ended", |c| &c.sessions_ended),
    ("deliveries", "Messages written to clients", |c| &c.deliveries),
    ("delivered_bytes", "Bytes written to clients", |c| &c.bytes),
    ("writes", "Writes that carried messages", |c| &c.writes),
    ("lost_subscriptions", "Subscriptions that lost messages and were told", |c| &c.lost),
    ("shed", "Droppable messages that slow clients did not get", |c| &c.shed),
    ("sampled_out", "Droppable messages that were not in a room's sample", |c| &c.sampled_out),
    ("moved", "Clients sent on because the edge drains or ends", |c| &c.moved),
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
        let strangers = self.door.strangers() as u64;
        gauge(&mut encoder, "strangers", "Connections that have not said who they are", strangers)?;
        let elsewhere = self.door.elsewhere() as u64;
        let help = "Listeners of other edges that clients could be sent to";
        gauge(&mut encoder, "elsewhere", help, elsewhere)?;
        let (rate, left) = self.door.drain();
        let help = "Clients a second that operators want sent on";
        float(&mut encoder, "drain_rate", help, rate)?;
        let help = "Connections that are to be sent on because the edge drains or ends";
        gauge(&mut encoder, "left_to_move", help, left as u64)?;
        encode_refusals(&mut encoder, &self.door)?;
        encode_pressure(&mut encoder, *self.pressure.borrow())?;
        let gauges = &self.gauges;
        let line_up = u64::from(gauges.line_up.load(Ordering::Relaxed));
        gauge(&mut encoder, "line_up", "Whether a line to the upstream is up", line_up)?;
        let channels = u64::from(gauges.channels.load(Ordering::Relaxed));
        gauge(&mut encoder, "channels", "Channels pulled", channels)?;
        for (name, help, cell) in [
            (
                "upstream_neighbour",
                "Whom channels are pulled from: 0 is the origin, others are neighbours in their order",
                &gauges.upstream,
            ),
            ("served_neighbours", "Other edges with a session here", &gauges.neighbours),
        ] {
            gauge(&mut encoder, name, help, cell.load(Ordering::Relaxed).into())?;
        }
        for (name, help, cell) in [
            ("lines_opened", "Lines opened", &gauges.lines_opened),
            (
                "upstream_switches",
                "Times another upstream was pulled from",
                &gauges.upstream_switches,
            ),
            ("line_switches", "Times another line became the primary", &gauges.switches),
            ("messages", "Messages taken from lines", &gauges.messages),
            ("duplicates", "Messages that had come before", &gauges.duplicates),
            ("repaired", "Messages that came after they were asked for", &gauges.repaired),
            ("nacks", "Requests for missing messages", &gauges.nacks),
            ("lost", "Messages given up as gone", &gauges.lost),
            ("gaps", "Gaps in what the upstream sent, told to clients", &gauges.gaps),
            ("requests_failed", "Uplink requests without an answer", &gauges.requests_failed),
            (
                "requests_hedged",
                "Uplink requests sent by another line too",
                &gauges.requests_hedged,
            ),
        ] {
            counter(&mut encoder, name, help, cell.load(Ordering::Relaxed))?;
        }
        let trunks = gauges.trunks();
        encode_deliveries(&mut encoder, &trunks)?;
        encode_lines(&mut encoder, &trunks)
    }
}

fn encode_refusals(encoder: &mut DescriptorEncoder<'_>, door: &Door) -> fmt::Result {
    let help = "Connections not let in, by reason";
    let mut metric = encoder.encode_descriptor("refused", help, None, MetricType::Counter)?;
    for (refusal, count) in door.refusals() {
        let labels = [("reason", refusal.name())];
        ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What is left out because there is too much to do.
fn encode_pressure(encoder: &mut DescriptorEncoder<'_>, pressure: Pressure) -> fmt::Result {
    gauge(encoder, "busy", "Whether new connections are refused", pressure.refuses.into())?;
    for (name, help, value) in [
        ("droppable_kept_ratio", "Share of droppable messages that is kept", pressure.keep),
        (
            "sweep_interval_seconds",
            "Least time between two rounds of writing, for lack of time",
            pressure.sweep_interval.as_secs_f64(),
        ),
    ] {
        float(encoder, name, help, value)?;
    }
    Ok(())
}

type LineValue = fn(&LineView) -> f64;

fn seconds(of: &LineView, value: impl Fn(&LineStatus) -> Option<Duration>) -> f64 {
    of.status.as_ref().and_then(value).map_or(0.0, |time| time.as_secs_f64())
}

fn share(of: &LineView, value: impl Fn(&LineStatus) -> f64) -> f64 {
    of.status.as_ref().map_or(0.0, value)
}

/// What is told of each line; their number is bounded, and so are the labels.
const LINE_GAUGES: [(&str, &str, LineValue); 17] = [
    ("line_connected", "Whether the line is connected", |l| l.status.is_some().into()),
    ("line_primary_in", "Whether live messages come by this line first", |l| {
        share(l, |s| s.primary_in.into())
    }),
    ("line_primary_out", "Whether what the edge sends goes by this line first", |l| {
        share(l, |s| s.primary_out.into())
    }),
    ("line_tier", "0 good, 1 held, 2 gray, 3 full, 4 draining, 5 silent or down", |l| {
        l.status.as_ref().map_or(5.0, |s| f64::from(s.tier as u8))
    }),
    ("line_rtt_seconds", "Smoothed round-trip time", |l| {
        seconds(l, |s| s.rtt.map(|rtt| rtt.smoothed))
    }),
    ("line_jitter_seconds", "Jitter of the one-way delay in", |l| seconds(l, |s| Some(s.jitter))),
    ("line_delay_rise_seconds", "One-way delay in above its least of a minute", |l| {
        seconds(l, |s| Some(s.delay_rise))
    }),
    ("line_loss_in_ratio", "Share lost towards the edge", |l| share(l, |s| s.loss_in)),
    ("line_loss_out_ratio", "Share lost towards the upstream", |l| share(l, |s| s.loss_out)),
    ("line_burst_datagrams", "Mean run of losses towards the edge", |l| {
        share(l, |s| s.counts.lost as f64 / s.counts.bursts.max(1) as f64)
    }),
    ("line_in_bytes", "Bytes in, over all connections", |l| l.ledger.total().incoming as f64),
    ("line_out_bytes", "Bytes out, over all connections", |l| l.ledger.total().outgoing as f64),
    ("line_in_95th_percentile_bits", "95th percentile of 5-minute rates in", |l| {
        l.ledger.percentile_95()[0]
    }),
    ("line_out_95th_percentile_bits", "95th percentile of 5-minute rates out", |l| {
        l.ledger.percentile_95()[1]
    }),
    ("line_down_seconds", "Time without a connection", |l| l.ledger.down().as_secs_f64()),
    ("line_first_messages", "Live messages that it brought first", |l| l.firsts.0 as f64),
    ("line_repeated_messages", "Live messages that had come before", |l| l.firsts.1 as f64),
];

/// How long what the origin sends takes, by each trunk by which it can be had.
fn encode_deliveries(encoder: &mut DescriptorEncoder<'_>, trunks: &[TrunkView]) -> fmt::Result {
    let help = "Expected time from the origin to here, by its lines or through this neighbour";
    let mut metric =
        encoder.encode_descriptor("upstream_delivery_seconds", help, None, MetricType::Gauge)?;
    for trunk in trunks {
        if let Some(delivery) = trunk.delivery {
            let labels = [("upstream", trunk.upstream.as_str())];
            ConstGauge::new(delivery.as_secs_f64()).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_lines(encoder: &mut DescriptorEncoder<'_>, trunks: &[TrunkView]) -> fmt::Result {
    for (name, help, value) in LINE_GAUGES {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        // Numbers of lines are a trunk's own; with its far end each is named once.
        for line in trunks.iter().flat_map(|trunk| &trunk.lines) {
            let labels = [
                ("line", line.id.0.to_string()),
                ("local", line.local.to_string()),
                ("remote", line.remote.to_string()),
            ];
            let gauge = ConstGauge::new(value(line));
            gauge.encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
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

fn float(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

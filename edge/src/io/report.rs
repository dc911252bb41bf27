//! Reports to the svrlists: every edge reports to all of them, on a line to each.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::Endpoint;
use shared::io::clock::unix_ms;
use shared::io::line::{self, Call, LineError};
use shared::io::shutdown::Shutdown;
use shared::line::pool::Tier;
use shared::wire::PROTOCOL_VERSION;
use shared::wire::control::{
    Alternative, Down, Endpoint as Public, Hello, LineReport, Report, Up, down, up,
};
use tokio::sync::watch;

use super::counters::Counters;
use super::door::{Door, Next};
use super::ledger::Ledger;
use super::orders::Orders;
use super::uplink::{Gauges, LineView, TrunkView};
use crate::config::Config;
use crate::pressure::Pressure;

/// What a report is made of.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) orders: Arc<Orders>,
    pub(super) name: String,
    pub(super) config: Arc<Config>,
    pub(super) door: Arc<Door>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) pressure: watch::Receiver<Pressure>,
    pub(super) shards: Vec<Arc<Counters>>,
    pub(super) ledger: Arc<Ledger>,
    /// Which of the svrlists it reports to.
    pub(super) svrlist: usize,
}

impl Reporter {
    /// Reports to one svrlist until the shutdown, at once what concerns new clients, calling it again
    /// whenever the line ends.
    pub(super) async fn run(self, endpoint: Endpoint, svrlist: SocketAddr, shutdown: Shutdown) {
        let session = rand::random();
        let started_ms = unix_ms();
        let mut away = false;
        loop {
            let hello = Hello {
                protocol: PROTOCOL_VERSION,
                node: self.name.clone(),
                session,
                ..Hello::default()
            };
            let ended = tokio::select! {
                () = shutdown.triggered() => return,
                called = line::call(&endpoint, svrlist, hello) => match called {
                    Ok(mut call) => {
                        tracing::info!(%svrlist, peer = %call.peer, "reporting");
                        away = false;
                        self.ledger.handle_line(self.svrlist);
                        tokio::select! {
                            () = shutdown.triggered() => {
                                return self.say_goodbye(call, started_ms).await;
                            }
                            ended = self.report(&mut call, started_ms, &shutdown) => ended,
                        }
                    }
                    Err(error) => error,
                },
            };
            self.orders.lose(self.svrlist);
            if !std::mem::replace(&mut away, true) {
                tracing::warn!(%svrlist, error = &ended as &dyn Error, "cannot report");
            }
            tokio::select! {
                () = shutdown.triggered() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn report(&self, call: &mut Call, started_ms: u64, shutdown: &Shutdown) -> LineError {
        let Call { up, down, .. } = call;
        let mut every = tokio::time::interval(REPORT_EVERY);
        let mut meter = Meter::default();
        let mut pressure = self.pressure.clone();
        let mut rate = self.orders.rate();
        let mut is_draining = shutdown.is_draining();
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = shutdown.draining(), if !is_draining => is_draining = true,
                Ok(()) = pressure.changed() => {}
                Ok(()) = rate.changed() => {}
                heard = down.receive() => match heard {
                    Ok(Some(Down { kind: Some(down::Kind::Elsewhere(told)), .. })) => {
                        self.door.set_next(told.alternatives.into_iter().filter_map(next).collect());
                        continue;
                    }
                    Ok(Some(Down { kind: Some(down::Kind::EndsTaken(taken)), .. })) => {
                        self.ledger.handle_taken(self.svrlist, &taken);
                        continue;
                    }
                    Ok(Some(Down { kind: Some(down::Kind::Drain(drain)), .. })) => {
                        self.orders.hear(self.svrlist, drain.rate_per_s);
                        continue;
                    }
                    Ok(Some(_)) => continue, // newer svrlists may say more
                    Ok(None) => return LineError::Protocol("the svrlist ended its stream"),
                    Err(error) => return error,
                },
            }
            let report =
                self.make(&mut meter, started_ms, is_draining || *rate.borrow_and_update() > 0.0);
            if let Err(error) =
                up.send(&Up { kind: Some(up::Kind::Report(report)), number: 0 }).await
            {
                return error;
            }
        }
    }

    /// The last report: this edge takes nobody any more, and whoever is still there leaves with it. By that it
    /// is known from one that died while it was drained.
    async fn say_goodbye(&self, call: Call, started_ms: u64) {
        let Call { mut up, connection, .. } = call;
        let report =
            Report { connections: 0, ..self.make(&mut Meter::default(), started_ms, true) };
        if up.send(&Up { kind: Some(up::Kind::Report(report)), number: 0 }).await.is_ok() {
            let _ = tokio::time::timeout(REPORT_EVERY / 4, connection.closed()).await;
        }
        connection.close(line::CLOSE_DONE, b"the edge ends");
    }

    fn make(&self, meter: &mut Meter, started_ms: u64, draining: bool) -> Report {
        let (connections, addresses) = self.door.counts();
        let config = &self.config;
        let bytes = self.shards.iter().map(|shard| shard.bytes.load(Ordering::Relaxed)).sum();
        let (cpu, bits_out) = meter.read(bytes);
        let place = &config.place;
        let trunks = self.gauges.trunks();
        let sum = |of: fn(&Counters) -> &AtomicU64| -> u64 {
            self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum()
        };
        // In this order, so that none is told that has not ended, and none has ended that had not begun.
        let ends = self.ledger.next(self.svrlist);
        let ended = sum(|counters| &counters.sessions_ended);
        Report {
            edge: self.name.clone(),
            region: place.region.clone(),
            city: place.city.clone(),
            carrier: place.carrier.clone(),
            site: place.site.clone(),
            zone: place.zone.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            latitude: place.latitude,
            longitude: place.longitude,
            endpoints: self.endpoints(),
            weight: config.public.weight,
            connections,
            connections_max: u32::try_from(config.limits.connections_max).unwrap_or(u32::MAX),
            cpu,
            bits_out,
            bits_out_max: config.public.bits_out_max,
            draining,
            busy: self.pressure.borrow().refuses,
            lines: trunks.iter().flat_map(line_reports).collect(),
            started_ms,
            addresses,
            begun: sum(|counters| &counters.sessions).max(ended),
            ended,
            ends,
        }
    }

    fn endpoints(&self) -> Vec<Public> {
        let listen = &self.config.listen;
        let all = [
            ("goim-tcp", listen.goim),
            ("goim-tcp-tls", listen.goim_tls),
            ("http", listen.http),
            ("https", listen.https),
        ];
        let public = |(protocol, address): (&str, Option<SocketAddr>)| {
            let address = address?;
            let host = &self.config.public.host;
            let host = if host.is_empty() { address.ip().to_string() } else { host.clone() };
            Some(Public { protocol: protocol.into(), host, port: u32::from(address.port()) })
        };
        all.into_iter().filter_map(public).collect()
    }
}

/// `None` for an alternative without an address.
fn next(alternative: Alternative) -> Option<Next> {
    let Public { protocol, host, port } = alternative.endpoint?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(Next { protocol, address: format!("{host}:{port}"), share: alternative.share })
}

/// What svrlist is told of a trunk's lines.
fn line_reports(trunk: &TrunkView) -> impl Iterator<Item = LineReport> {
    trunk.lines.iter().map(|line| {
        let report = line_report(&trunk.upstream, line);
        LineReport { up: report.up && trunk.leads_up, ..report }
    })
}

fn line_report(upstream: &str, line: &LineView) -> LineReport {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let [bits_in_p95, bits_out_p95] = line.ledger.percentile_95();
    let total = line.ledger.total();
    let report = LineReport {
        line: line.id.0,
        local: line.local.address.to_string(),
        remote: line.remote.address.to_string(),
        local_carrier: line.local.carrier.clone(),
        remote_carrier: line.remote.carrier.clone(),
        upstream: upstream.to_owned(),
        state: "down".into(),
        bytes_in: total.incoming,
        bytes_out: total.outgoing,
        firsts: line.firsts.0,
        repeats: line.firsts.1,
        down_ms: line.ledger.down().as_millis() as u64,
        bits_in_p95,
        bits_out_p95,
        ..LineReport::default()
    };
    let Some(status) = &line.status else { return report };
    LineReport {
        up: status.tier < Tier::Silent,
        state: status.tier.name().to_owned(),
        primary: status.primary_in,
        primary_up: status.primary_out,
        rtt_ms: status.rtt.map_or(0.0, |rtt| ms(rtt.smoothed)),
        loss: status.loss_in,
        loss_up: status.loss_out,
        jitter_ms: ms(status.jitter),
        delay_rise_ms: ms(status.delay_rise),
        burst: status.counts.lost as f64 / (status.counts.bursts.max(1)) as f64,
        ..report
    }
}

/// Turns counters into rates.
#[derive(Default)]
struct Meter {
    last: Option<(Instant, u64, Duration)>,
}

impl Meter {
    /// The share of all cores that this process used, and bits a second out, since the last reading.
    fn read(&mut self, bytes: u64) -> (f64, u64) {
        let now = Instant::now();
        let cpu = cpu_time();
        let rates = self.last.map_or((0.0, 0), |(then, bytes_then, cpu_then)| {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
            let share = cpu.saturating_sub(cpu_then).as_secs_f64() / seconds / cores;
            let bits = bytes.saturating_sub(bytes_then) as f64 * 8.0 / seconds;
            (share.clamp(0.0, 1.0), bits as u64)
        });
        self.last = Some((now, bytes, cpu));
        rates
    }
}

/// CPU time of this process, from `/proc/self/stat` (fields 14 and 15, in ticks of 10 ms); zero
/// where there is none.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// How often an edge reports.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);

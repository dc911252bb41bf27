//! Publish to client: how long a message takes through origin, line and edge.
//!
//! A publisher sends at a fixed rate through the origin's HTTP API, on one kept-alive connection; one
//! Centrifuge client (JSON over WebSocket) and one goim client (TCP) read the channel at an edge. All
//! three live in one process and on one clock.
//!
//! The schedule is fixed before the run: message `n` is due at `start + n / rate`, and its latency counts
//! from when it was *due*, not from when a late publisher got round to it. A stall anywhere therefore
//! weighs on every message that was due meanwhile (no coordinated omission). What that is unfair to: a
//! publisher that waits for each answer before the next message adds the wait to the numbers as soon as
//! an answer takes longer than the interval.
//!
//! A message is durable before anyone gets it, so the disk is part of every number, and on a slow disk
//! most of it. [`disk`] tells what the disk alone takes, at the same rate, for comparison.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::api::Origin;
use crate::centrifuge;
use crate::goim;
use crate::wait::{PATIENCE, within_time};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Load {
    /// The origin to publish through.
    pub origin: Origin,
    /// The edge's HTTP/WebSocket address.
    pub websocket: SocketAddr,
    /// The edge's goim TCP address.
    pub tcp: SocketAddr,
    /// A channel in goim's spelling is `live://<room>`, in Centrifuge's `live:<room>`.
    pub room: String,
    /// Messages per second.
    pub rate: u32,
    /// How long to publish.
    pub duration: Duration,
    /// Messages at the start that do not count: connections open, pulls start.
    pub warm_up: u32,
    /// Bytes of filling in each body.
    pub filling: usize,
}

/// Distributions in microseconds.
#[derive(Debug)]
pub struct Report {
    /// Due to answered, at the publisher.
    pub acknowledged: Histogram<u64>,
    /// Due to received, at the Centrifuge client.
    pub centrifuge: Histogram<u64>,
    /// Due to received, at the goim client.
    pub goim: Histogram<u64>,
    /// What the disk under the origin's log takes for one small write, where that is known.
    pub disk: Option<Histogram<u64>>,
}

/// Measures small appends, each made durable with `fdatasync`, at `rate` a second into a file in
/// `folder`.
pub fn disk(folder: &Path, rate: u32) -> Result<Histogram<u64>> {
    let path = folder.join("disk");
    let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let mut times = histogram()?;
    let interval = Duration::from_secs(1) / rate.max(1);
    for _ in 0..DISK_WRITES {
        let start = Instant::now();
        file.write_all(&[b'x'; DISK_WRITE_BYTES])?;
        file.sync_data().context("fdatasync")?;
        times.saturating_record(start.elapsed().as_micros() as u64);
        std::thread::sleep(interval.saturating_sub(start.elapsed()));
    }
    Ok(times)
}

impl Load {
    /// Runs it; fails unless both clients got every message once and in order.
    pub async fn run(&self) -> Result<Report> {
        let room = &self.room;
        let mut reader = centrifuge::Client::connect(self.websocket, json!({})).await?;
        reader.subscribe(&format!("live:{room}")).await?;
        let mut listener = goim::Client::tcp(self.tcp).await?;
        listener.login(&goim::Login::room(&format!("live://{room}"))).await?;

        let schedule = Schedule { start: Instant::now() + LEAD, rate: self.rate };
        let count = self.count();
        let warm_up = u64::from(self.warm_up);
        let limit = self.duration + PATIENCE;
        let mut readers = JoinSet::new();
        readers.spawn(async move {
            let mut times = Times::new(schedule, warm_up)?;
            for n in 0..count {
                let publication = within_time("a publication", limit, reader.publication()).await?;
                times.take(n, &publication["data"])?;
            }
            Ok::<_, anyhow::Error>((Reader::Centrifuge, times.histogram))
        });
        readers.spawn(async move {
            let mut times = Times::new(schedule, warm_up)?;
            for n in 0..count {
                let push = within_time("a push", limit, listener.push()).await?;
                times.take(n, &serde_json::from_slice(&push.body)?)?;
            }
            Ok((Reader::Goim, times.histogram))
        });
        let acknowledged = self.publish(schedule, count).await?;
        let (mut centrifuge, mut goim) = (histogram()?, histogram()?);
        while let Some(reader) = readers.join_next().await {
            let (reader, times) = reader??;
            match reader {
                Reader::Centrifuge => centrifuge = times,
                Reader::Goim => goim = times,
            }
        }
        Ok(Report { acknowledged, centrifuge, goim, disk: None })
    }

    async fn publish(&self, schedule: Schedule, count: u64) -> Result<Histogram<u64>> {
        let channel = format!("live:{}", self.room);
        let filling = "x".repeat(self.filling);
        let mut times = Times::new(schedule, u64::from(self.warm_up))?;
        let mut due = schedule.pace(count);
        while let Some(n) = due.recv().await {
            let data = json!({ "n": n, "filling": filling });
            self.origin.publish(&channel, &data).await.with_context(|| format!("message {n}"))?;
            times.take(n, &data)?;
        }
        Ok(times.histogram)
    }

    fn count(&self) -> u64 {
        u64::from(self.warm_up) + u64::from(self.rate) * self.duration.as_millis() as u64 / 1000
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<22}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "milliseconds", "count", "min", "p50", "p90", "p99", "p99.9", "max"
        )?;
        let rows = [
            ("published, answered", Some(&self.acknowledged)),
            ("Centrifuge, WebSocket", Some(&self.centrifuge)),
            ("goim, TCP", Some(&self.goim)),
            ("the disk alone", self.disk.as_ref()),
        ];
        for (name, times) in rows {
            let Some(times) = times else { continue };
            write!(out, "{name:<22}{:>8}", times.len())?;
            let quantiles = [0.5, 0.9, 0.99, 0.999].map(|at| times.value_at_quantile(at));
            for micros in [times.min()].into_iter().chain(quantiles).chain([times.max()]) {
                write!(out, "{:>9.3}", micros as f64 / 1000.0)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

enum Reader {
    Centrifuge,
    Goim,
}

/// When each message is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: u32,
}

impl Schedule {
    fn due(self, n: u64) -> Instant {
        self.start + Duration::from_secs_f64(n as f64 / f64::from(self.rate))
    }

    /// Hands out each number when it is due. A thread of its own sleeps between them, because the
    /// runtime's timers tick in whole milliseconds, which is what is to be measured.
    fn pace(self, count: u64) -> UnboundedReceiver<u64> {
        let (sender, receiver) = unbounded_channel();
        std::thread::spawn(move || {
            for n in 0..count {
                std::thread::sleep(self.due(n).saturating_duration_since(Instant::now()));
                if sender.send(n).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

/// Latencies of one observer.
struct Times {
    schedule: Schedule,
    warm_up: u64,
    histogram: Histogram<u64>,
}

impl Times {
    fn new(schedule: Schedule, warm_up: u64) -> Result<Self> {
        Ok(Self { schedule, warm_up, histogram: histogram()? })
    }

    /// Takes what was seen just now, which must be message `n`.
    fn take(&mut self, n: u64, data: &Value) -> Result<()> {
        let late = Instant::now().saturating_duration_since(self.schedule.due(n));
        ensure!(data["n"] == n, "message {n} was due, this came: {data}");
        if n >= self.warm_up {
            self.histogram.saturating_record(late.as_micros() as u64);
        }
        Ok(())
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, HIGHEST_MICROS, 3).context("histogram")
}

/// Latencies above a minute count as a minute.
const HIGHEST_MICROS: u64 = 60_000_000;

/// Enough for a 99th percentile.
const DISK_WRITES: usize = 400;

/// About what one message of the benchmark is in the log.
const DISK_WRITE_BYTES: usize = 256;

/// From the start of the readers to the first message.
const LEAD: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_weighs_on_every_message_that_was_due() {
        let start = Instant::now() - Duration::from_millis(100);
        let mut times = Times::new(Schedule { start, rate: 100 }, 0).expect("a histogram");
        for n in 0..10 {
            times.take(n, &json!({ "n": n })).expect("in order");
        }
        let (least, most) = (times.histogram.min(), times.histogram.max());
        assert!(least >= 9_000, "the last was due 10 ms ago, counted {least} us");
        assert!(most >= 100_000, "the first was due 100 ms ago, counted {most} us");
    }

    #[test]
    fn another_message_than_the_due_one_is_an_error() {
        let mut times = Times::new(Schedule { start: Instant::now(), rate: 1 }, 0).expect("times");
        assert!(times.take(1, &json!({ "n": 2 })).is_err());
    }

    #[test]
    fn warm_up_does_not_count() {
        let mut times = Times::new(Schedule { start: Instant::now(), rate: 1 }, 2).expect("times");
        for n in 0..3 {
            times.take(n, &json!({ "n": n })).expect("in order");
        }
        assert_eq!(times.histogram.len(), 1);
    }
}

//! Storms: thousands of clients that come, go and come back at once, while others watch a calm room.
//!
//! Phases, each seen by a few viewers of a room with a steady stream: nothing happens; a crowd comes to
//! another room; it loses all its connections and reconnects at once; it leaves at once; clients join
//! and leave at a steady rate; the crowd comes again and is lost. What is measured is how late the viewers' messages come, from when
//! each was due. What is checked is that nothing is missing, that all counters are exact afterwards,
//! and that the edge holds no more memory after the last storm than after the first.
//!
//! What that is unfair to: the crowd lives on the same machine and needs more of it than the edge.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::centrifuge;
use crate::metrics::Metrics;
use crate::network::Network;
use crate::wait::{until, within};

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Storms {
    /// Clients that reconnect, and that leave, at once.
    pub crowd: usize,
    /// Clients a second that join, and as many that leave.
    pub churn: u32,
    /// How long they do.
    pub churn_time: Duration,
    /// Messages a second in the calm room.
    pub rate: u32,
}

/// What the viewers saw, by phase.
#[derive(Debug)]
pub struct Report {
    phases: Vec<Phase>,
    /// Bytes that the edge's process held after the first storm and after the last one.
    pub resident: (u64, u64),
}

#[derive(Debug)]
struct Phase {
    name: &'static str,
    took: Duration,
    latency: Histogram<u64>,
}

impl Storms {
    /// Runs them against the first edge of a network, whose `upstream.linger` should be short; fails
    /// unless everything is as it was afterwards.
    pub async fn run(&self, network: &Network) -> Result<Report> {
        let edge = network.edge(0).http;
        let admin = network.edge_admin_url(0);
        let process = network.edges[0].id().context("the edge runs")?;
        let api = network.api();
        let (phase, seen) = watch::channel(0);
        // On a thread of their own: what the crowd takes of this process is not to be measured.
        let calm = Calm::new()?;
        let mut viewers = JoinSet::new();
        for _ in 0..VIEWERS {
            let seen = seen.clone();
            let (seated, sits) = oneshot::channel();
            viewers.spawn_on(
                async move {
                    let mut client = centrifuge::Client::connect(edge, json!({})).await?;
                    client.subscribe(CALM).await?;
                    let _ = seated.send(());
                    view(client, seen).await
                },
                &calm.handle,
            );
            sits.await.context("a viewer of the calm room did not come")?;
        }
        let rate = self.rate;
        let mut phase_of_publisher = phase.subscribe();
        let publisher = calm.handle.spawn(async move {
            let mut every = tokio::time::interval(Duration::from_secs(1) / rate);
            let start = Instant::now();
            for n in 0u64.. {
                every.tick().await;
                if *phase_of_publisher.borrow_and_update() == PHASES {
                    api.publish(CALM, &json!({ "n": n, "last": true })).await?;
                    break;
                }
                let due = start + Duration::from_secs(1) * n as u32 / rate;
                api.publish(CALM, &json!({ "n": n, "due": micros(due) })).await?;
            }
            anyhow::Ok(())
        });

        let mut took = vec![CALM_TIME];
        tokio::time::sleep(CALM_TIME).await;
        let connected = async |count: usize| {
            let count = (count + VIEWERS) as f64;
            let connections = async || Metrics::read(&admin).await?.get(CONNECTIONS);
            until("the edge counts its connections", connections, |n| *n == count).await
        };

        phase.send_replace(1);
        let start = Instant::now();
        let crowd = Crowd::gather(edge, self.crowd).await?;
        connected(self.crowd).await?;
        took.push(start.elapsed());

        phase.send_replace(2);
        let start = Instant::now();
        crowd.disperse(Parting::Lost);
        let crowd = Crowd::gather(edge, self.crowd).await?;
        connected(self.crowd).await?;
        took.push(start.elapsed());

        phase.send_replace(3);
        let start = Instant::now();
        crowd.disperse(Parting::Closed);
        connected(0).await?;
        took.push(start.elapsed());
        let resident_before = resident(process)?;

        phase.send_replace(4);
        let start = Instant::now();
        self.churn(edge).await?;
        connected(0).await?;
        took.push(start.elapsed());

        phase.send_replace(5);
        let start = Instant::now();
        let crowd = Crowd::gather(edge, self.crowd).await?;
        crowd.disperse(Parting::Lost);
        connected(0).await?;
        took.push(start.elapsed());

        phase.send_replace(PHASES);
        publisher.await??;
        let mut latencies: Vec<Histogram<u64>> = Vec::new();
        while let Some(viewer) = viewers.join_next().await {
            for (at, times) in viewer??.into_iter().enumerate() {
                match latencies.get_mut(at) {
                    Some(all) => all.add(times)?,
                    None => latencies.push(times),
                }
            }
        }
        until(
            "nothing is left of them",
            async || {
                let metrics = Metrics::read(&admin).await?;
                Ok([CONNECTIONS, STRANGERS, CHANNELS].map(|name| metrics.get(name).unwrap_or(-1.0)))
            },
            // The broadcast is pulled all the time.
            |left| *left == [0.0, 0.0, 1.0],
        )
        .await?;
        let metrics = Metrics::read(&admin).await?;
        for reason in ["address", "address_rate", "strangers", "full", "busy"] {
            let refused =
                metrics.get(&format!("linecast_edge_refused_total{{reason=\"{reason}\"}}"))?;
            ensure!(refused == 0.0, "{refused} were refused for {reason}");
        }
        let phases = NAMES.into_iter().zip(took).zip(latencies);
        let phases = phases.map(|((name, took), latency)| Phase { name, took, latency }).collect();
        Ok(Report { phases, resident: (resident_before, resident(process)?) })
    }

    async fn churn(&self, edge: SocketAddr) -> Result<()> {
        let mut every = tokio::time::interval(Duration::from_secs(1) / self.churn);
        let mut here = JoinSet::new();
        let end = Instant::now() + self.churn_time;
        while Instant::now() < end {
            every.tick().await;
            here.spawn(async move {
                let stream = join(edge).await?;
                tokio::time::sleep(STAY).await;
                drop(stream);
                anyhow::Ok(())
            });
            while let Some(left) = here.try_join_next() {
                left??;
            }
        }
        while let Some(left) = here.join_next().await {
            left??;
        }
        Ok(())
    }
}

impl Report {
    /// How late the latest message of any phase came.
    pub fn worst(&self) -> Duration {
        let worst = self.phases.iter().map(|phase| phase.latency.max()).max();
        Duration::from_micros(worst.unwrap_or(0))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "phase            took       messages   p50 ms   p99 ms   worst ms")?;
        for Phase { name, took, latency } in &self.phases {
            let ms = |micros: u64| micros as f64 / 1000.0;
            writeln!(
                f,
                "{name:<14} {:>7.2} s {:>12} {:>8.1} {:>8.1} {:>10.1}",
                took.as_secs_f64(),
                latency.len(),
                ms(latency.value_at_quantile(0.5)),
                ms(latency.value_at_quantile(0.99)),
                ms(latency.max()),
            )?;
        }
        let (before, after) = self.resident;
        writeln!(f, "memory held: {} KiB, at the end {} KiB", before >> 10, after >> 10)
    }
}

/// Takes every message in order; how late they came, by phase.
async fn view(
    mut client: centrifuge::Client,
    phase: watch::Receiver<usize>,
) -> Result<Vec<Histogram<u64>>> {
    let new = || Histogram::new_with_bounds(1, 600_000_000, 3);
    let mut phases = (0..PHASES).map(|_| new()).collect::<Result<Vec<_>, _>>()?;
    let mut next = 0;
    loop {
        let publication = client.publication().await?;
        let data = &publication["data"];
        ensure!(data["n"] == next, "message {next} is due, {data} came");
        next += 1;
        let Some(due) = data["due"].as_u64() else { return Ok(phases) };
        let late = micros(Instant::now()).saturating_sub(due);
        let phase = (*phase.borrow()).min(PHASES - 1);
        phases[phase].saturating_record(late);
    }
}

/// A thread for what is measured.
struct Calm {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Calm {
    fn new() -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Calm {
    fn drop(&mut self) {
        // Waiting for it is not allowed among asynchronous tasks, and nothing runs there any more.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Clients that read what comes and do nothing else.
struct Crowd {
    readers: JoinSet<()>,
    streams: Vec<(Arc<TcpStream>, AbortHandle)>,
}

/// How a crowd goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// As when a carrier's network fails: without a word.
    Lost,
    /// As when everybody closes the page.
    Closed,
}

impl Crowd {
    /// As many as fast as they can.
    async fn gather(edge: SocketAddr, count: usize) -> Result<Self> {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let mut joining = JoinSet::new();
        for _ in 0..count {
            let at_once = Arc::clone(&at_once);
            joining.spawn(async move {
                let _turn = at_once.acquire().await?;
                join(edge).await
            });
        }
        let mut crowd = Self { readers: JoinSet::new(), streams: Vec::with_capacity(count) };
        while let Some(joined) = joining.join_next().await {
            let stream = Arc::new(joined??);
            let reading = Arc::clone(&stream);
            let reader = crowd.readers.spawn(async move {
                while reading.readable().await.is_ok() {
                    if let Ok(0) = reading.try_read(&mut [0; 1024]) {
                        return;
                    }
                }
            });
            crowd.streams.push((stream, reader));
        }
        Ok(crowd)
    }

    fn disperse(self, parting: Parting) {
        for (stream, reader) in &self.streams {
            reader.abort();
            if parting == Parting::Lost {
                // No goodbye: the edge is told by a reset.
                let _ = stream.set_zero_linger();
            }
        }
    }
}

/// Connects and subscribes.
async fn join(edge: SocketAddr) -> Result<TcpStream> {
    within("a client joins", async {
        let mut stream = TcpStream::connect(edge).await?;
        let head = format!(
            "GET /connection/websocket HTTP/1.1\r\nhost: {edge}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: c3Rvcm1zIG9mIGNsaWVudA==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut input = Vec::new();
        read_until(&mut stream, &mut input, b"\r\n\r\n").await?;
        let subscribe = json!({ "id": 2, "subscribe": { "channel": CROWDED } });
        for command in [json!({ "id": 1, "connect": {} }), subscribe] {
            stream.write_all(&frame(&command)).await?;
        }
        read_until(&mut stream, &mut input, br#""id":2"#).await?;
        Ok(stream)
    })
    .await
}

/// A command as a text frame, masked by zero.
fn frame(command: &Value) -> Vec<u8> {
    let text = command.to_string();
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    assert!(text.len() < 126, "a short frame");
    frame.extend(text.as_bytes());
    frame
}

async fn read_until(stream: &mut TcpStream, input: &mut Vec<u8>, end: &[u8]) -> Result<()> {
    while !input.windows(end.len()).any(|window| window == end) {
        ensure!(stream.read_buf(input).await? > 0, "closed: {}", String::from_utf8_lossy(input));
    }
    Ok(())
}

/// Bytes that a process holds, from `/proc/<pid>/statm`, in pages of 4 KiB.
fn resident(process: u32) -> Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages = statm.split_whitespace().nth(1).context("a second field")?;
    Ok(pages.parse::<u64>()? * 4096)
}

fn micros(at: Instant) -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    at.saturating_duration_since(*START.get_or_init(|| at)).as_micros() as u64
}

const CALM: &str = "live:calm";
const CROWDED: &str = "live:crowded";
const VIEWERS: usize = 4;
const NAMES: [&str; PHASES] = ["calm", "coming", "reconnecting", "leaving", "churn", "and again"];
const PHASES: usize = 6;
const CALM_TIME: Duration = Duration::from_secs(2);
/// How long a client of the churn stays.
const STAY: Duration = Duration::from_millis(500);
/// Handshakes at once: each waits for answers, and all are on one machine.
const AT_ONCE: usize = 2000;
const CONNECTIONS: &str = "linecast_edge_connections";
const STRANGERS: &str = "linecast_edge_strangers";
const CHANNELS: &str = "linecast_edge_channels";

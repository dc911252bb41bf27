//! The lines of a run: the product's own relay, in this process, with one thread a line.
//!
//! It is driven through its admin API, as an operator would: that costs a millisecond at each change of
//! the lines, and nothing in between.
//!
//! Invariant: all lines lead to one address, and are clean when they are opened.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use deploy::io::relay::{Relay, RelayError};
use deploy::relay::{Both, Config, DirectionReport, LineConfig, Preset, Report, Settings};
use serde_json::json;
use shared::io::shutdown::Shutdown;
use shared::io::telemetry::{LogConfig, LogFormat};
use tokio::task::JoinSet;

use super::row::{LINES, own};
use crate::http::Http;
use crate::wait::within;

/// Running lines.
#[derive(Debug)]
pub(super) struct Paths {
    http: Http,
    admin: String,
    addresses: Vec<SocketAddr>,
    shutdown: Shutdown,
    serving: JoinSet<Result<(), RelayError>>,
}

/// What was offered to one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offered {
    /// Bytes with the headers of UDP and IPv4.
    pub(super) wire: Both<u64>,
}

/// What the lines have done so far.
#[derive(Debug)]
pub(super) struct Tally {
    /// What was offered to each.
    pub(super) lines: Vec<Offered>,
    /// The worst that a datagram left after it was due.
    pub(super) late: Duration,
}

impl Paths {
    /// Opens clean lines to `target`; the seed decides their luck.
    pub(super) async fn open(target: SocketAddr, seed: u64) -> Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let line = |number: usize| LineConfig {
            name: format!("{EDGE}/{number}"),
            listen: any,
            target,
            own: Both { up: own(), down: own() },
            preset: Preset::Clean,
        };
        let relay = Relay::open(Config {
            admin: any,
            lines: (1..=LINES).map(line).collect(),
            clients_max: 16,
            client_idle: Duration::from_secs(3600),
            seed: Some(seed),
            log: LogConfig { filter: "warn".to_owned(), format: LogFormat::Text },
        })
        .await?;
        let admin = relay.admin().context("the relay's admin address")?;
        let addresses = relay.lines();
        let shutdown = Shutdown::new();
        let mut serving = JoinSet::new();
        serving.spawn(relay.serve(shutdown.clone()));
        let admin = format!("http://{admin}");
        Ok(Self { http: Http::new(), admin, addresses, shutdown, serving })
    }

    /// Where each line is called.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Changes all lines.
    pub(super) async fn set_all(&self, settings: Both<Settings>) -> Result<()> {
        self.change(EDGE, settings).await
    }

    /// Changes one line, counted from 0.
    pub(super) async fn set(&self, line: usize, settings: Both<Settings>) -> Result<()> {
        self.change(&format!("{EDGE}/{}", line + 1), settings).await
    }

    async fn change(&self, name: &str, settings: Both<Settings>) -> Result<()> {
        let Both { up, down } = DirectionReport::both(settings, Both::default());
        let body = json!({ "up": up.settings, "down": down.settings }).to_string();
        let url = format!("{}/lines/{name}", self.admin);
        let answer = self.http.post(&url, &[], body).await?;
        ensure!(answer.status == 200, "the relay refused: {}", answer.text());
        Ok(())
    }

    /// Asks what the lines have done so far.
    pub(super) async fn tally(&self) -> Result<Tally> {
        let answer = self.http.get(&format!("{}/lines", self.admin)).await?;
        let report: Report = serde_json::from_slice(&answer.body).context("the relay's report")?;
        let wire = |of: &DirectionReport| of.offered.bytes + of.offered.datagrams * HEADER_BYTES;
        let offered = report
            .lines
            .iter()
            .map(|line| Offered { wire: Both { up: wire(&line.up), down: wire(&line.down) } });
        let late =
            report.lines.iter().flat_map(|line| [line.up.late_us_max, line.down.late_us_max]);
        Ok(Tally {
            lines: offered.collect(),
            late: Duration::from_micros(late.max().unwrap_or_default()),
        })
    }

    /// Ends all lines.
    pub(super) async fn close(mut self) -> Result<()> {
        self.shutdown.trigger();
        within("the relay ends", async {
            while let Some(ended) = self.serving.join_next().await {
                ended??;
            }
            Ok(())
        })
        .await
    }
}

impl Tally {
    /// Bytes that all lines were offered since `before`.
    pub(super) fn since(&self, before: &Self) -> Both<u64> {
        let sum = |of: fn(&Both<u64>) -> u64| {
            let total = |tally: &Self| tally.lines.iter().map(|line| of(&line.wire)).sum::<u64>();
            total(self) - total(before)
        };
        Both { up: sum(|wire| wire.up), down: sum(|wire| wire.down) }
    }

    /// The line that was offered most towards the edge since `before`.
    pub(super) fn busiest_since(&self, before: &Self) -> usize {
        let lines = self.lines.iter().zip(&before.lines).enumerate();
        let busiest = lines.max_by_key(|(_, (now, before))| now.wire.down - before.wire.down);
        busiest.map_or(0, |(line, _)| line)
    }
}

/// Whose lines they are; the relay changes all lines of an edge at once.
const EDGE: &str = "edge";

/// IPv4 and UDP.
const HEADER_BYTES: u64 = 28;

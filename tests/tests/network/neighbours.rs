//! Edges as upstreams: who loses the origin pulls through a neighbour, and returns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::metrics::Metrics;
use tests::network::{Network, Plan, edge_name};
use tests::stream::Stream;
use tests::wait::{until, within_time};
use tests::{centrifuge, goim};

use crate::{network_with, publish};

const CHANNEL: &str = "live:1000";
const ROOM: &str = "live://1000";
/// What clients of the edge say; nobody reads it.
const OTHER: &str = "live:2000";

/// How long clients may see nothing while an edge goes over: silence is noticed within a second, and
/// lines are left after another.
const PAUSE_MAX: Duration = Duration::from_secs(3);

#[test]
fn an_edge_without_origin_pulls_through_its_neighbour_and_returns() {
    let plan = Plan { relay: true, neighbours: vec![(1, 0)], ..Plan::edges(2) };
    network_with(plan, async |network| {
        let (api, lines, edge) = (network.api(), network.lines()?, edge_name(1));
        let mut readers = [
            Reader::goim(network, 0).await?,
            Reader::goim(network, 1).await?,
            Reader::centrifuge(network, 1).await?,
        ];
        let mut speaker = centrifuge::Client::connect(network.edge(1).http, json!({})).await?;
        speaker.subscribe(OTHER).await?;
        let served = async || gauge(network, 0, "served_neighbours").await;
        until("a neighbour's lines", served, |served| *served == 1.0).await?;

        let flow = Flow::default();
        let script = async {
            let said = json!({ "channel": OTHER, "data": "by its own lines" });
            speaker.ask("publish", said).await?;
            lines.cut_off(&edge).await?;
            until("the neighbour", async || upstream(network, 1).await, |at| *at == 1.0).await?;
            flow.go_on(200).await?;
            let said = json!({ "channel": OTHER, "data": "through the neighbour" });
            speaker.ask("publish", said).await?;
            let said = api.history(OTHER).await?;
            ensure!(said.len() == 2, "each counts once: {said:?}");
            // Somebody who comes now reads a channel that nobody read before.
            let mut late = centrifuge::Client::connect(network.edge(1).http, json!({})).await?;
            late.subscribe("live:3000").await?;
            api.publish("live:3000", &json!("late")).await?;
            ensure!(late.publication().await?["data"] == "late");

            lines.heal_edge(&edge).await?;
            until("its own lines", async || upstream(network, 1).await, |at| *at == 0.0).await?;
            flow.go_on(100).await?;
            flow.end();
            Ok(())
        };
        let [first, second, third] = &mut readers;
        tokio::try_join!(
            flow.publish(network),
            script,
            first.read(&flow),
            second.read(&flow),
            third.read(&flow)
        )?;
        for reader in &readers {
            reader.stream.verdict(flow.total.load(Ordering::Relaxed))?;
        }
        ensure!(gauge(network, 1, "gaps_total").await? == 0.0);
        ensure!(gauge(network, 1, "upstream_switches_total").await? == 2.0);
        Ok(())
    });
}

#[test]
fn neighbours_that_both_lose_the_origin_do_not_pull_from_each_other() {
    let plan = Plan { relay: true, neighbours: vec![(0, 1), (1, 0)], ..Plan::edges(2) };
    network_with(plan, async |network| {
        let (api, lines) = (network.api(), network.lines()?);
        let mut readers = [Reader::goim(network, 0).await?, Reader::goim(network, 1).await?];
        for at in 0..2 {
            let served = async || gauge(network, at, "served_neighbours").await;
            until("lines between neighbours", served, |served| *served == 1.0).await?;
        }
        publish::numbers(&api, CHANNEL, 0..50).await?;
        lines.cut_off(&edge_name(0)).await?;
        lines.cut_off(&edge_name(1)).await?;
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for n in 50..250 {
            pace.tick().await;
            publish::numbers(&api, CHANNEL, n..n + 1).await?;
            let both = (upstream(network, 0).await?, upstream(network, 1).await?);
            ensure!(both != (1.0, 1.0), "each pulls through the other");
        }
        for at in 0..2 {
            let settled = async || upstream(network, at).await;
            until("nobody to pull through", settled, |at| *at == 0.0).await?;
        }
        for at in 0..2 {
            lines.heal_edge(&edge_name(at)).await?;
        }
        publish::numbers(&api, CHANNEL, 250..300).await?;
        for reader in &mut readers {
            reader.read_to(300).await?;
            reader.stream.verdict(300)?;
        }
        for at in 0..2 {
            let settled = async || upstream(network, at).await;
            until("its own lines", settled, |at| *at == 0.0).await?;
            ensure!(gauge(network, at, "gaps_total").await? == 0.0);
        }
        Ok(())
    });
}

#[test]
fn what_came_before_the_neighbour_pulled_comes_from_the_origin_through_it() {
    let plan = Plan { relay: true, neighbours: vec![(1, 0)], ..Plan::edges(2) };
    network_with(plan, async |network| {
        let (api, lines) = (network.api(), network.lines()?);
        let mut reader = Reader::goim(network, 1).await?;
        let served = async || gauge(network, 0, "served_neighbours").await;
        until("a neighbour's lines", served, |served| *served == 1.0).await?;
        publish::numbers(&api, CHANNEL, 0..50).await?;
        reader.read_to(50).await?;
        lines.cut_off(&edge_name(1)).await?;
        let commands: Vec<Value> = (50..600)
            .map(|n| json!({ "publish": { "channel": CHANNEL, "data": Stream::body(n) } }))
            .collect();
        api.envelope("batch", &json!({ "commands": commands })).await?;
        // Only now does anybody read at the neighbour, whose ring begins here.
        let mut there = Reader::goim(network, 0).await?;
        publish::numbers(&api, CHANNEL, 600..620).await?;
        reader.read_to(620).await?;
        reader.stream.verdict(620)?;
        there.take().await?;
        ensure!(upstream(network, 1).await? == 1.0);
        ensure!(gauge(network, 1, "gaps_total").await? == 0.0);
        Ok(())
    });
}

#[test]
fn a_way_that_is_much_better_is_taken_though_the_other_works() {
    let plan = Plan { relay: true, neighbours: vec![(1, 0)], ..Plan::edges(2) };
    network_with(plan, async |network| {
        let (api, lines) = (network.api(), network.lines()?);
        let mut reader = Reader::goim(network, 1).await?;
        publish::numbers(&api, CHANNEL, 0..20).await?;
        lines.set_edge(&edge_name(1), &json!({ "delay": "150ms" })).await?;
        until("the neighbour", async || upstream(network, 1).await, |at| *at == 1.0).await?;
        publish::numbers(&api, CHANNEL, 20..40).await?;
        reader.read_to(40).await?;
        reader.stream.verdict(40)?;
        ensure!(gauge(network, 1, "lines_opened_total").await? >= 4.0, "both ways are kept");
        Ok(())
    });
}

/// Whom an edge pulls from: 0 is the origin.
async fn upstream(network: &Network, at: usize) -> Result<f64> {
    gauge(network, at, "upstream_neighbour").await
}

async fn gauge(network: &Network, at: usize, name: &str) -> Result<f64> {
    let metrics = Metrics::read(&network.edge_admin_url(at)).await?;
    metrics.get(&format!("linecast_edge_{name}"))
}

/// A stream of 100 messages a second, of which nobody knows beforehand how long it will be.
struct Flow {
    published: AtomicU64,
    ends: AtomicBool,
    total: AtomicU64,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            published: AtomicU64::new(0),
            ends: AtomicBool::new(false),
            total: AtomicU64::new(u64::MAX),
        }
    }
}

impl Flow {
    async fn publish(&self, network: &Network) -> Result<()> {
        let api = network.api();
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let mut n = 0;
        while n < self.total.load(Ordering::Relaxed) {
            if self.ends.swap(false, Ordering::Relaxed) {
                // Told before the last ones come, so that whoever reads them knows.
                self.total.store(n + 10, Ordering::Relaxed);
            }
            pace.tick().await;
            publish::numbers(&api, CHANNEL, n..n + 1).await?;
            n += 1;
            self.published.store(n, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits for so many more messages.
    async fn go_on(&self, count: u64) -> Result<()> {
        let goal = self.published.load(Ordering::Relaxed) + count;
        let published = async || Ok(self.published.load(Ordering::Relaxed));
        until("the flow", published, |published| *published >= goal).await.map(drop)
    }

    fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

enum Client {
    Goim(goim::Client),
    Centrifuge(centrifuge::Client),
}

/// A client that never connects or subscribes again.
struct Reader {
    client: Client,
    stream: Stream,
}

impl Reader {
    async fn goim(network: &Network, at: usize) -> Result<Self> {
        let mut client = goim::Client::tcp(network.edge(at).tcp).await?;
        client.login(&goim::Login::room(ROOM)).await?;
        Ok(Self::new(Client::Goim(client)))
    }

    async fn centrifuge(network: &Network, at: usize) -> Result<Self> {
        let mut client = centrifuge::Client::connect(network.edge(at).http, json!({})).await?;
        client.subscribe(CHANNEL).await?;
        Ok(Self::new(Client::Centrifuge(client)))
    }

    fn new(client: Client) -> Self {
        Self { client, stream: Stream::default() }
    }

    /// Reads the flow to its end, without a pause longer than [`PAUSE_MAX`].
    async fn read(&mut self, flow: &Flow) -> Result<()> {
        while (self.stream.len() as u64) < flow.total.load(Ordering::Relaxed) {
            within_time("the next message", PAUSE_MAX, self.take()).await?;
        }
        Ok(())
    }

    async fn read_to(&mut self, count: usize) -> Result<()> {
        while self.stream.len() < count {
            self.take().await?;
        }
        Ok(())
    }

    async fn take(&mut self) -> Result<()> {
        match &mut self.client {
            Client::Goim(client) => {
                let push = client.push().await?;
                self.stream.take(&serde_json::from_slice(&push.body)?, None)?;
            }
            Client::Centrifuge(client) => {
                let publication = client.publication().await?;
                self.stream.take(&publication["data"], publication["offset"].as_u64())?;
            }
        }
        Ok(())
    }
}

//! Lines break and heal under a stream: edges serve on, and no client notices more than a pause.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::network::{LINES, Plan, edge_name, line_name};
use tests::stream::Stream;
use tests::wait::until;
use tests::{centrifuge, goim};

use crate::{network_with, publish};

const CHANNEL: &str = "live:1000";
const ROOM: &str = "live://1000";

#[test]
fn an_edge_that_is_cut_off_costs_a_pause_and_nothing_else() {
    network_with(Plan { relay: true, ..Plan::edges(2) }, async |network| {
        let (api, lines, broken) = (network.api(), network.lines()?, edge_name(0));
        let mut reader = Reader::new(network.edge(0).http).await?;
        let mut viewer = Viewer::new(network.edge(0).tcp).await?;
        let mut elsewhere = Viewer::new(network.edge(1).tcp).await?;
        publish::numbers(&api, CHANNEL, 0..50).await?;
        reader.read(50).await?;
        viewer.read(50).await?;

        ensure!(lines.cut_off(&broken).await?.len() == LINES);
        // Three seconds: the edge gives its lines up after two, and calls in vain.
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for n in 50..200 {
            pace.tick().await;
            publish::numbers(&api, CHANNEL, n..n + 1).await?;
        }
        elsewhere.read(200).await?;
        viewer.client.heartbeat().await?;
        let mut late = goim::Client::tcp(network.edge(0).tcp).await?;
        late.login(&goim::Login::room(ROOM)).await?;
        let lost = async || {
            let lines = lines.lines_of(&broken).await?;
            let lost = |line: &Value| line["up"]["dropped"]["blackhole"]["datagrams"].as_u64();
            Ok(lines.iter().filter_map(lost).sum::<u64>())
        };
        until("datagrams lost on the lines", lost, |lost| *lost > 0).await?;
        ensure!(viewer.client.push_now().await?.is_none(), "a message over broken lines");

        lines.heal_edge(&broken).await?;
        publish::numbers(&api, CHANNEL, 200..250).await?;
        reader.read(250).await?;
        viewer.read(250).await?;
        elsewhere.read(250).await?;

        lines.set_edge(&broken, &json!({ "preset": "loss5", "delay": "10ms" })).await?;
        publish::numbers(&api, CHANNEL, 250..350).await?;
        for viewer in [&mut viewer, &mut elsewhere] {
            viewer.read(350).await?;
            viewer.stream.verdict(350)?;
            let more = viewer.client.push_now().await?;
            ensure!(more.is_none(), "a message too many: {more:?}");
        }
        reader.read(350).await?;
        reader.stream.verdict(350)?;
        let more = reader.client.pushes_now(CHANNEL).await?;
        ensure!(more.is_empty(), "pushes too many: {more:?}");
        for edge in &mut network.edges {
            edge.alive()?;
        }
        Ok(())
    });
}

#[test]
fn the_demo_pages_route_breaks_and_heals_lines() {
    network_with(Plan { relay: true, ..Plan::edges(2) }, async |network| {
        let (page, relay) = (network.demo_lines(), network.lines()?);
        let (first, edge) = (line_name(0, 0), edge_name(0));
        let shown = page.all().await?;
        let names: Vec<&str> = shown.iter().filter_map(|line| line["name"].as_str()).collect();
        let expected: Vec<String> =
            (0..2 * LINES).map(|number| line_name(number / LINES, number % LINES)).collect();
        ensure!(names == expected, "{names:?}");
        // The edges report what they measure, and by which line they are told things first.
        let lines = async || Ok(page.all().await?.into_iter().take(LINES).collect::<Vec<_>>());
        until("the edge's word about its lines", lines, |lines| {
            let are = |key: &str, value: &Value| {
                lines.iter().filter(|line| &line["measured"][0][key] == value).count()
            };
            let primaries = [are("primary", &true.into()), are("primary_up", &true.into())];
            are("state", &"good".into()) == LINES && primaries == [1, 1]
        })
        .await?;

        let mut viewer = Viewer::new(network.edge(0).tcp).await?;
        publish::numbers(&network.api(), CHANNEL, 0..20).await?;
        viewer.read(20).await?;
        let foreign = page.set_from(&edge, "blackhole", "http://evil.example").await?;
        ensure!(foreign.status == 403, "{}", foreign.text());
        ensure!(broken(&relay.lines_of(&edge).await?) == 0);
        ensure!(broken(&page.set(&first, "blackhole").await?) == 1);
        ensure!(broken(&relay.lines_of(&edge).await?) == 1, "one line is broken");
        ensure!(broken(&page.set(&edge, "blackhole").await?) == LINES);
        publish::numbers(&network.api(), CHANNEL, 20..40).await?;
        let lost = async || {
            let lines = page.all().await?;
            let lost = |line: &Value| line["up"]["dropped"]["blackhole"]["datagrams"].as_u64();
            Ok(lines.iter().filter_map(lost).sum::<u64>())
        };
        until("datagrams lost", lost, |lost| *lost > 0).await?;
        ensure!(viewer.client.push_now().await?.is_none(), "a message over broken lines");
        ensure!(broken(&page.set(&edge, "clean").await?) == 0);
        viewer.read(40).await?;
        viewer.stream.verdict(40)?;

        for (name, preset, status) in
            [("nobody", "clean", 404), (&*first, "nonsense", 400), ("bj/heal", "clean", 404)]
        {
            let answer = page.set_from(name, preset, &network.list_url()).await?;
            ensure!(answer.status == status, "{name}: {} {}", answer.status, answer.text());
            ensure!(answer.json()?["error"].is_string(), "{}", answer.text());
        }
        Ok(())
    });
}

/// How many of these lines are broken in both directions.
fn broken(lines: &[Value]) -> usize {
    let hole = |line: &Value, way: &str| line[way]["settings"]["blackhole"] == true;
    lines.iter().filter(|line| hole(line, "up") && hole(line, "down")).count()
}

/// A goim client of the room that never connects again.
struct Viewer {
    client: goim::Client,
    stream: Stream,
}

impl Viewer {
    async fn new(edge: std::net::SocketAddr) -> Result<Self> {
        let mut client = goim::Client::tcp(edge).await?;
        client.login(&goim::Login::room(ROOM)).await?;
        Ok(Self { client, stream: Stream::default() })
    }

    /// Reads until it has had `count` messages.
    async fn read(&mut self, count: usize) -> Result<()> {
        while self.stream.len() < count {
            let push = self.client.push().await?;
            self.stream.take(&serde_json::from_slice(&push.body)?, None)?;
        }
        Ok(())
    }
}

/// A Centrifuge client of the channel that never connects or subscribes again.
struct Reader {
    client: centrifuge::Client,
    stream: Stream,
}

impl Reader {
    async fn new(edge: std::net::SocketAddr) -> Result<Self> {
        let mut client = centrifuge::Client::connect(edge, json!({})).await?;
        client.subscribe(CHANNEL).await?;
        Ok(Self { client, stream: Stream::default() })
    }

    /// Reads until it has had `count` messages.
    async fn read(&mut self, count: usize) -> Result<()> {
        while self.stream.len() < count {
            let publication = self.client.publication().await?;
            self.stream.take(&publication["data"], publication["offset"].as_u64())?;
        }
        Ok(())
    }
}

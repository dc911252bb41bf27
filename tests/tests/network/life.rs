//! The life of one message, step by step, as it can be seen from outside.
//!
//! The steps are those of ARCHITECTURE.md, by number and name: the test holds the text to what the
//! product does. What it sees is printed; `cargo test -p tests life -- --nocapture` shows it.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::metrics::Metrics;
use tests::network::Network;
use tests::wait::until;
use tests::{centrifuge, goim};

use crate::network;

const CHANNEL: &str = "live:1000";
const ROOM: &str = "live://1000";

#[test]
fn a_message_lives_as_the_architecture_says() {
    network(1, async |network| {
        let mut story = Story::of_the_architecture()?;
        let (api, edge) = (network.api(), network.edge(0));
        let mut reader = centrifuge::Client::connect(edge.http, json!({})).await?;
        let joined = reader.subscribe(CHANNEL).await?;
        let mut viewer = goim::Client::tcp(edge.tcp).await?;
        viewer.login(&goim::Login::room(ROOM)).await?;
        // Both have their places, and the edge a pull that waits.
        until("both are in", async || api.clients(CHANNEL).await, |clients| *clients == 2).await?;
        let before = Counts::read(network).await?;

        let request = json!({ "channel": CHANNEL, "data": { "text": "hello" }, "op": 1000 });
        let answer = api.call("publish", &request).await?;
        let position = (&answer["epoch"], &answer["offset"]);
        ensure!(position == (&joined["epoch"], &json!(1)), "{answer} after {joined}");
        story.step("Publish", &format!("a back end publishes and is answered {answer}"))?;

        let wrong = json!({ "channel": "nosuchnamespace:1", "data": 1 });
        ensure!(api.refusal("publish", &wrong).await? == 102);
        let origin = Metrics::read(&network.origin_admin_url()).await?;
        let admitted = origin.get(PUBLISHED)? - before.published;
        ensure!(admitted == 1.0, "{admitted} messages are admitted");
        story.step("Admission", "it is admitted; one of no namespace is refused with code 102")?;

        let committed = origin.get(COMMITTED)? - before.committed;
        ensure!(committed == 1.0, "{committed} messages are committed");
        let log = api.history(CHANNEL).await?;
        ensure!(log == [(1, json!({ "text": "hello" }))], "{log:?}");
        story.step("Log", "one commit of one message; it is in the log at its offset")?;

        let woken = until(
            "the edge has it",
            async || Counts::read(network).await,
            |counts| counts.messages == before.messages + 1.0,
        )
        .await?;
        ensure!(woken.channels == before.channels, "the pull is the one that waited");
        story.step(
            "Wake",
            &format!("of {} pulls, the one of its channel goes on", woken.channels),
        )?;

        ensure!(woken.lines == before.lines && woken.repeated == before.repeated, "{woken:?}");
        story
            .step("Lines", "the edge takes one message from the line that it has had all along")?;

        let mut late = centrifuge::Client::connect(edge.http, json!({})).await?;
        let recover = json!({ "channel": CHANNEL, "recover": true, "epoch": joined["epoch"] });
        let recovered = late.ask("subscribe", recover).await?;
        let publications = recovered["publications"].as_array().context("publications")?;
        ensure!(publications.len() == 1 && recovered["recovered"] == true, "{recovered}");
        let after = Counts::read(network).await?;
        ensure!(after.messages == woken.messages, "it did not come over the line again");
        story.step("Edge's ring", "who comes late recovers it without the line")?;

        let delivered = until(
            "deliveries",
            async || Counts::read(network).await,
            |counts| counts.deliveries == before.deliveries + 2.0,
        )
        .await?;
        story.step("Cursors", "two cursors stood before it, and it is delivered to two clients")?;

        let publication = reader.publication().await?;
        ensure!(publication["data"] == json!({ "text": "hello" }), "{publication}");
        ensure!(publication["offset"] == 1, "{publication}");
        let frame = viewer.push().await?;
        ensure!(frame.body == br#"{"text":"hello"}"#.as_slice(), "{frame:?}");
        ensure!(frame.operation == 1000 && frame.version == 1, "{frame:?}");
        let writes = delivered.writes - before.writes;
        ensure!(writes == 2.0, "{writes} writes for two clients");
        story.step("Frames", &format!("two writes: {publication} and {frame:?}"))?;

        ensure!((delivered.gaps, delivered.lost) == (0.0, 0.0), "{delivered:?}");
        drop(viewer);
        until(
            "the end is counted",
            async || Counts::read(network).await,
            |counts| counts.ended_by_peer == before.ended_by_peer + 1.0,
        )
        .await?;
        let list = network.list();
        let load = async || {
            let told = list.get("edges").await?;
            Ok(told.pointer("/edges/0/connections").cloned().unwrap_or_default())
        };
        until("the report", load, |connections| *connections == 2).await?;
        story.step(
            "Account",
            "nothing got lost; a client's leaving is its own; svrlist counts two",
        )?;
        story.end()
    });
}

/// The steps that the architecture names, those told first.
struct Story {
    steps: Vec<String>,
    told: usize,
}

impl Story {
    fn of_the_architecture() -> Result<Self> {
        let text = include_str!("../../../ARCHITECTURE.md");
        let life =
            text.split("\n## ").find_map(|part| part.strip_prefix("The life of a message\n"));
        let steps = life.context("no life of a message in ARCHITECTURE.md")?.lines();
        let steps: Vec<String> = steps
            .filter_map(|line| line.split_once(". **"))
            .filter(|(number, _)| number.parse::<usize>().is_ok())
            .filter_map(|(number, step)| Some(format!("{number}. {}", step.split_once(".**")?.0)))
            .collect();
        Ok(Self { steps, told: 0 })
    }

    /// The next step is `name`, and `seen` of it.
    #[allow(clippy::print_stderr, reason = "the story is there to be read")]
    fn step(&mut self, name: &str, seen: &str) -> Result<()> {
        let step = format!("{}. {name}", self.told + 1);
        let due = self.steps.get(self.told);
        ensure!(due == Some(&step), "{step:?} is {due:?} in ARCHITECTURE.md");
        self.told += 1;
        eprintln!("{step}: {seen}");
        Ok(())
    }

    fn end(self) -> Result<()> {
        ensure!(self.told == self.steps.len(), "not seen: {:?}", &self.steps[self.told..]);
        Ok(())
    }
}

/// What origin and edge had counted at one time.
#[derive(Debug)]
struct Counts {
    published: f64,
    committed: f64,
    channels: f64,
    lines: f64,
    messages: f64,
    repeated: f64,
    gaps: f64,
    deliveries: f64,
    writes: f64,
    lost: f64,
    ended_by_peer: f64,
}

impl Counts {
    async fn read(network: &Network) -> Result<Self> {
        let origin = Metrics::read(&network.origin_admin_url()).await?;
        let edge = Metrics::read(&network.edge_admin_url(0)).await?;
        Ok(Self {
            published: origin.get(PUBLISHED)?,
            committed: origin.get(COMMITTED)?,
            channels: edge.get("linecast_edge_channels")?,
            lines: edge.get("linecast_edge_lines_opened_total")?,
            messages: edge.get("linecast_edge_messages_total")?,
            repeated: edge.get("linecast_edge_duplicates_total")?,
            gaps: edge.get("linecast_edge_gaps_total")?,
            deliveries: edge.get("linecast_edge_deliveries_total")?,
            writes: edge.get("linecast_edge_writes_total")?,
            lost: edge.get("linecast_edge_lost_subscriptions_total")?,
            ended_by_peer: edge.get("linecast_edge_ended_by_peer_total")?,
        })
    }
}

const PUBLISHED: &str = "linecast_origin_published_total";
const COMMITTED: &str = "linecast_origin_commit_messages_sum";

//! What applications do with SDKs and browsers that we did not write.

use anyhow::ensure;
use serde_json::json;
use tests::network::{LINES, Plan, TOKEN_SECRET};
use tests::real_client::{chromium, installed};

use crate::{network, network_with, publish};

#[test]
fn features_of_the_json_sdk() {
    features("json");
}

#[test]
fn features_of_the_protobuf_sdk() {
    features("protobuf");
}

fn features(protocol: &str) {
    let origin = vec!["namespace.live.join_leave=true".to_owned()];
    network_with(Plan { origin, ..Plan::edges(1) }, async |network| {
        if !installed()? {
            return Ok(());
        }
        let options = json!({
            "url": network.edge(0).centrifuge(), "protocol": protocol, "secret": TOKEN_SECRET,
            "namespace": "live", "run": "features",
        });
        network.client("centrifuge-features", &options)?.result().await.map(drop)
    });
}

#[test]
fn the_demo_page_sends_and_shows_a_message() {
    network(3, async |network| {
        let (true, Some(chromium)) = (installed()?, chromium()?) else { return Ok(()) };
        let screenshot = network.subfolder("pictures")?.join("demo-page.png");
        let options = json!({
            "url": format!("{}/demo", network.list_url()), "chromium": chromium,
            "text": "第一条弹幕 <b>not bold</b>", "screenshot": screenshot,
            "folder": network.subfolder("chromium")?,
        });
        let client = network.client("demo-page", &options)?;
        client.result().await?;
        let picture = std::fs::metadata(&screenshot)?.len();
        ensure!(picture > PICTURE_BYTES, "a screenshot of {picture} bytes");
        Ok(())
    });
}

#[test]
fn the_demo_page_breaks_and_heals_a_line() {
    const COUNT: u64 = 150;
    network_with(Plan { relay: true, ..Plan::edges(2) }, async |network| {
        let (true, Some(chromium)) = (installed()?, chromium()?) else { return Ok(()) };
        let options = json!({
            "url": format!("{}/demo?room={CHANNEL}", network.list_url()), "chromium": chromium,
            "folder": network.subfolder("chromium")?, "count": COUNT, "before": 50,
            "screenshot": network.subfolder("pictures")?.join("demo-lines.png"), "timeoutMs": 60_000,
        });
        let mut client = network.client("demo-lines", &options)?;
        client.ready().await?;
        let api = network.api();
        publish::numbers(&api, CHANNEL, 0..50).await?;
        client.event("broken").await?;
        publish::numbers(&api, CHANNEL, 50..COUNT).await?;
        let result = client.result().await?;
        ensure!(result["lines"] == 2 * LINES, "{result}");
        Ok(())
    });
}

const CHANNEL: &str = "live:1000";

/// An empty page of this size compresses to less.
const PICTURE_BYTES: u64 = 5_000;

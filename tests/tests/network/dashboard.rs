//! The operators' dashboard in a real browser, over a real network.

use anyhow::ensure;
use serde_json::json;
use tests::network::Plan;
use tests::real_client::{chromium, installed};

use crate::network_with;

#[test]
fn the_dashboard_shows_what_happens() {
    network_with(Plan { relay: true, ..Plan::edges(3) }, async |network| {
        let (true, Some(chromium)) = (installed()?, chromium()?) else { return Ok(()) };
        let options = json!({
            "url": network.list_url(), "chromium": chromium, "folder": network.subfolder("chromium")?,
            "pictures": network.subfolder("pictures")?, "edge": "bj-telecom",
            "line": "bj-telecom/telecom", "lost": "gz-mobile", "zone": "default",
            "timeoutMs": 110_000,
        });
        let mut client = network.client("dashboard", &options)?;
        client.ready().await?;
        network.edges[2].kill().await?;
        client.event("alone").await?;
        network.svrlist.kill().await?;
        network.svrlist.start()?;
        network.svrlist.ready().await?;
        let result = client.result().await?;
        ensure!(result["done"].as_array().is_some_and(|done| done.len() == 8), "{result}");
        Ok(())
    });
}

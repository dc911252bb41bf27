//! A small run of each benchmark program's work: it must work here, what it measures counts elsewhere.

use std::time::Duration;

use anyhow::ensure;
use tests::latency::Load;

use crate::network;

#[test]
fn latency_counts_every_message_at_both_clients() {
    network(1, async |network| {
        let edge = network.edge(0);
        let load = Load {
            origin: network.api(),
            websocket: edge.http,
            tcp: edge.tcp,
            room: "latency".to_owned(),
            rate: 100,
            duration: Duration::from_secs(1),
            warm_up: 10,
            filling: 80,
        };
        let report = load.run().await?;
        for times in [&report.acknowledged, &report.centrifuge, &report.goim] {
            ensure!(times.len() == 100, "{report}");
        }
        Ok(())
    });
}

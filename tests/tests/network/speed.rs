//! A small run of each benchmark program's work: it must work here, what it measures counts elsewhere.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::latency::Load;
use tests::lines::{CSV, Latency, Report, Setup, smoke};
use tests::network::{Plan, new_folder};
use tests::storms::Storms;

use crate::{network, network_with};

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

#[test]
fn storms_leave_everything_as_it_was() {
    let edge = vec!["upstream.linger=1s".to_owned()];
    network_with(Plan { edge, ..Plan::edges(1) }, async |network| {
        let churn_time = Duration::from_secs(2);
        let report = Storms { crowd: 500, churn: 100, churn_time, rate: 20 }.run(network).await?;
        ensure!(report.worst() < Duration::from_secs(5), "{report}");
        let (before, after) = report.resident;
        ensure!(after < before + before / 4, "{report}");
        Ok(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_set_up_carries_messages_over_lines() -> Result<()> {
    let folder = new_folder();
    let mut report = Report::new(&folder)?;
    let row = smoke();
    for (_, setup) in Setup::NAMED {
        let outcome = Box::pin(setup.measure(&row, 1)).await?;
        ensure!((outcome.undelivered(), outcome.duplicated) == (0, 0), "{outcome}");
        ensure!(outcome.delivered(0.0) >= Latency::Took(Duration::from_millis(20)), "{outcome}");
        ensure!(outcome.over_useful().down > 1.0, "{outcome}");
        ensure!(outcome.faults.len() == row.changes.len(), "{outcome}");
        report.add(outcome)?;
    }
    let csv = std::fs::read_to_string(folder.join(CSV))?;
    let picture = std::fs::read_to_string(folder.join("smoke.svg"))?;
    ensure!(csv.lines().count() == 1 + Setup::NAMED.len(), "{csv}");
    for (name, _) in Setup::NAMED {
        ensure!(csv.contains(name) && picture.contains(name), "{name} is missing");
    }
    ensure!(picture.contains("1 % lost"), "the fault is not marked");
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

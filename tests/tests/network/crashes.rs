//! Processes are killed with SIGKILL while messages flow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::network::Plan;
use tests::real_client::installed;
use tests::wait::{PATIENCE, until, within_time};
use tests::{centrifuge, goim};
use tokio::task::JoinSet;

use crate::publish::{Acknowledged, stubbornly};
use crate::{network, network_with, publish};

const CHANNEL: &str = "live:1000";
const ROOM: &str = "live://1000";

#[test]
fn the_sdk_recovers_every_message_when_its_edge_is_killed() {
    network(2, async |network| {
        if !installed()? {
            return Ok(());
        }
        let start = |protocol: &str, count: u64| {
            let options = json!({
                "url": network.edge(0).centrifuge(), "protocol": protocol, "channel": CHANNEL,
                "count": count, "timeoutMs": 60_000,
            });
            network.client("centrifuge-stream", &options)
        };
        let mut clients = vec![start("json", 1000)?, start("protobuf", 1000)?];
        for client in &mut clients {
            client.ready().await?;
        }
        let api = network.api();
        publish::numbers(&api, CHANNEL, 0..300).await?;
        for client in &mut clients {
            client.received(150).await?;
        }
        network.edges[0].kill().await?;
        publish::numbers(&api, CHANNEL, 300..500).await?;
        network.edges[0].start()?;
        for client in &mut clients {
            let event = client.event("resubscribed").await?;
            ensure!(event["recovered"] == true, "not recovered: {event}");
        }
        publish::numbers(&api, CHANNEL, 500..1000).await?;
        for client in clients {
            client.result().await?;
        }
        Ok(())
    });
}

/// The promises of an acknowledgement: the message is there, where it was said to be, once.
#[test]
fn nothing_acknowledged_is_lost_when_the_origin_is_killed_twenty_times() {
    const KILLS: u64 = 20;
    const BETWEEN_KILLS: u64 = 25;
    static TOTAL: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);

    let origin = vec!["namespace.live.history_size=100000".to_owned()];
    let plan = Plan { origin, limit: Duration::from_secs(300), ..Plan::edges(2) };
    network_with(plan, async |network| {
        let mut reader = centrifuge::Client::connect(network.edge(0).http, json!({})).await?;
        reader.subscribe(CHANNEL).await?;
        let mut listener = goim::Client::tcp(network.edge(1).tcp).await?;
        listener.login(&goim::Login::room(ROOM)).await?;
        let edges: Vec<_> = network.edges.iter().map(|edge| edge.id()).collect();

        let mut publishers = JoinSet::new();
        for publisher in 0..4 {
            let work = stubbornly(network.api(), CHANNEL.to_owned(), publisher, &TOTAL, &STOP);
            publishers.spawn(work);
        }
        for kill in 1..=KILLS {
            acknowledged(kill * BETWEEN_KILLS).await?;
            network.origin.kill().await?;
            network.origin.start()?;
        }
        acknowledged((KILLS + 2) * BETWEEN_KILLS).await?;
        STOP.store(true, Ordering::Relaxed);
        let promised = within_time("the publishers end", PATIENCE, async {
            publishers.join_all().await.into_iter().collect::<Result<Vec<_>>>()
        })
        .await?
        .concat();

        let log = network.api().history(CHANNEL).await?;
        keeps_its_promises(&log, &promised)?;
        let delivered = read_centrifuge(&mut reader, log.len()).await?;
        ensure!(delivered == log, "the Centrifuge client saw another stream than the log");
        let bodies: Vec<Value> = log.into_iter().map(|(_, data)| data).collect();
        let delivered = read_goim(&mut listener, bodies.len()).await?;
        ensure!(delivered == bodies, "the goim client saw another stream than the log");
        for (edge, id) in network.edges.iter_mut().zip(edges) {
            edge.alive()?;
            ensure!(edge.id() == id, "an edge was started again");
        }
        Ok(())
    });

    /// Waits until the publishers together were promised this many messages.
    async fn acknowledged(count: u64) -> Result<()> {
        let read = async || Ok(TOTAL.load(Ordering::Relaxed));
        until("acknowledged messages", read, |total| *total >= count).await.map(drop)
    }
}

#[test]
fn a_killed_svrlist_disturbs_no_stream() {
    network(1, async |network| {
        let mut reader = centrifuge::Client::connect(network.edge(0).http, json!({})).await?;
        reader.subscribe(CHANNEL).await?;
        let api = network.api();
        publish::numbers(&api, CHANNEL, 0..50).await?;
        network.svrlist.kill().await?;
        publish::numbers(&api, CHANNEL, 50..100).await?;
        network.svrlist.start()?;
        network.svrlist.ready().await?;
        publish::numbers(&api, CHANNEL, 100..150).await?;
        let mut stream = tests::stream::Stream::default();
        for _ in 0..150 {
            let publication = reader.publication().await?;
            stream.take(&publication["data"], publication["offset"].as_u64())?;
        }
        stream.verdict(150)
    });
}

#[test]
fn every_process_stops_cleanly_when_asked() {
    network(1, async |network| {
        for process in network.processes() {
            let status = process.stop().await?;
            ensure!(status.success(), "{process:?}: {status}");
        }
        Ok(())
    });
}

/// Offsets are dense from 1, every promise is kept, every message of a publisher is there once and in
/// its order.
fn keeps_its_promises(log: &[(u64, Value)], promised: &[Acknowledged]) -> Result<()> {
    let epochs: std::collections::BTreeSet<&str> =
        promised.iter().map(|promise| promise.position.epoch.as_str()).collect();
    ensure!(epochs.len() == 1, "the epoch changed: {epochs:?}");
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    for (at, (offset, data)) in log.iter().enumerate() {
        ensure!(*offset == at as u64 + 1, "offset {offset} stands at place {}", at + 1);
        let publisher = data["publisher"].as_u64().unwrap_or(u64::MAX);
        let due = next.entry(publisher).or_insert(0);
        ensure!(data["n"] == *due, "offset {offset}: publisher {publisher}: {data}, due {due}");
        *due += 1;
    }
    for promise in promised {
        let expected = json!({ "publisher": promise.publisher, "n": promise.n });
        let there = log.get(promise.position.offset as usize - 1);
        ensure!(
            there.is_some_and(|(_, data)| *data == expected),
            "{promise:?}: there is {there:?}"
        );
    }
    Ok(())
}

async fn read_centrifuge(
    client: &mut centrifuge::Client,
    count: usize,
) -> Result<Vec<(u64, Value)>> {
    let mut delivered = Vec::new();
    while delivered.len() < count {
        let mut publication = client.publication().await?;
        let offset = publication["offset"].as_u64().unwrap_or(0);
        delivered.push((offset, publication["data"].take()));
    }
    Ok(delivered)
}

async fn read_goim(client: &mut goim::Client, count: usize) -> Result<Vec<Value>> {
    let mut delivered = Vec::new();
    while delivered.len() < count {
        delivered.push(serde_json::from_slice(&client.push().await?.body)?);
    }
    Ok(delivered)
}

//! One stream of 1,000 messages through three edges, completely, in order, once.

use anyhow::{Context, Result};
use serde_json::json;
use tests::goim::{Client, Login};
use tests::real_client::installed;
use tests::stream::Stream;
use tests::wait::within_time;

use crate::{network, publish};

const CHANNEL: &str = "live:1000";
const ROOM: &str = "live://1000";
const COUNT: u64 = 1000;

#[test]
fn clients_from_npm_read_one_stream_at_three_edges() {
    network(3, async |network| {
        if !installed()? {
            return Ok(());
        }
        let [one, two, three] = [0, 1, 2].map(|at| network.edge(at));
        let centrifuge = |url: String, protocol: &str| {
            let options =
                json!({ "url": url, "protocol": protocol, "channel": CHANNEL, "count": COUNT });
            network.client("centrifuge-stream", &options)
        };
        let danmaku_tcp = |port: u16, protover: u8| {
            let options = json!({
                "transport": "tcp", "host": "127.0.0.1", "port": port, "room": 1000,
                "protover": protover, "count": COUNT,
            });
            network.client("danmaku-stream", &options)
        };
        let danmaku_websocket = |address: String, protover: u8| {
            let options = json!({
                "transport": "ws", "address": address, "room": 1000,
                "protover": protover, "count": COUNT,
            });
            network.client("danmaku-stream", &options)
        };
        let mut clients = vec![
            centrifuge(one.centrifuge(), "json")?,
            centrifuge(two.centrifuge(), "protobuf")?,
            danmaku_tcp(three.tcp.port(), 0)?,
            danmaku_websocket(one.sub(), 0)?,
            danmaku_tcp(two.tcp.port(), 2)?,
            danmaku_websocket(three.sub(), 3)?,
        ];
        for client in &mut clients {
            client.ready().await?;
        }
        publish::numbers(&network.api(), CHANNEL, 0..COUNT).await?;
        for client in clients {
            client.result().await?;
        }
        Ok(())
    });
}

#[test]
fn goim_clients_read_one_stream_at_three_edges() {
    network(3, async |network| {
        let mut clients = vec![
            Client::tcp(network.edge(0).tcp).await?,
            Client::websocket(network.edge(1).http, "/sub").await?,
            Client::tcp(network.edge(2).tcp).await?,
        ];
        for client in &mut clients {
            client.login(&Login::room(ROOM)).await?;
        }
        publish::numbers(&network.api(), CHANNEL, 0..COUNT).await?;
        network.api().publish(CHANNEL, &json!("the end")).await?;
        for mut client in clients {
            let stream = read(&mut client, COUNT).await?;
            stream.verdict(COUNT)?;
            let end = client.push().await?;
            anyhow::ensure!(end.body == br#""the end""#.as_slice(), "one too many: {end:?}");
        }
        Ok(())
    });
}

#[test]
fn the_same_over_tls() {
    network(1, async |network| {
        let edge = network.edge(0);
        let mut goim = Client::tls(edge.tcp_tls, &network.certificate()).await?;
        goim.login(&Login::room(ROOM)).await?;
        let mut clients = Vec::new();
        if installed()? {
            let options = json!({ "url": edge.centrifuge_tls(), "channel": CHANNEL, "count": 200 });
            clients.push(network.client("centrifuge-stream", &options)?);
            let options = json!({
                "transport": "ws", "address": edge.sub_tls(), "room": 1000, "count": 200,
            });
            clients.push(network.client("danmaku-stream", &options)?);
        }
        for client in &mut clients {
            client.ready().await?;
        }
        publish::numbers(&network.api(), CHANNEL, 0..200).await?;
        read(&mut goim, 200).await?.verdict(200)?;
        for client in clients {
            client.result().await?;
        }
        Ok(())
    });
}

#[test]
fn a_stream_published_in_one_batch_keeps_its_order() {
    network(1, async |network| {
        let api = network.api();
        let mut tcp = Client::tcp(network.edge(0).tcp).await?;
        let mut websocket = Client::websocket(network.edge(0).http, "/sub").await?;
        for client in [&mut tcp, &mut websocket] {
            client.login(&Login::room(ROOM)).await?;
        }
        let count = 500;
        let commands: Vec<_> = (0..count)
            .map(|n| json!({ "publish": { "channel": CHANNEL, "data": Stream::body(n) } }))
            .collect();
        let answer = api.envelope("batch", &json!({ "commands": commands })).await?;
        let replies = answer["replies"].as_array().context("replies")?;
        anyhow::ensure!(replies.len() as u64 == count, "{} replies", replies.len());
        for client in [&mut tcp, &mut websocket] {
            read(client, count).await?.verdict(count)?;
        }
        Ok(())
    });
}

/// Reads `count` pushes.
async fn read(client: &mut Client, count: u64) -> Result<Stream> {
    within_time("the stream", std::time::Duration::from_secs(60), async {
        let mut stream = Stream::default();
        for _ in 0..count {
            let push = client.push().await?;
            stream.take(&serde_json::from_slice(&push.body)?, None)?;
        }
        Ok(stream)
    })
    .await
}

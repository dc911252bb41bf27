//! Who is let in, who is sent on, and who is sent away.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::goim::frame::{Frame, operation};
use tests::metrics::Metrics;
use tests::network::{Network, Plan};
use tests::stream::Stream;
use tests::wait::{until, within};
use tests::{centrifuge, goim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{network_with, publish};

const CHANNEL: &str = "live:1000";
const ROOM: &str = "live://1000";

/// While messages flow, SIGTERM moves every client to the other edge, and no message is missing.
#[test]
fn an_edge_that_ends_sends_its_clients_on_over_a_while() {
    let edge = vec!["drain.time=3s".to_owned()];
    network_with(Plan { edge, ..Plan::edges(2) }, async |network| {
        let (leaving, staying) = (network.edge(0).http, network.edge(1).http);
        until_sent_on(network, 0).await?;
        let api = network.api();
        let mut viewers = JoinSet::new();
        for _ in 0..VIEWERS {
            let mut client = centrifuge::Client::connect(leaving, json!({})).await?;
            let joined = client.subscribe(CHANNEL).await?;
            viewers.spawn(follow(client, joined));
        }
        let mut viewer = goim::Client::tcp(network.edge(0).tcp).await?;
        viewer.login(&goim::Login::room(ROOM)).await?;
        until("all are in", async || api.clients(CHANNEL).await, |n| *n == VIEWERS + 1).await?;
        let (published, stopped) = tokio::join!(
            async {
                for n in 0..MESSAGES / 10 {
                    publish::numbers(&api, CHANNEL, 10 * n..10 * n + 10).await?;
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
                anyhow::Ok(())
            },
            async {
                let stopped = network.edges[0].stop().await?;
                anyhow::Ok(stopped)
            },
        );
        published?;
        ensure!(stopped?.success());
        within("the goim client is moved too", async {
            while viewer.receive().await?.is_some() {}
            Ok(())
        })
        .await?;
        let mut left: Vec<Instant> = Vec::new();
        while let Some(followed) = viewers.join_next().await {
            let Followed { to, at } = followed??;
            ensure!(to == staying, "sent on to {to}");
            left.push(at);
        }
        left.sort_unstable();
        let spread = left[left.len() - 1] - left[0];
        ensure!(spread > Duration::from_secs(1), "all left within {spread:?}");
        Ok(())
    });
}

#[test]
fn an_edge_that_is_full_says_where_else_to_go() {
    let edge = vec!["limits.connections_max=2".to_owned()];
    network_with(Plan { edge, ..Plan::edges(2) }, async |network| {
        let full = network.edge(0).http;
        let mut inside = Vec::new();
        for _ in 0..2 {
            inside.push(centrifuge::Client::connect(full, json!({})).await?);
        }
        let next = format!("full; next: {}", network.edge(1).http);
        until(
            "svrlist has told the edge of the other",
            async || centrifuge::Client::open(full).await?.closed().await,
            |closed| closed.code == 4001 && closed.reason == next,
        )
        .await?;
        // goim's protocol has no words for it.
        goim::Client::tcp(network.edge(0).tcp).await?.closed().await?;
        for client in &mut inside {
            client.subscribe(CHANNEL).await.context("who is inside notices nothing")?;
        }
        drop(inside);
        until(
            "there is room again",
            async || Ok(centrifuge::Client::connect(full, json!({})).await.is_ok()),
            |entered| *entered,
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_proxy_says_who_its_clients_are() {
    let edge = ["listen.proxy_protocol=goim", "trusted_proxies=127.0.0.0/8"];
    let limits = ["limits.connections_per_address_max=1"];
    let edge = edge.into_iter().chain(limits).map(str::to_owned).collect();
    network_with(Plan { edge, ..Plan::edges(1) }, async |network| {
        let address = network.edge(0).tcp;
        let login = Frame::request(operation::AUTH, 1, goim::Login::room(ROOM).body()).encode();
        let enter = async |preface: &[u8]| {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(preface).await?;
            stream.write_all(&login).await?;
            let answered = stream.read(&mut [0; 64]).await.unwrap_or(0) > 0;
            anyhow::Ok((stream, answered))
        };
        let (first, answered) = enter(&header([10, 0, 0, 1].into())).await?;
        ensure!(answered);
        ensure!(!enter(&header([10, 0, 0, 1].into())).await?.1, "it has one already");
        let (_second, answered) = enter(&header([10, 0, 0, 2].into())).await?;
        ensure!(answered);
        ensure!(!enter(b"").await?.1, "nobody comes without a header");
        drop(first);
        until(
            "the first has left",
            async || Ok(enter(&header([10, 0, 0, 1].into())).await?.1),
            |answered| *answered,
        )
        .await?;
        // The other listeners take clients as they come.
        centrifuge::Client::connect(network.edge(0).http, json!({})).await?;
        Ok(())
    });
}

/// A PROXY header of version 2 for a TCP connection over IPv4.
fn header(client: IpAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    if let IpAddr::V4(client) = client {
        header.extend(client.octets());
    }
    header.extend([127, 0, 0, 1]);
    header.extend([0x30, 0x39, 0, 80]);
    header
}

struct Followed {
    to: SocketAddr,
    at: Instant,
}

#[allow(clippy::disallowed_methods, reason = "a test measures")]
/// Takes every message, goes where it is sent when it is sent on, and recovers there.
async fn follow(mut client: centrifuge::Client, joined: Value) -> Result<Followed> {
    let mut stream = Stream::default();
    let mut offset = joined["offset"].as_u64().unwrap_or(0);
    let closed = loop {
        match client.publication().await {
            Ok(publication) => {
                offset = publication["offset"].as_u64().context("an offset")?;
                stream.take(&publication["data"], Some(offset))?;
            }
            Err(error) => break error.downcast::<centrifuge::Closed>()?,
        }
    };
    let at = Instant::now();
    ensure!(closed.code == 3001, "{closed:?}");
    let to = closed.reason.strip_prefix("shutdown; next: ").context(closed.reason.clone())?;
    let to: SocketAddr = to.parse()?;
    let mut client = centrifuge::Client::connect(to, json!({})).await?;
    let recover = json!({
        "channel": CHANNEL, "recover": true, "epoch": joined["epoch"], "offset": offset,
    });
    let recovered = client.ask("subscribe", recover).await?;
    ensure!(recovered["recovered"] == true, "{recovered}");
    for publication in recovered["publications"].as_array().into_iter().flatten() {
        stream.take(&publication["data"], publication["offset"].as_u64())?;
    }
    while stream.len() < MESSAGES as usize {
        let publication = client.publication().await?;
        stream.take(&publication["data"], publication["offset"].as_u64())?;
    }
    stream.verdict(MESSAGES)?;
    Ok(Followed { to, at })
}

/// Waits until svrlist has told an edge where its clients could go.
async fn until_sent_on(network: &Network, at: usize) -> Result<()> {
    let admin = network.edge_admin_url(at);
    let told = async || Metrics::read(&admin).await?.get("linecast_edge_elsewhere");
    until("an edge knows of others", told, |listeners| *listeners > 0.0).await?;
    Ok(())
}

const VIEWERS: u64 = 30;
const MESSAGES: u64 = 1000;

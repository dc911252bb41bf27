//! Who is let in, who is sent on, and who is sent away.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use tests::goim::frame::{Frame, operation};
use tests::network::Plan;
use tests::wait::{until, within};
use tests::{centrifuge, goim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::followers::{CHANNEL, Followers, VIEWERS, publish_all};
use crate::network_with;

const ROOM: &str = "live://1000";

/// While messages flow, SIGTERM moves every client to the other edge, and no message is missing.
#[test]
fn an_edge_that_ends_sends_its_clients_on_over_a_while() {
    let edge = vec!["drain.time=3s".to_owned()];
    network_with(Plan { edge, ..Plan::edges(2) }, async |network| {
        let staying = network.edge(1).http;
        let api = network.api();
        let followers = Followers::join(network, 0).await?;
        let mut viewer = goim::Client::tcp(network.edge(0).tcp).await?;
        viewer.login(&goim::Login::room(ROOM)).await?;
        until("all are in", async || api.clients(CHANNEL).await, |n| *n == VIEWERS + 1).await?;
        let (published, stopped) = tokio::join!(publish_all(&api), network.edges[0].stop());
        published?;
        ensure!(stopped?.success());
        within("the goim client is moved too", async {
            while viewer.receive().await?.is_some() {}
            Ok(())
        })
        .await?;
        let left = followers.all_went_to(staying).await?;
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

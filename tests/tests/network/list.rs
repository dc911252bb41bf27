//! svrlist over real edges: who is on the list, and that what it names can be connected to.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::api::Svrlist;
use tests::network::Network;
use tests::wait::until;
use tests::{centrifuge, goim};

use crate::network;

#[test]
fn every_edge_is_listed_and_can_be_connected_to() {
    network(3, async |network| {
        let servers = listed(network, 3).await?;
        for server in &servers {
            let (tcp, http) = addresses(server)?;
            let mut client = goim::Client::tcp(tcp).await?;
            client.login(&goim::Login::room("live://1000")).await?;
            centrifuge::Client::connect(http, serde_json::json!({})).await?;
        }
        Ok(())
    });
}

#[test]
fn a_killed_edge_leaves_the_list_and_comes_back() {
    network(3, async |network| {
        listed(network, 3).await?;
        let gone = network.edge(1).tcp;
        network.edges[1].kill().await?;
        let servers = listed(network, 2).await?;
        for server in &servers {
            ensure!(addresses(server)?.0 != gone, "a dead edge is listed: {server}");
        }
        network.edges[1].start()?;
        listed(network, 3).await?;
        Ok(())
    });
}

#[test]
fn goim_clients_get_their_kind_of_list() {
    network(3, async |network| {
        listed(network, 3).await?;
        let envelope = network.list().get("goim/nodes/weighted?platform=android").await?;
        ensure!(envelope["code"] == 0, "{envelope}");
        let data = &envelope["data"];
        let nodes = data["nodes"].as_array().context("nodes")?;
        ensure!((1..=5).contains(&nodes.len()), "{envelope}");
        for key in ["heartbeat", "heartbeat_max", "tcp_port", "ws_port"] {
            ensure!(data[key].as_u64() > Some(0), "{key} in {envelope}");
        }
        for key in ["max_delay", "base_delay", "factor", "jitter"] {
            ensure!(data["backoff"][key].as_f64() > Some(0.0), "{key} in {envelope}");
        }
        Ok(())
    });
}

/// Waits until the list for a user of room 1000 has this many servers.
async fn listed(network: &Network, count: usize) -> Result<Vec<Value>> {
    let list: Svrlist = network.list();
    let read = async || {
        let mut answer = list.get("svrlist?room=live:1000&uid=42&platform=web").await?;
        match answer["servers"].take() {
            Value::Array(servers) => Ok(servers),
            _ => anyhow::bail!("no servers in {answer}"),
        }
    };
    until("the list", read, |servers| servers.len() == count).await
}

/// The goim TCP and the HTTP address of a server on the list.
fn addresses(server: &Value) -> Result<(SocketAddr, SocketAddr)> {
    let host = server["address"].as_str().with_context(|| format!("address in {server}"))?;
    let port = |key: &str| {
        server["ports"][key].as_u64().with_context(|| format!("ports.{key} in {server}"))
    };
    let address = |port: u64| format!("{host}:{port}").parse().context("an address");
    Ok((address(port("tcp")?)?, address(port("http")?)?))
}

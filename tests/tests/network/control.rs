//! Operators move clients off an edge, at a rate, and let them come back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::centrifuge;
use tests::http::Http;
use tests::metrics::Metrics;
use tests::network::Network;
use tests::stream::Stream;
use tests::wait::until;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{network, publish};

const CHANNEL: &str = "live:1000";

/// While messages flow, an edge is drained by the API: its clients go to the other one, so many a
/// second, and no message is missing. The edge stays up, refuses those who come, and takes them again
/// when it is drained no more.
#[test]
fn a_drained_edge_sends_its_clients_on_at_a_rate_and_comes_back() {
    network(2, async |network| {
        let (leaving, staying) = (network.edge(0).http, network.edge(1).http);
        until_sent_on(network, 0).await?;
        let api = network.api();
        let mut viewers = JoinSet::new();
        for _ in 0..VIEWERS {
            let mut client = centrifuge::Client::connect(leaving, json!({})).await?;
            let joined = client.subscribe(CHANNEL).await?;
            viewers.spawn(follow(client, joined));
        }
        until("all are in", async || api.clients(CHANNEL).await, |n| *n == VIEWERS).await?;
        let (published, drained) = tokio::join!(
            async {
                for n in 0..MESSAGES / 10 {
                    publish::numbers(&api, CHANNEL, 10 * n..10 * n + 10).await?;
                    tokio::time::sleep(Duration::from_millis(40)).await;
                }
                anyhow::Ok(())
            },
            drain(network, json!({"edge": "bj-telecom", "rate": RATE})),
        );
        published?;
        let told = drained?;
        ensure!(told["warnings"] == json!([]), "{told}");
        let mut left: Vec<Instant> = Vec::new();
        while let Some(followed) = viewers.join_next().await {
            let (to, at) = followed??;
            ensure!(to == staying, "sent on to {to}");
            left.push(at);
        }
        left.sort_unstable();
        let spread = (left[left.len() - 1] - left[0]).as_secs_f64();
        let rate = (VIEWERS - 1) as f64 / spread;
        ensure!((0.6 * RATE..1.5 * RATE).contains(&rate), "{rate} clients a second");

        let refused = centrifuge::Client::open(leaving).await?.closed().await?;
        ensure!(refused.code == 3001, "{refused:?}");
        ensure!(first(network).await? == "sh-unicom", "it is not given to new clients");
        ensure!(network.edges[0].alive().is_ok(), "its process goes on");

        drain(network, json!({"edge": "bj-telecom", "drained": false})).await?;
        until(
            "the edge takes clients again",
            async || Ok(centrifuge::Client::connect(leaving, json!({})).await.is_ok()),
            |entered| *entered,
        )
        .await?;
        // It stands where 127.0.0.1 is at home.
        until("it is in answers again", async || first(network).await, |edge| edge == "bj-telecom")
            .await?;
        Ok(())
    });
}

/// Takes every message, goes where it is sent, and recovers there; where to, and when.
#[allow(clippy::disallowed_methods, reason = "a test measures")]
async fn follow(mut client: centrifuge::Client, joined: Value) -> Result<(SocketAddr, Instant)> {
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
    Ok((to, at))
}

async fn drain(network: &Network, body: Value) -> Result<Value> {
    let url = format!("{}/api/control/drain", network.list_url());
    let key = [("authorization", "Bearer dev")];
    let answer = Http::new().post(&url, &key, body.to_string()).await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
    answer.json()
}

/// The edge that a new client is told first.
async fn first(network: &Network) -> Result<String> {
    let answer = network.list().get("svrlist?uid=1").await?;
    Ok(answer["servers"][0]["id"].as_str().unwrap_or_default().to_owned())
}

/// Waits until svrlist has told an edge where its clients could go.
async fn until_sent_on(network: &Network, at: usize) -> Result<()> {
    let admin = network.edge_admin_url(at);
    let told = async || Metrics::read(&admin).await?.get("linecast_edge_elsewhere");
    until("an edge knows of others", told, |listeners| *listeners > 0.0).await?;
    Ok(())
}

const VIEWERS: u64 = 30;
const RATE: f64 = 10.0;
const MESSAGES: u64 = 1000;

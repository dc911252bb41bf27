//! Viewers of one channel who go where their edge sends them, while messages flow.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::api::Origin;
use tests::centrifuge;
use tests::metrics::Metrics;
use tests::network::Network;
use tests::stream::Stream;
use tests::wait::until;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::publish;

pub(crate) const CHANNEL: &str = "live:1000";
pub(crate) const VIEWERS: u64 = 30;

/// All of them on one edge.
pub(crate) struct Followers(JoinSet<Result<Followed>>);

struct Followed {
    to: SocketAddr,
    at: Instant,
}

impl Followers {
    /// [`VIEWERS`] clients of an edge that can send them on. [`publish_all`] must follow.
    pub(crate) async fn join(network: &Network, at: usize) -> Result<Self> {
        let admin = network.edge_admin_url(at);
        let told = async || Metrics::read(&admin).await?.get("linecast_edge_elsewhere");
        until("svrlist has told the edge of others", told, |listeners| *listeners > 0.0).await?;
        let mut viewers = JoinSet::new();
        for _ in 0..VIEWERS {
            let mut client = centrifuge::Client::connect(network.edge(at).http, json!({})).await?;
            let joined = client.subscribe(CHANNEL).await?;
            viewers.spawn(follow(client, joined));
        }
        Ok(Self(viewers))
    }

    /// Waits until each has got every message, and ensures that all were sent to this edge. Answers
    /// when they left, in order.
    pub(crate) async fn all_went_to(mut self, edge: SocketAddr) -> Result<Vec<Instant>> {
        let mut left = Vec::new();
        while let Some(followed) = self.0.join_next().await {
            let Followed { to, at } = followed??;
            ensure!(to == edge, "sent on to {to}");
            left.push(at);
        }
        left.sort_unstable();
        Ok(left)
    }
}

/// Publishes all that followers wait for, over some seconds.
pub(crate) async fn publish_all(api: &Origin) -> Result<()> {
    for n in 0..MESSAGES / 10 {
        publish::numbers(api, CHANNEL, 10 * n..10 * n + 10).await?;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    Ok(())
}

/// Takes every message, goes where it is sent when it is sent on, and recovers there.
#[allow(clippy::disallowed_methods, reason = "a test measures")]
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

const MESSAGES: u64 = 1000;

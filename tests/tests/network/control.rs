//! Operators move clients off an edge, at a rate, and let them come back.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::centrifuge;
use tests::http::Http;
use tests::metrics::Metrics;
use tests::network::Network;
use tests::wait::until;

use crate::followers::{CHANNEL, Followers, VIEWERS, publish_all};
use crate::network;

/// While messages flow, an edge is drained by the API: its clients go to the other one, so many a
/// second, and no message is missing. The edge stays up, refuses those who come, and takes them again
/// when it is drained no more.
#[test]
fn a_drained_edge_sends_its_clients_on_at_a_rate_and_comes_back() {
    network(2, async |network| {
        let (leaving, staying) = (network.edge(0).http, network.edge(1).http);
        let api = network.api();
        let followers = Followers::join(network, 0).await?;
        until("all are in", async || api.clients(CHANNEL).await, |n| *n == VIEWERS).await?;
        let (published, drained) = tokio::join!(
            publish_all(&api),
            drain(network, json!({"edge": "bj-telecom", "rate": RATE})),
        );
        published?;
        let told = drained?;
        ensure!(told["warnings"] == json!([]), "{told}");
        let left = followers.all_went_to(staying).await?;
        let spread = (left[left.len() - 1] - left[0]).as_secs_f64();
        let rate = (VIEWERS - 1) as f64 / spread;
        ensure!((0.6 * RATE..1.5 * RATE).contains(&rate), "{rate} clients a second");

        let metrics = Metrics::read(&network.edge_admin_url(0)).await?;
        let of = |name: &str| metrics.get(&format!("linecast_edge_{name}"));
        ensure!(of("drain_rate")? == RATE && of("left_to_move")? == 0.0, "{metrics:?}");
        ensure!(of("moved_total")? == VIEWERS as f64, "{metrics:?}");

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

const RATE: f64 = 10.0;

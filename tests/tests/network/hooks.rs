//! What a back end decides through its hooks.

use std::net::TcpListener as StdListener;

use anyhow::{Result, bail, ensure};
use hyper::StatusCode;
use serde_json::{Value, json};
use shared::io::http::{Limits, Metrics, Request, Response, Server, error, json as json_response};
use shared::io::shutdown::Shutdown;
use tests::centrifuge::Client;
use tests::network::{Network, Plan};
use tokio::net::TcpListener;

use crate::network_with;

const CHANNEL: &str = "live:hooks";

/// Runs `test` on a network whose hooks are answered by `back_end`.
fn hooked(
    back_end: impl Fn(&str, &Value) -> Value + Clone + Send + Sync + 'static,
    test: impl AsyncFnOnce(&mut Network) -> Result<()>,
) {
    let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener that tokio takes");
    let address = listener.local_addr().expect("its address");
    let hook = |kind: &str| format!("hook.{kind}=http://{address}/{kind}");
    let plan = Plan { origin: vec![hook("rpc"), hook("publish")], ..Plan::edges(1) };
    network_with(plan, async move |network| {
        let server = Server { limits: Limits::default(), tls: None, metrics: Metrics::default() };
        let answer = move |request: Request| {
            let answer = answer(&back_end, &request);
            async move { answer }
        };
        let served = server.serve(TcpListener::from_std(listener)?, Shutdown::new(), answer);
        tokio::select! {
            () = served => bail!("the back end ended"),
            tested = test(network) => tested,
        }
    });
}

fn answer(back_end: &impl Fn(&str, &Value) -> Value, request: &Request) -> Response {
    match serde_json::from_slice(&request.body) {
        Ok(asked) => json_response(StatusCode::OK, &back_end(request.path.as_str(), &asked)),
        Err(fault) => error(StatusCode::BAD_REQUEST, &fault.to_string()),
    }
}

#[test]
fn an_rpc_is_answered_by_the_back_end() {
    let back_end = |path: &str, asked: &Value| json!({"result": {"data": {"path": path, "method": asked["method"], "got": asked["data"]}}});
    hooked(back_end, async |network| {
        let mut client = Client::connect(network.edge(0).http, json!({})).await?;
        let reply = client.ask("rpc", json!({"method": "sum", "data": [1, 2]})).await?;
        ensure!(
            reply["data"] == json!({"path": "/rpc", "method": "sum", "got": [1, 2]}),
            "{reply}"
        );
        Ok(())
    });
}

#[test]
fn a_refusal_of_the_back_end_reaches_the_client() {
    let back_end = |_: &str, _: &Value| json!({"error": {"code": 1042, "message": "not today"}});
    hooked(back_end, async |network| {
        let mut client = Client::connect(network.edge(0).http, json!({})).await?;
        ensure!(client.refusal("rpc", json!({"method": "sum"})).await? == 1042);
        client.subscribe(CHANNEL).await?;
        let message = json!({"channel": CHANNEL, "data": {}});
        ensure!(client.refusal("publish", message).await? == 1042);
        Ok(())
    });
}

#[test]
fn a_back_end_may_end_a_connection() {
    let back_end = |_: &str, _: &Value| json!({"disconnect": {"code": 4500, "reason": "banned"}});
    hooked(back_end, async |network| {
        for (method, request) in [
            ("rpc", json!({"method": "sum"})),
            ("publish", json!({"channel": CHANNEL, "data": {}})),
        ] {
            let mut client = Client::connect(network.edge(0).http, json!({})).await?;
            client.subscribe(CHANNEL).await?;
            let (_, line) = client.line(method, request);
            client.send(&line).await?;
            let closed = client.closed().await?;
            ensure!((closed.code, closed.reason.as_str()) == (4500, "banned"), "{closed:?}");
        }
        Ok(())
    });
}

#[test]
fn a_message_is_published_as_the_back_end_changed_it() {
    let back_end = |_: &str, asked: &Value| json!({"result": {"data": {"clean": asked["data"]}}});
    hooked(back_end, async |network| {
        let mut client = Client::connect(network.edge(0).http, json!({})).await?;
        client.subscribe(CHANNEL).await?;
        client.ask("publish", json!({"channel": CHANNEL, "data": "words"})).await?;
        let publication = client.publication().await?;
        ensure!(publication["data"] == json!({"clean": "words"}), "{publication}");
        Ok(())
    });
}

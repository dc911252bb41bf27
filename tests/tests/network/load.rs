//! A small run of `linecast load` with each protocol: every client gets every message, once, in order.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::network::new_folder;
use tests::wait::within_time;
use tokio::process::Command;

use crate::network;

#[test]
fn every_client_of_every_protocol_gets_every_message() {
    network(1, async |network| {
        let edge = network.edge(0);
        let certificate = network.certificate().display().to_string();
        let (tcp, http) = (edge.tcp.to_string(), edge.http.to_string());
        let (tcp_tls, http_tls) = (edge.tcp_tls.to_string(), edge.http_tls.to_string());
        let tls = ["--tls", "--ca", &certificate];
        for (protocol, target, more) in [
            ("goim-tcp", &tcp, &[][..]),
            ("goim-tcp", &tcp_tls, &tls),
            ("goim-ws", &http, &["--publish", "goim-push", "--publishers", "2"]),
            ("danmaku", &http, &[]),
            ("danmaku", &http, &["--compression", "zlib"]),
            ("danmaku", &http, &["--compression", "brotli"]),
            ("centrifuge-json", &http, &["--processes", "2", "--sources", "2"]),
            ("centrifuge-json", &http_tls, &tls),
            ("centrifuge-protobuf", &http, &["--connect-rate", "200"]),
        ] {
            let mut args = vec!["--protocol", protocol, "--target", target];
            args.extend(["--clients", "50", "--rooms", "2", "--rate", "20"]);
            args.extend(["--seconds", "1", "--warm-up", "0.2"]);
            let origin = network.api_url();
            args.extend(["--origin", &origin]);
            args.extend(more);
            let outcome = load(&args).await?;
            ensure!(outcome["deliveries"] == 1000, "{args:?}: {outcome}");
            ensure!(outcome["server"]["processes"][0][0].is_string(), "{args:?}: {outcome}");
        }
        Ok(())
    });
}

#[test]
fn clients_that_come_and_go_miss_nothing_while_they_are_there() {
    network(1, async |network| {
        let (target, origin) = (network.edge(0).http.to_string(), network.api_url());
        let args = ["--target", &target, "--origin", &origin, "--clients", "40", "--rate", "50"];
        let more = ["--churn", "20", "--slow", "0.1", "--seconds", "2", "--warm-up", "0"];
        let outcome = load(&[&args[..], &more].concat()).await?;
        ensure!(outcome["left"].as_u64() > Some(20), "{outcome}");
        ensure!(outcome["deliveries"].as_u64() > Some(2000), "{outcome}");
        Ok(())
    });
}

#[tokio::test]
async fn the_bare_loop_speaks_every_protocol() -> Result<()> {
    for protocol in [
        "goim-tcp",
        "goim-ws",
        "danmaku",
        "centrifuge-json",
        "centrifuge-protobuf",
        "websocket",
        "nats-ws",
    ] {
        let args = ["--limit", "--protocol", protocol, "--clients", "20", "--rate", "100"];
        let more = ["--batch", "2.5", "--senders", "2", "--seconds", "0.5", "--warm-up", "0"];
        let outcome = load(&[&args[..], &more].concat()).await?;
        ensure!(outcome["deliveries"] == 1000, "{protocol}: {outcome}");
    }
    Ok(())
}

/// Runs `linecast load` and answers what it wrote. It fails if anything was lost.
async fn load(args: &[&str]) -> Result<Value> {
    let folder = new_folder();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let (json, plot) = (folder.join("load.json"), folder.join("load.svg"));
    let ran = Command::new(env!("CARGO_BIN_EXE_node"))
        .arg("load")
        .args(args)
        .arg("--json")
        .arg(&json)
        .arg("--plot")
        .arg(&plot)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = within_time("a run of load", PATIENCE, async { Ok(ran.await?) }).await?;
    let said = [ran.stdout, ran.stderr].concat();
    ensure!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    let outcome = serde_json::from_slice(&fs::read(&json)?)?;
    ensure!(fs::read_to_string(&plot)?.contains("deliveries a second"), "nothing is drawn");
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    Ok(outcome)
}

/// How long one run may take, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(60);

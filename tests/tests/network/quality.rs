//! What edges tell of sessions' ends bends the lists of svrlist, and what it knew survives it.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};
use tests::centrifuge;
use tests::goim::Login;
use tests::goim::frame::{Frame, operation};
use tests::http::Http;
use tests::network::{Plan, edge_name};
use tests::stream::Stream;
use tests::wait::{until, within};
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::{network, network_with, publish};

/// In the demo's places, 127.0.1.0/24 is telecom in Beijing, 127.0.2.0/24 unicom in Shanghai, and
/// 127.0.3.0/24 mobile in Guangzhou.
const TELECOM: u8 = 1;
const UNICOM: u8 = 2;
const MOBILE: u8 = 3;
const MOBILE_CELL: &str = "440100/mobile";
/// The edges of these carriers.
const TELECOM_EDGE: usize = 0;
const MOBILE_EDGE: usize = 2;

#[test]
fn clients_of_a_carrier_that_an_edge_drops_are_listed_elsewhere_by_every_svrlist() {
    clients_are_listed_elsewhere_when_sessions_end_by(End::Reset);
}

#[test]
fn clients_of_a_carrier_that_an_edge_no_longer_hears_are_listed_elsewhere_by_every_svrlist() {
    clients_are_listed_elsewhere_when_sessions_end_by(End::Silence);
}

fn clients_are_listed_elsewhere_when_sessions_end_by(end: End) {
    let edge = ["goim.heartbeat=1s", "goim.heartbeat_max=1"].map(str::to_owned).to_vec();
    let plan = Plan { edge, svrlists: 2, limit: Duration::from_secs(180), ..Plan::edges(3) };
    network_with(plan, async |network| {
        let urls = network.list_urls();
        let lists = async |third: u8| firsts(&urls, third).await;
        // So that svrlists know what is usual, many sessions end as they should.
        let (telecom, mobile) = (network.edge(TELECOM_EDGE).tcp, network.edge(MOBILE_EDGE).tcp);
        until(
            "three edges",
            async || Ok(servers(&urls).await?),
            |counts| counts.iter().all(|count| *count == 3),
        )
        .await?;
        let n = AtomicUsize::new(0);
        let learnt = async || {
            let n = n.fetch_add(1, Ordering::Relaxed);
            sessions(telecom, TELECOM, n, 8, End::Leave).await?;
            sessions(mobile, MOBILE, n, 8, End::Leave).await?;
            known(&urls).await
        };
        until("both have learnt", learnt, |known| {
            known.iter().all(|(reports, drop)| *reports > 5.0 && *drop < 4.0)
        })
        .await?;
        ensure!(share(&lists(MOBILE).await?, MOBILE_EDGE) == [1.0, 1.0], "it is the nearest");

        // The edge's mobile clients are lost, and nobody else's are.
        let start = now();
        let mut n = n.into_inner();
        loop {
            sessions(mobile, MOBILE, n, 8, end).await?;
            sessions(telecom, TELECOM, n, 4, End::Leave).await?;
            // Of unicom, whose lists are not looked at: telecom may well learn to like this edge.
            sessions(mobile, UNICOM, n, 4, End::Leave).await?;
            n += 1;
            let of_telecom = share(&lists(TELECOM).await?, TELECOM_EDGE);
            ensure!(of_telecom == [1.0, 1.0], "others moved: {of_telecom:?}");
            let of_mobile = share(&lists(MOBILE).await?, MOBILE_EDGE);
            if of_mobile.iter().all(|share| *share <= 0.1) {
                break;
            }
            ensure!(start.elapsed() < Duration::from_secs(30), "still sent there: {of_mobile:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // Both heard the same, each once.
        let [(a, _), (b, _)] = known(&urls).await?[..] else { bail!("two svrlists") };
        ensure!((0.8..1.25).contains(&(a / b)), "one heard {a}, the other {b}");
        Ok(())
    });
}

#[test]
fn a_killed_edge_is_gone_from_answers_in_ten_seconds_and_its_clients_lose_nothing() {
    network(3, async |network| {
        let urls = network.list_urls();
        let three = |counts: &Vec<usize>| counts == &[3];
        until("three edges", async || servers(&urls).await, three).await?;
        let api = network.api();
        let channel = "live:1000";
        let mut clients = Vec::new();
        for _ in 0..5 {
            let http = network.edge(MOBILE_EDGE).http;
            let mut client = centrifuge::Client::connect(http, json!({})).await?;
            client.subscribe(channel).await?;
            clients.push((client, Stream::default(), Value::Null));
        }
        publish::numbers(&api, channel, 0..50).await?;
        for (client, stream, last) in &mut clients {
            for _ in 0..50 {
                *last = client.publication().await?;
                stream.take(&last["data"], last["offset"].as_u64())?;
            }
        }
        let history = api.history(channel).await?;
        ensure!(history.len() == 50, "{} messages", history.len());
        let epoch = epoch(network.edge(0).http, channel).await?;

        network.edges[MOBILE_EDGE].kill().await?;
        let killed = now();
        publish::numbers(&api, channel, 50..100).await?;
        // They try the next of their list at once, and recover there.
        let mut elsewhere = Vec::new();
        for (_, mut stream, last) in clients {
            let mut client = centrifuge::Client::connect(network.edge(0).http, json!({})).await?;
            let request = json!({
                "channel": channel, "recover": true, "epoch": epoch, "offset": last["offset"],
            });
            let reply = client.ask("subscribe", request).await?;
            ensure!(reply["recovered"] == true, "not recovered: {reply}");
            for publication in reply["publications"].as_array().context("publications")? {
                stream.take(&publication["data"], publication["offset"].as_u64())?;
            }
            elsewhere.push((client, stream));
        }
        let name = edge_name(MOBILE_EDGE);
        loop {
            let named = firsts(&urls, MOBILE).await?;
            let all: Vec<&String> = named.iter().flatten().collect();
            if !all.contains(&&name) && servers(&urls).await? == [2] {
                break;
            }
            ensure!(killed.elapsed() < Duration::from_secs(10), "still listed: {all:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        publish::numbers(&api, channel, 100..150).await?;
        for (mut client, mut stream) in elsewhere {
            // The last of those before may come after the recovery.
            while stream.len() < 150 {
                let publication = client.publication().await?;
                stream.take(&publication["data"], publication["offset"].as_u64())?;
            }
            stream.verdict(150)?;
        }
        Ok(())
    });
}

#[test]
fn a_svrlist_restarted_without_reports_answers_from_what_it_knew() {
    network(3, async |network| {
        let urls = network.list_urls();
        until("three edges", async || servers(&urls).await, |counts| counts == &[3]).await?;
        ensure!(network.svrlist.stop().await?.success(), "svrlist did not end well");
        for edge in &mut network.edges {
            edge.kill().await?;
        }
        network.svrlist.start()?;
        network.svrlist.ready().await?;
        let answer = network.list().get("svrlist?uid=42").await?;
        ensure!(answer["stale"] == true, "{answer}");
        ensure!(answer["servers"].as_array().is_some_and(|all| all.len() == 3), "{answer}");
        for edge in &mut network.edges {
            edge.start()?;
        }
        let ask = async || network.list().get("svrlist?uid=42").await;
        until("edges report again", ask, |answer| answer["stale"] == false).await?;
        Ok(())
    });
}

/// How a session ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The client closes its connection.
    Leave,
    /// The connection is reset.
    Reset,
    /// The client says nothing more, until the edge gives it up.
    Silence,
}

/// So many sessions of goim clients of a network 127.0.`third`.0/24, one after the other `n` from
/// addresses of their own, at once.
async fn sessions(edge: SocketAddr, third: u8, n: usize, count: usize, end: End) -> Result<()> {
    let mut all = JoinSet::new();
    for at in 0..count {
        let fourth = 1 + ((n * 8 + at) % 250) as u8;
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, third, fourth));
        all.spawn(async move { within("a session", session(edge, from, end)).await });
    }
    all.join_all().await.into_iter().collect()
}

async fn session(edge: SocketAddr, from: IpAddr, end: End) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(edge).await?;
    let login = Frame::request(operation::AUTH, 1, Login::default().body());
    stream.write_all(&login.encode()).await?;
    match end {
        End::Leave => {
            let mut reply = [0; 16];
            stream.read_exact(&mut reply).await?;
        }
        // What is closed with something unread is reset.
        End::Reset => {
            stream.peek(&mut [0; 16]).await?;
        }
        End::Silence => {
            stream.read_to_end(&mut Vec::new()).await?;
        }
    }
    Ok(())
}

/// The first servers that each svrlist names to some users of a network.
async fn firsts(urls: &[String], third: u8) -> Result<Vec<Vec<String>>> {
    let http = Http::new();
    let mut all = Vec::new();
    for url in urls {
        let mut first = Vec::new();
        for user in 0..20 {
            let url = format!("{url}/svrlist?uid=user-{user}");
            let from = format!("127.0.{third}.{}", user + 1);
            let headers = [("x-forwarded-for", from.as_str())];
            let answer = http.send(Method::GET, &url, &headers, Bytes::new()).await?.json()?;
            let server = &answer["servers"][0]["id"];
            first.push(
                server.as_str().with_context(|| format!("no server in {answer}"))?.to_owned(),
            );
        }
        all.push(first);
    }
    Ok(all)
}

/// The share of these users that each svrlist sends to an edge.
fn share(firsts: &[Vec<String>], edge: usize) -> Vec<f64> {
    let name = edge_name(edge);
    let of = |names: &Vec<String>| {
        names.iter().filter(|first| **first == name).count() as f64 / names.len() as f64
    };
    firsts.iter().map(of).collect()
}

/// How many servers each svrlist names.
async fn servers(urls: &[String]) -> Result<Vec<usize>> {
    let http = Http::new();
    let mut counts = Vec::new();
    for url in urls {
        let answer = http.get(&format!("{url}/svrlist?uid=42")).await?.json()?;
        counts.push(answer["servers"].as_array().map_or(0, Vec::len));
    }
    Ok(counts)
}

/// What each svrlist has heard of the mobile clients of the mobile edge: how much, and the drop
/// rate it expects, in percentage points.
async fn known(urls: &[String]) -> Result<Vec<(f64, f64)>> {
    let (http, name) = (Http::new(), edge_name(MOBILE_EDGE));
    let mut known = Vec::new();
    for url in urls {
        let map = http.get(&format!("{url}/api/map")).await?.json()?;
        let rows = |key: &str| map[key].as_array().cloned().unwrap_or_default();
        let at = rows("edges").iter().position(|edge| edge["name"] == *name);
        let cells: BTreeMap<String, Value> = rows("cells")
            .into_iter()
            .map(|cell| (cell["cell"].as_str().unwrap_or_default().to_owned(), cell))
            .collect();
        let value = at.and_then(|at| cells.get(MOBILE_CELL).map(|cell| cell["values"][at].clone()));
        let number = |key: &str| value.as_ref().and_then(|v| v[key].as_f64()).unwrap_or(0.0);
        known.push((number("reports"), number("drop_pp")));
    }
    Ok(known)
}

/// The epoch of a channel.
async fn epoch(edge: SocketAddr, channel: &str) -> Result<Value> {
    let mut client = centrifuge::Client::connect(edge, json!({})).await?;
    let reply = client.ask("subscribe", json!({ "channel": channel, "positioned": true })).await?;
    Ok(reply["epoch"].clone())
}

#[expect(clippy::disallowed_methods, reason = "the test measures how long svrlist takes")]
fn now() -> Instant {
    Instant::now()
}

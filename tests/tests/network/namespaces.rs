//! Three carriers with addresses of their own: an origin and three edges, each in a network namespace,
//! with a pair of interfaces for each carrier, source routing, and nftables that lose datagrams.
//!
//! Needs root, `ip` and `nft`; where they are missing the test says so and is passed over, unless
//! `LINECAST_REQUIRE_NAMESPACES` is set.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use deploy::network::{Ports, write};
use tests::api::Origin;
use tests::goim::{Client, Login};
use tests::network::{API_KEY, Process, Program, new_folder, show_logs};
use tests::stream::Stream;
use tests::wait::within_time;

use crate::publish;

/// Namespaces of one run, gone with it.
struct Namespaces {
    names: Vec<String>,
}

impl Namespaces {
    /// The origin's namespace and one for each edge, with all their interfaces.
    fn make() -> Result<Self> {
        let names = (0..=EDGES).map(|n| format!("lc{}-{n}", std::process::id())).collect();
        let made = Self { names };
        for (n, name) in made.names.iter().enumerate() {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
            // For the test's own requests, and for nothing else.
            let (here, there) = (format!("lcm{}-{n}", std::process::id() % 10_000), "test");
            ip(&format!("link add {here} type veth peer name {there} netns {name}"))?;
            ip(&format!("addr add {}/30 dev {here}", management(n, 1)))?;
            ip(&format!("link set {here} up"))?;
            ip(&format!("-n {name} addr add {}/30 dev {there}", management(n, 2)))?;
            ip(&format!("-n {name} link set {there} up"))?;
        }
        let origin = &made.names[0];
        for edge in 1..=EDGES {
            for carrier in 1..=CARRIERS {
                let (name, near) = (&made.names[edge], format!("carrier{carrier}"));
                let far = format!("edge{edge}-{carrier}");
                ip(&format!("-n {origin} link add {far} type veth peer name {near} netns {name}"))?;
                let (upstream, own) = (address(carrier, edge, 1), address(carrier, edge, 2));
                ip(&format!("-n {origin} addr add {upstream}/24 dev {far}"))?;
                ip(&format!("-n {origin} link set {far} up"))?;
                ip(&format!("-n {name} addr add {own}/24 dev {near}"))?;
                ip(&format!("-n {name} link set {near} up"))?;
                // What comes from a carrier's address leaves by that carrier.
                let table = 100 + carrier;
                ip(&format!(
                    "-n {name} route add default via {upstream} dev {near} table {table}"
                ))?;
                ip(&format!("-n {name} rule add from {own} lookup {table}"))?;
            }
        }
        for name in &made.names[1..] {
            nft(name, "add table inet lines")?;
            for hook in ["input", "output"] {
                nft(
                    name,
                    &format!(
                        "add chain inet lines {hook} {{ type filter hook {hook} priority 0 ; }}"
                    ),
                )?;
            }
        }
        Ok(made)
    }

    /// Loses a share of what the carrier carries, in both directions, silently, for every edge.
    fn lose(&self, carrier: usize, percent: u32) -> Result<()> {
        let what = if percent >= 100 {
            "drop".to_owned()
        } else {
            format!("numgen random mod 100 < {percent} drop")
        };
        for name in &self.names[1..] {
            for (hook, side) in [("input", "iifname"), ("output", "oifname")] {
                nft(
                    name,
                    &format!(
                        "add rule inet lines {hook} {side} carrier{carrier} meta l4proto udp {what}"
                    ),
                )?;
            }
        }
        Ok(())
    }

    fn heal(&self) -> Result<()> {
        self.names[1..].iter().try_for_each(|name| nft(name, "flush table inet lines"))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // What is not there cannot be removed, and nothing follows from it.
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

fn ip(arguments: &str) -> Result<()> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

fn nft(namespace: &str, rule: &str) -> Result<()> {
    run("ip", &["netns", "exec", namespace, "nft", rule])
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().context(program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(())
}

fn management(n: usize, side: usize) -> String {
    format!("172.31.{}.{side}", 100 + n)
}

fn address(carrier: usize, edge: usize, side: usize) -> String {
    format!("10.{}.{edge}.{side}", 100 + carrier)
}

/// A service in a namespace.
fn service(
    namespace: &str,
    name: &str,
    config: &Path,
    settings: &[String],
    logs: &Path,
) -> Process {
    let program = Program::new("ip")
        .with("netns")
        .with("exec")
        .with(namespace)
        .with(env!("CARGO_BIN_EXE_node"));
    let kind = name.split('-').next().unwrap_or(name);
    let config = config.display().to_string();
    let mut arguments = [kind, "--end-with-stdin", "--config", &config].map(str::to_owned).to_vec();
    arguments.extend(settings.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
    let admin = settings.iter().find_map(|set| set.strip_prefix("admin=")).unwrap_or_default();
    let ready = format!("http://{admin}/readyz");
    Process::new(name, program, arguments, logs.join(format!("{name}.log")), ready)
}

#[test]
fn two_of_three_carriers_fail_and_nothing_is_missing() {
    let namespaces = match Namespaces::make() {
        Ok(namespaces) => namespaces,
        Err(error) => {
            let required = std::env::var_os("LINECAST_REQUIRE_NAMESPACES").is_some();
            assert!(!required, "no network namespaces: {error:#}");
            #[allow(clippy::print_stderr, reason = "the test runner shows it")]
            return eprintln!("passed over: no network namespaces here: {error:#}");
        }
    };
    let folder = new_folder();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let limit = Duration::from_secs(120);
    let outcome = runtime.block_on(within_time("the test", limit, story(&namespaces, &folder)));
    if let Err(error) = outcome {
        show_logs(&folder);
        panic!("{error:#}\nlogs and data are kept in {}", folder.display());
    }
    drop(std::fs::remove_dir_all(&folder));
}

async fn story(namespaces: &Namespaces, folder: &Path) -> Result<()> {
    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs)?;
    let ports = Ports { relay: None, ..Ports::default() };
    let files = write(folder, &ports)?;
    let at_origin = management(0, 2);
    let settings = [
        format!("admin={at_origin}:7409"),
        format!("listen.api={at_origin}:7400"),
        "listen.line=0.0.0.0:7401".to_owned(),
    ];
    let mut processes =
        vec![service(&namespaces.names[0], "origin", &files.origin, &settings, &logs)];
    let mut tcp = Vec::new();
    for edge in 1..=EDGES {
        let here = management(edge, 2);
        let ends = |side, port| {
            let end = |carrier| format!("{}:{port} carrier{carrier}", address(carrier, edge, side));
            (1..=CARRIERS).map(end).collect::<Vec<_>>().join(",")
        };
        let settings = [
            format!("admin={here}:7609"),
            format!("listen.goim={here}:7601"),
            format!("upstream.addresses={}", ends(1, 7401)),
            format!("upstream.locals={}", ends(2, 0)),
        ];
        let (name, config) = (format!("edge-{edge}"), &files.edges[edge - 1]);
        processes.push(service(&namespaces.names[edge], &name, config, &settings, &logs));
        tcp.push(format!("{here}:7601").parse()?);
    }
    for process in &mut processes {
        process.start()?;
    }
    for process in &mut processes {
        process.ready().await?;
    }
    let api = Origin::new(format!("http://{at_origin}:7400"), API_KEY);
    let mut viewers = Vec::new();
    for address in tcp {
        let mut client = Client::tcp(address).await?;
        client.login(&Login::room("live://1000")).await?;
        viewers.push((client, Stream::default()));
    }
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for n in 0..COUNT {
        match n {
            200 => namespaces.lose(1, 100)?,
            400 => namespaces.lose(2, 25)?,
            600 => namespaces.lose(2, 100)?,
            900 => {
                // With one carrier left for three seconds nothing stands still.
                read(&mut viewers, 850).await?;
                namespaces.heal()?;
            }
            _ => {}
        }
        pace.tick().await;
        publish::numbers(&api, "live:1000", n..n + 1).await?;
    }
    read(&mut viewers, COUNT).await?;
    for (_, stream) in &viewers {
        stream.verdict(COUNT)?;
    }
    for process in &mut processes {
        process.alive()?;
    }
    Ok(())
}

/// Reads until every viewer has had `count` messages.
async fn read(viewers: &mut [(Client, Stream)], count: u64) -> Result<()> {
    for (client, stream) in viewers {
        while (stream.len() as u64) < count {
            let push = client.push().await.context(format!("after {} messages", stream.len()))?;
            stream.take(&serde_json::from_slice(&push.body)?, None)?;
        }
    }
    Ok(())
}

const EDGES: usize = 3;
const CARRIERS: usize = 3;
const COUNT: u64 = 1_100;

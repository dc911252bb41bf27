//! Prints how long messages take from publisher to client.
//!
//! `latency --up` starts a network of its own (the program starts itself as origin, svrlist and edge);
//! otherwise it measures the one that the addresses name, by default that of `linecast up`.

#![allow(clippy::print_stdout, reason = "its output is what the program is for")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tests::api::Origin;
use tests::latency::{Load, Report, disk};
use tests::network::{API_KEY, Network, Plan, Program, new_folder, show_logs};

/// Publishes at a fixed rate and prints the distribution of publish-to-client latency
#[derive(Parser, Debug)]
struct Args {
    /// Start a network on free ports, measure it, stop it
    #[arg(long)]
    up: bool,
    /// Setting of the origin that --up starts, such as namespace.live.durability=os; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "up")]
    set: Vec<String>,
    /// Folder for the data of --up, on the disk to measure; default: the system's temporary folder
    #[arg(long, value_name = "DIR", requires = "up")]
    data: Option<PathBuf>,
    /// The origin's API
    #[arg(long, default_value = "http://127.0.0.1:7400")]
    origin: String,
    /// API key
    #[arg(long, default_value = API_KEY)]
    key: String,
    /// The edge's HTTP/WebSocket address
    #[arg(long, default_value = "127.0.0.1:7612")]
    websocket: SocketAddr,
    /// The edge's goim TCP address
    #[arg(long, default_value = "127.0.0.1:7611")]
    tcp: SocketAddr,
    /// Messages per second
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Seconds to publish
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Messages at the start that do not count
    #[arg(long, default_value_t = 100)]
    warm_up: u32,
    /// Bytes of filling in each body
    #[arg(long, default_value_t = 80)]
    filling: usize,
}

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == NODE) {
        arguments.remove(1);
        return deploy::cli::run(arguments);
    }
    match run(&Args::parse()) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &Args) -> Result<Report> {
    if !args.up {
        let origin = Origin::new(&args.origin, &args.key);
        return load(args, origin, args.websocket, args.tcp).run().await;
    }
    let program = Program::new(std::env::current_exe().context("find myself")?).with(NODE);
    let folder = match &args.data {
        Some(data) => data.join("linecast-latency"),
        None => new_folder(),
    };
    let report = measure_own(args, program, &folder).await;
    if report.is_err() {
        show_logs(&folder);
    }
    let removed = std::fs::remove_dir_all(&folder);
    let report = report?;
    removed.with_context(|| format!("remove {}", folder.display()))?;
    Ok(report)
}

async fn measure_own(args: &Args, program: Program, folder: &Path) -> Result<Report> {
    let plan = Plan { origin: args.set.clone(), ..Plan::edges(1) };
    let network = Network::start(program, &plan, folder).await?;
    let disk = disk(folder, args.rate)?;
    let edge = network.edge(0);
    let mut report = load(args, network.api(), edge.http, edge.tcp).run().await?;
    report.disk = Some(disk);
    Ok(report)
}

fn load(args: &Args, origin: Origin, websocket: SocketAddr, tcp: SocketAddr) -> Load {
    Load {
        origin,
        websocket,
        tcp,
        room: format!("latency-{}", std::process::id()),
        rate: args.rate,
        duration: Duration::from_secs(args.seconds),
        warm_up: args.warm_up,
        filling: args.filling,
    }
}

/// The first argument that makes this program the product itself.
const NODE: &str = "node";

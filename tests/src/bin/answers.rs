//! Prints how many lists a second a svrlist answers on one processor core, and how fast at half of that.
//!
//! It starts a svrlist of its own (the program starts itself as one) and pins that and itself to a core
//! each, with `taskset`. docs/svrlist-load.md has the table and what is unfair about it.

#![allow(clippy::print_stdout, reason = "its output is what the program is for")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tests::answers::{Drive, Pace, Row, Told, World, constant};
use tests::network::{Process, Program, free_port, new_folder, runtime};

/// Asks a svrlist for lists: flat out, at half of what came of that, and a constant body for comparison
#[derive(Parser, Debug)]
struct Args {
    /// Seconds of each run
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Edges that report
    #[arg(long, default_value_t = 90)]
    edges: usize,
    /// Requests a second of the second run; default: half of what the first one reached
    #[arg(long)]
    rate: Option<f64>,
    /// Core of the server
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of this program
    #[arg(long, default_value_t = 1)]
    own_core: usize,
    /// Setting of the svrlist; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Leave out the constant body
    #[arg(long)]
    no_limit: bool,
}

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == NODE) {
        arguments.remove(1);
        return deploy::cli::run(arguments);
    }
    let done = match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some(CONSTANT) => constant::serve(&arguments[2..]),
        _ => {
            let folder = new_folder();
            let done = run(&Args::parse(), &folder);
            let _ = std::fs::remove_dir_all(&folder);
            done
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, folder: &Path) -> Result<()> {
    let core = args.own_core.to_string();
    let own = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", &core, &own]).output();
    let pinned = pinned.context("run taskset, of util-linux")?;
    ensure!(pinned.status.success(), "taskset: {}", String::from_utf8_lossy(&pinned.stderr));
    let myself = std::env::current_exe().context("find myself")?;
    let on_core = |what: &str| {
        let program = Program::new("taskset").with("-c").with(&args.server_core.to_string());
        program.with(&myself.display().to_string()).with(what)
    };
    let world = World::start(on_core(NODE), folder, args.edges, Told::default(), &args.set)?;
    println!("{} connections, {} edges, {} cells", args.connections, args.edges, world.cells);
    println!("{}", Row::heading());
    let duration = Duration::from_secs(args.seconds);
    let drive = |address, pace| Drive {
        address,
        connections: args.connections,
        pace,
        warm_up: WARM_UP,
        duration,
    };
    let pid = world.svrlist.id().context("svrlist has ended")?;
    let flat_out = Row::measure("flat out", &drive(world.address, Pace::FlatOut), pid)?;
    println!("{flat_out}");
    let rate = args.rate.unwrap_or(flat_out.outcome.rate() / 2.0);
    let name = format!("at {rate:.0} a second");
    println!("{}", Row::measure(name, &drive(world.address, Pace::Rate(rate)), pid)?);
    let bytes = flat_out.outcome.bytes / flat_out.outcome.answers.max(1);
    drop(world);
    if args.no_limit {
        return Ok(());
    }
    let mut server = Constant::start(on_core(CONSTANT), folder, bytes)?;
    let pid = server.process.id().context("the constant server has ended")?;
    println!("{}", Row::measure("constant, flat out", &drive(server.address, Pace::FlatOut), pid)?);
    server.process.alive()
}

/// The server of a constant body.
struct Constant {
    process: Process,
    address: SocketAddr,
    _watcher: tokio::runtime::Runtime,
}

impl Constant {
    fn start(program: Program, folder: &Path, bytes: u64) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let arguments = vec![address.to_string(), bytes.to_string()];
        let log = folder.join("constant.log");
        let ready = format!("http://{address}/");
        let mut process = Process::new("constant", program, arguments, log, ready);
        let watcher = runtime()?;
        watcher.block_on(async {
            process.start()?;
            process.ready().await
        })?;
        Ok(Self { process, address, _watcher: watcher })
    }
}

/// The first argument that makes this program the product itself.
const NODE: &str = "node";

/// The first argument that makes it answer a constant body.
const CONSTANT: &str = "constant";

/// Connections open, caches fill.
const WARM_UP: Duration = Duration::from_secs(2);

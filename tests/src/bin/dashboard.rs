//! Prints what a large network's dashboard costs its svrlist: processor time while nobody looks, while some
//! follow it and while they ask for its views, and how large these are.
//!
//! It starts a svrlist of its own (the program starts itself as one), with edges that report over real lines.
//! docs/dashboard.md has the table.

#![allow(clippy::print_stdout, reason = "its output is what the program is for")]
#![allow(clippy::disallowed_methods, reason = "a program that measures reads the clock")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use tests::answers::{Told, World, processor};
use tests::network::{Program, new_folder};

/// Measures the dashboard of a network of edges that only report
#[derive(Parser, Debug)]
struct Args {
    /// Edges that report
    #[arg(long, default_value_t = 1000)]
    edges: usize,
    /// Lines of each edge
    #[arg(long, default_value_t = 4)]
    lines: u32,
    /// Cells that each edge has clients of
    #[arg(long, default_value_t = 90)]
    cells: u32,
    /// Who look at the same time
    #[arg(long, default_value_t = 10)]
    followers: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == NODE) {
        arguments.remove(1);
        return deploy::cli::run(arguments);
    }
    let folder = new_folder();
    let done = run(&Args::parse(), &folder);
    let _ = std::fs::remove_dir_all(&folder);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, folder: &Path) -> Result<()> {
    let myself = std::env::current_exe().context("find myself")?;
    let program = Program::new(myself.display().to_string()).with(NODE);
    let told = Told { lines: args.lines, networks: args.cells };
    let settings = ["dashboard.open=true".to_owned()];
    let world = World::start(program, folder, args.edges, told, &settings)?;
    let pid = world.svrlist.id().context("svrlist has ended")?;
    // Edges' ends have to say what is usual before they say more.
    thread::sleep(WARM_UP);
    for path in ["/api/overview", "/api/map"] {
        let begun = Instant::now();
        let bytes = get(world.address, path)?;
        println!("{path}: {bytes} bytes, {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    }
    println!("{:<28}{:>18}{:>12}", "", "of a core, %", "kB/s");
    let looks: [(&str, Look); 5] = [
        ("nobody looks", Look::Not),
        ("follow all", Look::Follow("/api/live")),
        ("follow the overview", Look::Follow("/api/live?events=overview")),
        ("ask for the overview", Look::Ask("/api/overview")),
        ("ask for the map", Look::Ask("/api/map")),
    ];
    for (name, look) in looks {
        let (ended, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let address = world.address;
        let followers = if matches!(look, Look::Not) { 0 } else { args.followers };
        let follower = |_| {
            let (ended, bytes) = (Arc::clone(&ended), Arc::clone(&bytes));
            thread::spawn(move || look.run(address, &ended, &bytes))
        };
        let threads: Vec<_> = (0..followers).map(follower).collect();
        thread::sleep(WARM_UP / 4);
        let (before, bytes_before) = (processor(pid)?, bytes.load(Ordering::Relaxed));
        let begun = Instant::now();
        thread::sleep(Duration::from_secs(args.seconds));
        let seconds = begun.elapsed().as_secs_f64();
        let share = 100.0 * (processor(pid)? - before).as_secs_f64() / seconds;
        let rate = (bytes.load(Ordering::Relaxed) - bytes_before) as f64 / 1000.0 / seconds;
        println!("{:<28}{share:>18.1}{rate:>12.0}", format!("{followers} {name}"));
        ended.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a follower failed"))??;
        }
    }
    Ok(())
}

/// How somebody looks.
#[derive(Clone, Copy)]
enum Look {
    Not,
    /// At a stream.
    Follow(&'static str),
    /// Once a second.
    Ask(&'static str),
}

impl Look {
    fn run(self, address: SocketAddr, ended: &AtomicBool, bytes: &AtomicU64) -> Result<()> {
        match self {
            Self::Not => {}
            Self::Ask(path) => {
                while !ended.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    bytes.fetch_add(get(address, path)? as u64, Ordering::Relaxed);
                    thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
                }
            }
            Self::Follow(path) => {
                let mut stream = open(address, path)?;
                let mut buffer = vec![0; 1 << 16];
                while !ended.load(Ordering::Relaxed) {
                    let read = stream.read(&mut buffer)?;
                    anyhow::ensure!(read > 0, "the stream ended");
                    bytes.fetch_add(read as u64, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }
}

/// Asks, as a browser would, and reads no more than that.
fn open(address: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: svrlist\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

/// Bytes of an answer, with its head.
fn get(address: SocketAddr, path: &str) -> Result<usize> {
    let mut answer = Vec::new();
    open(address, path)?.read_to_end(&mut answer)?;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "{path} is not answered");
    Ok(answer.len())
}

/// The first argument that makes this program the product itself.
const NODE: &str = "node";

/// Two lessons and more.
const WARM_UP: Duration = Duration::from_secs(20);

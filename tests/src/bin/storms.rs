//! Prints what viewers of a calm room notice while thousands of other clients come, go and come back.

#![allow(clippy::print_stdout, reason = "its output is what the program is for")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tests::network::{Network, Plan, Program, new_folder, show_logs};
use tests::storms::{Report, Storms};

/// Starts a network of its own and lets storms of clients loose on its edge
#[derive(Parser, Debug)]
struct Args {
    /// Clients that reconnect, and that leave, at once
    #[arg(long, default_value_t = 15_000)]
    crowd: usize,
    /// Clients a second that join, and as many that leave
    #[arg(long, default_value_t = 1000)]
    churn: u32,
    /// Seconds of joining and leaving
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Messages a second in the calm room
    #[arg(long, default_value_t = 20)]
    rate: u32,
}

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == NODE) {
        arguments.remove(1);
        return deploy::cli::run(arguments);
    }
    let args = Args::parse();
    let folder = new_folder();
    match run(&args, &folder) {
        Ok(report) => {
            let _ = std::fs::remove_dir_all(&folder);
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            show_logs(&folder);
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &Args, folder: &Path) -> Result<Report> {
    let program = Program::new(std::env::current_exe().context("find this program")?).with(NODE);
    let edge = ["upstream.linger=1s", "limits.arrivals_per_address=0"].map(str::to_owned).into();
    let plan = Plan { edge, ..Plan::edges(1) };
    let network = Network::start(program, &plan, folder).await?;
    let storms = Storms {
        crowd: args.crowd,
        churn: args.churn,
        churn_time: Duration::from_secs(args.seconds),
        rate: args.rate,
    };
    storms.run(&network).await
}

/// The first argument with which the program is the whole product.
const NODE: &str = "node";

//! Runs the lines' acceptance matrix in virtual time, over as many seeds as asked for.
//!
//! `simulate --seeds 1000` runs every scenario with seeds 1 to 1000 on all cores and prints a line for
//! each. A broken promise ends it with the seed and the command that shows it again.

#![allow(clippy::print_stdout, reason = "its output is what the program is for")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use tests::lines::matches;
use tests::simulation::{Broken, Figures, Scenario, Summary, run, scenarios};

/// Runs trunks in virtual time and checks every promise they make
#[derive(Parser, Debug)]
struct Args {
    /// Scenarios to run: names, in which * stands for anything
    #[arg(long, value_name = "GLOB", default_value = "*")]
    scenario: String,
    /// How many seeds of each
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    println!("{}", Summary::HEAD);
    let mut failed = false;
    for scenario in scenarios().iter().filter(|s| matches(&args.scenario, s.name)) {
        match run_all(scenario, &args) {
            Ok(figures) => {
                let summary = Summary::of(&figures);
                let missed = summary.missed(&scenario.goals);
                println!("{:<18}{summary}{}", scenario.name, missed.join(", "));
                failed |= !missed.is_empty();
            }
            Err(broken) => {
                println!("{:<18}{broken}", scenario.name);
                let (name, seed) = (broken.scenario, broken.seed);
                println!("again: simulate --scenario {name} --seed {seed} --seeds 1");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs all seeds of a scenario, on all cores.
fn run_all(scenario: &Scenario, args: &Args) -> Result<Vec<Figures>, Broken> {
    let next = AtomicU64::new(args.seed);
    let end = args.seed.saturating_add(args.seeds);
    let found: Mutex<Vec<Figures>> = Mutex::default();
    let broken: Mutex<Option<Broken>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_broken = broken.lock().is_ok_and(|broken| broken.is_some());
                    if seed >= end || is_broken {
                        return;
                    }
                    match run(scenario, seed) {
                        Ok(figures) => found.lock().map(|mut f| f.push(figures)).unwrap_or(()),
                        Err(error) => {
                            if let Ok(mut broken) = broken.lock() {
                                broken.get_or_insert(error);
                            }
                        }
                    }
                }
            });
        }
    });
    match broken.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(broken) => Err(broken),
        None => Ok(found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
    }
}

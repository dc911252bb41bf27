//! Measures how well clients are sent to edges: the table of the rankings.
//!
//! `ranking --seeds 4` runs every policy through two hours of each of four simulated networks, then the
//! product through the same without incidents and through a month of evenings, prints the table, and
//! writes it as `ranking.csv` beside pictures; `--parts` chooses among the three. `--large` has a thousand edges
//! and ten million sessions.

#![allow(clippy::disallowed_methods, reason = "it says how long it took")]
#![allow(clippy::print_stdout, reason = "its output is what the program is for")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use tests::lines::matches;
use tests::ranking::{NAMES, Policy, Report, Scale, Table, Variant, bill, measure};

/// Sends the sessions of simulated networks to edges in several ways, and prints how they fared
#[derive(Parser, Debug)]
struct Args {
    /// How many networks
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Policies to run: names, in which * stands for anything, with commas in between
    #[arg(long, value_name = "GLOB", default_value = "*", value_delimiter = ',')]
    policies: Vec<String>,
    /// How long: default two hours, with --large one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(12..=1440))]
    minutes: Option<u64>,
    /// A thousand edges and ten million sessions, the product and the oracle alone
    #[arg(long)]
    large: bool,
    /// What to run, with commas in between
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Table, Part::Calm, Part::Month])]
    parts: Vec<Part>,
    /// The month's days
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=31))]
    days: u64,
    /// The width of the near-best set, in percentage points
    #[arg(long, value_name = "PP")]
    near: Option<f64>,
    /// Where the CSV and the pictures go
    #[arg(long, value_name = "DIR", default_value = "target/ranking")]
    out: PathBuf,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq)]
enum Part {
    /// The policies against each other
    Table,
    /// The product where nothing happens
    Calm,
    /// Bills of bandwidth, in the first network
    Month,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let is = |name: &str| args.policies.iter().any(|glob| matches(glob, name));
    let mut scale = if args.large { Scale::LARGE } else { Scale::USUAL };
    if let Some(minutes) = args.minutes {
        scale.ticks = minutes as usize * 12;
    }
    let variant = Variant { near_pp: args.near };
    let policies: Vec<Policy> = NAMES
        .iter()
        .filter(|(name, _)| is(name) && (!args.large || ["linecast", "oracle"].contains(name)))
        .map(|(_, policy)| *policy)
        .collect();
    ensure!(
        !policies.is_empty(),
        "no such policy; there are {}",
        NAMES.map(|(name, _)| name).join(", ")
    );
    if args.parts.contains(&Part::Table) {
        compare(args, &policies, &scale, &variant)?;
    }
    if args.parts.contains(&Part::Calm) {
        calm(args, &scale, &variant);
    }
    if args.parts.contains(&Part::Month) && !args.large {
        println!("\na month of {} days, seed 1: {}", args.days, bill(1, args.days as usize));
    }
    Ok(())
}

/// The table of the policies, and its files.
fn compare(args: &Args, policies: &[Policy], scale: &Scale, variant: &Variant) -> Result<()> {
    let mut table = Table::default();
    for policy in policies {
        let start = Instant::now();
        for seed in 1..=args.seeds {
            table.add(measure(*policy, seed, scale, variant));
        }
        let each = start.elapsed() / args.seeds as u32;
        println!("{} took {each:.1?} a seed", policy.name());
    }
    println!("\n{table}");
    let report = Report::new(&args.out)?;
    report.write(if args.large { "large" } else { "ranking" }, &table)?;
    println!("the runs and pictures of them are in {}\n", args.out.display());
    Ok(())
}

/// What the product does when there is nothing to do.
fn calm(args: &Args, scale: &Scale, variant: &Variant) {
    let scale = Scale { incidents: false, ..*scale };
    for policy in [Policy::Linecast, Policy::LinecastEnds] {
        for seed in 1..=args.seeds {
            let calm = measure(policy, seed, &scale, variant);
            let [quality, load] = calm.false_moves;
            println!(
                "no incidents, seed {seed}, {}: {quality} false moves ({load} with those that load \
                 made), {} incidents believed in",
                policy.name(),
                calm.believed
            );
        }
    }
}

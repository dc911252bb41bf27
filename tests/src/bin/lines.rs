//! Measures what carries messages over lines that lose, delay and die: the table of the lines.
//!
//! `lines --seed 1` runs every row in every set-up, one after the other, prints the table, and writes
//! it as `lines.csv` beside a picture of each row, latency over time. A row takes as long as its messages
//! count, three seconds for warming up, and up to five more where not everything arrives.

#![allow(clippy::print_stdout, reason = "its output is what the program is for")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use tests::lines::{Outcome, Report, Row, Setup, matches, rows, smoke};

/// Carries messages over three bad lines in several ways, and prints how long they took
#[derive(Parser, Debug)]
struct Args {
    /// Decides the luck of the lines
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rows to run: names, in which * stands for anything, with commas in between
    #[arg(long, value_name = "GLOB", default_value = "*", value_delimiter = ',')]
    rows: Vec<String>,
    /// Set-ups to run, in the same way
    #[arg(long, value_name = "GLOB", default_value = "*", value_delimiter = ',')]
    setups: Vec<String>,
    /// How long messages count in every row; default: 20 to 180 s, as the row needs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Where the CSV and the pictures go
    #[arg(long, value_name = "DIR", default_value = "target/lines")]
    out: PathBuf,
    /// Run a second of one row in every set-up, to see that all work
    #[arg(long, conflicts_with_all = ["rows", "seconds"])]
    smoke: bool,
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

#[tokio::main]
async fn run(args: &Args) -> Result<()> {
    let all = if args.smoke { vec![smoke()] } else { rows(args.seconds) };
    let runs = chosen(args, &all)?;
    let mut report = Report::new(&args.out)?;
    println!("seed {}\n{}", args.seed, Outcome::table_head());
    for (row, setup) in runs {
        let outcome = Box::pin(setup.measure(row, args.seed)).await?;
        let before = report.outcomes().last();
        if before.is_some_and(|before| before.row.name != row.name) {
            println!();
        }
        println!("{outcome}");
        report.add(outcome)?;
    }
    warn(report.outcomes());
    println!("\n{} and a picture of each row are in {}", tests::lines::CSV, args.out.display());
    Ok(())
}

/// What to run, row by row.
fn chosen<'a>(args: &Args, rows: &'a [Row]) -> Result<Vec<(&'a Row, Setup)>> {
    let is = |patterns: &[String], name: &str| patterns.iter().any(|glob| matches(glob, name));
    let mut chosen = Vec::new();
    for row in rows.iter().filter(|row| is(&args.rows, &row.name)) {
        let setups = Setup::NAMED.iter().filter(|(name, _)| is(&args.setups, name));
        let suiting = setups.map(|(_, setup)| *setup).filter(|setup| setup.suits(row));
        chosen.extend(suiting.map(|setup| (row, setup)));
    }
    ensure!(
        !chosen.is_empty(),
        "nothing to run\nrows: {}\nset-ups (those without classes run no urgent rows): {}",
        rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(", "),
        Setup::NAMED.map(|(name, _)| name).join(", "),
    );
    Ok(chosen)
}

/// Says which runs the machine spoilt.
fn warn(outcomes: &[Outcome]) {
    let doubtful: Vec<&Outcome> = outcomes.iter().filter(|of| of.is_doubtful()).collect();
    if let Some(worst) = doubtful.iter().map(|of| of.stall).max() {
        println!(
            "\n! {} of {} runs met a stall of this machine of more than 5 ms, the largest {worst:.1?}: \
             repeat them on an idle one",
            doubtful.len(),
            outcomes.len(),
        );
    }
}

//! The `linecast-svrlist` binary: arguments, then [`svrlist::launch`].

use std::process::ExitCode;

use clap::Parser;
use shared::config::cli::Args;

/// Tells clients which edges to try
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    svrlist::launch(&Cli::parse().args)
}

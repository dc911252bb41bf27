//! The `linecast-edge` binary: arguments, then [`edge::launch`].

use std::process::ExitCode;

use clap::Parser;
use shared::config::cli::Args;

/// Faces clients and pulls their channels from an upstream
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    edge::launch(&Cli::parse().args)
}

//! The `linecast-svrlist` binary: arguments, then [`svrlist::launch`].

use std::process::ExitCode;

use clap::Parser;
use shared::config::cli;

/// Tells clients which edges to try
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: cli::Args,
}

fn main() -> ExitCode {
    cli::main(std::env::args_os(), |Cli { args }| svrlist::launch(&args))
}

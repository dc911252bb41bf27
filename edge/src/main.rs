//! The `linecast-edge` binary: arguments, then [`edge::launch`].

use std::process::ExitCode;

use clap::Parser;
use shared::config::cli;

/// Faces clients and pulls their channels from an upstream
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: cli::Args,
}

fn main() -> ExitCode {
    cli::main(std::env::args_os(), |Cli { args }| edge::launch(&args))
}

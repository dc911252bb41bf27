//! The `linecast-origin` binary: arguments, then [`origin::launch`].

use std::process::ExitCode;

use clap::Parser;
use shared::config::cli;

/// Keeps the channels' logs and serves the back ends' APIs
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: origin::Args,
}

fn main() -> ExitCode {
    cli::main(std::env::args_os(), |Cli { args }| origin::launch(&args))
}

//! The `linecast-origin` binary: arguments, then [`origin::launch`].

use std::process::ExitCode;

use clap::Parser;
use shared::config::cli::Args;

/// Keeps the channels' logs and serves the back ends' APIs
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: Args,
    /// Starts although acknowledged messages are missing: sets the damaged store aside and gives
    /// every channel a new epoch
    #[arg(long)]
    accept_loss: bool,
}

fn main() -> ExitCode {
    let Cli { mut args, accept_loss } = Cli::parse();
    if accept_loss {
        args.set.push("store.accept_loss=true".to_owned());
    }
    origin::launch(&args)
}

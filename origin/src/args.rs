//! The flags of an origin: those of every service, and its own.
//!
//! Invariant: whatever program runs an origin takes the same flags.

use shared::config::cli;

/// Flags of an origin; flatten them into a program's own.
// Two groups of the same name cannot be flattened into one program.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Args {
    /// Those of every service.
    #[command(flatten)]
    pub service: cli::Args,
    /// Starts although acknowledged messages are missing: sets the damaged store aside and gives
    /// every channel a new epoch
    #[arg(long)]
    pub accept_loss: bool,
}

impl Args {
    /// The flags of every service, with the own ones said as settings.
    pub fn settings(&self) -> cli::Args {
        let mut args = self.service.clone();
        if self.accept_loss {
            args.set.push("store.accept_loss=true".to_owned());
        }
        args
    }
}

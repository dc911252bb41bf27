//! What every service's binary does: configuration, log, run until a signal, exit code.

use std::error::Error;
use std::process::ExitCode;

use tokio::runtime::Builder;

use super::shutdown::{Shutdown, Termination, with_signals};
use super::telemetry::{LogConfig, start_log};
use crate::config::Configure;
use crate::config::cli::{self, Outcome};

/// What a service is called, and how it ends.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name in logs.
    pub name: &'static str,
    /// What its environment variables begin with.
    pub prefix: &'static str,
    /// What SIGTERM does.
    pub termination: Termination,
}

/// Does what the arguments ask for: most often runs a service until SIGINT or SIGTERM. `log` finds
/// the log's settings.
pub fn launch<C, F, E>(
    args: &cli::Args,
    Service { name, prefix, termination }: Service,
    log: impl FnOnce(&C) -> &LogConfig,
    run: impl FnOnce(C, Shutdown) -> F,
) -> ExitCode
where
    C: Configure,
    F: Future<Output = Result<(), E>>,
    E: Error + 'static,
{
    let config = match cli::load::<C>(args, prefix) {
        Outcome::Run(config) => config,
        Outcome::Exit(code) => return code,
    };
    start_log(log(&config));
    let ended = Builder::new_multi_thread().enable_all().build().and_then(|runtime| {
        let shutdown = Shutdown::new();
        runtime.block_on(with_signals(shutdown.clone(), termination, run(config, shutdown)))
    });
    let failure: Box<dyn Error> = match ended {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    };
    tracing::error!(error = &*failure, "{name} failed");
    ExitCode::FAILURE
}

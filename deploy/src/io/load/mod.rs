//! `linecast load`: the parent, and the processes that it starts.

mod children;
mod clock;
mod connection;
mod orders;
mod plot;
mod ports;
mod publisher;
mod run;
mod seen;
mod sender;
mod tls;
mod usage;
mod worker;

use std::io;
use std::path::PathBuf;

use shared::io::shutdown::Shutdown;

use self::orders::Orders;
use crate::io::files::{self, FileError, Readers};
use crate::io::output::say;
use crate::load::pipe::{Order, Role};
use crate::load::plan::Mode;
use crate::load::targets;
use crate::load::{Faults, LoadArgs, Plan};

/// Why there is no outcome, or not a good one.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The arguments cannot be meant.
    #[error(transparent)]
    Misuse(#[from] Faults),
    /// A target has no address.
    #[error("--target {target}: not HOST:PORT, or no such host")]
    Target {
        /// As said.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// The processes cannot work.
    #[error("the run broke off")]
    Processes(#[from] io::Error),
    /// No client came, or not all that the bare loop sends to.
    #[error("clients did not come: {0}")]
    Nobody(String),
    /// A result cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The picture cannot be drawn.
    #[error("cannot draw {}: {why}", path.display())]
    Plot {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Something was lost.
    #[error("{}", .0.join(", "))]
    Faulty(Vec<String>),
    /// Somebody wanted it to end.
    #[error("interrupted")]
    Interrupted,
}

impl LoadError {
    /// Whether the command was wrong, rather than what it met.
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::Misuse(_) | Self::Target { .. })
    }
}

/// The hidden command of a child process.
pub const CHILD: &str = "load-child";

/// Measures, prints and writes what came of it.
pub async fn load(mut args: LoadArgs, shutdown: Shutdown) -> Result<(), LoadError> {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    args.senders.get_or_insert(processors);
    let outcome = tokio::select! {
        () = shutdown.triggered() => return Err(LoadError::Interrupted),
        outcome = measure(&args) => outcome?,
    };
    // Who does not read it may want the files.
    let _ = say(outcome.to_string().trim_end());
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&outcome).map_err(io::Error::other)?;
        files::write(path, &json, Readers::Everybody)?;
    }
    if let Some(path) = &args.plot {
        let drawn = plot::draw(&outcome, path);
        drawn.map_err(|why| LoadError::Plot { path: path.clone(), why })?;
    }
    let faults = outcome.faults();
    if faults.is_empty() { Ok(()) } else { Err(LoadError::Faulty(faults)) }
}

async fn measure(args: &LoadArgs) -> Result<crate::load::Outcome, LoadError> {
    let mut addresses = Vec::new();
    for target in targets::targets(args)? {
        let failed = |source| LoadError::Target { target: target.clone(), source };
        let mut found = tokio::net::lookup_host(&target).await.map_err(failed)?;
        addresses.extend(found.next());
    }
    let run = rand::random::<u16>() % RUNS;
    let plan = Plan::new(args, run, addresses)?;
    let metrics = targets::metrics(args)?;
    let mut outcome = match plan.mode {
        Mode::Limit { .. } => run::bare(&plan).await?,
        _ => run::measure(&plan, &args.pids, &metrics).await?,
    };
    if args.ratio {
        let batch = outcome.batch.max(1.0);
        for flat_out in [false, true] {
            let plan = plan.bare(batch, args.senders.unwrap_or(1), flat_out);
            outcome.bare.extend(run::bare(&plan).await?.bare);
        }
    }
    Ok(outcome)
}

/// A child process: what it is to be, it is told by standard input.
pub fn child() -> io::Result<()> {
    let orders = Orders::listen()?;
    let Some(Order::Begin { plan, role, number }) = orders.wait() else {
        return Err(io::Error::other("this command is for `linecast load` alone"));
    };
    match (role, &plan.mode) {
        (Role::Sender, Mode::Limit { batch, flat_out, .. }) => {
            let mine = |client: &u32| plan.target_of(*client) == number as usize;
            let clients = (0..plan.clients).filter(mine).count() as u32;
            sender::send(&plan, clients, *batch, *flat_out, &orders)
        }
        _ => worker::work(*plan, number, orders),
    }
}

/// Runs are told apart by a number below this; room numbers stay below 32 bits with it.
const RUNS: u16 = 300;

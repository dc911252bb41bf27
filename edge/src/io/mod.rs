//! Where the edge acts: sockets, clocks, tasks, threads. Decisions live outside.
#![allow(
    clippy::disallowed_methods,
    reason = "io/ is where the crate touches clocks, dice and tasks"
)]

mod balance;
mod connection;
mod counters;
mod door;
mod input;
mod ledger;
mod metrics;
mod neighbours;
mod orders;
mod overload;
mod proxy;
mod report;
mod run;
mod shards;
mod socket;
mod tls;
mod uplink;
mod world;

pub use run::{PREFIX, RunError, launch, run};

// What in here reads bytes of strangers, for `tests/fuzz`.
#[doc(hidden)]
pub use proxy::{Preface, read as read_preface};
#[doc(hidden)]
pub use tls::BareTls;

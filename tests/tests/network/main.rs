//! The whole product as its users meet it: real processes, real sockets, real clients.
//!
//! One binary, because linking the product once is slow enough. Where to look and where to add:
//!
//! - [`life`]: one message, step by step, as ARCHITECTURE.md tells it
//! - [`streams`]: one stream reaches every kind of client completely, in order, once
//! - [`crashes`]: processes are killed while messages flow
//! - [`control`]: operators send clients on, and let them come back
//! - [`dashboard`]: what operators see in a real browser
//! - [`door`]: who is let in, who is sent on, and who is sent away
//! - [`followers`]: viewers who go where they are sent, for the two before
//! - [`line`]: lines break and heal under a stream
//! - [`namespaces`]: three carriers with addresses of their own, two of which fail
//! - [`neighbours`]: edges that lose the origin pull through each other
//! - [`interop`]: a message crosses from one protocol to another
//! - [`goim_rules`]: what goim's protocol says, and the traps that goim itself falls into
//! - [`goim_users`]: who goim clients are, and what they may read
//! - [`centrifuge_rules`]: behaviours that re-implementations of the Centrifuge protocol get wrong
//! - [`hooks`]: what a back end decides through its hooks
//! - [`applications`]: what applications do with real SDKs and a real browser
//! - [`list`]: svrlist over real edges
//! - [`quality`]: what edges tell bends the lists, and survives svrlist
//! - [`load`]: a small run of `linecast load`
//! - [`speed`]: a small run of each benchmark, so that none rots

mod applications;
mod centrifuge_rules;
mod control;
mod crashes;
mod dashboard;
mod door;
mod followers;
mod goim_rules;
mod goim_users;
mod hooks;
mod interop;
mod life;
mod line;
mod list;
mod load;
mod namespaces;
mod neighbours;
mod publish;
mod quality;
mod simulation;
mod speed;
mod streams;

use anyhow::Result;
use tests::network::{Network, Plan, Program, run};

/// Runs `test` on a network of its own with this many edges.
fn network(edges: usize, test: impl AsyncFnOnce(&mut Network) -> Result<()>) {
    network_with(Plan::edges(edges), test);
}

/// Runs `test` on a network of its own.
fn network_with(plan: Plan, test: impl AsyncFnOnce(&mut Network) -> Result<()>) {
    run(Program::new(env!("CARGO_BIN_EXE_node")), plan, test);
}

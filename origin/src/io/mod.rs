//! Where the origin acts: sockets, clocks, tasks, threads. Decisions live outside.
#![allow(
    clippy::disallowed_methods,
    reason = "io/ is where the crate touches clocks, dice and tasks"
)]

mod answer;
mod api;
pub mod channels;
#[cfg(test)]
mod fixture;
pub mod hook;
pub mod line;
pub mod metrics;
pub mod origin;
pub mod service;
mod soft;
pub mod store;
mod sweep;
mod witness;
mod writer;

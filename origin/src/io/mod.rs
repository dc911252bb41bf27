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

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    // A clock before 1970 is as good as none.
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

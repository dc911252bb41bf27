//! Where the edge acts: sockets, clocks, tasks, threads. Decisions live outside.
#![allow(
    clippy::disallowed_methods,
    reason = "io/ is where the crate touches clocks, dice and tasks"
)]

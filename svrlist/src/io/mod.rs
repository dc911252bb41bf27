//! Where this crate acts: sockets, clocks, tasks and files.
#![allow(
    clippy::disallowed_methods,
    reason = "io/ is where the crate touches clocks, dice and tasks"
)]

//! Where this crate acts: sockets, clocks, tasks, files. Decisions live outside.
#![allow(
    clippy::disallowed_methods,
    reason = "io/ is where the crate touches clocks, dice and tasks"
)]

pub mod admin;
pub mod clock;
pub mod http;
pub mod line;
pub mod service;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod trunk;

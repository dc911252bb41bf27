//! Where this crate acts: files, sockets, clocks, processes.
#![allow(
    clippy::disallowed_methods,
    reason = "io/ is where the crate touches clocks, dice and tasks"
)]

pub mod files;
pub mod http;
pub mod lines;
pub mod load;
pub mod network;
pub mod output;
pub mod password;
pub mod pki;
pub mod places;
pub mod push;
pub mod relay;
pub mod stdin;
pub mod tail;
pub mod up;

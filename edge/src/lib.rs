//! Linecast's edge: faces clients in the protocols they already speak and pulls their channels from
//! an upstream.
//!
//! One shape at every hop: an edge pulls a channel's log into a ring, and each client's cursor pulls
//! from that ring. Sessions (protocols), rooms (fan-out) and the hub (pulls) decide; [`io`] acts.

pub mod access;
pub mod centrifuge;
pub mod config;
pub mod drains;
pub mod ends;
pub mod form;
pub mod goim;
pub mod hub;
pub mod io;
pub mod pressure;
pub mod protocol;
pub mod room;
pub mod session;
pub mod shard;
pub mod token;
pub mod tokens;
pub mod upgrade;
pub mod upstreams;
pub mod websocket;
pub mod wheel;

pub use io::{RunError, launch, run};

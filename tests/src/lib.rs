//! The kit that whole-network tests and benchmark programs are made of.
//!
//! Nothing here knows how a service works inside: [`network`] starts the product's own processes,
//! [`goim`], [`centrifuge`] and [`api`] speak to them as a stranger would, [`real_client`] runs client
//! libraries that we did not write, [`stream`] judges what arrived: in order, completely, once, and
//! [`metrics`] reads what the processes say of themselves.
//!
//! Invariant: nothing sleeps for luck. Whoever waits, waits for a level (a state that stays once it is
//! reached) with a deadline that names what did not happen.

#![allow(
    clippy::disallowed_methods,
    reason = "the whole kit is I/O around the product's processes"
)]

pub mod answers;
pub mod api;
pub mod centrifuge;
pub mod goim;
pub mod http;
pub mod latency;
pub mod lines;
pub mod metrics;
pub mod network;
pub mod ranking;
pub mod real_client;
pub mod simulation;
pub mod storms;
pub mod stream;
pub mod wait;

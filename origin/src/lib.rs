//! The origin: where messages get their place and become durable.
//!
//! 1. A message is stored before it is sent: its publisher is answered, and its readers see it, when
//!    it is in the log ([`io::origin::Origin::publish`]).
//! 2. Readers pull: each has a cursor in a channel's ring, or in the log behind it
//!    ([`io::channels::Channel::read`]).
//! 3. (epoch, offset) names one payload for ever, whatever happens to the disk: what cannot be read
//!    is reported, never skipped ([`io::store`]).
//! 4. Back ends speak two APIs they already know ([`api`]).
//!
//! Everything decides without waiting, except [`io`].

pub mod api;
pub mod args;
pub mod channel;
pub mod commands;
pub mod config;
pub mod edges;
pub mod hook;
pub mod io;
pub mod limits;
pub mod log;
pub mod online;
pub mod presence;
pub mod publish;

pub use args::Args;
pub use config::Config;
pub use io::service::{RunError, launch, run};

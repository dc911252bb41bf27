//! goim v2 and its danmaku dialect: the same 16-byte header and operations, other bodies.
//!
//! [`frame`] cuts bytes into frames, [`auth`] reads who logs in and thereby which dialect is spoken,
//! [`session`] decides what a frame leads to, [`encode`] writes what a room hands to all its members
//! at once. What goim got wrong is kept out by two rules: a frame is as long as it says, no more and
//! no less; and nothing is ever echoed but the request's own bytes.

pub mod auth;
mod compress;
mod config;
pub mod encode;
pub mod frame;
pub mod operation;
pub mod session;

pub use config::{AuthMode, Config, GapMode};

use crate::token;

/// What all sessions of an edge share.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The protocol's options.
    pub config: Config,
    /// What tokens are verified by.
    pub tokens: token::Config,
}

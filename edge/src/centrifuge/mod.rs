//! The Centrifuge client protocol on WebSocket, in JSON and Protobuf: what centrifuge-js, -go, -swift,
//! -java, -dart, -python and -csharp speak.
//!
//! [`session::Session`] decides what one client's commands do; [`encode`] writes the messages of
//! rooms, once per form. Both end in whole WebSocket frames.
//!
//! Left out: delta compression, tags filters, map and shared-poll subscriptions, channel ids, and
//! asynchronous `send`, which no back end of ours receives.

mod codes;
mod config;
mod decode;
pub mod encode;
mod frame;
mod json;
mod protocol;
pub mod session;

pub use config::Config;

use crate::token;

/// What all sessions of an edge share.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The protocol's options.
    pub config: Config,
    /// What tokens are verified by.
    pub tokens: token::Config,
}

/// The version told to clients.
const VERSION: &str = concat!("linecast ", env!("CARGO_PKG_VERSION"));

//! The HTTP half of a WebSocket connection: a request head becomes an upgrade or a refusal.
//!
//! An edge serves nothing but WebSocket here, so that every request is either an upgrade on a known
//! path or answered with a short text that says what would work, and then closed.
//!
//! Invariant: no byte of an answer comes from the request, except the hash of its key.

mod config;
mod head;
mod origin;

pub use config::Config;
pub use head::{Endpoint, Head, Subprotocol, Upgrade, read};
pub use origin::OriginPattern;

/// Bytes of a request head at most. Browsers send about 1 KiB, cookies included up to 4 KiB each.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// Headers of a request at most; browsers send about 20.
pub const HEADERS_MAX: usize = 64;

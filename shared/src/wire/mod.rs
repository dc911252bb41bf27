//! What crosses a line: [`control`] messages in Protobuf, [`datagram`]s, and live [`frame`]s laid out by hand so
//! that a message's payload is shared from the log to the socket and never encoded again.

pub mod convert;
pub mod datagram;
pub mod frame;

/// Control messages, generated from `wire/control.proto`, which documents them.
#[allow(missing_docs, reason = "generated; wire/control.proto documents each field")]
#[allow(clippy::all, reason = "generated")]
pub mod control {
    include!(concat!(env!("OUT_DIR"), "/linecast.v1.rs"));
}

/// The version of this protocol, said in the hello; a peer of another version is refused.
pub const PROTOCOL_VERSION: u32 = 1;

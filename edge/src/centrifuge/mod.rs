//! The Centrifuge client protocol.

pub mod encode;

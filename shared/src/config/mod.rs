//! Layered configuration: defaults < TOML file < environment < flags.
//!
//! Every service has one `Config` that is always valid once it exists. It is read through a
//! [`Reader`], whose typed getters take the key, its default and one sentence of meaning; so the
//! same lines parse, check, document and print a key. All faults are found in one go, a key nobody
//! asked for is a fault, and a [`Secret`] never prints.
//!
//! Invariant: a getter always returns a usable value, and [`Reader::finish`] fails if any getter
//! had to make one up.

pub mod cli;
mod fault;
mod layers;
mod print;
mod raw;
mod reader;
mod secret;
mod setting;

pub use fault::{Fault, Faults};
pub use layers::{Layers, Source};
pub use raw::Raw;
pub use reader::{ReadFile, Reader, resolve};
pub use secret::Secret;
pub use setting::{ByteSize, Setting};

/// Something that can be read from configuration: a service's whole `Config`, or a section of it.
pub trait Configure: Sized {
    /// Reads every key it knows, always all of them: a key that no getter asks for counts as
    /// unknown. Faults are recorded in the reader, never returned.
    fn read(reader: &mut Reader) -> Self;
}

#[cfg(test)]
mod tests;

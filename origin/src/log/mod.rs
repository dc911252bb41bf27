//! The log as bytes: keys and records of the store, each record under a checksum.
//!
//! One ordered key space holds everything, so that one flush order holds for everything:
//!
//! ```text
//! 'm' channel epoch last-offset   a run: consecutive messages that one commit wrote to a channel
//! 'c' channel                     the channel's meta: epoch, top, what is kept; outlives messages
//! 'i' channel time commit         idempotency keys of one commit with their offsets
//! 'w' commit                      one mark per commit, so that a missing commit is noticed
//! 's' name                        the store itself: format, generation, the last commit
//! ```
//!
//! `channel` is one byte of length and the name; numbers are big-endian, so that keys sort as
//! numbers do. A record's value begins with a CRC32 over its key and the rest of the value: a
//! record that was damaged, or that turned up under another key, is found out.
//!
//! Invariant: bytes that do not pass their checksum are never served; they are reported.

pub mod key;
pub mod record;
pub mod witness;

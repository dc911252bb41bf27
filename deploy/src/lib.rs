//! `linecast`: the command that runs a whole network on one machine, and speaks to any.
//!
//! 1. `linecast origin|edge|svrlist` is one service in this process, the same as its own binary.
//! 2. `linecast up` starts itself once for each service of a [`network`] on loopback and keeps them
//!    running ([`up`]).
//! 3. `load` measures a network under many clients ([`load`]).
//! 4. `push`, `tail`, `pki` and `place` are what an operator does by hand.
//!
//! Invariant: the services are not aware of this crate; it starts them the way anyone could.

pub mod cli;
pub mod io;
pub mod load;
pub mod network;
pub mod pki;
pub mod place;
pub mod push;
pub mod reference;
pub mod relay;
pub mod tail;
pub mod up;

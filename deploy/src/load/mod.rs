//! `linecast load`: many clients, a measured flow of messages, and an account of what came.
//!
//! 1. The arguments become a [`plan`]: which clients read which [`rooms`], and when each message is due
//!    ([`schedule`]).
//! 2. The program starts itself as worker processes, which hold the clients; they and the parent speak
//!    over a [`pipe`].
//! 3. Each message says which one it is and when it was due ([`message`]); each client checks what comes
//!    ([`checker`]), in whatever [`protocol`] it speaks.
//! 4. What all of them saw, and what the server's processes took ([`procfs`]), is an [`outcome`]: a table
//!    and JSON.
//!
//! Invariant: a message that was due and did not come is in the outcome, whatever became of the client.

pub mod args;
pub mod checker;
pub mod message;
pub mod outcome;
pub mod pipe;
pub mod plan;
pub mod procfs;
pub mod protocol;
pub mod publish;
pub mod rooms;
pub mod schedule;
pub mod targets;

pub use self::args::LoadArgs;
pub use self::outcome::Outcome;
pub use self::plan::{Faults, Plan};

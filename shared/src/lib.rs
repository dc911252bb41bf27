//! The language Linecast's services speak.
//!
//! One shape at every hop: a *ring* that someone fills and a *cursor* that someone pulls with. The
//! origin's log is pulled by an edge's line, the edge's ring is pulled by a client's cursor. Nobody
//! pushes into a per-receiver queue; whoever is slow falls behind and learns of a *gap*.
//!
//! Everything here is plain data and decisions except [`io`], which touches sockets, clocks and tasks.

pub mod address;
pub mod body;
pub mod channel;
pub mod config;
pub mod io;
pub mod limits;
pub mod line;
pub mod message;
pub mod namespace;
pub mod pull;
pub mod ring;
pub mod wire;

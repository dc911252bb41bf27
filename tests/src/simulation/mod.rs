//! Trunks in virtual time: the real machines of both ends on a simulated network, and a naive model
//! that checks every step.
//!
//! A [`Scenario`] says what is published and what happens to the lines; a seed decides everything else.
//! [`run`] answers what was measured, or the first promise that was broken. Nothing here reads a clock,
//! so a seed is a run: the same one every time, on every machine.

mod network;
mod scenario;
mod summary;
mod upstream;
mod world;

pub use scenario::{Change, Goals, Scenario, Which, scenarios};
pub use summary::Summary;
pub use world::{Broken, Figures, run};

//! svrlist: tells every client which edges to try.
//!
//! 1. Edges report every two seconds over the line protocol; a [`registry`] knows which of them are
//!    there. Several svrlists run side by side without talking: every edge reports to all of them.
//! 2. A client asks `GET /svrlist`; its address gives its cell (region, carrier), the cell an order
//!    of the edges ([`ranking`]) that is computed a few times a second at most, and the user a place of its
//!    own among equals.
//! 3. When every report stops, the last state stays in force: svrlist never answers "nothing" while
//!    it knows better.
//!
//! Everything but [`io`] decides without waiting, and can be read and tested without a socket.

pub mod accounts;
pub mod alerts;
pub mod answer;
pub mod ask;
pub mod budget;
pub mod calendar;
pub mod config;
pub mod control;
pub mod dashboard;
pub mod drain;
pub mod edge;
pub mod ends;
#[cfg(test)]
mod fixture;
pub mod goim;
pub mod history;
pub mod io;
pub mod known;
pub mod learning;
pub mod line;
pub mod metrics;
pub mod operators;
pub mod pace;
pub mod pages;
pub mod planner;
pub mod ranking;
pub mod registry;
pub mod report;
pub mod site;
pub mod token;

pub use config::Config;
pub use io::{RunError, launch, run};

//! How many lists a svrlist answers: `GET /svrlist` on one processor core, asked by a million different clients.
//!
//! A real svrlist process is pinned to one core, with places for every Chinese division and carrier and
//! edges that report over real lines; this program asks from another core, over connections that are
//! kept alive, one request at a time on each. A trusted proxy's `X-Forwarded-For` names another client
//! with every request, and `uid` another user.
//!
//! 1. *Flat out*: each connection asks again as soon as it is answered.
//! 2. *At a rate*: requests are due on a schedule that is fixed before the run, and latency counts from
//!    when a request was due, so a stall weighs on everything that was due meanwhile.
//! 3. *Constant*: the same HTTP server gives every request the same bytes, as many as an answer has.
//!    That is the machine's limit, and what svrlist itself costs is the difference.

pub mod constant;
pub mod drive;
pub mod world;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use deploy::load::procfs;

pub use drive::{Drive, Outcome, Pace};
pub use world::{EDGES_MAX, Told, World};

/// Addresses that requests come from.
pub const ADDRESSES: u64 = 1 << 20;

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// What the server's process took.
    pub usage: Usage,
}

/// What a process took during a run.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Processor time.
    pub processor: Duration,
    /// Bytes of memory before.
    pub before: u64,
    /// Bytes of memory after.
    pub after: u64,
}

impl Row {
    /// Drives the server that listens at `drive.address` and runs as `pid`.
    pub fn measure(name: impl Into<String>, drive: &Drive, pid: u32) -> Result<Self> {
        let (before, mut from) = (resident(pid)?, Duration::ZERO);
        let outcome = drive.run(|| {
            from = processor(pid)?;
            Ok(())
        })?;
        let processor = processor(pid)? - from;
        let usage = Usage { processor, before, after: resident(pid)? };
        Ok(Self { name: name.into(), outcome, usage })
    }

    /// The heading of the table.
    pub fn heading() -> String {
        format!(
            "{:<22}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}{:>12}",
            "", "answers/s", "failed", "bytes", "p50 ms", "p99 ms", "p99.9", "max", "µs CPU", "MiB"
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, outcome, usage } = self;
        let answers = outcome.answers.max(1);
        write!(out, "{name:<22}{:>10.0}{:>9}", outcome.rate(), outcome.failed)?;
        write!(out, "{:>9}", outcome.bytes / answers)?;
        for quantile in [0.5, 0.99, 0.999] {
            let micros = outcome.latency.value_at_quantile(quantile);
            write!(out, "{:>9.2}", micros as f64 / 1000.0)?;
        }
        write!(out, "{:>8.1}", outcome.latency.max() as f64 / 1000.0)?;
        write!(out, "{:>8.1}", usage.processor.as_secs_f64() * 1e6 / answers as f64)?;
        write!(out, "{:>6.0} → {:<4.0}", mebibytes(usage.before), mebibytes(usage.after))
    }
}

/// The address that request `n` comes from: all [`ADDRESSES`] in turn, far apart one after the other.
pub fn address(n: u64) -> Ipv4Addr {
    let scattered = n.wrapping_mul(SCATTER) % ADDRESSES;
    Ipv4Addr::from_bits(FIRST + ((scattered as u32) << STEP_BITS))
}

/// The head of request `n`, as a proxy would send it on.
pub fn request(n: u64, into: &mut Vec<u8>) {
    use std::io::Write;
    into.clear();
    let user = n.wrapping_mul(SCATTER) % ADDRESSES;
    // Writing to memory does not fail.
    let _ = write!(
        into,
        "GET /svrlist?room=live%3A1000&uid=user-{user}&platform=web HTTP/1.1\r\n\
         host: svrlist.example\r\naccept: application/json\r\nx-forwarded-for: {}\r\n\r\n",
        address(n)
    );
}

fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    procfs::resident(&status).context("the process's memory")
}

/// The processor time that a process took so far.
pub fn processor(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(TICK * procfs::ticks(&stat).context("the process's ticks")? as u32)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Linux tells processor time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Odd, so that it meets every address once in [`ADDRESSES`] requests.
const SCATTER: u64 = 0x9e37_79b9;

/// The first address, 16.0.0.0: [`world`] has places for the /8.
const FIRST: u32 = 16 << 24;

/// Addresses are so many bits apart, which spreads them over the /8.
const STEP_BITS: u32 = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_million_addresses_are_all_different_and_of_one_network() {
        let all: BTreeSet<Ipv4Addr> = (0..ADDRESSES).map(address).collect();
        assert_eq!(all.len() as u64, ADDRESSES);
        assert!(all.iter().all(|address| address.octets()[0] == 16));
        assert_eq!(address(0), address(ADDRESSES));
    }
}

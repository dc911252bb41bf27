//! The ports that clients come from.
//!
//! A port is asked for by its number: to let the kernel look for a free one takes it the longer the more
//! there are, up to milliseconds a client.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};

/// Ports of one worker, of each address in turn.
#[derive(Debug)]
pub(super) struct Ports {
    first: u16,
    count: u32,
    worker: u32,
    workers: u32,
    skipped: u32,
    used: HashMap<IpAddr, u32>,
}

impl Ports {
    /// Those of worker `worker` of `workers`; runs with other numbers begin elsewhere.
    pub(super) fn new(worker: u32, workers: u32, run: u16) -> Self {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
        let range = range.as_deref().and_then(parse).unwrap_or(USUAL);
        let count = u32::from(range.1 - range.0) + 1;
        let skipped = u32::from(run) * RUN_STEP;
        Self { first: range.0, count, worker, workers, skipped, used: HashMap::new() }
    }

    /// Another port of the address.
    pub(super) fn next(&mut self, source: IpAddr) -> SocketAddr {
        let used = self.used.entry(source).or_default();
        let number = self.skipped + *used * self.workers + self.worker;
        *used += 1;
        SocketAddr::new(source, self.first + (number % self.count) as u16)
    }
}

fn parse(range: &str) -> Option<(u16, u16)> {
    let mut ends = range.split_ascii_whitespace().map(str::parse);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (first <= last).then_some((first, last))
}

/// Ports that Linux gives to clients, where it does not say.
const USUAL: (u16, u16) = (32_768, 60_999);

/// Ports between the first ones of runs that follow one another.
const RUN_STEP: u32 = 7919;

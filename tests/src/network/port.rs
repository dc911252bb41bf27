//! Ports for a network of one test.
//!
//! Processes are killed and started again on the same port, so a port must stay free while nobody
//! listens on it. Port 0 would give ports from the range the kernel also takes for outgoing connections,
//! and one of those could sit on the port of a process that is down for a moment. These ports lie below
//! that range (32768 on Linux), are handed out once per process, and each test process starts elsewhere.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// A port that nobody listens on, for TCP and UDP, and that no other call in this process got.
pub(super) fn free() -> Result<u16> {
    for _ in 0..RANGE {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = std::process::id().wrapping_mul(STRIDE);
        let port = FIRST + (start.wrapping_add(turn) % u32::from(RANGE)) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + RANGE)
}

static NEXT: AtomicU32 = AtomicU32::new(0);

const FIRST: u16 = 20_000;
const RANGE: u16 = 12_000;

/// Two processes started one after the other begin this far apart: more than one of them needs.
const STRIDE: u32 = 397;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_handed_out_once() {
        let ports: std::collections::BTreeSet<u16> =
            (0..50).map(|_| free().expect("a free port")).collect();
        assert_eq!(ports.len(), 50);
        for port in ports {
            assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        }
    }
}

//! Who calls over a line: a bounded table of addresses, each with the socket that speaks for it.
//!
//! Invariant: there are never more than `max`; whoever has been silent the longest makes room.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The callers of a line; `S` is whatever speaks for one of them.
#[derive(Debug)]
pub struct Clients<S> {
    /// Few, so that a search from the front is as good as any.
    known: Vec<Client<S>>,
    max: usize,
    idle: Duration,
}

#[derive(Debug)]
struct Client<S> {
    address: SocketAddr,
    socket: S,
    heard_at: Instant,
}

impl<S> Clients<S> {
    /// Nobody yet, and at most `max` at once; who is silent for `idle` is forgotten.
    pub fn new(max: usize, idle: Duration) -> Self {
        Self { known: Vec::new(), max: max.max(1), idle }
    }

    /// Something came from `address`: answers its socket, which `open` makes if it is new.
    pub fn handle_heard<E>(
        &mut self,
        address: SocketAddr,
        now: Instant,
        open: impl FnOnce() -> Result<S, E>,
    ) -> Result<&S, E> {
        let at = match self.known.iter().position(|client| client.address == address) {
            Some(at) => at,
            None => {
                let socket = open()?;
                if self.known.len() >= self.max {
                    self.forget_one();
                }
                self.known.push(Client { address, socket, heard_at: now });
                self.known.len() - 1
            }
        };
        let client = &mut self.known[at];
        client.heard_at = now;
        Ok(&client.socket)
    }

    /// Forgets everybody who has been silent for too long.
    pub fn handle_deadline(&mut self, now: Instant) {
        self.known.retain(|client| client.heard_at + self.idle > now);
    }

    /// When somebody will have been silent for too long.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.known.iter().map(|client| client.heard_at + self.idle).min()
    }

    /// Everybody, with their sockets.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &S)> {
        self.known.iter().map(|client| (client.address, &client.socket))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if there is nobody.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn forget_one(&mut self) {
        let silent = self.known.iter().enumerate().min_by_key(|(_, client)| client.heard_at);
        if let Some((at, _)) = silent {
            self.known.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn heard(clients: &mut Clients<u16>, port: u16, now: Instant) -> u16 {
        let socket = clients.handle_heard(address(port), now, || Ok::<_, Infallible>(port));
        *socket.unwrap()
    }

    #[test]
    fn who_has_been_silent_the_longest_makes_room() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let start = Instant::now();
        let mut clients = Clients::new(2, IDLE);
        for (second, port) in [1, 2, 1, 3].into_iter().enumerate() {
            let now = start + Duration::from_secs(second as u64);
            assert_eq!(heard(&mut clients, port, now), port);
        }
        let mut ports: Vec<u16> = clients.iter().map(|(_, socket)| *socket).collect();
        ports.sort_unstable();
        assert_eq!((ports, clients.len()), (vec![1, 3], 2));
    }

    #[test]
    fn who_is_silent_is_forgotten() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let start = Instant::now();
        let mut clients = Clients::new(8, IDLE);
        assert_eq!(clients.next_deadline(), None);
        heard(&mut clients, 1, start);
        heard(&mut clients, 2, start + Duration::from_secs(1));
        assert_eq!(clients.next_deadline(), Some(start + IDLE));
        clients.handle_deadline(start + IDLE);
        assert_eq!(clients.iter().map(|(_, socket)| *socket).collect::<Vec<_>>(), [2]);
        clients.handle_deadline(start + 2 * IDLE);
        assert!(clients.is_empty());
    }

    #[test]
    fn who_cannot_be_spoken_for_takes_no_place() {
        #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let start = Instant::now();
        let mut clients = Clients::new(1, IDLE);
        heard(&mut clients, 1, start);
        assert_eq!(clients.handle_heard(address(2), start, || Err("no socket")), Err("no socket"));
        assert_eq!(heard(&mut clients, 1, start), 1);
    }
}

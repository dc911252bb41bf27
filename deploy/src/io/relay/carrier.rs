//! The thread of one line: takes what arrives, sends what is due, sleeps in between.
//!
//! It waits in one poll for every socket and the next due time, to the nanosecond where the system
//! can (Linux). A datagram is copied once, out of the buffer it was received in.
//!
//! Invariant: between two looks at what is due, no more than one round is read from one socket. A flood
//! of arrivals makes a line lossy, in the socket's buffer, and not late.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::desk::{Parcel, Station, Way};
use crate::relay::{Clients, Direction, Due};

/// The owner of a line's sockets.
#[derive(Debug)]
pub(super) struct Carrier {
    station: Arc<Station>,
    /// Where the line is called.
    socket: UdpSocket,
    clients: Clients<Arc<UdpSocket>>,
}

/// A socket that never blocks.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // As much as the system allows, which may be less.
    let _ = set_socket_recv_buffer_size(&socket, SOCKET_BYTES);
    Ok(socket)
}

impl Carrier {
    pub(super) fn new(
        station: Arc<Station>,
        socket: UdpSocket,
        clients: Clients<Arc<UdpSocket>>,
    ) -> Self {
        Self { station, socket, clients }
    }

    /// The line's name.
    pub(super) fn name(&self) -> &str {
        &self.station.config.name
    }

    /// Carries datagrams until the other end of `lifeline` is closed.
    pub(super) fn run(mut self, lifeline: &UnixStream) -> io::Result<()> {
        wake_in_time();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while self.wait(lifeline)? {
            self.clients.handle_deadline(Instant::now());
            self.send_due();
            self.take_calls(&mut buffer)?;
            self.send_due();
            self.take_answers(&mut buffer);
            self.station.state().clients = self.clients.len();
        }
        Ok(())
    }

    /// Sleeps until there is something to do; false when the line is to end.
    fn wait(&self, lifeline: &UnixStream) -> io::Result<bool> {
        let due = self.station.state().line.next_deadline();
        let next = due.into_iter().chain(self.clients.next_deadline()).min();
        let timeout = next.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        let mut sockets = vec![PollFd::new(lifeline, PollFlags::IN)];
        sockets.push(PollFd::new(&self.socket, PollFlags::IN));
        let clients = self.clients.iter();
        sockets.extend(
            clients.map(|(_, socket)| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)),
        );
        match poll(&mut sockets, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(sockets[0].revents().is_empty()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what callers sent.
    fn take_calls(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..ROUND {
            let (len, address) = match self.socket.recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if passes(&error) => continue,
                Err(error) => return Err(error),
            };
            let (now, target) = (Instant::now(), self.station.config.target);
            let socket = self.clients.handle_heard(address, now, || connect(target).map(Arc::new));
            let mut state = self.station.state();
            match socket {
                Ok(socket) => state.line.handle_datagram(Direction::Up, len, now, || Parcel {
                    payload: buffer[..len].into(),
                    way: Way::Up(Arc::clone(socket)),
                }),
                Err(error) => {
                    state.line.handle_lost(Direction::Up, len);
                    drop(state);
                    tracing::warn!(line = self.name(), %target, %error, "no socket for a caller");
                }
            }
        }
        Ok(())
    }

    /// Takes what the target sent, to one caller after the other.
    fn take_answers(&self, buffer: &mut [u8]) {
        for (address, socket) in self.clients.iter() {
            for _ in 0..ROUND {
                let len = match socket.recv(buffer) {
                    Ok(len) => len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Most often the target does not listen: a line would not know.
                    Err(_) => continue,
                };
                self.station.state().line.handle_datagram(
                    Direction::Down,
                    len,
                    Instant::now(),
                    || Parcel { payload: buffer[..len].into(), way: Way::Down(address) },
                );
            }
            self.send_due();
        }
    }

    fn send_due(&self) {
        loop {
            let due = self.station.state().line.poll_due(Instant::now());
            let Some(Due { direction, len, datagram: Parcel { payload, way } }) = due else {
                return;
            };
            let send = || match &way {
                Way::Up(socket) => socket.send(&payload),
                Way::Down(address) => self.socket.send_to(&payload, address),
            };
            let sent = match send() {
                // Not about this datagram but about one before it, which met nobody.
                Err(error) if passes(&error) => send(),
                sent => sent,
            };
            if sent.is_err() {
                self.station.state().line.handle_unsent(direction, len);
            }
        }
    }
}

/// A socket that speaks to `target` alone.
fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = bind(any)?;
    socket.connect(target)?;
    Ok(socket)
}

/// Whether an error is that of a datagram sent earlier, and gone once it was told.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | Interrupted)
}

/// Asks the system to wake this thread when it should be woken: Linux adds 50 us by default, to
/// gather wake-ups.
fn wake_in_time() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::debug!(%error, "timers stay inexact");
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// What one socket gives before the others have their turn: some 100 us of work.
const ROUND: usize = 32;

/// No datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// 40 ms at 800 Mbit/s, as far as the system allows.
const SOCKET_BYTES: usize = 4 << 20;

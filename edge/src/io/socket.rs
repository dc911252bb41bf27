//! A client's socket, plain or TLS: bytes in, bytes out, never waiting.
//!
//! The rest of the edge does not know which of the two it is. Readiness is asked for with
//! [`Socket::poll_readable`] and [`Socket::poll_writable`].

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::tls::Tls;

/// A non-blocking socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
    /// Bytes that the kernel has taken so far.
    taken: u64,
    /// The same of all connections of the thread.
    meter: Rc<Cell<u64>>,
}

/// How reading went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// There may be more.
    More,
    /// Nothing more for now.
    Drained,
    /// The client will send nothing more.
    End,
}

impl Socket {
    /// Wraps a stream that was just accepted.
    pub(super) fn new(stream: TcpStream, meter: Rc<Cell<u64>>) -> Self {
        Self { stream, tls: None, taken: 0, meter }
    }

    /// From here on the client must speak TLS, beginning with a handshake.
    pub(super) fn begin_tls(&mut self, config: &Arc<ServerConfig>) -> Result<(), rustls::Error> {
        self.tls = Some(Box::new(Tls::new(config)?));
        Ok(())
    }

    /// Whether it speaks TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(test)]
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// Ready when reading makes sense.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    /// Ready when writing makes sense.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    /// Bytes that the kernel has taken so far: whether a slow client makes progress.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Appends what has arrived to `input`, at most `limit` bytes unless it is TLS, which may leave
    /// something to [`Socket::flush`].
    pub(super) fn read(&mut self, input: &mut BytesMut, limit: usize) -> io::Result<ReadOutcome> {
        match &mut self.tls {
            None => match self.stream.try_read_buf(&mut input.limit(limit)) {
                Ok(0) => Ok(ReadOutcome::End),
                Ok(_) => Ok(ReadOutcome::More),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadOutcome::Drained),
                Err(error) => Err(error),
            },
            Some(tls) => {
                let before = self.taken;
                let outcome = tls.read(&self.stream, &mut self.taken, input);
                self.measure(before);
                outcome
            }
        }
    }

    /// Writes the front of `pieces`; returns how many bytes are taken care of, 0 when the socket
    /// takes nothing at the moment.
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let before = self.taken;
        let written = match &mut self.tls {
            None => {
                let written = match pieces {
                    [piece] => self.stream.try_write(piece), // send is cheaper than writev
                    _ => self.stream.try_write_vectored(pieces),
                };
                match written {
                    Ok(written) => {
                        self.taken += written as u64;
                        Ok(written)
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                    Err(error) => Err(error),
                }
            }
            Some(tls) => tls.write(&self.stream, &mut self.taken, pieces),
        };
        self.measure(before);
        written
    }

    /// Whether everything written has been given to the kernel; tries to.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            None => Ok(true),
            Some(tls) => {
                let before = self.taken;
                let flushed = tls.flush(&self.stream, &mut self.taken);
                self.measure(before);
                flushed
            }
        }
    }

    /// Says that nothing more will be written. Call it once everything is flushed.
    pub(super) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.finish(&self.stream, &mut self.taken);
        }
        // It fails where the peer is gone already, which is all the same.
        let _ = socket2::SockRef::from(&self.stream).shutdown(Shutdown::Write);
    }

    fn measure(&self, before: u64) {
        self.meter.set(self.meter.get() + (self.taken - before));
    }
}

/// Bytes taken from a socket at once.
pub(super) const READ_BYTES: usize = 64 << 10;

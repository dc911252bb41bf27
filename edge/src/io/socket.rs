//! A client's socket, plain or TLS: bytes in, bytes out, never waiting.
//!
//! The rest of the edge does not know which of the two it is. Readiness is asked for with
//! [`Socket::poll_readable`] and [`Socket::poll_writable`].

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

/// A non-blocking socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Bytes that the kernel has taken so far.
    taken: u64,
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
    /// Wraps a stream that was just accepted; with `tls`, the client must begin a handshake.
    pub(super) fn new(
        stream: TcpStream,
        tls: Option<&Arc<ServerConfig>>,
    ) -> Result<Self, rustls::Error> {
        let tls = match tls {
            None => None,
            Some(config) => {
                let mut tls = ServerConnection::new(Arc::clone(config))?;
                tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
                Some(Box::new(tls))
            }
        };
        Ok(Self { stream, tls, taken: 0 })
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

    /// Appends what has arrived to `input`, at most its spare capacity. Under TLS this may leave
    /// something to [`Socket::flush`].
    pub(super) fn read(&mut self, input: &mut BytesMut) -> io::Result<ReadOutcome> {
        match &mut self.tls {
            None => match self.stream.try_read_buf(&mut input.limit(READ_BYTES)) {
                Ok(0) => Ok(ReadOutcome::End),
                Ok(_) => Ok(ReadOutcome::More),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(ReadOutcome::Drained),
                Err(error) => Err(error),
            },
            Some(tls) => read_tls(&self.stream, tls, &mut self.taken, input),
        }
    }

    /// Writes the front of `pieces`; returns how many bytes are taken care of, 0 when the socket
    /// takes nothing at the moment.
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.tls {
            None => match self.stream.try_write_vectored(pieces) {
                Ok(written) => {
                    self.taken += written as u64;
                    Ok(written)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                Err(error) => Err(error),
            },
            Some(tls) => {
                if !flush_tls(&self.stream, tls, &mut self.taken)? {
                    return Ok(0);
                }
                let written = tls.writer().write_vectored(pieces)?;
                flush_tls(&self.stream, tls, &mut self.taken)?;
                Ok(written)
            }
        }
    }

    /// Whether everything written has been given to the kernel; tries to.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            None => Ok(true),
            Some(tls) => flush_tls(&self.stream, tls, &mut self.taken),
        }
    }

    /// Says that nothing more will be written. Call it once everything is flushed.
    pub(super) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = flush_tls(&self.stream, tls, &mut self.taken);
        }
        // It fails where the peer is gone already, which is all the same.
        let _ = socket2::SockRef::from(&self.stream).shutdown(Shutdown::Write);
    }
}

fn read_tls(
    stream: &TcpStream,
    tls: &mut ServerConnection,
    taken: &mut u64,
    input: &mut BytesMut,
) -> io::Result<ReadOutcome> {
    let outcome = match tls.read_tls(&mut Ready(stream)) {
        Ok(0) => ReadOutcome::End,
        Ok(_) => ReadOutcome::More,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReadOutcome::Drained,
        Err(error) => return Err(error),
    };
    let state = match tls.process_new_packets() {
        Ok(state) => state,
        Err(error) => {
            let _ = flush_tls(stream, tls, taken); // the alert that says why
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    };
    let plain = state.plaintext_bytes_to_read();
    if plain > 0 {
        input.reserve(plain);
        tls.reader().take(plain as u64).read_exact(chunk(input, plain))?;
    }
    flush_tls(stream, tls, taken)?;
    if state.peer_has_closed() { Ok(ReadOutcome::End) } else { Ok(outcome) }
}

/// `length` zeroed bytes at the end of `input`.
fn chunk(input: &mut BytesMut, length: usize) -> &mut [u8] {
    let start = input.len();
    input.put_bytes(0, length);
    &mut input[start..]
}

/// Gives pending records to the kernel; whether none is left.
fn flush_tls(stream: &TcpStream, tls: &mut ServerConnection, taken: &mut u64) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut Ready(stream)) {
            Ok(written) => *taken += written as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A stream as `std::io` sees it: it fails with `WouldBlock` instead of waiting.
struct Ready<'a>(&'a TcpStream);

impl Read for Ready<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(out)
    }
}

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes taken from a socket at once.
pub(super) const READ_BYTES: usize = 64 << 10;
/// Plaintext and records that wait in one TLS connection.
const TLS_BUFFER_BYTES: usize = 128 << 10;

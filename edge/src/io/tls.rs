//! TLS for clients, keeping nothing while it is idle: records are opened and sealed in buffers that
//! all connections of a thread share. What a connection keeps is half a record that came, or sealed
//! records that the kernel did not take.
//!
//! Invariant: sealed bytes leave in the order in which they were sealed, each once.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use tokio::net::TcpStream;

use super::socket::{READ_BYTES, ReadOutcome};

mod bare;

pub use bare::BareTls;

/// The server's end of one TLS connection.
pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    /// Bytes that are no whole record yet, or of records that are no whole handshake message. rustls
    /// remembers places in them, so every call must be given them, whatever it is for.
    incoming: Vec<u8>,
    /// Sealed bytes that the kernel has not taken.
    outgoing: Vec<u8>,
    peer_closed: bool,
    /// The client broke the protocol and was told; nothing more is opened or sealed.
    failed: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls") // it holds keys
    }
}

/// What all connections of a thread use in turn; it never shrinks.
struct Shared {
    incoming: Vec<u8>,
    sealed: Vec<u8>,
}

thread_local! {
    static SHARED: RefCell<Shared> =
        RefCell::new(Shared { incoming: Vec::new(), sealed: vec![0; SEAL_BYTES + SEAL_MORE] });
}

impl Tls {
    pub(super) fn new(config: &Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(Arc::clone(config))?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            peer_closed: false,
            failed: false,
        })
    }

    /// Appends what has arrived to `input`; `taken` counts what the kernel took meanwhile.
    pub(super) fn read(
        &mut self,
        stream: &TcpStream,
        taken: &mut u64,
        input: &mut BytesMut,
    ) -> io::Result<ReadOutcome> {
        SHARED.with_borrow_mut(|Shared { incoming, .. }| {
            let kept = self.incoming.len();
            if incoming.len() < kept + READ_BYTES {
                incoming.resize(kept + READ_BYTES, 0);
            }
            incoming[..kept].copy_from_slice(&self.incoming);
            let (read, outcome) = match stream.try_read(&mut incoming[kept..]) {
                Ok(0) => return Ok(ReadOutcome::End),
                Ok(read) => (read, ReadOutcome::More),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(ReadOutcome::Drained);
                }
                Err(error) => return Err(error),
            };
            let mut answer = Vec::new();
            let understood = self.understand(&mut incoming[..kept + read], &mut answer, input);
            // Whatever it came to: an alert says why it failed.
            let sent = self.send(stream, &answer, taken);
            understood?;
            sent?;
            Ok(if self.peer_closed { ReadOutcome::End } else { outcome })
        })
    }

    /// Opens the records in `incoming` and keeps what is not whole.
    fn understand(
        &mut self,
        incoming: &mut [u8],
        answer: &mut Vec<u8>,
        input: &mut BytesMut,
    ) -> io::Result<()> {
        let opened = self.open(incoming, answer, input)?;
        let rest = &incoming[opened..];
        if rest.len() > INCOMING_MAX {
            let error = "more than a handshake message may have waits to be complete";
            return Err(invalid(error));
        }
        self.incoming = rest.to_vec();
        Ok(())
    }

    /// Seals the front of `pieces` and gives it to the kernel; answers how many bytes are taken care
    /// of, 0 where earlier ones wait.
    pub(super) fn write(
        &mut self,
        stream: &TcpStream,
        taken: &mut u64,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let mut written = 0;
        SHARED.with_borrow_mut(|Shared { sealed, .. }| {
            for part in pieces.iter().flat_map(|piece| piece.chunks(SEAL_BYTES)) {
                if !self.flush(stream, taken)? {
                    break;
                }
                let length = self.seal(part, sealed)?;
                self.send(stream, &sealed[..length], taken)?;
                written += part.len();
            }
            Ok(written)
        })
    }

    /// Whether the kernel has taken everything that was sealed; tries to give it.
    pub(super) fn flush(&mut self, stream: &TcpStream, taken: &mut u64) -> io::Result<bool> {
        if self.outgoing.is_empty() {
            return Ok(true);
        }
        let waiting = std::mem::take(&mut self.outgoing);
        self.send(stream, &waiting, taken)?;
        Ok(self.outgoing.is_empty())
    }

    /// Tells the client that nothing more comes.
    pub(super) fn finish(&mut self, stream: &TcpStream, taken: &mut u64) {
        let mut alert = [0; ALERT_BYTES];
        let length = self.seal_goodbye(&mut alert);
        // Should it fail, the client learns of the end all the same.
        let _ = self.send(stream, &alert[..length], taken);
    }

    /// Answers how many bytes of `alert` it takes; none where there was no handshake, and so nobody
    /// to tell.
    fn seal_goodbye(&mut self, alert: &mut [u8]) -> usize {
        if self.failed {
            return 0;
        }
        let status = self.connection.process_tls_records(&mut self.incoming);
        match status.state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                traffic.queue_close_notify(alert).unwrap_or_default()
            }
            _ => 0,
        }
    }

    /// Opens the records in `incoming`: what clients said goes to `input`, what the handshake answers
    /// to `answer`. Tells where the first record begins that is not whole.
    fn open(
        &mut self,
        incoming: &mut [u8],
        answer: &mut Vec<u8>,
        input: &mut BytesMut,
    ) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let status = self.connection.process_tls_records(&mut incoming[at..]);
            let UnbufferedStatus { mut discard, state } = status;
            let is_over = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        input.extend_from_slice(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, answer)?;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done(); // it leaves before anything that is sealed later
                    false
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.peer_closed = true;
                    true
                }
                Ok(_) => true,
                Err(error) => {
                    self.failed = true;
                    self.alert(&mut incoming[at + discard..], answer)?;
                    return Err(invalid(error));
                }
            };
            at += discard;
            if is_over {
                return Ok(at);
            }
        }
    }

    /// After an error, what is left to be said of it. It must not be asked for once too often: what
    /// came would be looked at again, and `rest` cannot be left out, which rustls knows places in.
    fn alert(&mut self, rest: &mut [u8], answer: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            let status = self.connection.process_tls_records(rest);
            let UnbufferedStatus { state: Ok(ConnectionState::EncodeTlsData(data)), .. } = status
            else {
                break;
            };
            encode(data, answer)?;
        }
        Ok(())
    }

    /// Answers how many bytes of `sealed` it takes.
    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(invalid("the client broke the protocol"));
        }
        let mut at = 0;
        loop {
            let status = self.connection.process_tls_records(&mut self.incoming);
            let UnbufferedStatus { discard, state } = status;
            let mut is_sealed = false;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    at += traffic.encrypt(plain, &mut sealed[at..]).map_err(invalid)?;
                    is_sealed = true;
                }
                // After very many records the keys are changed.
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    at += data.encode(&mut sealed[at..]).map_err(invalid)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return Err(io::Error::new(io::ErrorKind::NotConnected, "no handshake")),
            }
            self.incoming.drain(..discard);
            if is_sealed {
                return Ok(at);
            }
        }
    }

    /// Gives sealed bytes to the kernel, after those that wait already; keeps what it does not take.
    fn send(&mut self, stream: &TcpStream, mut sealed: &[u8], taken: &mut u64) -> io::Result<()> {
        while self.outgoing.is_empty() && !sealed.is_empty() {
            match stream.try_write(sealed) {
                Ok(written) => {
                    *taken += written as u64;
                    sealed = &sealed[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.outgoing.extend_from_slice(sealed);
        Ok(())
    }
}

/// Appends a record of the handshake.
fn encode<T>(mut data: EncodeTlsData<'_, T>, answer: &mut Vec<u8>) -> io::Result<()> {
    let start = answer.len();
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        answer.resize(start + needed.required_size, 0);
        data.encode(&mut answer[start..]).map_err(invalid)?;
    }
    Ok(())
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Plain bytes sealed at once, and so what a slow client can make us keep: two records.
const SEAL_BYTES: usize = 32 << 10;
/// What sealing adds at most: a record has 16 KiB, a head of 5 bytes, a type, a tag of 16 and, in
/// TLS 1.2, a nonce of 8; and a key update may go before.
const SEAL_MORE: usize = 512;
const ALERT_BYTES: usize = 512;
/// Bytes that wait to be a whole record or handshake message: rustls takes messages of 64 KiB.
const INCOMING_MAX: usize = 128 << 10;

#[cfg(test)]
mod tests;

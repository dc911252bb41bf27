//! TLS without a socket, for `tests/fuzz`: bytes in, bytes out.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::{Error, ServerConfig};

use super::{ALERT_BYTES, SEAL_BYTES, SEAL_MORE, Tls};

/// The server's end of one TLS connection, as a socket drives it.
pub struct BareTls(Tls);

impl fmt::Debug for BareTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl BareTls {
    /// Begins with a handshake.
    pub fn new(config: &Arc<ServerConfig>) -> Result<Self, Error> {
        Tls::new(config).map(Self)
    }

    /// The client sent `bytes`: what it said goes to `input`, what it is answered to `answer`.
    pub fn read(
        &mut self,
        bytes: &[u8],
        answer: &mut Vec<u8>,
        input: &mut BytesMut,
    ) -> io::Result<()> {
        let mut incoming = [&self.0.incoming, bytes].concat();
        self.0.understand(&mut incoming, answer, input)
    }

    /// Seals what is said to the client, at most a write's worth.
    pub fn write(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut sealed = vec![0; SEAL_BYTES + SEAL_MORE];
        let length = self.0.seal(&plain[..plain.len().min(SEAL_BYTES)], &mut sealed)?;
        sealed.truncate(length);
        Ok(sealed)
    }

    /// Says goodbye, if there is anybody to say it to.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut alert = vec![0; ALERT_BYTES];
        let length = self.0.seal_goodbye(&mut alert);
        alert.truncate(length);
        alert
    }

    /// Bytes that it keeps.
    pub fn kept(&self) -> usize {
        self.0.incoming.len() + self.0.outgoing.len()
    }

    /// Whether the client has said goodbye.
    pub fn is_over(&self) -> bool {
        self.0.peer_closed
    }
}

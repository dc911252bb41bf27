//! One client's connection: its socket, TLS, what was read and is not whole yet, what is yet to be sent.
//!
//! Bytes are read into memory that all connections of a worker share; one that waits holds none.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, SockRef, Socket, Type};

use crate::load::protocol::{Compression, Event, Fault, Login, Out, Walker};

/// A connection, from the first packet on.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    walker: Walker,
    /// Read, but not a whole frame.
    rest: Vec<u8>,
    /// Not sent yet.
    out: Vec<u8>,
    connected: bool,
}

/// Memory that connections of a worker share.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Its length only grows: to clear it for every read would cost more than the read.
    input: Vec<u8>,
    /// Bytes of it that mean something.
    filled: usize,
    encrypted: Vec<u8>,
    out: Vec<u8>,
    unpacked: Vec<u8>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("{}", .0.kind())]
    Socket(#[from] io::Error),
    #[error("the connection was closed without a word")]
    Closed,
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("not ready within the time for it")]
    Late,
}

/// How a connection is opened.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    pub(super) target: SocketAddr,
    pub(super) source: Option<SocketAddr>,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Bytes that the kernel may hold for a client that reads little.
    pub(super) receive_bytes: Option<usize>,
    pub(super) registry: &'a Registry,
    pub(super) token: Token,
}

impl End {
    /// Whether the address that the client came from was taken.
    pub(super) fn is_taken(&self) -> bool {
        let taken = [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable];
        matches!(self, Self::Socket(error) if taken.contains(&error.kind()))
    }
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            input: Vec::new(),
            filled: 0,
            encrypted: vec![0; READ_BYTES],
            out: Vec::new(),
            unpacked: Vec::new(),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        free(&mut self.input, self.filled, bytes.len()).copy_from_slice(bytes);
        self.filled += bytes.len();
    }
}

impl Connection {
    /// Starts to connect; `first` is what is to be said first.
    pub(super) fn open(opening: Opening<'_>, walker: Walker, first: &[u8]) -> Result<Self, End> {
        let socket = Socket::new(Domain::for_address(opening.target), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = opening.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = opening.source {
            // Ports that others left a minute ago may be taken again.
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
        }
        match socket.connect(&opening.target.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(error.into());
            }
            _ => {}
        }
        let mut socket = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        opening.registry.register(&mut socket, opening.token, interest)?;
        let mut tls = match opening.tls {
            Some((config, name)) => Some(Box::new(ClientConnection::new(config, name)?)),
            None => None,
        };
        let mut out = Vec::new();
        match &mut tls {
            Some(tls) => tls.writer().write_all(first)?,
            None => out.extend_from_slice(first),
        }
        Ok(Self { socket, tls, walker, rest: Vec::new(), out, connected: false })
    }

    /// Sends what waits. Whether the connection stands now and did not before.
    pub(super) fn handle_writable(&mut self) -> Result<bool, End> {
        let mut fresh = false;
        if !self.connected {
            if let Some(error) = self.socket.take_error()? {
                return Err(error.into());
            }
            match self.socket.peer_addr() {
                Ok(_) => (self.connected, fresh) = (true, true),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.flush()?;
        Ok(fresh)
    }

    /// Says that the client is still there, in protocols where clients begin.
    pub(super) fn put_heartbeat(&mut self) -> Result<(), End> {
        let mut bytes = Vec::new();
        self.walker.put_heartbeat(&mut bytes);
        self.send(&bytes)
    }

    /// Ends it at once, so that its port is free for the next run: a port that was left in order is
    /// taken for a minute.
    pub(super) fn abort(self) {
        // Where that cannot be, the port stays taken.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Stops to be woken for what can be read.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.socket)
    }

    /// Reads what is there, at most about `limit` bytes, and tells what it means. `on` gets each event;
    /// `read` is called after each read that brought bytes.
    pub(super) fn read(
        &mut self,
        scratch: &mut Scratch,
        limit: usize,
        compression: Compression,
        login: impl Fn() -> Login,
        on: &mut impl FnMut(Event<'_>),
        read: &mut impl FnMut(),
    ) -> Result<(), End> {
        let mut left = limit;
        while left > 0 {
            let want = left.min(READ_BYTES);
            scratch.filled = 0;
            scratch.put(&self.rest);
            let bytes = match self.fill(scratch, want) {
                Ok(0) => return Err(End::Closed),
                Ok(bytes) => bytes,
                Err(End::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(());
                }
                Err(End::Socket(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            read();
            scratch.out.clear();
            let mut out = Out { bytes: &mut scratch.out, unpacked: &mut scratch.unpacked };
            let done = self.walker.walk(
                &scratch.input[..scratch.filled],
                compression,
                &login,
                &mut out,
                on,
            )?;
            self.rest.clear();
            self.rest.extend_from_slice(&scratch.input[done..scratch.filled]);
            if !scratch.out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write()) {
                let out = std::mem::take(&mut scratch.out);
                self.send(&out)?;
                scratch.out = out;
            }
            // A short read emptied the socket: the next bytes wake us again.
            if bytes < want {
                return Ok(());
            }
            left -= bytes;
        }
        Ok(())
    }

    /// Reads once from the socket and appends what it means to the input. How many bytes were read.
    fn fill(&mut self, scratch: &mut Scratch, want: usize) -> Result<usize, End> {
        let Some(tls) = &mut self.tls else {
            let bytes = self.socket.read(free(&mut scratch.input, scratch.filled, want))?;
            scratch.filled += bytes;
            return Ok(bytes);
        };
        let Scratch { input, filled, encrypted, .. } = scratch;
        let bytes = self.socket.read(&mut encrypted[..want])?;
        let mut encrypted = &encrypted[..bytes];
        while !encrypted.is_empty() {
            tls.read_tls(&mut encrypted)?;
            let plain = tls.process_new_packets()?.plaintext_bytes_to_read();
            tls.reader().read_exact(free(input, *filled, plain))?;
            *filled += plain;
        }
        Ok(bytes)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None => self.out.extend_from_slice(bytes),
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), End> {
        if !self.connected {
            return Ok(());
        }
        let mut sent = 0;
        loop {
            let written = match &mut self.tls {
                Some(tls) if tls.wants_write() => tls.write_tls(&mut self.socket),
                None if sent < self.out.len() => self.socket.write(&self.out[sent..]),
                _ => break,
            };
            match written {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.tls.is_none() {
            self.out.drain(..sent);
            if self.out.is_empty() {
                self.out = Vec::new();
            }
        }
        Ok(())
    }
}

/// So many bytes of the input behind what is filled.
fn free(input: &mut Vec<u8>, filled: usize, bytes: usize) -> &mut [u8] {
    let end = filled + bytes;
    if input.len() < end {
        input.resize(end, 0);
    }
    &mut input[filled..end]
}

/// Bytes of one read: what a client gets at once even where messages are many.
const READ_BYTES: usize = 256 << 10;

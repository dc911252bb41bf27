//! What the set-ups that are one connection have in common: messages on QUIC streams.
//!
//! Invariant: a message is [`MESSAGE_BYTES`] long and starts with its number, so that any stream can be
//! cut into messages whatever carried it.

use std::future::{Future, pending};
use std::time::Instant;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::arrivals::Arrival;
use super::row::MESSAGE_BYTES;

/// Which stream a message goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// All on one: whatever is lost holds up everything behind it.
    One,
    /// Each on its own.
    Each,
}

/// A connection that has streams.
pub(super) trait Streams: Clone + Send + Sync + 'static {
    /// What is written.
    type Writer: AsyncWrite + Unpin + Send;
    /// What is read.
    type Reader: AsyncRead + Unpin + Send + 'static;

    /// Opens a stream.
    fn open(&self) -> impl Future<Output = Result<Self::Writer>> + Send;

    /// Waits for a stream that the peer opened.
    fn accept(&self) -> impl Future<Output = Result<Self::Reader>> + Send;
}

/// Sends each message when it is due; ends only with the connection.
pub(super) async fn send(
    connection: impl Streams,
    order: Order,
    mut due: UnboundedReceiver<u64>,
) -> Result<()> {
    // Nobody reads to the end of a stream or a connection that the sender has dropped.
    match order {
        Order::One => {
            let mut stream = connection.open().await?;
            while let Some(n) = due.recv().await {
                stream.write_all(&message(n)).await?;
            }
            pending().await
        }
        Order::Each => {
            while let Some(n) = due.recv().await {
                let mut stream = connection.open().await?;
                stream.write_all(&message(n)).await?;
                stream.shutdown().await?;
            }
            pending().await
        }
    }
}

/// Takes messages from every stream; ends only with the connection.
pub(super) async fn receive(
    connection: impl Streams,
    arrived: UnboundedSender<Arrival>,
) -> Result<()> {
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept() => {
                readers.spawn(read(stream?, arrived.clone()));
            }
            Some(ended) = readers.join_next() => ended??,
        }
    }
}

async fn read(
    mut stream: impl AsyncRead + Unpin + Send,
    arrived: UnboundedSender<Arrival>,
) -> Result<()> {
    let mut message = [0; MESSAGE_BYTES];
    loop {
        match stream.read_exact(&mut message).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Nobody listens any more when the run is over.
        let _ = arrived.send(Arrival { n: number(&message), at: Instant::now() });
    }
}

fn message(n: u64) -> [u8; MESSAGE_BYTES] {
    let mut message = [b'x'; MESSAGE_BYTES];
    message[..8].copy_from_slice(&n.to_be_bytes());
    message
}

fn number(message: &[u8; MESSAGE_BYTES]) -> u64 {
    message[..8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Streams that may be open: more than any row has messages.
pub(super) const OPEN_MAX: u32 = 1 << 16;

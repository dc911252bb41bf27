//! Bounds that hyper does not know: a deadline over handshake and first head, one over each later head
//! from its first byte, one over a response that its peer reads too slowly, and the bytes of the
//! responses that wait for slow peers.
//!
//! hyper's own head deadline also runs while a kept-alive connection is idle, so it cannot be short
//! without closing the idle connections of a back end under its feet. Here it serves as the idle
//! deadline, and the [`Guarded`] stream bounds the heads.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::response::Body;

/// Where a connection stands, shared by its stream and its service: even while it waits for a
/// head, odd while it serves, so that the value also numbers the requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase(Arc<AtomicU64>);

impl Phase {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn waiting_for_head(&self) -> Option<u64> {
        let phase = self.0.load(Ordering::Relaxed);
        phase.is_multiple_of(2).then_some(phase)
    }

    /// A head has arrived: serving lasts until the returned guard is dropped.
    pub(super) fn serve(&self) -> Serving {
        self.step();
        Serving(self.clone())
    }
}

/// Lives as long as a request is being served, response body included.
#[derive(Debug)]
pub(super) struct Serving(Phase);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.step();
    }
}

/// A stream that fails with `TimedOut` when its peer is too slow.
pub(super) struct Guarded<S> {
    stream: S,
    phase: Phase,
    head_deadline: Duration,
    write_deadline: Duration,
    /// Runs for the head of the phase it was set in.
    head_timer: Option<(u64, Pin<Box<Sleep>>)>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Guards a stream whose first head must be complete at `first_head_by`.
    pub(super) fn new(
        stream: S,
        phase: Phase,
        first_head_by: Instant,
        head_deadline: Duration,
        write_deadline: Duration,
    ) -> Self {
        let first = Box::pin(tokio::time::sleep_until(first_head_by));
        Self {
            stream,
            phase,
            head_deadline,
            write_deadline,
            head_timer: Some((0, first)),
            write_timer: None,
        }
    }

    /// Fails if the head under way is overdue; registers for the moment when it will be.
    fn check_head(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match &mut self.head_timer {
            Some((phase, timer)) if self.phase.waiting_for_head() == Some(*phase) => {
                match timer.as_mut().poll(context) {
                    Poll::Ready(()) => Err(too_slow("the request's head is overdue")),
                    Poll::Pending => Ok(()),
                }
            }
            Some(_) => {
                self.head_timer = None;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Lets a write that did not get on wait until the deadline, which what is taken puts off by as much
    /// as it takes at [`READ_RATE_MIN`].
    fn check_write(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match (&result, &mut self.write_timer) {
            (Poll::Ready(Ok(taken)), Some(timer)) => {
                let earned = Duration::from_secs_f64(*taken as f64 / READ_RATE_MIN);
                let latest = Instant::now() + self.write_deadline;
                let by = (timer.deadline() + earned).min(latest);
                timer.as_mut().reset(by);
                result
            }
            (Poll::Ready(_), _) => result,
            (Poll::Pending, _) => self.wait_to_write(context),
        }
    }

    /// A flush: when it is done, nothing waits for the peer any more.
    fn check_flush(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if result.is_ready() {
            self.write_timer = None;
            return result;
        }
        self.wait_to_write(context)
    }

    fn wait_to_write<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let deadline = self.write_deadline;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(too_slow("the peer reads too slowly"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn too_slow(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check_head(context)?;
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before
            && this.head_timer.is_none()
            && let Some(phase) = this.phase.waiting_for_head()
        {
            let timer = Box::pin(tokio::time::sleep(this.head_deadline));
            this.head_timer = Some((phase, timer));
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, data);
        self.check_write(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.check_write(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.check_flush(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check_flush(context, result)
    }
}

/// What one request takes of the bytes of all bodies of a kind.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Share {
    /// Takes nothing yet.
    pub(super) fn new(of: &Arc<AtomicUsize>) -> Self {
        Self { of: Arc::clone(of), bytes: 0 }
    }

    /// Takes more; answers what all have taken.
    pub(super) fn grow(&mut self, bytes: usize) -> usize {
        self.bytes += bytes;
        self.of.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A response body that keeps its connection in the serving phase until it is gone, and its shares
/// until its bytes are written: hyper drops a whole body as soon as it has its bytes.
pub(super) struct ServedBody {
    body: Body,
    shares: Vec<Share>,
    _serving: Serving,
}

/// Bytes on their way to the peer.
struct Held {
    bytes: Bytes,
    _shares: Vec<Share>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ServedBody {
    pub(super) fn new(body: Body, shares: Vec<Share>, serving: Serving) -> Self {
        Self { body, shares, _serving: serving }
    }
}

impl hyper::body::Body for ServedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let held = |frame: Frame<Bytes>| {
            frame.map_data(|bytes| match std::mem::take(&mut self.shares) {
                shares if shares.is_empty() => bytes,
                shares => Bytes::from_owner(Held { bytes, _shares: shares }),
            })
        };
        Poll::Ready(frame.map(|frame| frame.map(held)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whoever reads less than this many bytes per second for a whole write deadline is cut off: a tenth of what
/// the slowest mobile networks carry. Over TLS it is about twice as much, because what is flushed out of its
/// buffer counts when all of it is gone.
const READ_RATE_MIN: f64 = 1024.0;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Writes 64 KiB to a peer who reads so many bytes every second. Answers how long that took.
    async fn write_to(reads: usize) -> io::Result<Duration> {
        let (stream, mut peer): (DuplexStream, DuplexStream) = tokio::io::duplex(64);
        let phase = Phase::default();
        let _serving = phase.serve();
        let start = Instant::now();
        let mut guarded = Guarded::new(stream, phase, start + DEADLINE, DEADLINE, DEADLINE);
        let reading = async {
            let mut taken = vec![0; reads];
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                peer.read_exact(&mut taken).await.unwrap();
            }
        };
        tokio::select! {
            written = guarded.write_all(&[0; 65536]) => written?,
            () = reading => unreachable!("a peer reads until the end"),
        }
        guarded.flush().await?;
        Ok(start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_slowly_is_waited_for_and_one_that_trickles_is_not() {
        assert_eq!(write_to(1024).await.unwrap().as_secs(), 64);
        let error = write_to(128).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let start = Instant::now();
        assert!(write_to(0).await.is_err());
        assert_eq!(start.elapsed().as_secs(), DEADLINE.as_secs());
    }
}

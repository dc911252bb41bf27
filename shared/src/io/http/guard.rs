//! Deadlines that hyper does not know: one over handshake and first head, one over each later head
//! from its first byte, one over a write that makes no progress.
//!
//! hyper's own head deadline also runs while a kept-alive connection is idle, so it cannot be short
//! without closing the idle connections of a back end under its feet. Here it serves as the idle
//! deadline, and the [`Guarded`] stream bounds the heads.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
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

    /// Lets a write that did not get on wait until the deadline.
    fn check_write<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_timer = None;
            return result;
        }
        let deadline = self.write_deadline;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(too_slow("the peer does not read"))),
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
        self.check_write(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check_write(context, result)
    }
}

/// A response body that keeps its connection in the serving phase until it is gone.
pub(super) struct ServedBody {
    body: Body,
    _serving: Serving,
}

impl ServedBody {
    pub(super) fn new(body: Body, serving: Serving) -> Self {
        Self { body, _serving: serving }
    }
}

impl hyper::body::Body for ServedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

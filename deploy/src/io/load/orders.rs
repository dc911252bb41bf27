//! The child's end of the pipe: orders come by standard input, reports leave by standard output.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Arc, OnceLock};

use crate::load::pipe::{Order, Report};

/// Orders in the order in which they came.
pub(super) struct Orders {
    receiver: Receiver<Order>,
    wake: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

impl Orders {
    /// Starts to listen.
    pub(super) fn listen() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let wake: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>> = Arc::default();
        let waking = Arc::clone(&wake);
        // A thread: waiting for standard input cannot be called off.
        std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
            for line in io::stdin().lock().lines() {
                let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let Some(order) = order else { break };
                if sender.send(order).is_err() {
                    break;
                }
                wake_if_known(&waking);
            }
            // The parent is done, or gone: nothing here has anybody to work for, whatever it waits for.
            std::process::exit(0);
        })?;
        Ok(Self { receiver, wake })
    }

    /// Calls this whenever an order has come.
    pub(super) fn wake_with(&self, wake: impl Fn() + Send + Sync + 'static) {
        // There is one who waits; a second one would not be woken.
        let _ = self.wake.set(Box::new(wake));
    }

    /// The next order, if one has come.
    pub(super) fn take(&self) -> Result<Order, TryRecvError> {
        self.receiver.try_recv()
    }

    /// Waits for the next order; `None` when the parent is gone.
    pub(super) fn wait(&self) -> Option<Order> {
        self.receiver.recv().ok()
    }
}

fn wake_if_known(wake: &OnceLock<Box<dyn Fn() + Send + Sync>>) {
    if let Some(wake) = wake.get() {
        wake();
    }
}

/// Tells the parent something.
pub(super) fn tell(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

//! Ending in order: the token everybody watches, the signals that pull it, the owner of tasks.
//!
//! Invariant: a task started here never ends unseen: a panic is logged, and the early end of an
//! essential task brings the service down instead of leaving half of it.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

/// Says once, to everybody who holds a clone, that it is time to end; and before, for services that
/// need time for it, that it will be.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: Arc<watch::Sender<Phase>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Ending,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token that has not been triggered.
    pub fn new() -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Running)) }
    }

    /// Says that it will soon be time to end: nothing new is begun, and what is here moves away.
    pub fn drain(&self) {
        self.reach(Phase::Draining);
    }

    /// Says that it is time to end. Saying it again changes nothing.
    pub fn trigger(&self) {
        self.reach(Phase::Ending);
    }

    /// Whether it was said that it will be, or is, time to end.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Whether it was said that it is time to end.
    pub fn is_triggered(&self) -> bool {
        *self.phase.borrow() == Phase::Ending
    }

    /// Waits until [`Shutdown::is_draining`].
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until [`Shutdown::is_triggered`]; returns at once if it was said before.
    pub async fn triggered(&self) {
        self.reached(Phase::Ending).await;
    }

    fn reach(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = *current < phase;
            *current = phase.max(*current);
            later
        });
    }

    async fn reached(&self, phase: Phase) {
        // The sender lives as long as self does, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|current| *current >= phase).await;
    }
}

/// What SIGTERM makes of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// It ends, as on SIGINT.
    Ends,
    /// It drains, and triggers the shutdown itself when it has.
    Drains,
}

/// Runs a service to its end, which SIGINT asks for, and SIGTERM as `termination` says. A further
/// signal ends what drains, and after that the process at once, for the operator who does not want
/// to wait.
pub async fn with_signals<T>(
    shutdown: Shutdown,
    termination: Termination,
    service: impl Future<Output = T>,
) -> io::Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::pin!(service);
    loop {
        let (name, drains) = tokio::select! {
            result = service.as_mut() => return Ok(result),
            _ = interrupt.recv() => ("SIGINT", false),
            _ = terminate.recv() => ("SIGTERM", termination == Termination::Drains),
        };
        if shutdown.is_triggered() {
            tracing::warn!(signal = name, "ending at once");
            std::process::exit(1);
        }
        if drains && !shutdown.is_draining() {
            tracing::info!(signal = name, "draining");
            shutdown.drain();
        } else {
            tracing::info!(signal = name, "ending");
            shutdown.trigger();
        }
    }
}

/// An essential task ended before it was time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} {how}")]
pub struct TaskFailed {
    /// The name it was started with.
    pub task: &'static str,
    /// How it ended.
    pub how: String,
}

/// The owner of a service's long-lived tasks.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<()>,
    named: HashMap<Id, (&'static str, bool)>,
    shutdown: Shutdown,
    failed: Option<TaskFailed>,
}

impl Tasks {
    /// An owner of no tasks yet; `shutdown` is triggered when an essential task fails.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { set: JoinSet::new(), named: HashMap::new(), shutdown, failed: None }
    }

    /// Starts a task that may end whenever it likes; a panic in it is logged.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name, false, task);
    }

    /// Starts a task without which the service is no service: if it ends before the shutdown, in
    /// whatever way, the shutdown is triggered and [`Tasks::run`] fails.
    pub fn spawn_essential(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.start(name, true, task);
    }

    /// Watches the tasks until the shutdown is triggered, then waits for them, and aborts those
    /// that are still running after `grace`. Every task is expected to watch the shutdown.
    pub async fn run(mut self, grace: Duration) -> Result<(), TaskFailed> {
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                // A failure is to be seen even if it comes together with the shutdown it causes.
                biased;
                Some(ended) = self.set.join_next_with_id() => self.ended(ended),
                () = shutdown.triggered() => break,
            }
        }
        let drained = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                self.ended(ended);
            }
        };
        if tokio::time::timeout(grace, drained).await.is_err() {
            let names: Vec<&str> = self.named.values().map(|(name, _)| *name).collect();
            tracing::warn!(tasks = ?names, ?grace, "aborting tasks that did not end in time");
            self.set.shutdown().await;
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn start(
        &mut self,
        name: &'static str,
        essential: bool,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = self.set.spawn(task);
        self.named.insert(handle.id(), (name, essential));
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, how) = match ended {
            Ok((id, ())) => (id, "ended by itself".to_owned()),
            Err(error) => (error.id(), format!("failed: {error}")),
        };
        let Some((task, essential)) = self.named.remove(&id) else {
            return;
        };
        if how.starts_with("failed") {
            tracing::error!(task, "task {how}");
        } else {
            tracing::debug!(task, "task {how}");
        }
        if essential && !self.shutdown.is_triggered() {
            tracing::error!(task, "an essential task {how}; ending the service");
            self.failed = Some(TaskFailed { task, how });
            self.shutdown.trigger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn triggering_wakes_waiters_and_late_comers() {
        let shutdown = Shutdown::new();
        let waiter = shutdown.clone();
        let mut set = JoinSet::new();
        set.spawn(async move { waiter.triggered().await });
        assert!(!shutdown.is_triggered());
        shutdown.trigger();
        shutdown.trigger();
        set.join_next().await.unwrap().unwrap();
        shutdown.triggered().await;
        assert!(shutdown.is_triggered());
    }

    #[tokio::test]
    async fn what_drains_ends_later_and_what_ends_drains_no_more() {
        let shutdown = Shutdown::new();
        shutdown.drain();
        shutdown.draining().await;
        assert!(shutdown.is_draining() && !shutdown.is_triggered());
        shutdown.trigger();
        shutdown.drain();
        shutdown.draining().await;
        shutdown.triggered().await;
        assert!(shutdown.is_draining() && shutdown.is_triggered());
    }

    #[tokio::test]
    async fn a_panic_in_an_essential_task_ends_the_service() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let waiter = shutdown.clone();
        tasks.spawn("waiter", async move { waiter.triggered().await });
        tasks.spawn_essential("listener", async { panic!("a bug of the test") });
        let failed = tasks.run(GRACE).await.unwrap_err();
        assert_eq!(failed.task, "listener");
        assert!(failed.how.contains("panic"), "{failed}");
        assert!(shutdown.is_triggered());
    }

    #[tokio::test]
    async fn other_tasks_may_panic_and_end() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("panics", async { panic!("a bug of the test") });
        tasks.spawn("ends", async {});
        let trigger = shutdown.clone();
        tasks.spawn_essential("ends it all", async move { trigger.trigger() });
        assert_eq!(tasks.run(GRACE).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_do_not_end_are_aborted_after_the_grace() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn_essential("stubborn", std::future::pending());
        shutdown.trigger();
        assert_eq!(tasks.run(GRACE).await, Ok(()));
    }
}

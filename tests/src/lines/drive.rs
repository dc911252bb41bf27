//! A run: messages when they are due, faults when they are due, and everything that arrives.
//!
//! A thread of its own hands out the messages, because the runtime's timers tick in whole milliseconds.
//! What the machine itself was late is measured in three places (that thread, the runtime, the relay's
//! threads), and the worst of them stands beside every result.
//!
//! Invariant: nothing that a set-up does or fails to do ends a run early or makes it fail; only its
//! result tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::arrivals::{Arrival, Arrivals};
use super::carriage::{Carriage, Ends};
use super::outcome::{Fault, Outcome};
use super::paths::{Paths, Tally};
use super::row::{Row, Which};
use crate::wait::within;

/// Runs a row over whatever `carriage` is.
pub(super) async fn drive(
    setup: &'static str,
    carriage: impl Carriage,
    row: &Row,
    seed: u64,
) -> Result<Outcome> {
    let paths = Paths::open(carriage.upstream()?, seed).await?;
    let (due_sender, due) = unbounded_channel();
    let (arrived, mut arrivals) = unbounded_channel();
    let (switched, mut switches) = unbounded_channel();
    let ends = Ends { due, arrived, switched };
    let mut tasks = within("connect", carriage.start(paths.addresses(), row.class, ends)).await?;
    paths.set_all(row.start).await?;

    let begin = Instant::now() + LEAD;
    let start = begin + row.due(row.warm());
    let lag = Lag::new();
    let pacer = pace(row.clone(), begin, due_sender);
    let (played, received) =
        tokio::join!(play(&paths, row, start), receive(row, begin, &mut arrivals, &mut tasks));
    let (before, faults) = played?;
    let (arrivals, ended) = received;
    let after = paths.tally().await?;
    drop(tasks);
    let sent_late = pacer.join().map_err(|_| anyhow!("the pacer panicked"))?;
    paths.close().await?;

    ensure!(arrivals.foreign == 0, "{} messages came that nobody sent", arrivals.foreign);
    let mut switched = Vec::new();
    while let Ok(at) = switches.try_recv() {
        switched.extend(at.checked_duration_since(start));
    }
    Ok(Outcome {
        row: row.clone(),
        setup,
        seed,
        messages: arrivals.messages(row, begin),
        duplicated: arrivals.duplicated,
        out_of_order: arrivals.out_of_order,
        wire: after.since(&before),
        switches: switched,
        faults,
        stall: sent_late.max(lag.worst()).max(after.late),
        ended,
    })
}

/// Hands out each number when it is due, and answers the worst that it was late.
fn pace(row: Row, begin: Instant, due: UnboundedSender<u64>) -> JoinHandle<Duration> {
    std::thread::spawn(move || {
        let mut worst = Duration::ZERO;
        for n in 0..row.count() {
            let at = begin + row.due(n);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            worst = worst.max(at.elapsed());
            if due.send(n).is_err() {
                break;
            }
        }
        worst
    })
}

/// Takes what arrives until all did or nobody waits any longer; answers, too, why a task ended.
async fn receive(
    row: &Row,
    begin: Instant,
    arrived: &mut UnboundedReceiver<Arrival>,
    tasks: &mut JoinSet<Result<()>>,
) -> (Arrivals, Option<String>) {
    let mut arrivals = Arrivals::new(row.count());
    let mut ended = None;
    let mut patience =
        std::pin::pin!(sleep_until((begin + row.due(row.count()) + row.settle).into()));
    while !arrivals.are_complete() {
        tokio::select! {
            Some(arrival) = arrived.recv() => arrivals.take(arrival),
            Some(task) = tasks.join_next() => {
                let why = match task {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => format!("{error:#}"),
                    Err(error) => error.to_string(),
                };
                ended.get_or_insert(why);
            }
            () = &mut patience => break,
        }
    }
    // Copies of the last message may be under way.
    let _ = tokio::time::timeout(STRAGGLERS, async {
        while let Some(arrival) = arrived.recv().await {
            arrivals.take(arrival);
        }
    })
    .await;
    (arrivals, ended)
}

/// Changes the lines when it is time; answers what they had carried when messages began to count, and
/// what happened to them then.
async fn play(paths: &Paths, row: &Row, start: Instant) -> Result<(Tally, Vec<Fault>)> {
    sleep_until(start.into()).await;
    let before = paths.tally().await?;
    let mut faults = Vec::new();
    let mut line = 0;
    for change in &row.changes {
        let at = start + change.at;
        if change.lines == Which::Busiest {
            sleep_until(at.checked_sub(BUSY_FOR).unwrap_or(start).into()).await;
            let earlier = paths.tally().await?;
            sleep_until(at.into()).await;
            line = paths.tally().await?.busiest_since(&earlier);
        }
        sleep_until(at.into()).await;
        paths.set(line, change.settings).await.context(change.label)?;
        let label = format!("line {}: {}", line + 1, change.label);
        faults.push(Fault { at: start.elapsed(), label });
    }
    Ok((before, faults))
}

/// Measures how late the runtime is.
struct Lag {
    worst_micros: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Lag {
    fn new() -> Self {
        let worst_micros = Arc::new(AtomicU64::new(0));
        let worst = Arc::clone(&worst_micros);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let before = Instant::now();
                sleep(LAG_EVERY).await;
                let late = before.elapsed().saturating_sub(LAG_EVERY + TICK);
                worst.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        });
        Self { worst_micros, _task: task }
    }

    fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_micros.load(Ordering::Relaxed))
    }
}

/// From the start of the pacer to the first message.
const LEAD: Duration = Duration::from_millis(100);

/// Three times as long as a line takes.
const STRAGGLERS: Duration = Duration::from_millis(60);

/// What "lately" is for the busiest line.
const BUSY_FOR: Duration = Duration::from_secs(1);

const LAG_EVERY: Duration = Duration::from_millis(5);

/// The runtime's timers are this coarse.
const TICK: Duration = Duration::from_millis(1);

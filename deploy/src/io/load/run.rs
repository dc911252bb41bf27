//! The course of a run, as the parent sees it: clients come, messages flow or do not, what all saw is
//! put together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use super::children::{Children, Told};
use super::publisher::{Published, publish};
use super::{LoadError, clock, usage};
use crate::io::http::Http;
use crate::load::Outcome;
use crate::load::outcome::{
    Bare, Connects, GroupOutcome, Latency, Publish, SecondOutcome, Server, Usage,
};
use crate::load::pipe::{Order, Role, add_pairs, histogram};
use crate::load::plan::{Mode, Plan, Publishing};
use crate::load::procfs;

/// Measures a server.
pub(super) async fn measure(
    plan: &Plan,
    pids: &[u32],
    metrics: &[String],
) -> Result<Outcome, LoadError> {
    let pids = if pids.is_empty() { usage::listeners(&plan.addresses) } else { pids.to_vec() };
    let mut watch = Watch::new(pids, metrics.to_vec())?;
    let began = clock::now();
    let mut run = Run::start(plan).await?;
    run.connect().await?;
    let connects = connects(plan, &run.children.told, began);
    watch.connected()?;
    let mut outcome = Outcome { title: plan.title(), connects, ..Outcome::default() };
    match &plan.mode {
        Mode::FanOut(publishing) => run.fan_out(publishing, &mut watch, &mut outcome).await?,
        Mode::Idle(micros) => run.idle(*micros, &mut watch, &mut outcome).await?,
        Mode::Limit { .. } => {}
    }
    outcome.server = watch.server;
    Ok(outcome)
}

/// Measures the machine itself: the bare loop.
pub(super) async fn bare(plan: &Plan) -> Result<Outcome, LoadError> {
    let Mode::Limit { batch, senders, flat_out } = plan.mode else { return Ok(Outcome::default()) };
    // Where they listen, senders will say; how many there are, they have to know.
    let unknown = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); senders as usize];
    let plan = Plan { addresses: unknown, ..plan.clone() };
    let mut loops = Children::start(&plan, Role::Sender, senders).await?;
    while loops.told.listening.len() < senders as usize {
        loops.check()?;
        loops.hear().await?;
    }
    let plan = Plan { addresses: loops.told.listening.values().copied().collect(), ..plan };
    let began = clock::now();
    let mut run = Run::start(&plan).await?;
    run.connect().await?;
    let connects = connects(&plan, &run.children.told, began);
    let mut outcome = Outcome { title: plan.title(), connects, ..Outcome::default() };
    if outcome.connects.ready < plan.clients {
        run.finish(Vec::new()).await?;
        return Err(LoadError::Nobody(run.refusals()));
    }
    let (start, from, until) = run.span();
    let order = Order::Measure { start, from, until };
    run.children.order(&order).await?;
    loops.order(&order).await?;
    while loops.told.sent.len() < senders as usize {
        tokio::select! {
            heard = loops.hear() => heard?,
            heard = run.children.hear() => heard?,
        }
        loops.check()?;
        run.children.check()?;
    }
    // As fast as it goes, one sender gets further than another.
    let counts = vec![loops.told.sent.iter().map(|sent| sent.1).min().unwrap_or_default()];
    run.finish(counts).await?;
    run.put_together(&mut outcome);
    outcome.batch = batch;
    outcome.batch_told = true;
    let sum = |of: fn(&(u64, u32, u64, u64)) -> u64| loops.told.sent.iter().map(of).sum();
    outcome.bare.push(Bare {
        flat_out,
        batch,
        sends: sum(|sent| sent.0),
        cpu: sum(|sent| sent.2),
        took: loops.told.sent.iter().map(|sent| sent.3).max().unwrap_or_default(),
        latency: outcome.groups.first().map(|group| group.latency).unwrap_or_default(),
        complete: outcome.faults().is_empty(),
    });
    Ok(outcome)
}

struct Run<'a> {
    plan: &'a Plan,
    children: Children,
    bar: ProgressBar,
}

impl<'a> Run<'a> {
    /// Starts the workers, which connect at once.
    async fn start(plan: &'a Plan) -> Result<Self, LoadError> {
        let children = Children::start(plan, Role::Worker, plan.processes).await?;
        Ok(Self { plan, children, bar: ProgressBar::no_length() })
    }

    /// Waits until every client came or could not.
    async fn connect(&mut self) -> Result<(), LoadError> {
        self.show(u64::from(self.plan.clients), "connecting");
        loop {
            self.hear_until(clock::now() + LOOK_EVERY).await?;
            let progress = self.children.told.progress();
            self.bar.set_position(progress.ready.into());
            if progress.ready + progress.lost >= self.plan.clients {
                break;
            }
        }
        self.bar.finish_and_clear();
        if self.children.told.progress().ready == 0 {
            let why = self.finish(Vec::new()).await.map(|()| self.refusals());
            return Err(LoadError::Nobody(why.unwrap_or_default()));
        }
        Ok(())
    }

    fn refusals(&self) -> String {
        let refused = self.children.told.finals.iter().flat_map(|last| &last.refused);
        let reasons: Vec<String> = refused.map(|(why, count)| format!("{count} × {why}")).collect();
        reasons.join(", ")
    }

    /// When messages flow from, when it is measured from, and until when both.
    fn span(&self) -> (u64, u64, u64) {
        let start = clock::now() + SOON;
        let from = start + self.plan.warm_up;
        (start, from, from + self.plan.measured)
    }

    async fn fan_out(
        &mut self,
        publishing: &Publishing,
        watch: &mut Watch,
        outcome: &mut Outcome,
    ) -> Result<(), LoadError> {
        let span = self.span();
        let (start, from, until) = span;
        self.children.order(&Order::Measure { start, from, until }).await?;
        let stop = Stop::default();
        let mut publishers = JoinSet::new();
        for part in 0..publishing.publishers {
            let (plan, publishing, stop) =
                (self.plan.clone(), publishing.clone(), Arc::clone(&stop.0));
            publishers.spawn_blocking(move || publish(&plan, &publishing, part, span, &stop));
        }
        self.show((until - start) / 1_000_000, "publishing");
        self.hear_until(from).await?;
        watch.begin().await?;
        while clock::now() < until {
            self.hear_until(until.min(clock::now() + LOOK_EVERY)).await?;
            watch.look()?;
            self.bar.set_position((clock::now().saturating_sub(start)) / 1_000_000);
        }
        watch.end().await?;
        let published = loop {
            self.hear_until(clock::now() + LOOK_EVERY).await?;
            let late = clock::now() > until + self.plan.drain;
            if late {
                stop.0.store(true, Ordering::Relaxed);
            }
            if late || publishers.is_empty() {
                break publishers.join_all().await;
            }
            if let Some(done) = publishers.try_join_next() {
                let done = done.map_err(io::Error::other)?;
                let mut all = vec![done];
                all.extend(publishers.join_all().await);
                break all;
            }
        };
        self.bar.finish_and_clear();
        let counts = sum_counts(&published, self.plan.rooms.count() as usize);
        self.finish(counts.clone()).await?;
        self.put_together(outcome);
        outcome.publish = Some(published_outcome(&published, &counts));
        if let Some(batch) = watch.batch() {
            (outcome.batch, outcome.batch_told) = (batch, true);
        }
        Ok(())
    }

    async fn idle(
        &mut self,
        micros: u64,
        watch: &mut Watch,
        outcome: &mut Outcome,
    ) -> Result<(), LoadError> {
        self.hear_until(clock::now() + SETTLE).await?;
        watch.connected()?;
        watch.begin().await?;
        let began = clock::now();
        self.show(micros / 1_000_000, "idle");
        while clock::now() < began + micros {
            self.hear_until((began + micros).min(clock::now() + LOOK_EVERY)).await?;
            watch.look()?;
            self.bar.set_position((clock::now() - began) / 1_000_000);
        }
        watch.end().await?;
        self.bar.finish_and_clear();
        self.finish(Vec::new()).await?;
        self.put_together(outcome);
        Ok(())
    }

    /// Lets the workers end once they have everything, or when the time for it is over.
    async fn finish(&mut self, counts: Vec<u32>) -> Result<(), LoadError> {
        let deadline = clock::now() + self.plan.drain;
        self.children.order(&Order::Finish { counts, deadline }).await?;
        while self.children.told.finals.len() < self.plan.processes as usize {
            self.hear_until(clock::now() + LOOK_EVERY).await?;
            if clock::now() > deadline + LAST_WORD_WITHIN {
                return Err(io::Error::other("a worker process does not end").into());
            }
        }
        Ok(())
    }

    async fn hear_until(&mut self, at: u64) -> Result<(), LoadError> {
        let sleep = tokio::time::sleep(clock::until(at));
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => break,
                heard = self.children.hear() => heard?,
            }
            // Workers that have said their last word end; nobody else may.
            if self.children.told.finals.len() == self.plan.processes as usize {
                break;
            }
        }
        Ok(self.children.check()?)
    }

    fn show(&mut self, length: u64, what: &'static str) {
        let style = ProgressStyle::with_template("{msg:12} {wide_bar} {pos}/{len}");
        self.bar = ProgressBar::new(length);
        if let Ok(style) = style {
            self.bar.set_style(style);
        }
        self.bar.set_message(what);
    }

    fn put_together(&self, outcome: &mut Outcome) {
        let told = &self.children.told;
        let groups = &self.plan.rooms.groups;
        let mut latencies: Vec<_> = groups.iter().map(|_| histogram()).collect();
        let first = told.seconds.keys().next().copied().unwrap_or_default();
        for (at, seconds) in &told.seconds {
            let mut all = histogram();
            for second in seconds {
                for (latency, pairs) in latencies.iter_mut().zip(&second.latencies) {
                    add_pairs(latency, pairs);
                    add_pairs(&mut all, pairs);
                }
            }
            let received = seconds.iter().map(|second| second.received).sum();
            let latency = Latency::of(&all);
            outcome.seconds.push(SecondOutcome { second: at - first, received, latency });
        }
        outcome.groups = groups
            .iter()
            .zip(&latencies)
            .map(|(group, latency)| GroupOutcome {
                name: group.name.clone(),
                rooms: group.rooms,
                clients: group.clients,
                rate: group.rate,
                latency: Latency::of(latency),
                ..GroupOutcome::default()
            })
            .collect();
        let (mut connects, mut received, mut reads) = (histogram(), 0, 0);
        for last in &told.finals {
            for (group, tally) in outcome.groups.iter_mut().zip(&last.tallies) {
                group.tally.add(tally);
                received += tally.received;
            }
            outcome.slow.add(&last.slow);
            for (all, some) in [
                (&mut outcome.connects.refused, &last.refused),
                (&mut outcome.ended, &last.ended),
                (&mut outcome.slow_ended, &last.slow_ended),
            ] {
                some.iter().for_each(|(why, count)| *all.entry(why.clone()).or_default() += count);
            }
            outcome.left += last.left;
            outcome.foreign += last.foreign;
            outcome.workers_cpu += last.cpu;
            reads += last.reads;
            add_pairs(&mut connects, &last.connects);
        }
        outcome.connects.latency = Latency::of(&connects);
        outcome.deliveries = outcome.groups.iter().map(|group| group.latency.count).sum();
        outcome.deliveries_per_second = outcome.deliveries as f64 * 1e6 / self.plan.measured as f64;
        outcome.batch = received as f64 / (reads as f64).max(1.0);
    }
}

/// Tells the publishers to stop when the run is over, however it ends.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn connects(plan: &Plan, told: &Told, began: u64) -> Connects {
    let progress = told.progress();
    Connects {
        wanted: plan.clients,
        ready: progress.ready,
        took: progress.ready_at.saturating_sub(began),
        ..Connects::default()
    }
}

fn sum_counts(published: &[Published], rooms: usize) -> Vec<u32> {
    let mut counts = vec![0; rooms];
    for one in published {
        counts.iter_mut().zip(&one.counts).for_each(|(sum, count)| *sum += count);
    }
    counts
}

fn published_outcome(published: &[Published], counts: &[u32]) -> Publish {
    let (mut sent, mut answered) = (histogram(), histogram());
    for one in published {
        // All histograms have the same bounds.
        let _ = sent.add(&one.sent);
        let _ = answered.add(&one.answered);
    }
    Publish {
        messages: counts.iter().map(|count| u64::from(*count)).sum(),
        sent: Latency::of(&sent),
        answered: Latency::of(&answered),
        errors: published.iter().filter_map(|one| one.error.clone()).collect(),
    }
}

/// What the server's processes take, and what an edge tells of its writes.
struct Watch {
    pids: Vec<u32>,
    server: Option<Server>,
    began: (u64, Usage),
    http: Http,
    metrics: Vec<String>,
    /// Deliveries and writes of all edges, at the beginning and at the end.
    told: [Option<(u64, u64)>; 2],
}

impl Watch {
    fn new(pids: Vec<u32>, metrics: Vec<String>) -> Result<Self, LoadError> {
        let before = usage::of(&pids)?;
        let server = Server {
            processes: pids.iter().map(|pid| (usage::name(*pid), *pid)).collect(),
            resident: [before.resident; 3],
            ..Server::default()
        };
        let server = (!pids.is_empty()).then_some(server);
        let http = Http::new(None).map_err(io::Error::other)?;
        Ok(Self { pids, server, began: (clock::now(), before), http, metrics, told: [None; 2] })
    }

    fn connected(&mut self) -> io::Result<()> {
        let now = usage::of(&self.pids)?;
        if let Some(server) = &mut self.server {
            server.cpu_connecting = now.cpu - self.began.1.cpu;
            server.resident[1] = now.resident;
            server.resident[2] = server.resident[2].max(now.resident);
        }
        Ok(())
    }

    async fn begin(&mut self) -> io::Result<()> {
        self.told[0] = self.ask().await;
        self.began = (clock::now(), usage::of(&self.pids)?);
        Ok(())
    }

    fn look(&mut self) -> io::Result<()> {
        let now = usage::of(&self.pids)?;
        if let Some(server) = &mut self.server {
            server.resident[2] = server.resident[2].max(now.resident);
        }
        Ok(())
    }

    async fn end(&mut self) -> io::Result<()> {
        let (at, now) = (clock::now(), usage::of(&self.pids)?);
        if let Some(server) = &mut self.server {
            server.cpu = now.cpu - self.began.1.cpu;
            server.took = at - self.began.0;
        }
        self.told[1] = self.ask().await;
        Ok(())
    }

    /// Deliveries and writes until now; `None` where an edge does not tell.
    async fn ask(&self) -> Option<(u64, u64)> {
        let (mut deliveries, mut writes) = (0, 0);
        for url in &self.metrics {
            let answer = self.http.get(url).await.ok()?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            deliveries += procfs::counter(&text, "_deliveries_total")?;
            writes += procfs::counter(&text, "_edge_writes_total")?;
        }
        (!self.metrics.is_empty()).then_some((deliveries, writes))
    }

    fn batch(&self) -> Option<f64> {
        let [Some(began), Some(ended)] = self.told else { return None };
        let (deliveries, writes) = (ended.0 - began.0, ended.1 - began.1);
        (writes > 0).then(|| deliveries as f64 / writes as f64)
    }
}

/// From the order to the first message: longer than it takes to hear the order.
const SOON: u64 = 300_000;

/// How often the parent looks around.
const LOOK_EVERY: u64 = 100_000;

/// How long a server may take to tidy up after clients came, before they count as idle.
const SETTLE: u64 = 3_000_000;

/// How long workers may take for their last word after the deadline.
const LAST_WORD_WITHIN: u64 = Duration::from_secs(30).as_micros() as u64;

//! A worker: one process, one thread and its share of the clients.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use slab::Slab;

use super::connection::{Connection, End, Opening, Scratch};
use super::orders::{Orders, tell};
use super::ports::Ports;
use super::seen::Seen;
use super::{clock, tls};
use crate::load::checker::Checker;
use crate::load::pipe::{Order, Progress, Report};
use crate::load::plan::{Mode, Plan};
use crate::load::protocol::{Event, Walker};

/// Works until the parent says that it is over, or is gone.
pub(super) fn work(plan: Plan, worker: u32, orders: Orders) -> io::Result<()> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    orders.wake_with(move || {
        // A parent that cannot wake us is heard at the next tick.
        let _ = waker.wake();
    });
    let security = match plan.tls {
        true => Some(Arc::new(tls::config(&plan).map_err(io::Error::other)?)),
        false => None,
    };
    let waiting = plan.clients_of(worker).map(|client| (client, false)).collect();
    let mut worker = Worker {
        seen: Seen::new(&plan),
        ports: Ports::new(worker, plan.processes, plan.run),
        security,
        poll,
        clients: Slab::new(),
        scratch: Scratch::new(),
        waiting,
        opening: 0,
        opened: 0,
        began: clock::now(),
        progress: Progress::default(),
        churned: 0,
        luck: u64::from(plan.run) << 32 | u64::from(worker) | 1,
        plan,
    };
    worker.run(&orders)
}

struct Client {
    number: u32,
    began: u64,
    phase: Phase,
    slow: bool,
    room: u32,
    group: usize,
    checker: Checker,
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Ready,
}

struct Worker {
    plan: Plan,
    security: Option<Arc<ClientConfig>>,
    poll: Poll,
    clients: Slab<Client>,
    scratch: Scratch,
    seen: Seen,
    ports: Ports,
    /// Clients that have yet to come, and whether messages flow already.
    waiting: VecDeque<(u32, bool)>,
    /// Clients that are on their way.
    opening: usize,
    /// Clients that ever started to come.
    opened: u64,
    began: u64,
    progress: Progress,
    churned: u64,
    /// Which clients leave.
    luck: u64,
}

impl Worker {
    fn run(&mut self, orders: &Orders) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut finish: Option<(Vec<u32>, u64)> = None;
        let (mut tick_at, mut second_at, mut seconds) = (0, 0, 0);
        loop {
            let now = clock::now();
            match orders.take() {
                Ok(Order::Measure { start, from, until }) => self.seen.measure(start, from, until),
                Ok(Order::Finish { counts, deadline }) => finish = Some((counts, deadline)),
                Ok(Order::Begin { .. }) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            self.seen.mark_cpu(now, clock::cpu);
            self.open_due(now);
            self.churn_due(now);
            if now >= tick_at {
                tick_at = now + TICK;
                self.tick(now)?;
                if let Some((counts, deadline)) = &finish
                    && (now >= *deadline || self.is_complete(counts))
                {
                    let (counts, _) = finish.unwrap_or_default();
                    return self.end(&counts);
                }
            }
            if now >= second_at {
                second_at = now + SECOND;
                self.heartbeats(seconds);
                seconds += 1;
            }
            let paced = self.plan.connect_rate.is_some() && !self.waiting.is_empty();
            let busy = paced || (self.plan.churn > 0.0 && self.seen.flows(now));
            let pause =
                if busy { PACE } else { Duration::from_micros(tick_at.saturating_sub(now)) };
            match self.poll.poll(&mut events, Some(pause)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if event.token() == WAKER {
                    continue;
                }
                if event.is_writable() {
                    self.write(event.token().0);
                }
                if event.is_readable() || event.is_error() {
                    self.read(event.token().0, usize::MAX);
                }
            }
        }
    }

    /// Opens connections as they are due.
    fn open_due(&mut self, now: u64) {
        let allowed = match self.plan.connect_rate {
            Some(rate) => 1 + ((now - self.began) as f64 * rate / 1e6) as u64,
            None => u64::MAX,
        };
        while self.opening < OPENING_MAX && (self.opened < allowed || self.seen.flows(now)) {
            let Some((client, late)) = self.waiting.pop_front() else { return };
            self.opened += 1;
            if let Err(error) = self.open(client, late) {
                self.seen.refuse(error.to_string());
                self.progress.lost += 1;
            }
        }
    }

    /// Starts one client. A port that is taken is passed over.
    fn open(&mut self, number: u32, late: bool) -> Result<(), End> {
        let Some(source) = self.plan.source_of(number) else {
            return self.open_from(number, late, None);
        };
        let mut outcome = Ok(());
        for _ in 0..PORTS_TRIED {
            let source = self.ports.next(source);
            outcome = self.open_from(number, late, Some(source));
            if !outcome.as_ref().is_err_and(End::is_taken) {
                break;
            }
        }
        outcome
    }

    fn open_from(
        &mut self,
        number: u32,
        late: bool,
        source: Option<SocketAddr>,
    ) -> Result<(), End> {
        let login = self.plan.login(number);
        let mut first = Vec::new();
        let walker = if matches!(self.plan.mode, Mode::Limit { .. }) {
            Walker::opened(self.plan.protocol)
        } else {
            Walker::open(self.plan.protocol, self.plan.compression, &login, &mut first)
        };
        let tls = match &self.security {
            Some(config) => Some((Arc::clone(config), server_name(&login.host)?)),
            None => None,
        };
        let slow = self.plan.is_slow(number);
        let room = self.plan.rooms.of_client(number);
        let entry = self.clients.vacant_entry();
        let opening = Opening {
            target: self.plan.addresses[self.plan.target_of(number)],
            source,
            tls,
            receive_bytes: slow.then_some(SLOW_RECEIVE_BYTES),
            registry: self.poll.registry(),
            token: Token(entry.key()),
        };
        let connection = Connection::open(opening, walker, &first)?;
        entry.insert(Client {
            number,
            began: clock::now(),
            phase: Phase::Opening,
            slow,
            room,
            group: self.plan.rooms.group_of(room),
            checker: if late { Checker::from_anywhere() } else { Checker::from_start() },
            connection,
        });
        self.opening += 1;
        Ok(())
    }

    fn write(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match client.connection.handle_writable() {
            // The bare loop has nothing to be subscribed to.
            Ok(true) if matches!(self.plan.mode, Mode::Limit { .. }) => self.ready(key),
            Ok(_) => {}
            Err(end) => self.lose(key, &end),
        }
    }

    fn read(&mut self, key: usize, limit: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Client { number, checker, room, group, slow, connection, .. } = client;
        let mut is_ready = false;
        let now = std::cell::Cell::new(0);
        let reads = std::cell::Cell::new(0);
        let seen = &mut self.seen;
        let plan = &self.plan;
        let mut on = |event: Event<'_>| match event {
            Event::Ready => is_ready = true,
            Event::Gap => checker.tell(),
            Event::Message(body) => seen.take(body, *room, *group, *slow, checker, now.get()),
        };
        let mut read = || {
            now.set(clock::now());
            reads.set(reads.get() + 1);
        };
        let scratch = &mut self.scratch;
        let login = || plan.login(*number);
        let outcome = connection.read(scratch, limit, plan.compression, login, &mut on, &mut read);
        seen.count_reads(reads.get());
        if is_ready {
            self.ready(key);
        }
        if let Err(end) = outcome {
            self.lose(key, &end);
        }
    }

    fn ready(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.phase == Phase::Ready {
            // It subscribed anew, as it was told to: what came in between is lost and known to be.
            return client.checker.resume();
        }
        let now = clock::now();
        client.phase = Phase::Ready;
        self.opening -= 1;
        self.seen.ready(now - client.began);
        self.progress.ready += 1;
        self.progress.ready_at = now;
        if client.slow {
            // From now on it is read by the tick, or not at all.
            if let Err(error) = client.connection.deregister(self.poll.registry()) {
                self.lose(key, &error.into());
            }
        }
    }

    /// A connection ended, and nobody wanted it to.
    fn lose(&mut self, key: usize, end: &End) {
        let Some(client) = self.clients.try_remove(key) else { return };
        self.progress.lost += 1;
        if client.phase == Phase::Opening {
            self.opening -= 1;
            self.seen.refuse(end.to_string());
        } else {
            self.progress.ready -= 1;
            self.seen.end(end.to_string(), client.slow);
            self.seen.finish(client.checker, client.group, client.slow, None);
        }
    }

    /// Lets clients leave and come back as they are due.
    fn churn_due(&mut self, now: u64) {
        if self.plan.churn == 0.0 || !self.seen.flows(now) {
            return;
        }
        let due = (self.seen.flowed(now) as f64 * self.plan.churn / 1e6) as u64;
        while self.churned < due && !self.clients.is_empty() {
            self.churned += 1;
            // Marsaglia's xorshift: any client, the same ones in every run.
            self.luck ^= self.luck << 13;
            self.luck ^= self.luck >> 7;
            self.luck ^= self.luck << 17;
            let any = self.luck as usize % self.clients.len();
            let leaves = |client: &Client| client.phase == Phase::Ready && !client.slow;
            let mut leaving = self.clients.iter().cycle().skip(any).take(self.clients.len());
            let Some((key, _)) = leaving.find(|(_, client)| leaves(client)) else { continue };
            let client = self.clients.remove(key);
            self.progress.ready -= 1;
            self.seen.leave();
            self.seen.finish(client.checker, client.group, client.slow, None);
            self.waiting.push_back((client.number, true));
        }
    }

    fn tick(&mut self, now: u64) -> io::Result<()> {
        let late =
            |client: &Client| client.phase == Phase::Opening && now > client.began + READY_WITHIN;
        let late: Vec<usize> =
            self.clients.iter().filter(|(_, client)| late(client)).map(|(key, _)| key).collect();
        for key in late {
            self.lose(key, &End::Late);
        }
        if self.plan.slow_bytes > 0 {
            let bytes = (u64::from(self.plan.slow_bytes) * TICK).div_ceil(SECOND) as usize;
            self.read_slow(bytes);
        }
        self.progress.received = self.seen.received();
        self.progress.cpu = clock::cpu();
        tell(&Report::Progress(self.progress))?;
        match self.seen.second(now) {
            Some(second) => tell(&Report::Second(second)),
            None => Ok(()),
        }
    }

    fn read_slow(&mut self, limit: usize) {
        let slow = |client: &Client| client.slow && client.phase == Phase::Ready;
        let slow: Vec<usize> =
            self.clients.iter().filter(|(_, client)| slow(client)).map(|(key, _)| key).collect();
        for key in slow {
            self.read(key, limit);
        }
    }

    /// One client in [`HEARTBEAT_SECONDS`] speaks each second.
    fn heartbeats(&mut self, second: u32) {
        let turn = |client: &Client| {
            client.phase == Phase::Ready
                && client.number % HEARTBEAT_SECONDS == second % HEARTBEAT_SECONDS
        };
        let keys: Vec<usize> =
            self.clients.iter().filter(|(_, client)| turn(client)).map(|(key, _)| key).collect();
        for key in keys {
            if let Err(end) = self.clients[key].connection.put_heartbeat() {
                self.lose(key, &end);
            }
        }
    }

    fn is_complete(&self, counts: &[u32]) -> bool {
        self.clients.iter().all(|(_, client)| {
            client.slow
                || client
                    .checker
                    .is_complete(counts.get(client.room as usize).copied().unwrap_or(0))
        })
    }

    fn end(&mut self, counts: &[u32]) -> io::Result<()> {
        // What slow clients had got before the server gave them up.
        self.read_slow(usize::MAX);
        for client in self.clients.drain() {
            let count = counts.get(client.room as usize).copied();
            self.seen.finish(client.checker, client.group, client.slow, count);
            client.connection.abort();
        }
        if let Some(second) = self.seen.second(u64::MAX) {
            tell(&Report::Second(second))?;
        }
        tell(&Report::Final(Box::new(self.seen.last())))
    }
}

/// The name in a certificate, of what a target is called.
fn server_name(target: &str) -> io::Result<ServerName<'static>> {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).map_err(|_| io::Error::other(format!("{target}: no name of a host")))
}

const WAKER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;

/// Connections of a process that may be on their way at once: below what a listener's queue holds.
const OPENING_MAX: usize = 512;

/// Ports that one client may find taken.
const PORTS_TRIED: u32 = 256;

/// Microseconds from the first packet until a client has to be subscribed.
const READY_WITHIN: u64 = 30_000_000;

/// How often a worker looks around, in microseconds.
const TICK: u64 = 100_000;
const SECOND: u64 = 1_000_000;

/// The longest sleep while connections are opened at a rate.
const PACE: Duration = Duration::from_millis(5);

/// goim's clients and those of its danmaku dialect speak every 30 s.
const HEARTBEAT_SECONDS: u32 = 30;

/// What the kernel may hold for a client that reads little; it doubles this and has a least size.
const SLOW_RECEIVE_BYTES: usize = 4096;

//! A run: both ends, the network between them, and the model that watches.
//!
//! The model knows what was published and checks at every delivery that it is the next of its channel,
//! that its contents are right, and that nothing was skipped where nothing may be lost; of control
//! messages, that each arrives once and in order; of memory, that its bounds hold. When the faults are
//! over, everything must arrive.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use deploy::relay::Dice;
use shared::line::opener::Opener;
use shared::line::receiver::{Event as News, HELD_BYTES_MAX};
use shared::line::{Caller, LineEnd, LineId, TrunkAction};
use shared::message::{Class, Epoch};
use shared::wire::control::{OnlineUpdate, OpenPull, OpenPulls, down, up};
use shared::wire::frame::Frame;

use super::network::{End, Event, Network, Parcel};
use super::scenario::{Change, Goals, Scenario, Which};
use super::upstream::{Upstream, body};

/// A promise that was broken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{scenario}, seed {seed}, after {at:?}: {what}")]
pub struct Broken {
    /// The scenario.
    pub scenario: &'static str,
    /// The seed.
    pub seed: u64,
    /// When, in the run's own time.
    pub at: Duration,
    /// Which.
    pub what: String,
}

/// What a run measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// From published to arrived, whatever was before it, milliseconds.
    pub arrived_ms: Vec<f64>,
    /// From published to delivered in order.
    pub delivered_ms: Vec<f64>,
    /// Bytes of bodies.
    pub useful: u64,
    /// Bytes on the wire towards the edge, with all headers.
    pub down_bytes: u64,
    /// Changes of the upstream's primary.
    pub switches: u64,
    /// Until the primary was left after the first change of lines, milliseconds.
    pub left_ms: Option<f64>,
    /// The run's own time.
    pub lasted: Duration,
}

/// What a control stream has given: the next place, and what came early.
type Taken = (u64, BTreeMap<u64, Parcel>);

impl Figures {
    /// The slowest message.
    pub fn worst_ms(&self) -> f64 {
        self.arrived_ms.iter().copied().fold(0.0, f64::max)
    }
}

/// The model of one pull.
#[derive(Clone, Debug, Default)]
struct Reader {
    epoch: Option<Epoch>,
    next: u64,
}

struct World<'a> {
    scenario: &'a Scenario,
    seed: u64,
    start: Instant,
    now: Instant,
    dice: Dice,
    network: Network,
    upstream: Upstream,
    caller: Caller,
    opener: Opener,
    /// The trunk that the caller stands with.
    with: Option<u64>,
    /// Attempts at each line: that of the edge's connection, and that of the upstream's.
    attempts: BTreeMap<LineId, u64>,
    edge_lines: BTreeMap<LineId, u64>,
    upstream_lines: BTreeMap<LineId, u64>,
    /// Places in control streams: sent, taken, and what came early.
    sent: BTreeMap<(bool, LineId, u64), u64>,
    taken: BTreeMap<(bool, LineId, u64), Taken>,
    pulls: Vec<u64>,
    pull_next: u64,
    readers: Vec<Reader>,
    published: BTreeMap<(usize, u32, u64), Instant>,
    consumed: Vec<u64>,
    told: u64,
    commands: VecDeque<u64>,
    command_next: u64,
    /// The first command of the upstream's process.
    command_first: u64,
    fault_at: Option<Instant>,
    figures: Figures,
}

/// Runs a scenario with a seed.
///
/// # Errors
/// The first promise that was broken.
#[allow(clippy::disallowed_methods, reason = "a run needs some instant to count from")]
pub fn run(scenario: &Scenario, seed: u64) -> Result<Figures, Broken> {
    let start = Instant::now();
    let mut dice = Dice::new(seed);
    let rtt = Duration::from_millis([40, 60, 120][(dice.number() % 3) as usize]);
    let Goals { p99_ms, max_ms, left_ms, .. } = scenario.goals;
    let rtt = if p99_ms.or(max_ms).or(left_ms).is_some() { RTT } else { rtt };
    let access = |text: String| text.parse::<LineEnd>().unwrap_or_else(|_| unreachable!());
    let local = access("127.0.0.1:0".into());
    let remotes: Vec<LineEnd> =
        (0..3).map(|n| access(format!("127.0.0.1:{} carrier-{n}", 7711 + n))).collect();
    let channels = scenario.pulls.len();
    let mut world = World {
        scenario,
        seed,
        start,
        now: start,
        network: Network::new(scenario.start, rtt, dice.number(), start),
        upstream: Upstream::new(channels, dice.number(), start),
        caller: Caller::new(dice.number(), start),
        opener: Opener::new(vec![local], &remotes, dice.number(), start),
        dice,
        with: None,
        attempts: BTreeMap::new(),
        edge_lines: BTreeMap::new(),
        upstream_lines: BTreeMap::new(),
        sent: BTreeMap::new(),
        taken: BTreeMap::new(),
        pulls: vec![0; channels],
        pull_next: 1,
        readers: vec![Reader::default(); channels],
        published: BTreeMap::new(),
        consumed: vec![0; channels],
        told: 0,
        commands: VecDeque::new(),
        command_next: 1,
        command_first: 1,
        fault_at: None,
        figures: Figures::default(),
    };
    world.run()?;
    world.figures.lasted = world.now - start;
    Ok(world.figures)
}

impl World<'_> {
    fn run(&mut self) -> Result<(), Broken> {
        // Lines that fail while they are opened are a row of their own: others begin with all open.
        let begin = self.start + WARM_UP;
        self.pass_until(begin)?;
        let end = begin + self.scenario.publish_for;
        let mut changes: VecDeque<(Instant, Change)> =
            self.scenario.changes.iter().map(|(at, change)| (begin + *at, *change)).collect();
        let mut due: Vec<Instant> =
            self.scenario.pulls.iter().map(|_| begin + self.spread(20)).collect();
        let mut tell_at = begin;
        self.network.down_bytes = 0;
        while self.now < end {
            let next = due.iter().copied().chain([tell_at, end]);
            let next = next.chain(changes.front().map(|(at, _)| *at)).min().unwrap_or(end);
            self.pass_until(next)?;
            while let Some((_, change)) = changes.pop_front_if(|(at, _)| *at <= next) {
                self.change(change)?;
            }
            for (at, due) in due.iter_mut().enumerate() {
                if *due <= next && next < end {
                    let (rate, bytes, class) = self.scenario.pulls[at];
                    self.publish(at, bytes, class)?;
                    *due += Duration::from_micros(1_000_000 / u64::from(rate));
                }
            }
            if tell_at <= next {
                tell_at += Duration::from_millis(50);
                // Where bytes are counted, they are those of messages alone.
                if self.scenario.goals.over_useful.is_none() {
                    self.tell()?;
                }
            }
        }
        self.figures.down_bytes = self.network.down_bytes;
        // Whatever is left of the faults ends, and then everything must come.
        for line in self.network.lines() {
            self.network.set(line, [deploy::relay::Preset::Clean; 2], self.now);
        }
        let patience = self.now + LIVENESS;
        while !self.is_done() {
            if self.now >= patience {
                return Err(self.broken(self.what_is_missing()));
            }
            self.pass_until(self.now + Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn broken(&self, what: impl Into<String>) -> Broken {
        let at = self.now - self.start;
        Broken { scenario: self.scenario.name, seed: self.seed, at, what: what.into() }
    }

    fn spread(&mut self, millis: u64) -> Duration {
        Duration::from_millis(millis).mul_f64(self.dice.share())
    }

    fn is_done(&self) -> bool {
        self.published.is_empty()
            && self.upstream.told.last().copied().unwrap_or(0) == self.told
            && self.commands.is_empty()
    }

    fn what_is_missing(&self) -> String {
        format!(
            "{} messages, {} of {} updates and {} commands have not arrived",
            self.published.len(),
            self.upstream.told.len(),
            self.told,
            self.commands.len()
        )
    }

    fn publish(&mut self, at: usize, bytes: usize, class: Class) -> Result<(), Broken> {
        let (epoch, offset) = self.upstream.publish(at, bytes, class);
        // What a reader never sees of another life of the log is not waited for.
        self.published.insert((at, epoch.number(), offset), self.now);
        self.settle()
    }

    /// Control messages both ways.
    fn tell(&mut self) -> Result<(), Broken> {
        if self.with.is_some() {
            self.told += 1;
            let update = OnlineUpdate { seq: self.told, ..OnlineUpdate::default() };
            let sent = self.caller.send(up::Kind::Online(update), self.now);
            sent.map_err(|error| self.broken(error.to_string()))?;
        }
        if !self.upstream_lines.is_empty() {
            let number = self.command_next;
            self.command_next += 1;
            self.commands.push_back(number);
            let command = shared::wire::control::Command { kind: None, number };
            let sent = self.upstream.answerer.send(down::Kind::Command(command), self.now);
            sent.map_err(|error| self.broken(error.to_string()))?;
        }
        self.settle()
    }

    fn change(&mut self, change: Change) -> Result<(), Broken> {
        match change {
            Change::Lines(which, presets) => {
                let lines = self.which(which);
                if self.fault_at.is_none() && which == Which::Primary {
                    self.fault_at = Some(self.now);
                }
                for line in lines {
                    self.network.set(line, presets, self.now);
                }
            }
            Change::Restart { log_lost } => {
                // Nobody is told: the connections are gone with the process.
                self.upstream_lines.clear();
                self.commands.clear();
                let seed = self.dice.number();
                self.upstream.restart(log_lost, seed, self.now);
                self.command_first = self.command_next;
                self.upstream.told.clear();
                if log_lost {
                    self.published.clear();
                }
            }
            Change::Close(which) => {
                for line in self.which(which) {
                    self.close(End::Edge, line);
                }
            }
        }
        self.settle()
    }

    fn which(&self, which: Which) -> Vec<LineId> {
        let primary = self.upstream.answerer.trunk().pool().primary();
        let all = self.network.lines().into_iter();
        match which {
            Which::Primary => all.filter(|line| Some(*line) == primary).collect(),
            Which::Others => all.filter(|line| Some(*line) != primary).collect(),
            Which::All => all.collect(),
            Which::Line(number) => vec![LineId(number)],
        }
    }

    /// Lets time pass.
    fn pass_until(&mut self, until: Instant) -> Result<(), Broken> {
        loop {
            let deadlines = [
                self.network.next_at(),
                self.caller.next_deadline(self.now),
                self.opener.next_deadline(),
                self.upstream.answerer.next_deadline(self.now),
            ];
            let next = deadlines.into_iter().flatten().min().unwrap_or(until).max(self.now);
            if next > until {
                self.now = until;
                return Ok(());
            }
            self.now = next;
            while let Some(event) = self.network.pop(self.now) {
                self.handle(event)?;
            }
            self.caller.handle_deadline(self.now);
            self.upstream.answerer.handle_deadline(self.now);
            self.settle()?;
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Broken> {
        let Event::Arrive { to, line, attempt, parcel } = event else { return Ok(()) };
        match parcel {
            Parcel::Call => {
                if self.attempts.get(&line) == Some(&attempt) {
                    self.upstream_takes(line, attempt);
                }
                return Ok(());
            }
            Parcel::Welcome(trunk) => {
                if self.attempts.get(&line) == Some(&attempt) {
                    self.edge_takes(line, attempt, trunk)?;
                }
                return Ok(());
            }
            _ => {}
        }
        let lines = if to == End::Edge { &self.edge_lines } else { &self.upstream_lines };
        if lines.get(&line) != Some(&attempt) {
            // What overtakes the welcome waits in the connection; all else is of one that is gone.
            if to == End::Edge && self.attempts.get(&line) == Some(&attempt) {
                self.network.wait(Event::Arrive { to, line, attempt, parcel }, self.now);
            }
            return Ok(());
        }
        match (to, parcel) {
            (_, Parcel::Close) => self.close(to, line),
            (End::Edge, Parcel::Datagram(bytes)) => {
                let taken = self.caller.handle_datagram(line, bytes, self.now);
                taken.map_err(|error| self.broken(error.to_string()))?;
            }
            (End::Upstream, Parcel::Datagram(bytes)) => {
                let taken = self.upstream.answerer.handle_datagram(line, bytes, self.now);
                taken.map_err(|error| self.broken(error.to_string()))?;
            }
            (_, Parcel::Frames(frames, bytes)) => {
                for frame in &frames {
                    self.upstream.streaming.remove(&frame.pull);
                }
                self.caller.handle_stream(line, frames, bytes, self.now);
            }
            (to, parcel @ (Parcel::Up(place, ..) | Parcel::Down(place, ..))) => {
                // A stream gives what it carries in order.
                let key = (to == End::Edge, line, attempt);
                let (taken, early) = self.taken.entry(key).or_default();
                early.insert(place, parcel);
                let mut ready = Vec::new();
                while let Some(next) = early.remove(taken) {
                    *taken += 1;
                    ready.push(next);
                }
                for parcel in ready {
                    self.take_control(line, parcel)?;
                }
            }
            (_, Parcel::Call | Parcel::Welcome(_)) => {}
        }
        self.settle()
    }

    fn take_control(&mut self, line: LineId, parcel: Parcel) -> Result<(), Broken> {
        let taken = match parcel {
            Parcel::Up(_, number, kind) => {
                self.upstream.answerer.handle_control(line, number, kind, self.now)
            }
            Parcel::Down(_, number, kind) => {
                self.caller.handle_control(line, number, kind, self.now)
            }
            _ => Ok(()),
        };
        taken.map_err(|error| self.broken(error.to_string()))
    }

    fn upstream_takes(&mut self, line: LineId, attempt: u64) {
        self.close_quietly(End::Upstream, line);
        self.upstream_lines.insert(line, attempt);
        let ends = self.ends(line);
        self.upstream.answerer.handle_opened(line, ends, DATAGRAM_MAX, self.now);
        let welcome = Parcel::Welcome(self.upstream.trunk);
        self.network.send(End::Edge, (line, attempt), welcome, 400, self.now);
    }

    fn edge_takes(&mut self, line: LineId, attempt: u64, trunk: u64) -> Result<(), Broken> {
        if self.with != Some(trunk) {
            for line in self.edge_lines.keys().copied().collect::<Vec<_>>() {
                self.close(End::Edge, line);
            }
            let seed = self.dice.number();
            self.caller.reset(seed, self.now);
            self.with = Some(trunk);
            self.told = 0;
            self.open_pulls()?;
        }
        self.edge_lines.insert(line, attempt);
        let ends = self.ends(line);
        self.opener.handle_opened(line, self.now);
        self.caller.handle_opened(line, ends, DATAGRAM_MAX, self.now);
        self.settle()
    }

    fn ends(&self, line: LineId) -> (LineEnd, LineEnd) {
        let of = |(_, local, remote, _): (LineId, &LineEnd, &LineEnd, _)| {
            (local.clone(), remote.clone())
        };
        let any = LineEnd::of(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut all = self.opener.candidates();
        all.find(|(id, ..)| *id == line).map_or((any.clone(), any), of)
    }

    fn open_pulls(&mut self) -> Result<(), Broken> {
        for at in 0..self.pulls.len() {
            self.pulls[at] = self.pull_next;
            self.pull_next += 1;
            let reader = &self.readers[at];
            let pull = OpenPull {
                pull: self.pulls[at],
                channel: at.to_string(),
                epoch: reader.epoch.map_or(0, Epoch::number),
                next: reader.next,
                credit: CREDIT,
            };
            let open = up::Kind::Open(OpenPulls { pulls: vec![pull] });
            let sent = self.caller.send(open, self.now);
            sent.map_err(|error| self.broken(error.to_string()))?;
        }
        Ok(())
    }

    /// An end's connection ends; the other learns of it if that arrives.
    fn close(&mut self, end: End, line: LineId) {
        let (lines, other) = match end {
            End::Edge => (&self.edge_lines, End::Upstream),
            End::Upstream => (&self.upstream_lines, End::Edge),
        };
        if let Some(attempt) = lines.get(&line).copied() {
            self.network.send(other, (line, attempt), Parcel::Close, 40, self.now);
            self.close_quietly(end, line);
        }
    }

    fn close_quietly(&mut self, end: End, line: LineId) {
        match end {
            End::Edge => {
                if self.edge_lines.remove(&line).is_some() {
                    self.caller.handle_closed(line, self.now);
                    self.opener.handle_closed(line, self.now);
                }
                if self.edge_lines.is_empty() {
                    self.opener.handle_all_lost(self.now);
                }
            }
            End::Upstream => {
                if self.upstream_lines.remove(&line).is_some() {
                    self.upstream.answerer.handle_closed(line, self.now);
                    self.upstream.streaming.clear();
                }
            }
        }
    }

    /// Carries out what both ends want, and checks what they tell.
    fn settle(&mut self) -> Result<(), Broken> {
        self.upstream.act(self.now);
        self.read()?;
        while let Some(action) = self.caller.poll_action() {
            match action {
                TrunkAction::Datagram { line, bytes } => {
                    self.datagram(End::Upstream, line, bytes);
                }
                TrunkAction::Control { line, number, message } => {
                    let place = self.place(End::Upstream, line);
                    let parcel = |place| Parcel::Up(place, number, (*message).clone());
                    if let Some((attempt, place)) = place {
                        let to = (line, attempt);
                        self.network.send(End::Upstream, to, parcel(place), 100, self.now);
                    }
                }
                TrunkAction::Stream { .. } => {}
                TrunkAction::Abandon(line) => self.close(End::Edge, line),
            }
        }
        while let Some(action) = self.upstream.answerer.poll_action() {
            match action {
                TrunkAction::Datagram { line, bytes } => self.datagram(End::Edge, line, bytes),
                TrunkAction::Control { line, number, message } => {
                    let place = self.place(End::Edge, line);
                    let parcel = |place| Parcel::Down(place, number, (*message).clone());
                    if let Some((attempt, place)) = place {
                        let to = (line, attempt);
                        self.network.send(End::Edge, to, parcel(place), 100, self.now);
                    }
                }
                TrunkAction::Stream { line, pieces } => self.stream(line, pieces)?,
                TrunkAction::Abandon(line) => self.close(End::Upstream, line),
            }
        }
        if let Some(switch) = self.upstream.answerer.take_switch()
            && self.now > self.start + WARM_UP
            && switch.from.is_some()
        {
            self.figures.switches += 1;
            let left = self.fault_at.map(|at| (self.now - at).as_secs_f64() * 1000.0);
            self.figures.left_ms = self.figures.left_ms.or(left);
        }
        while let Some(open) = self.opener.poll(self.now) {
            let attempt = self.attempts.entry(open.line).or_default();
            *attempt += 1;
            let to = (open.line, *attempt);
            self.network.send(End::Upstream, to, Parcel::Call, 1200, self.now);
        }
        if self.caller.receiver().held() > HELD_BYTES_MAX {
            return Err(self.broken("too much is held"));
        }
        let unacknowledged =
            self.caller.trunk().unacknowledged() + self.upstream.answerer.trunk().unacknowledged();
        if unacknowledged > UNACKNOWLEDGED_MAX {
            return Err(self.broken(format!("{unacknowledged} control messages wait")));
        }
        Ok(())
    }

    fn datagram(&mut self, to: End, line: LineId, bytes: Bytes) {
        let lines = if to == End::Edge { &self.upstream_lines } else { &self.edge_lines };
        if let Some(attempt) = lines.get(&line).copied() {
            let length = bytes.len();
            self.network.send(to, (line, attempt), Parcel::Datagram(bytes), length, self.now);
        }
    }

    /// The connection that carries a line's control stream, and the next place in it.
    fn place(&mut self, to: End, line: LineId) -> Option<(u64, u64)> {
        let lines = if to == End::Edge { &self.upstream_lines } else { &self.edge_lines };
        let attempt = *lines.get(&line)?;
        let place = self.sent.entry((to == End::Edge, line, attempt)).or_default();
        *place += 1;
        Some((attempt, *place - 1))
    }

    fn stream(&mut self, line: LineId, pieces: Vec<Bytes>) -> Result<(), Broken> {
        let mut bytes: BytesMut = pieces.into_iter().flatten().collect();
        let length = bytes.len();
        let mut frames = Vec::new();
        loop {
            match Frame::decode(&mut bytes) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return Err(self.broken(error.to_string())),
            }
        }
        if let Some(attempt) = self.upstream_lines.get(&line).copied() {
            let parcel = Parcel::Frames(frames, length);
            self.network.send(End::Edge, (line, attempt), parcel, length, self.now);
        }
        Ok(())
    }

    /// Takes what the edge's end delivers, and checks it.
    fn read(&mut self) -> Result<(), Broken> {
        while let Some(message) = self.caller.poll_control(self.now) {
            let down::Kind::Command(command) = message else { continue };
            if command.number < self.command_first {
                continue; // of an earlier process
            }
            match self.commands.pop_front() {
                Some(expected) if expected == command.number => {}
                expected => {
                    let what = format!("command {} instead of {expected:?}", command.number);
                    return Err(self.broken(what));
                }
            }
        }
        let told = &self.upstream.told;
        if told.len() >= 2 && told[told.len() - 2] + 1 != told[told.len() - 1] {
            return Err(self.broken(format!("updates arrive as {:?}", &told[told.len() - 2..])));
        }
        while let Some(news) = self.caller.poll_event() {
            match news {
                News::Opened { pull, epoch, next, .. } => self.opened(pull, epoch, next)?,
                News::Message { pull, epoch, message, waited } => {
                    let Some(at) = self.pulls.iter().position(|known| *known == pull) else {
                        return Err(self.broken(format!("a message of pull {pull}")));
                    };
                    let reader = &mut self.readers[at];
                    if reader.epoch != Some(epoch) || reader.next != message.offset {
                        let what = format!("offset {} after {reader:?}", message.offset);
                        return Err(self.broken(what));
                    }
                    reader.next += 1;
                    let bytes = message.content.body.len();
                    if message.content.body != body(at, epoch, message.offset, bytes) {
                        return Err(self.broken("another body"));
                    }
                    let key = (at, epoch.number(), message.offset);
                    let published = self.published.remove(&key);
                    if published.is_none() && self.scenario.may_lose {
                        continue; // of the log that was lost
                    }
                    let Some(published) = published else {
                        return Err(self.broken(format!("{key:?} was not published")));
                    };
                    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
                    let delivered = self.now - published;
                    self.figures.delivered_ms.push(ms(delivered));
                    self.figures.arrived_ms.push(ms(delivered.saturating_sub(waited)));
                    self.figures.useful += bytes as u64;
                    self.grant(at)?;
                }
                News::Refused { .. } | News::Presence { .. } => {
                    return Err(self.broken("refusals and presence are nobody's"));
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, pull: u64, epoch: Epoch, next: u64) -> Result<(), Broken> {
        let Some(at) = self.pulls.iter().position(|known| *known == pull) else { return Ok(()) };
        let reader = &mut self.readers[at];
        let follows = match reader.epoch {
            None => true,
            Some(known) => known == epoch && reader.next == next,
        };
        if !follows && !self.scenario.may_lose {
            let what = format!("a gap: from {reader:?} to {next} of {epoch}");
            return Err(self.broken(what));
        }
        if !follows {
            // What came before in this life is not had any more.
            self.published.retain(|(channel, life, offset), _| {
                *channel != at || *life != epoch.number() || *offset >= next
            });
        }
        *reader = Reader { epoch: Some(epoch), next };
        Ok(())
    }

    fn grant(&mut self, at: usize) -> Result<(), Broken> {
        self.consumed[at] += 1;
        if self.consumed[at] < u64::from(CREDIT / 2) {
            return Ok(());
        }
        self.consumed[at] = 0;
        let until = self.readers[at].next + u64::from(CREDIT);
        let grant = shared::wire::control::Credit { pull: self.pulls[at], until };
        let credit = shared::wire::control::GrantCredit { grants: vec![grant] };
        let sent = self.caller.send(up::Kind::Credit(credit), self.now);
        sent.map_err(|error| self.broken(error.to_string()))
    }
}

/// The round-trip time of rows with goals for latency; others are 40, 60 or 120 ms by their seed.
const RTT: Duration = Duration::from_millis(40);
/// Until the lines stand and have been measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long everything may take once the faults are over.
const LIVENESS: Duration = Duration::from_secs(10);
const DATAGRAM_MAX: usize = 1200;
/// As edges give: 25 s of a busy room.
const CREDIT: u32 = 1024;
/// Control messages of 50 ms each, both ways, over an outage of seven seconds.
const UNACKNOWLEDGED_MAX: usize = 400;

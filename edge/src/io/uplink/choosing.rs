//! Carries out which upstream is pulled from, and serves the edges that pull through this one.
//!
//! Invariant: this edge serves pulls only while it pulls from its origin itself. Before it pulls
//! through a neighbour, it forgets every pull that it serves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shared::io::trunk::News;
use shared::wire::control::{Quality, Welcome, down};
use shared::wire::convert;
use tokio::sync::mpsc::error::TrySendError;

use super::super::neighbours::{FromNeighbour, ToNeighbour};
use super::Uplink;
use super::requests::{For, Route};
use super::way::Way;
use crate::hub::ShardId;
use crate::upstreams::{Choice, OwnWay, is_beside_origin};

impl Uplink {
    /// Whether there is anything to choose, or anybody to tell.
    pub(super) fn has_neighbours(&self) -> bool {
        !self.neighbours.is_empty() || !self.served.is_empty()
    }

    /// Takes in what neighbours say.
    pub(super) fn hear_neighbours(&mut self, now: Instant) {
        for at in 0..self.neighbours.len() {
            let is_active = self.active == Choice::Neighbour(at);
            let mut events = Vec::new();
            while let Some(way) = self.neighbours.get_mut(at)
                && let Some(news) = way.end.poll()
            {
                if let News::Event(event) = news {
                    events.push(event);
                    continue;
                }
                self.take_events(Choice::Neighbour(at), &mut events, now);
                match news {
                    News::Up(welcome) => self.welcomed(at, *welcome),
                    News::Down => self.lapse(at, None),
                    News::Control(down::Kind::Quality(quality)) => {
                        if is_beside_origin(&quality.path) {
                            self.neighbours[at].quality = Some((quality, now));
                        } else {
                            self.lapse(at, Some((quality, now)));
                        }
                        self.choose_at = self.choose_at.min(now);
                    }
                    News::Control(down::Kind::Totals(totals)) if is_active => {
                        self.hub.handle_totals(totals);
                    }
                    // Commands are the origin's own.
                    News::Control(_) | News::Switch(_) | News::Event(_) => {}
                }
            }
            self.take_events(Choice::Neighbour(at), &mut events, now);
        }
    }

    fn welcomed(&mut self, at: usize, welcome: Welcome) {
        tracing::info!(neighbour = welcome.node, version = welcome.version, "a neighbour is there");
        self.lapse(at, None);
        let namespaces = convert::namespaces_in(welcome.namespaces);
        self.neighbours[at].namespaces = Some(Arc::new(namespaces));
    }

    /// What was pulled through a neighbour is gone.
    fn lapse(&mut self, at: usize, quality: Option<(Quality, Instant)>) {
        let way = &mut self.neighbours[at];
        if quality.is_none() {
            way.namespaces = None;
        }
        (way.quality, way.lapsed) = (quality, true);
        self.choose_at = Instant::now();
    }

    /// The edge's own way to its origin.
    pub(super) fn own_way(&self, now: Instant) -> Option<OwnWay> {
        self.origin.own(now)
    }

    /// Chooses the upstream, and goes over to it.
    pub(super) fn choose(&mut self, now: Instant) {
        self.choose_at = now + CHOOSE_EVERY;
        let own = self.own_way(now);
        if let Some(own) = own {
            self.own_seen = Some((now, own.delivery));
        }
        let ways: Vec<_> = self.neighbours.iter().map(|way| way.through(&self.name, now)).collect();
        let choice = self.upstreams.decide(own, &ways, now);
        if choice != self.active {
            self.go_over(choice, now);
        }
        for way in &mut self.neighbours {
            way.lapsed = false;
        }
        self.tell_quality(now);
    }

    fn go_over(&mut self, choice: Choice, now: Instant) {
        tracing::warn!(from = ?self.active, to = ?choice, "another upstream");
        if choice != Choice::Origin {
            self.stop_serving(now);
        }
        self.hub.handle_line_left();
        self.carry_out(now);
        self.grants.clear();
        self.active = choice;
        if let Some(namespaces) = self.upstream().namespaces.clone() {
            // An edge that has not heard its origin yet begins with what a neighbour knows.
            self.namespaces.send_if_modified(|told| {
                let is_first = told.is_none();
                told.get_or_insert_with(|| Arc::clone(&namespaces));
                is_first
            });
            self.hub.handle_line_up(namespaces);
        }
        let number = match choice {
            Choice::Origin => 0,
            Choice::Neighbour(at) => at as u32 + 1, // at most NEIGHBOURS_MAX
        };
        self.gauges.upstream.store(number, Ordering::Relaxed);
        self.gauges.upstream_switches.store(self.upstreams.switches(), Ordering::Relaxed);
    }

    /// The trunk that pulls go by.
    pub(super) fn upstream(&mut self) -> &mut Way {
        match self.active {
            Choice::Neighbour(at) if at < self.neighbours.len() => &mut self.neighbours[at],
            Choice::Neighbour(_) | Choice::Origin => &mut self.origin,
        }
    }

    /// By what a request goes: the origin's lines, and a neighbour's while none of those works.
    pub(super) fn route(&self, now: Instant) -> Route {
        if self.own_way(now).is_none() {
            let through = |way: &Way| way.through(&self.name, now);
            let best = self.neighbours.iter().filter(|way| through(way).is_some());
            if let Some(best) = best.min_by_key(|way| through(way)) {
                // What a neighbour asks is not asked after updates of this edge.
                return route(best, 0);
            }
        }
        route(&self.origin, self.hub.update_seq())
    }

    /// From where this edge has what it serves: its path up to the origin.
    fn path(&self, now: Instant) -> Vec<String> {
        let up = match self.active {
            Choice::Origin => self
                .own_seen
                .filter(|(at, _)| now.saturating_duration_since(*at) < SERVES_WITHOUT_LINES)
                .and_then(|_| Some(vec![self.origin.name()?])),
            Choice::Neighbour(at) => self
                .neighbours
                .get(at)
                .and_then(|way| way.quality.as_ref())
                .map(|(quality, _)| quality.path.iter().take(PATH_MAX).cloned().collect()),
        };
        let from_here = |up| std::iter::once(self.name.clone()).chain(up).collect();
        up.map_or_else(Vec::new, from_here)
    }

    fn tell_quality(&mut self, now: Instant) {
        let path = self.path(now);
        if path == self.quality.path && now < self.quality_at {
            return;
        }
        let delivery_us = self.own_seen.map_or(0, |(_, delivery)| delivery.as_micros() as u64);
        self.tell_served(Quality { path, delivery_us }, now);
    }

    /// Whoever pulls through this edge has lost its pulls when this returns.
    pub(super) fn stop_serving(&mut self, now: Instant) {
        self.own_seen = None;
        self.tell_served(Quality::default(), now);
    }

    /// Says what this edge is like now. Pulls that it served end when it serves none any more.
    fn tell_served(&mut self, quality: Quality, now: Instant) {
        if is_beside_origin(&self.quality.path) && !is_beside_origin(&quality.path) {
            for shard in self.served.keys() {
                self.hub.handle_shard_gone(*shard, now);
            }
        }
        self.quality_at = now + QUALITY_EVERY;
        self.quality = Arc::new(quality);
        for shard in self.served.keys().copied().collect::<Vec<_>>() {
            self.tell_session(shard, ToNeighbour::Quality(Arc::clone(&self.quality)), now);
        }
    }

    /// Takes in what a session of a neighbour says.
    pub(super) fn handle_served(&mut self, shard: ShardId, message: FromNeighbour) {
        let now = Instant::now();
        let serves = is_beside_origin(&self.quality.path);
        match message {
            FromNeighbour::Came(session) => {
                self.served.insert(shard, session);
                self.tell_session(shard, ToNeighbour::Quality(Arc::clone(&self.quality)), now);
                self.choose_at = now;
            }
            FromNeighbour::Join(channel, join, from) if serves => {
                self.hub.handle_join(shard, join, channel, from, now);
            }
            FromNeighbour::Fetch(channel, join, from, count) if serves => {
                self.hub.handle_fetch(shard, join, channel, from, count);
            }
            // It is being told that its joinings are over.
            FromNeighbour::Join(..) | FromNeighbour::Fetch(..) => {}
            FromNeighbour::Leave(channel, join) => {
                self.hub.handle_leave(shard, join, &channel, now);
            }
            // One hop: it never goes on to a neighbour.
            FromNeighbour::Ask(kind, reply) => {
                if self.own_way(now).is_some() {
                    let route = route(&self.origin, 0);
                    self.requests.ask(route, kind, For::Neighbour, |answer| async {
                        let _ = reply.send(answer);
                    });
                }
            }
            FromNeighbour::Gone => {
                self.served.remove(&shard);
                self.hub.handle_shard_gone(shard, now);
            }
        }
        self.gauges.neighbours.store(self.served.len() as u32, Ordering::Relaxed);
    }

    /// Tells a session, which takes everything at once. One that does not is over: its edge comes
    /// again, and reads from where it was.
    pub(super) fn tell_session(&mut self, shard: ShardId, message: ToNeighbour, now: Instant) {
        let Some(session) = self.served.get(&shard) else { return };
        if let Err(TrySendError::Full(_)) = session.try_send(message) {
            tracing::error!(shard = shard.0, "the session of a neighbour takes nothing");
            self.served.remove(&shard);
            self.hub.handle_shard_gone(shard, now);
        }
    }
}

fn route(way: &Way, after_update: u64) -> Route {
    let rtt = way.end.caller().trunk().pool().rtt().unwrap_or(RTT_ASSUMED);
    Route { connections: way.end.connections(), rtt, after_update }
}

/// How often the upstream is chosen: a fraction of the time after which lost lines are left.
const CHOOSE_EVERY: Duration = Duration::from_millis(100);
/// How often served edges are told of this one's quality.
const QUALITY_EVERY: Duration = Duration::from_secs(1);
/// How long none of an edge's own lines may work before it says that it has no origin.
const SERVES_WITHOUT_LINES: Duration = Duration::from_millis(500);
/// Names of a neighbour's path that are told on: more than one hop is too long already.
const PATH_MAX: usize = 4;
const RTT_ASSUMED: Duration = Duration::from_millis(100);

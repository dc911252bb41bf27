//! The door: counts the connections of all shards, and lets in no more than the bounds allow.
//!
//! Who is shut out is dropped without a word: its address has too much already, or too many are being
//! looked at. Who is turned away, because this edge is full or about to end, is told so if its
//! protocol can say it, and where to go.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::address;

use crate::config::Limits;
use crate::session::{Blame, Close};
use crate::tokens::Tokens;

/// Shared by all shards; touched when connections come and go, never on the hot path.
#[derive(Debug)]
pub(super) struct Door {
    limits: Limits,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    connections: usize,
    /// Connections that have not said who they are.
    strangers: usize,
    turned_away: usize,
    /// Those who are told a second that they must go: a handshake for each is work too.
    goodbyes: Tokens,
    /// Addresses with a connection.
    addresses: usize,
    by_address: HashMap<IpAddr, OfAddress>,
    /// When addresses that are empty and have long been still are forgotten next.
    swept_at: Instant,
    arrivals: Tokens,
    closed: Option<Closed>,
    /// Clients a second that operators want sent on.
    drain_rate: f64,
    next: Vec<Next>,
    refusals: BTreeMap<Refusal, u64>,
}

#[derive(Debug)]
struct OfAddress {
    connections: usize,
    strangers: usize,
    arrivals: Tokens,
}

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closed {
    /// There is too much to do.
    Busy,
    /// The edge is about to end, or operators want its clients elsewhere.
    Draining,
}

/// What became of a connection at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is in; [`Door::leave`] must follow.
    In,
    /// It is in only to be told that it must go; [`Door::leave`] must follow.
    Away,
    /// It is not in.
    Shut,
}

/// Why a connection was not let in; the label of its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    /// There are as many as may be.
    Full,
    /// There is too much to do.
    Busy,
    /// The edge is about to end.
    Draining,
    /// Its address has as many as it may.
    Address,
    /// Its address comes too often.
    AddressRate,
    /// Too many come at once.
    Rate,
    /// Too many have not said who they are.
    Strangers,
    /// It does not come through a trusted proxy where it must.
    NoProxy,
}

impl Refusal {
    /// The label of its count.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Address => "address",
            Self::AddressRate => "address_rate",
            Self::Rate => "rate",
            Self::Strangers => "strangers",
            Self::NoProxy => "no_proxy",
        }
    }
}

/// A place where clients may go instead.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Next {
    /// Its protocol, as reports name it.
    pub(super) protocol: String,
    /// Host and port.
    pub(super) address: String,
    /// Of those who are told, relative to the other places of the protocol.
    pub(super) share: f64,
}

/// Who is let in: under which address it is counted, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guest {
    /// The address that it is counted under; `None` is a trusted proxy's, whose clients are counted
    /// when they have said who they are.
    pub(super) address: Option<IpAddr>,
    /// Whether it has not said who it is.
    pub(super) is_stranger: bool,
    /// Whether it is to be told that it must go.
    pub(super) is_away: bool,
}

impl Door {
    /// An empty house.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let arrivals = Tokens::new(limits.arrivals_burst().into(), now);
        let inside = Inside {
            connections: 0,
            strangers: 0,
            turned_away: 0,
            goodbyes: Tokens::new(GOODBYES_BURST, now),
            addresses: 0,
            by_address: HashMap::new(),
            swept_at: now,
            arrivals,
            closed: None,
            drain_rate: 0.0,
            next: Vec::new(),
            refusals: BTreeMap::new(),
        };
        Self { limits, inside: Mutex::new(inside) }
    }

    /// Lets a connection in, if there is room for one more of its `address`; `None` is a trusted
    /// proxy's. `can_hear`: whether it can be told why not.
    pub(super) fn enter(&self, address: Option<IpAddr>, can_hear: bool, now: Instant) -> Entry {
        let mut inside = self.lock();
        let inside = &mut *inside;
        if let Err(refusal) = inside.admit(address, &self.limits, now) {
            return inside.refuse(refusal);
        }
        let refusal = match inside.closed() {
            Some(Closed::Draining) => Refusal::Draining,
            Some(Closed::Busy) => Refusal::Busy,
            None if inside.connections >= self.limits.connections_max => Refusal::Full,
            None => {
                inside.connections += 1;
                inside.strangers += 1;
                return Entry::In;
            }
        };
        if can_hear
            && inside.turned_away < TURNED_AWAY_MAX
            && inside.goodbyes.take(GOODBYES_PER_SECOND, GOODBYES_BURST, now)
        {
            inside.refuse(refusal);
            inside.turned_away += 1;
            inside.strangers += 1;
            return Entry::Away;
        }
        inside.forget(address, true);
        inside.refuse(refusal)
    }

    /// Counts the client behind a proxy, which has not said who it is, if there is room for one more of
    /// its address.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> bool {
        let mut inside = self.lock();
        let admitted = inside.admit_address(address, &self.limits, now);
        if let Err(refusal) = admitted {
            inside.refuse(refusal);
        }
        admitted.is_ok()
    }

    /// A connection is not let in for a reason that shows elsewhere.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.lock().refuse(refusal);
    }

    /// A guest has said who it is.
    pub(super) fn greet(&self, guest: &mut Guest) {
        if std::mem::take(&mut guest.is_stranger) {
            let mut inside = self.lock();
            inside.strangers = inside.strangers.saturating_sub(1);
            if let Some(of) = inside.of(guest.address) {
                of.strangers = of.strangers.saturating_sub(1);
            }
        }
    }

    /// A guest is gone.
    pub(super) fn leave(&self, guest: Guest) {
        let mut inside = self.lock();
        let count = if guest.is_away { &mut inside.turned_away } else { &mut inside.connections };
        *count = count.saturating_sub(1);
        inside.strangers = inside.strangers.saturating_sub(guest.is_stranger.into());
        inside.forget(guest.address, guest.is_stranger);
    }

    /// Lets nobody in, or everybody again. What is about to end stays so.
    pub(super) fn close(&self, closed: Option<Closed>) {
        let mut inside = self.lock();
        if inside.closed != Some(Closed::Draining) {
            inside.closed = closed;
        }
    }

    /// Operators want so many clients a second sent on; 0 for none.
    pub(super) fn set_drain_rate(&self, rate: f64) {
        self.lock().drain_rate = rate;
    }

    /// How many clients a second operators want sent on, and how many connections are left to go; these go,
    /// too, when the edge is about to end.
    pub(super) fn drain(&self) -> (f64, usize) {
        let inside = self.lock();
        let goes = inside.closed() == Some(Closed::Draining);
        (inside.drain_rate, if goes { inside.connections } else { 0 })
    }

    /// Where clients may go instead, the best first.
    pub(super) fn set_next(&self, next: Vec<Next>) {
        self.lock().next = next;
    }

    /// How many places there are where clients may go instead.
    pub(super) fn elsewhere(&self) -> usize {
        self.lock().next.len()
    }

    /// What clients of a protocol are told that must go: why, and where to if that is known.
    pub(super) fn goodbye(&self, protocol: &str) -> Close {
        let inside = self.lock();
        let (code, mut reason) = match inside.closed() {
            Some(Closed::Draining) => (SHUTDOWN, "shutdown".to_owned()),
            Some(Closed::Busy) => (TURNED_AWAY, "busy".to_owned()),
            None => (TURNED_AWAY, "full".to_owned()),
        };
        let fitting: Vec<&Next> = inside.next.iter().filter(|n| n.protocol == protocol).collect();
        if let Some(next) = drawn(&fitting, rand::random()) {
            reason.push_str("; next: ");
            reason.push_str(&next.address);
        }
        Close { code, reason, blame: Blame::Order }
    }

    /// Connections inside, and distinct addresses among them.
    pub(super) fn counts(&self) -> (u32, u32) {
        let inside = self.lock();
        (inside.connections as u32, inside.addresses as u32)
    }

    /// Connections that have not said who they are.
    pub(super) fn strangers(&self) -> usize {
        self.lock().strangers
    }

    /// How many were not let in, by reason.
    pub(super) fn refusals(&self) -> BTreeMap<Refusal, u64> {
        self.lock().refusals.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn closed(&self) -> Option<Closed> {
        if self.drain_rate > 0.0 { Some(Closed::Draining) } else { self.closed }
    }

    fn admit(
        &mut self,
        address: Option<IpAddr>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Refusal> {
        // When there are too many, those whose address has few may still come: a few addresses cannot
        // shut out all others.
        let of_address = self.of(address).map_or(0, |of| of.strangers);
        let few = address.is_some() && of_address < limits.strangers_max / STRANGERS_SHARE;
        let max = limits.strangers_max * if few { 2 } else { 1 };
        if self.strangers >= max {
            return Err(Refusal::Strangers);
        }
        if let Some(address) = address {
            self.admit_address(address, limits, now)?;
        }
        let (rate, burst) = (limits.arrivals_per_second, limits.arrivals_burst());
        if rate > 0 && !self.arrivals.take(rate.into(), burst.into(), now) {
            self.forget(address, true);
            return Err(Refusal::Rate);
        }
        Ok(())
    }

    fn admit_address(
        &mut self,
        address: IpAddr,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Refusal> {
        // Whoever has as many connections as an address may have can come back with all of them.
        let (rate, burst) =
            (f64::from(limits.arrivals_per_address), limits.connections_per_address_max as f64);
        if now.saturating_duration_since(self.swept_at) >= SWEEP_EVERY {
            self.swept_at = now;
            self.by_address.retain(|_, of| {
                of.connections > 0 || (rate > 0.0 && !of.arrivals.is_full(rate, burst, now))
            });
        }
        let of = self.by_address.entry(address::bucket(address)).or_insert_with(|| OfAddress {
            connections: 0,
            strangers: 0,
            arrivals: Tokens::new(burst, now),
        });
        if of.connections >= limits.connections_per_address_max {
            return Err(Refusal::Address);
        }
        if rate > 0.0 && !of.arrivals.take(rate, burst, now) {
            return Err(Refusal::AddressRate);
        }
        of.connections += 1;
        of.strangers += 1;
        self.addresses += usize::from(of.connections == 1);
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> Entry {
        *self.refusals.entry(refusal).or_default() += 1;
        Entry::Shut
    }

    /// A connection of this address is gone, which had not said who it is, or had.
    fn forget(&mut self, address: Option<IpAddr>, is_stranger: bool) {
        let Some(of) = self.of(address) else { return };
        of.strangers = of.strangers.saturating_sub(is_stranger.into());
        of.connections = of.connections.saturating_sub(1);
        let is_empty = of.connections == 0;
        self.addresses = self.addresses.saturating_sub(is_empty.into());
    }

    fn of(&mut self, address: Option<IpAddr>) -> Option<&mut OfAddress> {
        self.by_address.get_mut(&address.map(address::bucket)?)
    }
}

/// The place at `at`, 0 to 1, of the line in which each is as long as its share; the best where no share
/// can be used.
fn drawn<'a>(places: &[&'a Next], at: f64) -> Option<&'a Next> {
    let share = |next: &Next| if next.share.is_finite() { next.share.max(0.0) } else { 0.0 };
    let mut left = at * places.iter().map(|next| share(next)).sum::<f64>();
    let hit = places.iter().find(|next| {
        left -= share(next);
        left < 0.0
    });
    hit.or(places.first()).copied()
}

/// Centrifuge's close code of a server that ends; clients come back, elsewhere if they can.
const SHUTDOWN: u16 = 3001;
/// The close code of an edge that takes nobody more: one of those that are free for applications, and
/// after which Centrifuge's clients come back.
pub(super) const TURNED_AWAY: u16 = 4001;
/// Connections that are told at the same time that they must go.
const TURNED_AWAY_MAX: usize = 1000;
/// Those who are told in a second, after a burst.
const GOODBYES_PER_SECOND: f64 = 200.0;
const GOODBYES_BURST: f64 = 400.0;
/// An address may have this part of the strangers when there are too many of them.
const STRANGERS_SHARE: usize = 64;
/// How often addresses without connections are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn now() -> Instant {
        Instant::now()
    }

    fn limits(connections_max: usize, connections_per_address_max: usize) -> Limits {
        Limits {
            connections_max,
            connections_per_address_max,
            arrivals_per_second: 0,
            arrivals_per_address: 0,
            ..Limits::default()
        }
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    fn guest(address: Option<IpAddr>) -> Guest {
        Guest { address, is_stranger: true, is_away: false }
    }

    #[test]
    fn bounds_hold_in_all_and_by_address() {
        let door = Door::new(limits(3, 2), now());
        let enter = |address| door.enter(address, false, now());
        let (a, b) = (address(1), address(2));
        assert_eq!([enter(a), enter(a)], [Entry::In; 2]);
        assert_eq!(enter(a), Entry::Shut, "two of one address");
        assert_eq!(enter(b), Entry::In);
        assert_eq!(enter(b), Entry::Shut, "three in all");
        assert_eq!(door.counts(), (3, 2));
        door.leave(guest(a));
        assert_eq!(enter(b), Entry::In);
        for address in [a, b, b] {
            door.leave(guest(address));
        }
        assert_eq!((door.counts(), door.strangers()), ((0, 0), 0));
        assert_eq!(door.refusals(), [(Refusal::Full, 1), (Refusal::Address, 1)].into());
    }

    #[test]
    fn clients_behind_a_proxy_count_as_themselves() {
        let door = Door::new(limits(10, 1), now());
        let client = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(door.enter(None, false, now()), Entry::In);
        assert_eq!(door.enter(None, false, now()), Entry::In, "the proxy itself is not counted");
        assert!(door.count(client, now()));
        assert!(!door.count(client, now()));
        door.leave(guest(Some(client)));
        door.leave(guest(None));
        assert_eq!(door.counts(), (0, 0));
    }

    #[test]
    fn an_address_that_comes_and_goes_is_slowed_down_and_others_are_not() {
        let start = now();
        let limits = Limits { arrivals_per_address: 10, ..limits(100, 5) };
        let door = Door::new(limits, start);
        let come_and_go = |last, now| {
            let come = |_: &u32| {
                let entry = door.enter(address(last), false, now);
                if entry == Entry::In {
                    door.leave(guest(address(last)));
                }
                entry == Entry::In
            };
            (0..20).take_while(come).count()
        };
        assert_eq!(come_and_go(1, start), 5);
        assert_eq!(come_and_go(2, start), 5);
        assert_eq!(come_and_go(1, start + Duration::from_millis(200)), 2);
        assert_eq!(door.refusals(), [(Refusal::AddressRate, 3)].into());
        // What has been still for long is forgotten.
        assert_eq!(come_and_go(3, start + SWEEP_EVERY), 5);
        assert_eq!(door.lock().by_address.len(), 1);
    }

    #[test]
    fn strangers_and_arrivals_are_bounded() {
        let start = now();
        let door = Door::new(Limits { strangers_max: 2, ..limits(100, 100) }, start);
        let mut known = guest(address(1));
        for expected in [Entry::In, Entry::In, Entry::Shut] {
            assert_eq!(door.enter(address(1), true, start), expected);
        }
        door.greet(&mut known);
        door.greet(&mut known);
        assert_eq!(door.strangers(), 1);
        assert_eq!(door.enter(address(1), true, start), Entry::In);

        // Others come in all the same, to a bound.
        let limits_of = limits(1000, 1000);
        let door = Door::new(Limits { strangers_max: 128, ..limits_of }, start);
        let entered = (0..500).filter(|_| door.enter(address(1), true, start) == Entry::In);
        assert_eq!(entered.count(), 128);
        let entered =
            (0..500).filter(|n| door.enter(address(2 + (n % 100) as u8), true, start) == Entry::In);
        assert_eq!(entered.count(), 128);

        let door = Door::new(Limits { arrivals_per_second: 4, ..limits(100, 100) }, start);
        let entries: Vec<_> = (0..6).map(|_| door.enter(address(1), true, start)).collect();
        assert_eq!(entries, [[Entry::In; 4].as_slice(), &[Entry::Shut; 2]].concat());
    }

    #[test]
    fn who_cannot_stay_is_told_where_to_go() {
        let door = Door::new(limits(1, 100), now());
        let next = |protocol: &str, address: &str| Next {
            protocol: protocol.into(),
            address: address.into(),
            share: 1.0,
        };
        door.set_next(vec![next("http", "b:1"), next("https", "b:2")]);
        assert_eq!(door.enter(address(1), true, now()), Entry::In);
        assert_eq!(door.enter(address(2), true, now()), Entry::Away);
        assert_eq!(door.enter(address(3), false, now()), Entry::Shut, "it could not be told");
        let said = |protocol| {
            let Close { code, reason, .. } = door.goodbye(protocol);
            (code, reason)
        };
        assert_eq!(said("https"), (4001, "full; next: b:2".into()));
        assert_eq!(said("goim-tcp"), (4001, "full".into()));
        door.close(Some(Closed::Busy));
        assert_eq!(said("http"), (4001, "busy; next: b:1".into()));
        door.close(Some(Closed::Draining));
        door.close(None);
        assert_eq!(said("http"), (3001, "shutdown; next: b:1".into()), "it does not open again");
        door.leave(Guest { is_away: true, ..guest(address(2)) });
        assert_eq!(door.counts(), (1, 1));
    }

    #[test]
    fn places_are_told_of_by_their_share() {
        let next = |address: &str, share| {
            let (protocol, address) = ("http".to_owned(), address.to_owned());
            Next { protocol, address, share }
        };
        let hits = |shares: &[f64]| {
            let places: Vec<Next> = shares.iter().map(|share| next("b:1", *share)).collect();
            let places: Vec<&Next> = places.iter().collect();
            let of = |at: f64| {
                let drawn = drawn(&places, at).expect("there is one");
                places.iter().position(|place| std::ptr::eq(*place, drawn))
            };
            [0.0, 0.5, 0.7, 0.999].map(|at| of(at).unwrap())
        };
        assert_eq!(hits(&[0.6, 0.3, 0.1]), [0, 0, 1, 2]);
        assert_eq!(hits(&[0.0, 1.0]), [1; 4]);
        assert_eq!(hits(&[f64::NAN, 0.0, -1.0]), [0; 4], "without shares it is the best");
        assert_eq!(drawn(&[], 0.5), None);
    }
}

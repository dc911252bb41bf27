//! How often somebody may be wrong: by address and by name, with a burst for mistakes.
//!
//! Strangers who guess must not shut operators out, or anybody could do that from anywhere. So a name
//! is *known* at the addresses from which its operator signed in lately: there it is bound by
//! mistakes that were made there for that name, and by nothing that is guessed elsewhere.
//!
//! Names that nobody has are counted like others, or the pace would tell which names there are.
//!
//! Invariant: memory is bounded whatever is guessed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::address::bucket;

use super::digest;

/// So many at once, then one in a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) burst: f64,
    pub(super) every: Duration,
}

/// What was guessed lately.
#[derive(Debug)]
pub(super) struct Guesses {
    by_address: Pace,
    by_name: Pace,
    addresses: BTreeMap<IpAddr, Spent>,
    /// Of addresses for which there was no room.
    others: Spent,
    /// When room was last looked for.
    swept: Option<Instant>,
    /// Of names, by [`name_slot`].
    names: BTreeMap<u16, Spent>,
    known: BTreeMap<(Arc<str>, IpAddr), Known>,
}

/// An address that an operator signed in from.
#[derive(Debug)]
struct Known {
    /// When it did so last.
    at: Instant,
    spent: Spent,
}

/// Guesses that are not yet forgotten.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    count: f64,
    at: Option<Instant>,
}

impl Guesses {
    pub(super) fn new(by_address: Pace, by_name: Pace) -> Self {
        Self {
            by_address,
            by_name,
            addresses: BTreeMap::new(),
            others: Spent::default(),
            swept: None,
            names: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Whether this name is known at this address.
    pub(super) fn is_known(&self, address: IpAddr, name: &Arc<str>, now: Instant) -> bool {
        self.known(bucket(address), name, now).is_some()
    }

    fn known(&self, address: IpAddr, name: &Arc<str>, now: Instant) -> Option<&Known> {
        let known = self.known.get(&(Arc::clone(name), address))?;
        (now.saturating_duration_since(known.at) < KNOWN_FOR).then_some(known)
    }

    /// Whether one more is looked at, or how long to wait for that.
    pub(super) fn may(
        &self,
        address: IpAddr,
        name: Option<&Arc<str>>,
        now: Instant,
    ) -> Result<(), Duration> {
        let address = bucket(address);
        if let Some(known) = name.and_then(|name| self.known(address, name, now)) {
            return known.spent.room(self.by_address, now);
        }
        let of_address = self.addresses.get(&address).unwrap_or(&self.others);
        of_address.room(self.by_address, now)?;
        match name.and_then(|name| self.names.get(&name_slot(name))) {
            Some(of_name) => of_name.room(self.by_name, now),
            None => Ok(()),
        }
    }

    /// One was wrong, or may turn out to be.
    pub(super) fn take(&mut self, address: IpAddr, name: Option<&Arc<str>>, now: Instant) {
        self.change(1.0, bucket(address), name, now);
    }

    /// One that was taken was none.
    pub(super) fn give_back(&mut self, address: IpAddr, name: Option<&Arc<str>>, now: Instant) {
        self.change(-1.0, bucket(address), name, now);
    }

    fn change(&mut self, by: f64, address: IpAddr, name: Option<&Arc<str>>, now: Instant) {
        if let Some(name) = name
            && self.known(address, name, now).is_some()
        {
            if let Some(known) = self.known.get_mut(&(Arc::clone(name), address)) {
                known.spent.change(by, self.by_address, now);
            }
            return;
        }
        if !self.addresses.contains_key(&address) && self.addresses.len() >= ADDRESSES_MAX {
            self.make_room(now);
        }
        let is_room = self.addresses.len() < ADDRESSES_MAX;
        let of_address = match self.addresses.get_mut(&address) {
            Some(spent) => spent,
            None if is_room => self.addresses.entry(address).or_default(),
            None => &mut self.others,
        };
        of_address.change(by, self.by_address, now);
        if let Some(name) = name {
            self.names.entry(name_slot(name)).or_default().change(by, self.by_name, now);
        }
    }

    /// Forgets addresses that have nothing left to forget, not for every guess of a flood.
    fn make_room(&mut self, now: Instant) {
        let lately = |at| now.saturating_duration_since(at) < SWEEP_EVERY;
        if !self.swept.is_some_and(lately) {
            self.swept = Some(now);
            let pace = self.by_address;
            self.addresses.retain(|_, spent| spent.left(pace, now) > 0.0);
        }
    }

    /// The one that was taken last from this address for this name was right.
    pub(super) fn was_right(&mut self, address: IpAddr, name: &Arc<str>, now: Instant) {
        self.give_back(address, Some(name), now);
        self.remember(address, name, now, now);
    }

    /// The operator of this name signed in from this address at that moment.
    pub(super) fn remember(&mut self, address: IpAddr, name: &Arc<str>, at: Instant, now: Instant) {
        let key = (Arc::clone(name), bucket(address));
        if let Some(known) = self.known.get_mut(&key) {
            known.at = known.at.max(at);
            return;
        }
        self.known.retain(|_, known| now.saturating_duration_since(known.at) < KNOWN_FOR);
        self.known.insert(key, Known { at, spent: Spent::default() });
        if self.known.len() > KNOWN_MAX {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.known.remove(&oldest);
            }
        }
    }
}

impl Spent {
    fn left(&self, pace: Pace, now: Instant) -> f64 {
        let since = |at| now.saturating_duration_since(at).as_secs_f64();
        let forgotten = self.at.map_or(0.0, since) / pace.every.as_secs_f64();
        (self.count - forgotten).max(0.0)
    }

    fn room(&self, pace: Pace, now: Instant) -> Result<(), Duration> {
        let over = self.left(pace, now) + 1.0 - pace.burst;
        if over <= 0.0 { Ok(()) } else { Err(pace.every.mul_f64(over)) }
    }

    fn change(&mut self, by: f64, pace: Pace, now: Instant) {
        *self = Self { count: (self.left(pace, now) + by).max(0.0), at: Some(now) };
    }
}

/// Where a name is counted: bounded whatever names there are, and so many that guessing all of them
/// takes thousands of guesses a second.
fn name_slot(name: &str) -> u16 {
    let [first, second, ..] = digest(name.as_bytes());
    u16::from_be_bytes([first, second])
}

/// Addresses that are remembered, about 100 bytes each.
const ADDRESSES_MAX: usize = 10_000;
/// Where there is no room, it is looked for so often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Addresses of operators that are remembered.
const KNOWN_MAX: usize = 1_000;
/// For how long.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Pace = Pace { burst: 3.0, every: Duration::from_secs(10) };

    fn at(seconds: u64) -> Instant {
        crate::fixture::moment(seconds).monotonic
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn guess(guesses: &mut Guesses, from: u32, name: &Arc<str>, now: Instant) -> bool {
        let may = guesses.may(address(from), Some(name), now).is_ok();
        if may {
            guesses.take(address(from), Some(name), now);
        }
        may
    }

    #[test]
    fn an_address_guesses_slowly() {
        let mut guesses = Guesses::new(SLOW, Pace { burst: 1000.0, ..SLOW });
        let ann = Arc::from("ann");
        let right = (0..1000).filter(|second| guess(&mut guesses, 1, &ann, at(*second))).count();
        assert!((100..=103).contains(&right), "{right}: three, and one in ten seconds");
        let waits = guesses.may(address(1), None, at(999)).unwrap_err();
        assert!(waits <= SLOW.every, "{waits:?}");
        assert!(guess(&mut guesses, 2, &ann, at(1000)), "others are not bound by that");
    }

    #[test]
    fn a_name_is_guessed_slowly_but_its_operator_gets_in() {
        let mut guesses = Guesses::new(Pace { burst: 1000.0, ..SLOW }, SLOW);
        let ann: Arc<str> = Arc::from("ann");
        guesses.take(address(7), Some(&ann), at(0));
        guesses.was_right(address(7), &ann, at(0));
        let right = (0..1000).filter(|n| guess(&mut guesses, 100 + n, &ann, at(0))).count();
        assert_eq!(right, 3, "from however many addresses");
        assert!(guess(&mut guesses, 7, &ann, at(0)), "where she is known");
        assert!(guess(&mut guesses, 8, &Arc::from("bob"), at(0)));
    }

    #[test]
    fn what_is_right_does_not_count() {
        let mut guesses = Guesses::new(SLOW, SLOW);
        let ann: Arc<str> = Arc::from("ann");
        for _ in 0..100 {
            assert!(guess(&mut guesses, 1, &ann, at(0)));
            guesses.was_right(address(1), &ann, at(0));
        }
    }

    #[test]
    fn any_number_of_addresses_fits() {
        let mut guesses = Guesses::new(SLOW, SLOW);
        for from in 0..2 * ADDRESSES_MAX as u32 {
            guesses.take(address(from), None, at(0));
        }
        assert_eq!(guesses.addresses.len(), ADDRESSES_MAX);
        assert!(
            guesses.may(address(1 << 30), None, at(0)).is_err(),
            "who comes late shares one pace"
        );
        guesses.take(address(1 << 30), None, at(60));
        assert_eq!(guesses.addresses.len(), 1, "the others are forgotten");
        for name in 0..200_000 {
            guesses.take(address(1), Some(&Arc::from(format!("name-{name}"))), at(60));
        }
        assert!(guesses.names.len() <= 1 << 16);
        let ann: Arc<str> = Arc::from("ann");
        for from in 0..2 * KNOWN_MAX as u32 {
            guesses.was_right(address(from), &ann, at(from.into()));
        }
        assert_eq!(guesses.known.len(), KNOWN_MAX);
    }

    #[test]
    fn an_operator_gets_in_whatever_the_rest_of_the_world_guesses() {
        let mut guesses = Guesses::new(SLOW, SLOW);
        let ann: Arc<str> = Arc::from("ann");
        guesses.remember(address(7), &ann, at(0), at(0));
        for from in 100..100 + 2 * ADDRESSES_MAX as u32 {
            guess(&mut guesses, from, &ann, at(1));
        }
        assert!(!guess(&mut guesses, 8, &ann, at(1)), "nobody knows her there");
        for second in (1..100).step_by(10) {
            assert!(guess(&mut guesses, 7, &ann, at(second)), "{second}");
        }
        let own = (0..100).filter(|_| guess(&mut guesses, 7, &ann, at(100))).count();
        assert!(own <= 3, "who guesses beside her is slow, too: {own}");
        let later = KNOWN_FOR.as_secs();
        assert!(guesses.is_known(address(7), &ann, at(later - 1)));
        assert!(!guesses.is_known(address(7), &ann, at(later)), "she moved on");
    }

    #[test]
    fn what_was_not_looked_at_is_given_back() {
        let mut guesses = Guesses::new(SLOW, SLOW);
        let ann: Arc<str> = Arc::from("ann");
        for _ in 0..100 {
            assert!(guess(&mut guesses, 1, &ann, at(0)));
            guesses.give_back(address(1), Some(&ann), at(0));
        }
    }
}

//! How often somebody may be wrong: by address and by name, with a burst for mistakes.
//!
//! A name alone must not shut its operator out, or anybody could do that from anywhere: addresses
//! from which an operator signed in lately are not bound by what others guess for the name.
//!
//! Invariant: memory is bounded whatever is guessed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::address::bucket;

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
    names: BTreeMap<Arc<str>, Spent>,
    /// Where operators signed in from, and when.
    known: BTreeMap<(Arc<str>, IpAddr), SystemTime>,
}

/// Guesses that are not yet forgotten.
#[derive(Clone, Copy, Debug)]
struct Spent {
    count: f64,
    at: SystemTime,
}

impl Guesses {
    pub(super) fn new(by_address: Pace, by_name: Pace) -> Self {
        Self {
            by_address,
            by_name,
            addresses: BTreeMap::new(),
            others: Spent::NOTHING,
            names: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Whether one more is looked at, or how long to wait for that.
    pub(super) fn may(
        &self,
        address: IpAddr,
        name: Option<&Arc<str>>,
        now: SystemTime,
    ) -> Result<(), Duration> {
        let address = bucket(address);
        let of_address = self.addresses.get(&address).unwrap_or(&self.others);
        of_address.room(self.by_address, now)?;
        let Some(name) = name else { return Ok(()) };
        let is_known = self.known.contains_key(&(Arc::clone(name), address));
        match self.names.get(name) {
            Some(of_name) if !is_known => of_name.room(self.by_name, now),
            _ => Ok(()),
        }
    }

    /// One was wrong, or may turn out to be.
    pub(super) fn take(&mut self, address: IpAddr, name: Option<&Arc<str>>, now: SystemTime) {
        let address = bucket(address);
        if !self.addresses.contains_key(&address) && self.addresses.len() >= ADDRESSES_MAX {
            let pace = self.by_address;
            self.addresses.retain(|_, spent| spent.left(pace, now) > 0.0);
        }
        let is_room = self.addresses.len() < ADDRESSES_MAX;
        let of_address = match self.addresses.get_mut(&address) {
            Some(spent) => spent,
            None if is_room => self.addresses.entry(address).or_insert(Spent::NOTHING),
            None => &mut self.others,
        };
        of_address.change(1.0, self.by_address, now);
        // Names are those of operators, so they are few.
        if let Some(name) = name
            && !self.known.contains_key(&(Arc::clone(name), address))
        {
            let of_name = self.names.entry(Arc::clone(name)).or_insert(Spent::NOTHING);
            of_name.change(1.0, self.by_name, now);
        }
    }

    /// The one that was taken last from this address for this name was right.
    pub(super) fn was_right(&mut self, address: IpAddr, name: &Arc<str>, now: SystemTime) {
        let address = bucket(address);
        let known = (Arc::clone(name), address);
        if let Some(spent) = self.addresses.get_mut(&address) {
            spent.change(-1.0, self.by_address, now);
        }
        if !self.known.contains_key(&known) {
            if let Some(spent) = self.names.get_mut(name) {
                spent.change(-1.0, self.by_name, now);
            }
            self.known.retain(|_, at| now.duration_since(*at).unwrap_or_default() < KNOWN_FOR);
            if self.known.len() >= KNOWN_MAX {
                let oldest = self.known.iter().min_by_key(|(_, at)| **at);
                if let Some(oldest) = oldest.map(|(known, _)| known.clone()) {
                    self.known.remove(&oldest);
                }
            }
        }
        self.known.insert(known, now);
    }
}

impl Spent {
    const NOTHING: Self = Self { count: 0.0, at: SystemTime::UNIX_EPOCH };

    fn left(&self, pace: Pace, now: SystemTime) -> f64 {
        let forgotten = now.duration_since(self.at).unwrap_or_default().as_secs_f64();
        (self.count - forgotten / pace.every.as_secs_f64()).max(0.0)
    }

    fn room(&self, pace: Pace, now: SystemTime) -> Result<(), Duration> {
        let over = self.left(pace, now) + 1.0 - pace.burst;
        if over <= 0.0 { Ok(()) } else { Err(pace.every.mul_f64(over)) }
    }

    fn change(&mut self, by: f64, pace: Pace, now: SystemTime) {
        *self = Self { count: (self.left(pace, now) + by).max(0.0), at: now };
    }
}

/// Addresses that are remembered, about 100 bytes each.
const ADDRESSES_MAX: usize = 10_000;
/// Addresses of operators that are remembered.
const KNOWN_MAX: usize = 1_000;
/// For how long.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Pace = Pace { burst: 3.0, every: Duration::from_secs(10) };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn guess(guesses: &mut Guesses, from: u32, name: &Arc<str>, now: SystemTime) -> bool {
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
        let ann: Arc<str> = Arc::from("ann");
        for from in 0..2 * KNOWN_MAX as u32 {
            guesses.was_right(address(from), &ann, at(from.into()));
        }
        assert_eq!(guesses.known.len(), KNOWN_MAX);
    }
}

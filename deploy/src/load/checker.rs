//! Whether one client gets every message of its room, once and in order.
//!
//! A checker knows the number that comes next. What is skipped is remembered as a hole: a number that
//! comes later fills it and was out of order; what nobody fills is missing. A number that was had and
//! is no hole is a duplicate. What the server *told* the client it would not get (a gap notice, a lost
//! subscription) is counted apart.
//!
//! Invariant: every number below `next` was received, is a hole, or was counted as missing or told.

/// Checks the numbers that one client receives. Without holes it needs no memory of its own.
#[derive(Clone, Debug)]
pub struct Checker {
    next: u32,
    /// The first message may have any number: the client joined while messages flowed.
    anywhere: bool,
    /// A jump from here on was announced.
    told: bool,
    holes: Vec<(u32, u32)>,
}

/// What clients received, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// Messages received, duplicates included.
    pub received: u64,
    /// Messages that never came and that nobody spoke of.
    pub missing: u64,
    /// Messages that came after one with a higher number.
    pub out_of_order: u64,
    /// Messages that had come before.
    pub duplicates: u64,
    /// Messages that did not come and whose loss the client was told.
    pub told: u64,
}

impl Tally {
    /// Adds what others received.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.missing += other.missing;
        self.out_of_order += other.out_of_order;
        self.duplicates += other.duplicates;
        self.told += other.told;
    }
}

impl Checker {
    /// A client that is there before the first message.
    pub fn from_start() -> Self {
        Self { next: 0, anywhere: false, told: false, holes: Vec::new() }
    }

    /// A client that joins while messages flow: the first one that it gets is where it begins.
    pub fn from_anywhere() -> Self {
        Self { anywhere: true, ..Self::from_start() }
    }

    /// Takes a message's number.
    pub fn take(&mut self, sequence: u32, tally: &mut Tally) {
        tally.received += 1;
        if sequence == self.next {
            self.next += 1;
            self.anywhere = false;
            self.told = false;
        } else {
            self.take_other(sequence, tally);
        }
    }

    #[cold]
    fn take_other(&mut self, sequence: u32, tally: &mut Tally) {
        if sequence < self.next {
            match self.fill(sequence) {
                true => tally.out_of_order += 1,
                false => tally.duplicates += 1,
            }
            return;
        }
        if self.told {
            tally.told += u64::from(sequence - self.next);
        } else if !self.anywhere {
            if self.holes.len() == HOLES_MAX {
                let (from, until) = self.holes.remove(0);
                tally.missing += u64::from(until - from);
            }
            self.holes.push((self.next, sequence));
        }
        self.anywhere = false;
        self.told = false;
        self.next = sequence + 1;
    }

    /// The server told of a gap: the next jump is no silent loss.
    pub fn tell(&mut self) {
        self.told = true;
    }

    /// The client's subscription or connection began anew, as everybody knows.
    pub fn resume(&mut self) {
        self.told = !self.anywhere;
    }

    /// Whether all of `count` messages came, or the rest cannot be known because the client joined late
    /// and has seen none.
    pub fn is_complete(&self, count: u32) -> bool {
        (self.next >= count && self.holes.is_empty()) || self.anywhere
    }

    /// Counts what never came of the first `count` messages. A client that left while messages flowed
    /// passes `None`: what it did not wait for is not missing.
    pub fn finish(self, count: Option<u32>, tally: &mut Tally) {
        tally.missing +=
            self.holes.iter().map(|(from, until)| u64::from(until - from)).sum::<u64>();
        let rest = count.map_or(0, |count| count.saturating_sub(self.next));
        match self {
            Self { anywhere: true, .. } => {}
            Self { told: true, .. } => tally.told += u64::from(rest),
            Self { .. } => tally.missing += u64::from(rest),
        }
    }

    /// Takes a number out of the holes, if it is in one.
    fn fill(&mut self, sequence: u32) -> bool {
        let inside = |(from, until): &(u32, u32)| (*from..*until).contains(&sequence);
        let Some(at) = self.holes.iter().position(inside) else { return false };
        let (from, until) = self.holes.remove(at);
        for part in [(sequence + 1, until), (from, sequence)] {
            if part.0 < part.1 {
                self.holes.insert(at, part);
            }
        }
        true
    }
}

/// Holes that a client's checker remembers; the oldest of more are given up as missing.
const HOLES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(mut checker: Checker, sequences: &[u32], count: Option<u32>) -> Tally {
        let mut tally = Tally::default();
        for sequence in sequences {
            checker.take(*sequence, &mut tally);
        }
        checker.finish(count, &mut tally);
        tally
    }

    #[test]
    fn what_came_is_told_apart() {
        let start = Checker::from_start;
        let good = Tally { received: 3, ..Tally::default() };
        assert_eq!(checked(start(), &[0, 1, 2], Some(3)), good);
        assert_eq!(checked(start(), &[0, 1, 2], Some(5)), Tally { missing: 2, ..good });
        assert_eq!(checked(start(), &[0, 2, 1], Some(3)), Tally { out_of_order: 1, ..good });
        assert_eq!(checked(start(), &[0, 0, 1], Some(2)), Tally { duplicates: 1, ..good });
        assert_eq!(checked(start(), &[0, 3, 4], Some(5)), Tally { missing: 2, ..good });
        assert_eq!(checked(start(), &[2, 3, 4], Some(5)), Tally { missing: 2, ..good });
        assert_eq!(checked(Checker::from_anywhere(), &[2, 3, 4], Some(5)), good);
        assert_eq!(checked(Checker::from_anywhere(), &[], Some(5)), Tally::default());
        assert_eq!(checked(start(), &[0, 1, 2], None), good);
    }

    #[test]
    fn a_gap_that_was_told_is_not_missing() {
        let mut tally = Tally::default();
        let mut checker = Checker::from_start();
        checker.take(0, &mut tally);
        checker.tell();
        checker.take(5, &mut tally);
        checker.take(7, &mut tally);
        assert!(!checker.is_complete(8));
        checker.finish(Some(8), &mut tally);
        assert_eq!(tally, Tally { received: 3, told: 4, missing: 1, ..Tally::default() });
    }

    proptest! {
        /// Whatever comes in whatever order: every number is received, missing, or out of order once.
        #[test]
        fn all_numbers_are_accounted_for(sequences in proptest::collection::vec(0_u32..60, 0..100)) {
            let tally = checked(Checker::from_start(), &sequences, Some(60));
            let distinct = sequences.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
            prop_assert_eq!(tally.received, sequences.len() as u64);
            prop_assert_eq!(tally.missing, 60 - distinct);
            prop_assert_eq!(tally.duplicates, sequences.len() as u64 - distinct);
        }
    }
}

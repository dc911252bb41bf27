//! What bandwidth costs: a site's bill is the 95th percentile of its month's five-minute rates.
//!
//! A twentieth of the month's slots (of 8,640 in thirty days, 432: 36 hours) are free, however much
//! flows in them; the level that all others stay below is paid for. So sites rest at their level, and when the
//! evening is more than all levels together, some have their turn ([`take_turns`]): they spend free slots to
//! carry what the others do not. Without turns, all would pass their levels a little on the same evenings, and nobody's
//! level could be any lower.
//!
//! The shadow price, in percentage points of drop rate, is what the ranking adds to a site's edges. It
//! is 0 below the level and while it is the site's turn, and rises from [`PRICE_FROM`] of the level on, so that
//! new sessions go elsewhere before the level is passed.
//!
//! Invariant: it is nobody's turn who has no free slot left.

use serde::{Deserialize, Serialize};

/// The account of one site for one month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Slots of the month.
    slots: u32,
    /// Rates of past slots: how many there were in each bin.
    #[serde(with = "sparse")]
    bins: Vec<u16>,
    past: u32,
    /// The level wished for, in bits per second.
    wish: f64,
    /// The sum and number of rates heard in the current slot.
    current: (f64, u32),
    running: bool,
    /// The rate of the slot that ended last.
    #[serde(default)]
    last: f64,
}

impl Budget {
    /// Begins a month of so many slots. `wish` is the level to keep, in bits per second: a site that was
    /// billed last month should wish for a little less ([`Budget::next_month`]); 0 wishes for nothing, and
    /// the price is 0 until the month tells.
    pub fn new(slots: u32, wish: f64) -> Self {
        Self {
            slots: slots.max(20),
            bins: vec![0; BINS],
            past: 0,
            wish: if wish.is_finite() { wish.max(0.0) } else { 0.0 },
            current: (0.0, 0),
            running: false,
            last: 0.0,
        }
    }

    /// Changes what is wished for; 0 wishes for nothing, as what is no number does.
    pub fn set_wish(&mut self, wish: f64) {
        self.wish = if wish.is_finite() { wish.max(0.0) } else { 0.0 };
    }

    /// Whether it holds together, of which one that was read from a file must be asked.
    pub fn is_sound(&self) -> bool {
        let numbers = [self.wish, self.current.0, self.last];
        let counted: u32 = self.bins.iter().map(|count| u32::from(*count)).sum();
        (20..=SLOTS_MAX).contains(&self.slots)
            && self.bins.len() == BINS
            && self.past <= self.slots
            && counted == self.past
            && numbers.iter().all(|number| number.is_finite() && *number >= 0.0)
    }

    /// The month after this one, which wishes for what this one [tells](Self::ambition) or wished for.
    pub fn next_month(&self, slots: u32) -> Self {
        Self::new(slots, self.ambition().unwrap_or(self.wish))
    }

    /// What the month after this one should wish for: [`AMBITION`] of what this one is billed. A month that is
    /// billed at nothing, most often since little was heard of it, tells nothing.
    pub fn ambition(&self) -> Option<f64> {
        Some(self.billed()).filter(|billed| *billed > RATE_MIN).map(|billed| AMBITION * billed)
    }

    /// The site's edges together send so much now, in bits per second. As often as is convenient.
    pub fn handle_rate(&mut self, bits_per_second: f64) {
        if bits_per_second.is_finite() && bits_per_second >= 0.0 {
            self.current.0 += bits_per_second;
            self.current.1 += 1;
        }
    }

    /// So many slots passed in which nothing is known to have flowed.
    pub fn handle_gap(&mut self, slots: u32) {
        let slots = slots.min(self.slots - self.past);
        self.bins[0] = self.bins[0].saturating_add(slots as u16); // a month has far fewer than 2^16
        self.past += slots;
        self.current = (0.0, 0);
    }

    /// Five minutes are over.
    pub fn handle_slot_end(&mut self) {
        let (sum, count) = std::mem::take(&mut self.current);
        if self.past == self.slots {
            return;
        }
        let rate = if count > 0 { sum / f64::from(count) } else { 0.0 };
        self.last = rate;
        let at = bin(rate);
        self.bins[at] = self.bins[at].saturating_add(1);
        self.past += 1;
    }

    /// The shadow price of one session more, in percentage points, when the site sends so much.
    pub fn price(&self, bits_per_second: f64) -> f64 {
        let level = self.level();
        if level <= 0.0 || self.is_running() {
            return 0.0;
        }
        let above = bits_per_second / level - PRICE_FROM;
        (above / (1.0 - PRICE_FROM) * PRICE_PP).clamp(0.0, PRICE_MAX_PP)
    }

    /// The level to keep: what is wished for, or what cannot be undone any more.
    pub fn level(&self) -> f64 {
        if self.wish > 0.0 { self.wish.max(self.billed()) } else { 0.0 }
    }

    /// The rate that the month so far is billed at, even if nothing more flows.
    pub fn billed(&self) -> f64 {
        let mut above = 0;
        for (at, count) in self.bins.iter().enumerate().rev() {
            above += u32::from(*count);
            if above > self.free_slots() {
                return rate(at);
            }
        }
        0.0
    }

    /// Free slots that are not spent yet.
    pub fn left(&self) -> u32 {
        let level = bin(self.level());
        let spent: u32 = self.bins[level + 1..].iter().map(|count| u32::from(*count)).sum();
        self.free_slots().saturating_sub(spent)
    }

    /// Free slots beyond the twentieth of the slots to come: how far ahead of an even spending the site is.
    pub fn saved(&self) -> f64 {
        f64::from(self.left()) - FREE_SHARE * f64::from(self.slots - self.past)
    }

    /// Whether it is the site's turn to spend free slots.
    pub fn is_running(&self) -> bool {
        self.running && self.left() > 0
    }

    /// Of the slots to come, those that may be spent.
    fn share(&self) -> f64 {
        f64::from(self.left()) / f64::from((self.slots - self.past).max(1))
    }

    fn free_slots(&self) -> u32 {
        // Rounded down: what is billed is the greatest rate below the free ones.
        (f64::from(self.slots) * FREE_SHARE) as u32
    }
}

/// A slot is over for sites that can take each other's clients: says whose turn it is in the next one. Where a
/// site that rests does not manage to keep to its level, one more has its turn, who has the most free slots for the
/// slots to come, as long as that relieves another; a turn is over when the evening is. So no more sites spend
/// free slots than the evening needs, and all about as many.
pub fn take_turns<'a>(sites: impl IntoIterator<Item = &'a mut Budget>) {
    let (mut resting, mut pressed) = (0, false);
    let mut next: Option<&mut Budget> = None;
    for site in sites {
        let level = site.level();
        if level <= 0.0 {
            continue;
        }
        site.running &= site.left() > 0 && site.last >= OVER_BELOW * level;
        if !site.running {
            resting += 1;
            pressed |= site.last > PRESSED_FROM * level;
            let share = site.share();
            if share > next.as_ref().map_or(0.0, |next| next.share()) {
                next = Some(site);
            }
        }
    }
    if let Some(next) = next.filter(|_| pressed && resting > 1) {
        next.running = true;
    }
}

/// The bin of a rate: a hundredth part each.
fn bin(rate: f64) -> usize {
    if rate <= RATE_MIN {
        return 0;
    }
    let at = (rate / RATE_MIN).ln() / BIN_RATIO.ln();
    (at.ceil() as usize).min(BINS - 1)
}

/// The greatest rate of a bin.
fn rate(bin: usize) -> f64 {
    // Bins are some thousand.
    RATE_MIN * BIN_RATIO.powi(bin as i32)
}

/// The bins that are not empty, as pairs of number and count.
mod sparse {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::BINS;

    pub(super) fn serialize<S: Serializer>(bins: &[u16], to: S) -> Result<S::Ok, S::Error> {
        let full = bins.iter().enumerate().filter(|(_, count)| **count > 0);
        full.collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u16>, D::Error> {
        let mut bins = vec![0; BINS];
        for (at, count) in Vec::<(usize, u16)>::deserialize(from)? {
            *bins.get_mut(at).ok_or_else(|| D::Error::custom("there is no such bin"))? = count;
        }
        Ok(bins)
    }
}

/// Slots of thirty days.
pub const SLOTS_OF_30_DAYS: u32 = 8640;

/// Slots of the longest month.
const SLOTS_MAX: u32 = 31 * 288;

/// Of the month's slots, those that are free.
pub const FREE_SHARE: f64 = 0.05;

/// What a site wishes for, of what it was billed before.
pub const AMBITION: f64 = 0.87;

/// Of its level, from which a site that rests is pressed: the bill is counted in bins of a hundredth part.
const PRESSED_FROM: f64 = 1.015;

/// Of its level, below which a turn is over.
const OVER_BELOW: f64 = 0.95;

/// Of the level, where the price begins.
const PRICE_FROM: f64 = 0.93;

/// The price at the level.
const PRICE_PP: f64 = 1.0;

/// Clients never pay more than this for a bill.
const PRICE_MAX_PP: f64 = 1.5;

/// Rates differ by this ratio from bin to bin.
const BIN_RATIO: f64 = 1.01;

/// Less is nothing, in bits per second.
const RATE_MIN: f64 = 1e4;

/// Up to some 10^13 bits per second; 4 KiB.
const BINS: usize = 2100;

#[cfg(test)]
mod tests {
    use super::*;

    /// A month of evenings: four hours at 1 Gbit/s, the rest at half of it.
    fn month(budget: &mut Budget, days: u32, evening: f64) -> Vec<f64> {
        let mut prices = Vec::new();
        for _ in 0..days {
            for slot in 0..288 {
                let rate = if slot >= 240 { evening } else { 0.5e9 };
                prices.push(budget.price(rate));
                budget.handle_rate(rate);
                budget.handle_slot_end();
            }
        }
        prices
    }

    #[test]
    fn the_bill_is_the_95th_percentile() {
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 0.0);
        for slot in 0..SLOTS_OF_30_DAYS {
            budget.handle_rate(f64::from(slot) * 1e6);
            budget.handle_slot_end();
        }
        // 432 slots are above 8207 Mbit/s.
        let billed = budget.billed() / 8207e6;
        assert!((1.0..1.01).contains(&billed), "{billed}");
        assert_eq!(budget.price(1e12), 0.0, "nothing is wished for");
    }

    #[test]
    fn below_the_level_nothing_is_paid_and_it_is_never_passed_for_nothing() {
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 1e9);
        assert_eq!(budget.price(0.9e9), 0.0);
        assert!(budget.price(0.99e9) > 0.5 && budget.price(5e9) == PRICE_MAX_PP);
        month(&mut budget, 30, 0.99e9);
        assert_eq!((budget.left(), budget.level()), (432, 1e9));
    }

    #[test]
    fn sites_take_turns_when_the_evening_is_more_than_all_levels() {
        let mut sites: Vec<Budget> = (0..10).map(|_| Budget::new(SLOTS_OF_30_DAYS, 1e9)).collect();
        let mut most = 0;
        for slot in 0..SLOTS_OF_30_DAYS {
            // An evening of two hours: a fifth more than all levels. A site's turn takes half its level again;
            // what is over then presses all who rest.
            let all = if slot % 288 >= 264 { 12e9 } else { 7e9 };
            let running = sites.iter().filter(|site| site.is_running()).count();
            most = most.max(running);
            let over = (all - 10e9 - 0.5e9 * running as f64).max(0.0);
            for site in &mut sites {
                let resting = 1e9 + over / 10.0;
                let evening = if site.is_running() { 1.5e9 } else { resting };
                site.handle_rate(if all > 10e9 { evening } else { 0.7e9 });
                site.handle_slot_end();
            }
            take_turns(&mut sites);
        }
        assert_eq!(most, 4, "no more than the evening needs");
        for site in &sites {
            assert!((1e9..1.01e9).contains(&site.level()), "{}", site.level());
            assert!((1..200).contains(&site.left()), "{} of 432 are left", site.left());
        }
    }

    #[test]
    fn a_turn_is_free_and_over_with_the_evening_or_the_last_free_slot() {
        let mut site = Budget::new(SLOTS_OF_30_DAYS, 1e9);
        // Another one rests, and has no free slot.
        let mut other = Budget::new(20, 1e9);
        let mut slot = |rate: f64| {
            for site in [&mut site, &mut other] {
                site.handle_rate(rate);
                site.handle_slot_end();
            }
            take_turns([&mut site, &mut other]);
            assert!(!other.is_running());
            (site.is_running(), site.price(1.2e9))
        };
        assert_eq!(slot(5e9), (true, 0.0));
        assert_eq!(slot(0.96e9), (true, 0.0));
        assert_eq!(slot(0.94e9), (false, PRICE_MAX_PP));
        assert_eq!(slot(1.0e9), (false, PRICE_MAX_PP), "nobody is pressed");
        let spent = (0..1000).take_while(|_| slot(1.3e9).0).count();
        assert_eq!(spent, 430, "one was spent before, and the last one ends the turn");
    }

    #[test]
    fn a_level_that_cannot_be_kept_rises() {
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 0.5e9);
        month(&mut budget, 30, 1e9);
        assert!((1e9..1.011e9).contains(&budget.level()), "{}", budget.level());
        let next = budget.next_month(SLOTS_OF_30_DAYS);
        assert!((0.87e9..0.88e9).contains(&next.level()));
    }

    #[test]
    fn a_budget_survives_being_written_and_damage_shows() {
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 1e9);
        month(&mut budget, 3, 0.9e9);
        budget.handle_gap(10);
        let text = serde_json::to_string(&budget).unwrap();
        assert!(text.len() < 400, "{text}");
        let read: Budget = serde_json::from_str(&text).unwrap();
        assert!(read.is_sound());
        assert_eq!(read, budget);
        let damaged = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            serde_json::from_str::<Budget>(&text.replace(from, to)).is_ok_and(|b| b.is_sound())
        };
        assert!(!damaged("\"slots\":8640", "\"slots\":3"));
        assert!(!damaged("\"past\":874", "\"past\":870"), "not as many as are in the bins");
        assert!(!damaged("\"wish\":1000000000.0", "\"wish\":-1.0"));
        assert!(!damaged("\"bins\":[[0,10]", "\"bins\":[[2100,10]"));
    }
}

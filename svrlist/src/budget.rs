//! What bandwidth costs: a site's bill is the 95th percentile of its month's five-minute rates.
//!
//! A twentieth of the month's slots (of 8,640 in thirty days, 432: 36 hours) are free, however much
//! flows in them; the level that all others stay below is paid for. So a site keeps to its level, saves
//! free slots until they last for an evening, and then spends them in one run. Sites begin their saving
//! at different points, so they take turns: while one is generous, others rest at their level. Without
//! turns, all would spend on the same evenings and nobody's level could be any lower.
//!
//! The shadow price, in percentage points of drop rate, is what the ranking adds to a site's edges. It
//! is 0 below the level and within a run, and rises from [`PRICE_FROM`] of the level on, so that new
//! sessions go elsewhere before the level is passed.
//!
//! Invariant: a run is on only while more than a twentieth of the slots that are left are free.

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
    /// Saved slots with which the next run begins.
    saving: f64,
    /// The largest rate seen, which bounds what a run can be good for.
    top: f64,
}

impl Budget {
    /// Begins a month of so many slots. `wish` is the level to keep, in bits per second: a site that was
    /// billed last month should wish for a little less ([`Budget::next_month`]); 0 wishes for nothing, and
    /// the price is 0 until the month tells. `site` makes sites take turns.
    pub fn new(slots: u32, wish: f64, site: &str) -> Self {
        let turn = xxhash_rust::xxh3::xxh3_64(site.as_bytes());
        Self {
            slots: slots.max(20),
            bins: vec![0; BINS],
            past: 0,
            wish: if wish.is_finite() { wish.max(0.0) } else { 0.0 },
            current: (0.0, 0),
            running: false,
            // The golden ratio's steps would need an order of the sites; a hash is as good for many.
            saving: RUN_SLOTS * (turn >> 40) as f64 / (1_u64 << 24) as f64,
            top: 0.0,
        }
    }

    /// Changes what is wished for; 0 wishes for nothing, as what is no number does.
    pub fn set_wish(&mut self, wish: f64) {
        self.wish = if wish.is_finite() { wish.max(0.0) } else { 0.0 };
    }

    /// Whether it holds together, of which one that was read from a file must be asked.
    pub fn is_sound(&self) -> bool {
        let numbers = [self.wish, self.current.0, self.saving, self.top];
        let counted: u32 = self.bins.iter().map(|count| u32::from(*count)).sum();
        (20..=SLOTS_MAX).contains(&self.slots)
            && self.bins.len() == BINS
            && self.past <= self.slots
            && counted == self.past
            && numbers.iter().all(|number| number.is_finite() && *number >= 0.0)
    }

    /// The month after this one, which wishes for what this one [tells](Self::ambition) or wished for.
    pub fn next_month(&self, slots: u32, site: &str) -> Self {
        Self::new(slots, self.ambition().unwrap_or(self.wish), site)
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
            self.top = self.top.max(bits_per_second);
        }
    }

    /// So many slots passed in which nothing is known to have flowed.
    pub fn handle_gap(&mut self, slots: u32) {
        let slots = slots.min(self.slots - self.past);
        self.bins[0] = self.bins[0].saturating_add(slots as u16); // a month has far fewer than 2^16
        self.past += slots;
        self.current = (0.0, 0);
        self.running = false;
    }

    /// Five minutes are over.
    pub fn handle_slot_end(&mut self) {
        let (sum, count) = std::mem::take(&mut self.current);
        if self.past == self.slots {
            return;
        }
        let rate = if count > 0 { sum / f64::from(count) } else { 0.0 };
        let at = bin(rate);
        self.bins[at] = self.bins[at].saturating_add(1);
        self.past += 1;
        let saved = self.saved();
        if self.running {
            // Saved slots pass into the run one by one; it is over with the last.
            self.running = saved > 0.0 && rate > 0.5 * self.level();
            if !self.running {
                self.saving = RUN_SLOTS;
            }
        } else {
            self.running = saved > 0.0 && (saved >= self.saving || self.is_ending());
        }
    }

    /// The shadow price of one session more, in percentage points, when the site sends so much.
    pub fn price(&self, bits_per_second: f64) -> f64 {
        let level = self.level();
        if level <= 0.0 || (self.running && self.saved() > 0.0) {
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

    /// Free slots beyond the twentieth of the slots to come, which is kept for them.
    pub fn saved(&self) -> f64 {
        f64::from(self.left()) - FREE_SHARE * f64::from(self.slots - self.past)
    }

    /// Whether the site is generous now.
    pub fn is_running(&self) -> bool {
        self.running
    }

    fn free_slots(&self) -> u32 {
        // Rounded down: what is billed is the greatest rate below the free ones.
        (f64::from(self.slots) * FREE_SHARE) as u32
    }

    /// Whether what is saved would be lost with the month.
    fn is_ending(&self) -> bool {
        f64::from(self.slots - self.past) < ENDING_RUNS * RUN_SLOTS
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
pub const AMBITION: f64 = 0.85;

/// A run: the four hours of an evening.
const RUN_SLOTS: f64 = 48.0;

/// At the end of the month nothing is saved any more.
const ENDING_RUNS: f64 = 6.0;

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
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 0.0, "a");
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
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 1e9, "a");
        assert_eq!(budget.price(0.9e9), 0.0);
        assert!(budget.price(0.99e9) > 0.5 && budget.price(5e9) == PRICE_MAX_PP);
        month(&mut budget, 30, 0.99e9);
        assert_eq!((budget.left(), budget.level()), (432, 1e9));
    }

    #[test]
    fn free_slots_are_saved_for_runs_and_spent_by_the_end() {
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 1e9, "a");
        for slot in 0..SLOTS_OF_30_DAYS {
            // Who is told the price keeps to the level outside of runs.
            let evening = slot % 288 >= 240;
            let wanted = if evening { 1.5e9 } else { 0.5e9 };
            let rate = if budget.price(wanted) > 0.0 { 0.98e9 } else { wanted };
            if rate > 1e9 {
                assert!(budget.saved() > 0.0, "slot {slot}");
            }
            budget.handle_rate(rate);
            budget.handle_slot_end();
        }
        assert_eq!(budget.level(), 1e9);
        assert!(budget.left() < 150, "{} of 432 are lost", budget.left());
    }

    #[test]
    fn a_level_that_cannot_be_kept_rises() {
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 0.5e9, "a");
        month(&mut budget, 30, 1e9);
        assert!((1e9..1.011e9).contains(&budget.level()), "{}", budget.level());
        let next = budget.next_month(SLOTS_OF_30_DAYS, "a");
        assert!((0.85e9..0.86e9).contains(&next.level()));
    }

    #[test]
    fn a_budget_survives_being_written_and_damage_shows() {
        let mut budget = Budget::new(SLOTS_OF_30_DAYS, 1e9, "a");
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

    #[test]
    fn sites_take_turns() {
        let starts: Vec<usize> = (0..20)
            .map(|site| {
                let mut budget = Budget::new(SLOTS_OF_30_DAYS, 1e9, &format!("site {site}"));
                let slots = (0..2000).find(|_| {
                    budget.handle_rate(0.6e9);
                    budget.handle_slot_end();
                    budget.is_running()
                });
                slots.unwrap_or(usize::MAX)
            })
            .collect();
        let mut sorted = starts.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert!(sorted.len() >= 5, "{starts:?}");
    }
}

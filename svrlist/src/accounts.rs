//! The accounts of all sites: [`Budget`]s that follow the calendar.
//!
//! Slots are the [calendar](Calendar)'s five minutes, months its months, in UTC. A slot in which nothing was
//! heard counts like the one before it, up to an hour of them; what passed beyond that is unknown and counts as
//! nothing. A month that is billed at nothing says nothing of the next; an account of which nothing was heard
//! for a month leaves with the month that goes on.
//!
//! Invariants: a slot of the calendar ends once; at most [`SITES_MAX`] sites are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use geo_data::Carrier;
use serde::{Deserialize, Serialize};

use crate::budget::{Budget, take_turns};
use crate::calendar::Calendar;
use crate::site::Moment;

/// The machine.
#[derive(Debug, Default)]
pub struct Accounts {
    calendar: Calendar,
    /// The slot that is going on, counted from 1970.
    slot: Option<u64>,
    wishes: BTreeMap<Arc<str>, f64>,
    sites: BTreeMap<Arc<str>, Account>,
}

/// One site's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    budget: Budget,
    /// Whose clients it has: sites of one carrier can take each other's.
    #[serde(default, with = "carrier")]
    carrier: Carrier,
    /// What it wishes for if nobody says otherwise: a little less than last month's bill.
    ambition: f64,
    /// What it sends, smoothed, in bits per second.
    rate: f64,
    /// The slots in a row in which nothing was heard of it.
    unheard: u32,
    /// Whether anything was heard in the slot that is going on.
    heard: bool,
}

/// What is told of one site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteAccount {
    /// What its edges send now, in bits per second.
    pub bits_out: u64,
    /// What they may send together; 0 where one of them does not say.
    pub bits_out_max: u64,
    /// The level to keep, in bits per second; 0 while nothing is wished for.
    pub level: f64,
    /// What the month is billed at so far, in bits per second.
    pub billed: f64,
    /// Free slots of the month that are not spent.
    pub left: u32,
    /// Free slots beyond the twentieth of the slots to come; below 0 if more were spent than an even share.
    pub saved: f64,
    /// Whether it is its turn to spend them.
    pub running: bool,
    /// What a session costs here, in percentage points of drop rate.
    pub price: f64,
}

/// All that is worth keeping, for serde.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    slot: Option<u64>,
    sites: Vec<(String, Account)>,
}

/// A snapshot that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Another svrlist wrote it.
    #[error("the accounts have version {0}, must be {VERSION}")]
    Version(u32),
    /// It was damaged.
    #[error("the accounts contradict themselves")]
    Damaged,
}

impl Accounts {
    /// What sites are wished to send at most, in bits per second, from now on; for all others it is
    /// [`AMBITION`](crate::budget::AMBITION) of what they were billed last month.
    pub fn set_wishes(&mut self, wishes: BTreeMap<Arc<str>, f64>) {
        self.wishes = wishes;
        for (site, account) in &mut self.sites {
            account.budget.set_wish(self.wishes.get(site).copied().unwrap_or(account.ambition));
        }
    }

    /// The time passes. Answers whether the calendar is believed.
    pub fn handle_time(&mut self, now: Moment) -> bool {
        let believed = self.calendar.handle_time(now);
        let slot = self.calendar.time().as_secs() / SLOT_SECONDS;
        let mut at = self.slot.unwrap_or(slot);
        if at > slot + BACK_SLOTS {
            // The calendar stood too far ahead: what was counted there is void.
            at = slot;
            self.begin_anew(slot);
        }
        while at < slot {
            let left = slots_left(at);
            let passed = u32::try_from(slot - at).unwrap_or(u32::MAX).min(left);
            for account in self.sites.values_mut() {
                account.handle_slots(passed);
            }
            for carrier in Carrier::ALL {
                let of = self.sites.values_mut().filter(|account| account.carrier == carrier);
                take_turns(of.map(|account| &mut account.budget));
            }
            at += u64::from(passed);
            if passed == left {
                self.begin_month(at);
            }
            if slot - at > MONTHS_AWAY_SLOTS {
                // Months ago: nothing is known of those between.
                let away = u32::try_from(slot - at).unwrap_or(u32::MAX);
                for account in self.sites.values_mut() {
                    account.unheard = account.unheard.saturating_add(away);
                }
                at = slot;
                self.begin_month(at);
            }
        }
        self.slot = Some(at);
        believed
    }

    /// A site's edges, which are of this carrier, together send so much, in bits per second. As often as is
    /// convenient.
    pub fn handle_rate(&mut self, site: &Arc<str>, carrier: Carrier, bits_per_second: f64) {
        let Some(slot) = self.slot else { return };
        if !self.sites.contains_key(site) {
            if self.sites.len() >= SITES_MAX && !self.make_room() {
                return;
            }
            let wish = self.wishes.get(site).copied().unwrap_or(0.0);
            let account = Account {
                budget: Budget::new(slots_left(slot), wish),
                carrier,
                ambition: 0.0,
                rate: bits_per_second,
                unheard: 0,
                heard: false,
            };
            self.sites.insert(Arc::clone(site), account);
        }
        let Some(account) = self.sites.get_mut(site) else { return };
        account.carrier = carrier;
        account.budget.handle_rate(bits_per_second);
        account.rate += (bits_per_second - account.rate) * RATE_GAIN;
        account.heard = true;
    }

    /// The account of a site, as far as it has one.
    pub fn account(&self, site: &str) -> Option<SiteAccount> {
        let Account { budget, rate, .. } = self.sites.get(site)?;
        Some(SiteAccount {
            bits_out: *rate as u64, // no less than 0
            bits_out_max: 0,
            level: budget.level(),
            billed: budget.billed(),
            left: budget.left(),
            saved: budget.saved(),
            running: budget.is_running(),
            price: budget.price(*rate),
        })
    }

    /// What to write down.
    pub fn snapshot(&self) -> Snapshot {
        let site = |(site, account): (&Arc<str>, &Account)| (site.to_string(), account.clone());
        Snapshot { version: VERSION, slot: self.slot, sites: self.sites.iter().map(site).collect() }
    }

    /// Goes on from a snapshot.
    pub fn restore(snapshot: Snapshot) -> Result<Self, SnapshotError> {
        let Snapshot { version, slot, sites } = snapshot;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let sound = |(_, account): &(String, Account)| account.is_sound();
        if sites.len() > SITES_MAX || !sites.iter().all(sound) {
            return Err(SnapshotError::Damaged);
        }
        let sites = sites.into_iter().map(|(site, account)| (site.into(), account)).collect();
        let last = |slot: u64| Duration::from_secs(slot.saturating_mul(SLOT_SECONDS));
        let calendar = slot.map_or_else(Calendar::default, |slot| Calendar::resumed(last(slot)));
        Ok(Self { calendar, slot, sites, ..Self::default() })
    }

    /// Takes the place of these, with the wishes that were set here.
    pub(crate) fn restore_from(&mut self, accounts: Self) {
        let wishes = std::mem::take(&mut self.wishes);
        *self = accounts;
        self.set_wishes(wishes);
    }

    /// Whether the site that was not heard of for longest, and for an hour, has left.
    fn make_room(&mut self) -> bool {
        let longest = self.sites.iter().max_by_key(|(_, account)| account.unheard);
        let silent = longest.filter(|(_, account)| account.unheard >= UNHEARD_MAX);
        let silent = silent.map(|(site, _)| Arc::clone(site));
        silent.is_some_and(|site| self.sites.remove(&site).is_some())
    }

    fn begin_anew(&mut self, slot: u64) {
        let slots = slots_left(slot);
        for (site, account) in &mut self.sites {
            let wish = self.wishes.get(site).copied().unwrap_or(account.ambition);
            account.budget = Budget::new(slots, wish);
        }
    }

    fn begin_month(&mut self, slot: u64) {
        let slots = slots_left(slot);
        self.sites.retain(|_, account| account.unheard < GONE_AFTER);
        for (site, account) in &mut self.sites {
            account.ambition = account.budget.ambition().unwrap_or(account.ambition);
            account.budget = account.budget.next_month(slots);
            account.budget.set_wish(self.wishes.get(site).copied().unwrap_or(account.ambition));
        }
    }
}

impl Account {
    fn handle_slots(&mut self, passed: u32) {
        for past in 0..passed {
            let heard = std::mem::take(&mut self.heard);
            self.unheard = if heard { 0 } else { self.unheard.saturating_add(1) };
            if self.unheard >= UNHEARD_MAX {
                let rest = passed - past;
                self.unheard = self.unheard.saturating_add(rest - 1);
                self.rate = 0.0;
                self.budget.handle_gap(rest);
                return;
            }
            if !heard {
                self.budget.handle_rate(self.rate);
            }
            self.budget.handle_slot_end();
        }
    }

    fn is_sound(&self) -> bool {
        let numbers = [self.ambition, self.rate];
        self.budget.is_sound() && numbers.iter().all(|number| number.is_finite() && *number >= 0.0)
    }
}

/// A carrier by its name.
mod carrier {
    use geo_data::Carrier;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(carrier: &Carrier, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(carrier.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Carrier, D::Error> {
        let name = String::deserialize(from)?;
        Carrier::parse(&name).ok_or_else(|| D::Error::custom("there is no such carrier"))
    }
}

/// The slots of its month from this one on.
fn slots_left(slot: u64) -> u32 {
    let (year, month, day) = date(slot / SLOTS_A_DAY);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (days - day + 1) * SLOTS_A_DAY as u32 - (slot % SLOTS_A_DAY) as u32
}

/// Year, month and day (from 1) of a day counted from 1970. The year is taken to begin in March, so
/// that its odd day is its last, and months have 153 days in every five.
fn date(days_since_1970: u64) -> (i64, u32, u32) {
    // Days since 1 March of the year 0; 146097 of them are 400 years.
    let days = days_since_1970 as i64 + 719_468;
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = days.div_euclid(146_097) * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

/// Sites that are kept: as many as edges, should each be its own.
pub const SITES_MAX: usize = 4096;

const SLOT_SECONDS: u64 = 300;

const SLOTS_A_DAY: u64 = 86_400 / SLOT_SECONDS;

/// After so many slots without a word, what a site sent is not known any more: an hour.
const UNHEARD_MAX: u32 = 12;

/// After so many, its account leaves with the month: the longest month.
const GONE_AFTER: u32 = 31 * SLOTS_A_DAY as u32;

/// A calendar that is put back by less waits until it is where it was.
const BACK_SLOTS: u64 = SLOTS_A_DAY;

/// Longer than this since anything was known, and the months between are left out.
const MONTHS_AWAY_SLOTS: u64 = 62 * SLOTS_A_DAY;

/// How fast the smoothed rate follows, by rate heard: in about half a minute.
const RATE_GAIN: f64 = 0.2;

const VERSION: u32 = 1;

#[cfg(test)]
mod tests;

use std::time::{Instant, UNIX_EPOCH};

use super::*;
use crate::budget::AMBITION;

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of the test")]
fn instant() -> Instant {
    Instant::now()
}

/// Accounts, and both clocks.
struct World {
    accounts: Accounts,
    now: Moment,
    site: Arc<str>,
}

impl World {
    /// Begins so many seconds after 1970.
    fn at(seconds: u64) -> Self {
        let calendar = UNIX_EPOCH + Duration::from_secs(seconds);
        let now = Moment { monotonic: instant(), calendar };
        let mut world = Self { accounts: Accounts::default(), now, site: "a".into() };
        assert!(world.accounts.handle_time(now));
        world
    }

    /// Time passes on both clocks, a minute at a step, while the site sends so much.
    fn pass(&mut self, minutes: u64, rate: f64) {
        for _ in 0..minutes {
            self.accounts.handle_rate(&self.site, Carrier::Telecom, rate);
            self.silence(1);
        }
    }

    /// So many minutes pass in which nothing is heard.
    fn silence(&mut self, minutes: u64) {
        for _ in 0..minutes {
            let minute = Duration::from_secs(60);
            self.now.monotonic += minute;
            self.now.calendar += minute;
            self.accounts.handle_time(self.now);
        }
    }

    fn account(&self) -> SiteAccount {
        self.accounts.account("a").unwrap()
    }
}

/// 2027-01-15 08:00:00 UTC.
const JANUARY_15: u64 = 1_800_000_000;

fn close(value: f64, expected: f64) -> bool {
    (0.99..1.02).contains(&(value / expected))
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (day, expected) in [
        (0, (1970, 1, 1)),
        (58, (1970, 2, 28)),
        (59, (1970, 3, 1)),
        (11_016, (2000, 2, 29)),
        (11_017, (2000, 3, 1)),
        (20_833, (2027, 1, 15)),
        (47_540, (2100, 2, 28)),
        (47_541, (2100, 3, 1)),
    ] {
        assert_eq!(date(day), expected);
    }
    assert_eq!(slots_left(20_833 * SLOTS_A_DAY), 17 * 288);
    assert_eq!(slots_left(20_834 * SLOTS_A_DAY - 1), 16 * 288 + 1);
    assert_eq!(slots_left((59 - 1) * SLOTS_A_DAY), 288, "the last of a short February");
}

#[test]
fn a_month_is_billed_and_the_next_one_wishes_for_less() {
    let mut world = World::at(JANUARY_15);
    world.pass(3 * 24 * 60, 1e9);
    let account = world.account();
    assert_eq!(account.level, 0.0, "nothing is wished for");
    assert!(close(account.bits_out as f64, 1e9));
    // 16 days and 16 hours are left of January; a twentieth of it is free, so three days are billed.
    assert!(close(account.billed, 1e9), "{account:?}");
    world.pass(14 * 24 * 60, 1e9);
    let account = world.account();
    assert!(close(account.level, AMBITION * 1e9), "{account:?}");
    // February is eight hours old, and of its free slots those are spent.
    assert_eq!((account.billed, account.left), (0.0, 28 * 288 / 20 - 8 * 12));
    assert!(account.price > 0.0, "it sends more than it wishes to");
}

#[test]
fn wishes_come_first() {
    let mut world = World::at(JANUARY_15);
    world.accounts.set_wishes(BTreeMap::from([("a".into(), 0.5e9)]));
    world.pass(30, 1e9);
    assert_eq!((world.account().level, world.account().price > 0.0), (0.5e9, true));
    world.accounts.set_wishes(BTreeMap::from([("a".into(), 2e9)]));
    assert_eq!((world.account().level, world.account().price), (2e9, 0.0));
    world.accounts.set_wishes(BTreeMap::from([("a".into(), f64::NAN)]));
    assert_eq!(world.account().level, 0.0);
}

#[test]
fn a_turn_is_given_where_it_relieves_a_site_of_the_same_carrier() {
    let mut world = World::at(JANUARY_15);
    let sites = [
        ("a", Carrier::Telecom, 1.2e9),
        ("b", Carrier::Telecom, 0.9e9),
        ("c", Carrier::Mobile, 0.9e9),
        ("d", Carrier::Mobile, 0.9e9),
    ];
    let wishes = sites.iter().map(|(site, ..)| (Arc::from(*site), 1e9));
    world.accounts.set_wishes(wishes.collect());
    for _ in 0..6 {
        for (site, carrier, rate) in sites {
            world.accounts.handle_rate(&site.into(), carrier, rate);
        }
        world.silence(1);
    }
    let running = |site: &&str| world.accounts.account(site).unwrap().running;
    assert_eq!(
        ["a", "b", "c", "d"].iter().filter(|site| running(site)).collect::<Vec<_>>(),
        [&"b"]
    );
    let kept = serde_json::to_string(&world.accounts.snapshot()).unwrap();
    let again = Accounts::restore(serde_json::from_str(&kept).unwrap()).unwrap();
    assert!(again.account("b").unwrap().running, "also after a restart");
}

#[test]
fn what_was_not_heard_counts_for_an_hour_like_what_was() {
    let mut world = World::at(JANUARY_15);
    world.accounts.set_wishes(BTreeMap::from([("a".into(), 0.5e9)]));
    world.pass(10, 1e9);
    let before = world.account().left;
    for hours in [3, 48] {
        world.now.monotonic += Duration::from_secs(3600 * hours);
        world.now.calendar += Duration::from_secs(3600 * hours);
        world.accounts.handle_time(world.now);
    }
    let spent = before - world.account().left;
    assert!((11..=12).contains(&spent), "{spent}");
}

#[test]
fn a_calendar_that_jumps_is_not_believed_until_it_stays() {
    for jump in [3600, 40 * 86_400, 4_000_000_000] {
        let mut world = World::at(JANUARY_15);
        world.pass(60, 1e9);
        let before = world.account();
        world.now.calendar += Duration::from_secs(jump);
        assert!(!world.accounts.handle_time(world.now), "a jump by {jump} s");
        assert_eq!(world.account(), before);
        // It jumps back, and nothing has happened.
        world.now.calendar -= Duration::from_secs(jump);
        assert!(world.accounts.handle_time(world.now));
        // It jumps and stays there, a far jump for as long as the calendar was right before.
        world.now.calendar += Duration::from_secs(jump);
        world.pass(if jump > 86_400 { 62 } else { 11 }, 1e9);
        assert!(world.accounts.handle_time(world.now));
        let slot = world.accounts.slot.unwrap();
        let said = world.now.calendar.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(slot, said / SLOT_SECONDS);
        // And all the way back.
        world.now.calendar -= Duration::from_secs(jump);
        world.pass(11, 1e9);
        assert!(world.accounts.handle_time(world.now));
        assert!(world.account().bits_out > 0);
    }
}

#[test]
fn accounts_go_on_after_a_restart() {
    let mut world = World::at(JANUARY_15);
    world.accounts.set_wishes(BTreeMap::from([("a".into(), 0.5e9)]));
    world.pass(300, 1e9);
    let text = serde_json::to_string(&world.accounts.snapshot()).unwrap();
    let read: Snapshot = serde_json::from_str(&text).unwrap();
    let mut restored = Accounts::restore(read).unwrap();
    assert_eq!(restored.snapshot(), world.accounts.snapshot());
    assert!(restored.handle_time(world.now));
    assert_eq!(restored.account("a"), world.accounts.account("a"));

    let damaged = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        let read: Snapshot = serde_json::from_str(&text.replacen(from, to, 1)).unwrap();
        Accounts::restore(read).unwrap_err()
    };
    assert_eq!(damaged("\"version\":1", "\"version\":9"), SnapshotError::Version(9));
    assert_eq!(damaged("\"ambition\":0.0", "\"ambition\":-1.0"), SnapshotError::Damaged);
    assert_eq!(damaged("\"past\":", "\"past\":9"), SnapshotError::Damaged);
}

#[test]
fn who_is_silent_when_the_month_turns_keeps_its_account() {
    // Silence before the turn, a svrlist that is away over it, and a month of which nothing is heard.
    for (silent_min, away_min) in [(120, 0), (0, 120), (120, 3 * 1440), (0, 31 * 1440)] {
        let mut world = World::at(JANUARY_15);
        world.pass(16 * 24 * 60, 1e9);
        let billed = world.account().billed;
        world.silence(silent_min);
        let away = Duration::from_secs(60 * away_min);
        world.now.monotonic += away;
        world.now.calendar += away;
        world.accounts.handle_time(world.now);
        // By then it is February at least.
        world.silence(24 * 60);
        world.pass(10, 1e9);
        let account = world.account();
        assert!(close(account.level, AMBITION * billed), "{silent_min} {away_min}: {account:?}");
        // The month that was silent for long says nothing of the next, either.
        if away_min > 0 {
            world.silence(28 * 24 * 60);
            world.pass(10, 1e9);
            assert!(close(world.account().level, AMBITION * billed), "{:?}", world.account());
        }
    }
}

#[test]
fn accounts_outlive_a_restart_under_a_wrong_clock() {
    let mut world = World::at(JANUARY_15);
    world.pass(300, 1e9);
    let before = world.accounts.snapshot();
    for years in [-5_i64, 20] {
        let mut restored = Accounts::restore(before.clone()).unwrap();
        let off = Duration::from_secs(years.unsigned_abs() * 31_557_600);
        let right = world.now;
        let wrong = if years < 0 { right.calendar - off } else { right.calendar + off };
        assert!(!restored.handle_time(Moment { calendar: wrong, ..right }));
        assert_eq!(restored.account("a"), world.accounts.account("a"));
        assert!(restored.handle_time(right), "it is set right");
        assert_eq!(restored.snapshot(), before);
    }
}

#[test]
fn sites_are_bounded_and_those_that_are_gone_leave() {
    let mut world = World::at(JANUARY_15);
    let hear = |world: &mut World, site: usize| {
        world.accounts.handle_rate(&Arc::from(format!("site {site}")), Carrier::Telecom, 1.0);
    };
    (0..SITES_MAX + 10).for_each(|site| hear(&mut world, site));
    assert_eq!(world.accounts.sites.len(), SITES_MAX);
    // A new one takes the place of one that was not heard of for an hour.
    world.silence(30);
    (1..SITES_MAX).for_each(|site| hear(&mut world, site));
    world.silence(40);
    world.pass(1, 1e9);
    assert!(world.accounts.account("a").is_some() && world.accounts.account("site 0").is_none());
    assert_eq!(world.accounts.sites.len(), SITES_MAX);
    // With the second month that begins in silence all are gone but those that are heard of.
    world.accounts.sites.retain(|site, _| ["a", "site 1"].contains(&&**site));
    world.pass(17 * 24 * 60, 1e9);
    assert!(world.accounts.account("site 1").is_some());
    world.pass(28 * 24 * 60, 1e9);
    assert!(world.accounts.account("site 1").is_none() && world.accounts.account("a").is_some());
}

//! What an operator should know: a machine that looks at the facts once a second and says what is wrong,
//! once for each cause.
//!
//! 1. [`signs`] reads conditions out of the facts: bad, or in between (better than what raises an alert,
//!    worse than what clears it), or good.
//! 2. A condition that stays bad for [`Cause::raise_after`] raises an alert, one that stays good for
//!    [`Cause::clear_after`] clears it: what flaps is told once.
//! 3. Alerts converge ([`roots`]): those of a lost edge's lines go under the edge, edges of a site that all
//!    vanish under the site, lines of one pair of carriers that fail on many edges under the pair.
//!
//! Invariants: memory is bounded by [`CONDITIONS_MAX`], [`PAST_MAX`] and [`RELATED_MAX`]; an alert keeps its
//! id as long as it lasts; whatever is under another is told nobody by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use crate::dashboard::facts::Facts;
use crate::site::Moment;

mod cause;
mod roots;
mod signs;

pub use self::cause::{Cause, Severity};
pub use self::signs::Refused;

use self::signs::{Level, Window};

/// The machine.
#[derive(Debug, Default)]
pub struct Alerts {
    conditions: BTreeMap<Cause, Condition>,
    /// Under which alert each is.
    roots: BTreeMap<Cause, Cause>,
    past: VecDeque<Arc<Alert>>,
    window: Window,
    notices: Vec<Notice>,
}

/// Something that is, or may be, wrong.
#[derive(Debug)]
struct Condition {
    bad_since: Moment,
    good_since: Option<Instant>,
    title: String,
    raised: Option<Raised>,
}

#[derive(Debug)]
struct Raised {
    id: Arc<str>,
    at: Instant,
    since_ms: u64,
    acknowledged: Option<Acknowledged>,
    /// Whether somebody outside was told.
    noticed: bool,
    /// What was under it and is over.
    related: Vec<Alert>,
}

/// An alert as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Of this alert as long as it lasts.
    pub id: Arc<str>,
    /// What is wrong.
    pub cause: Cause,
    /// The same in a sentence.
    pub title: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Until when, if it is over.
    pub until_ms: Option<u64>,
    /// Who has seen it.
    pub acknowledged: Option<Acknowledged>,
    /// What it led to.
    pub related: Vec<Alert>,
}

/// Somebody has seen an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The operator.
    pub by: Arc<str>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// An alert of which somebody outside should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Whether it is over.
    pub is_over: bool,
    /// The alert.
    pub alert: Alert,
}

impl Alerts {
    /// Looks at the facts, and at what was refused since the start. To be called every second or so.
    pub fn handle_facts(&mut self, facts: &Facts, refused: Refused, now: Moment) {
        let window = self.window.handle_count(refused, now.monotonic);
        let signs = signs::read(facts, &window);
        for (cause, sign) in &signs.0 {
            let spare = self.conditions.len() < CONDITIONS_MAX;
            if sign.level == Level::Bad && spare && !self.conditions.contains_key(cause) {
                let title = sign.title.clone();
                let condition = Condition { bad_since: now, good_since: None, title, raised: None };
                self.conditions.insert(cause.clone(), condition);
            }
        }
        let mut over = Vec::new();
        self.conditions.retain(|cause, condition| {
            let goes_on = condition.handle(cause, signs.of(cause), now);
            if let Some(raised) = condition.raised.as_ref().filter(|_| !goes_on) {
                let alert = raised.alert(cause, &condition.title);
                let alert = Alert { until_ms: Some(now.since_1970_ms()), ..alert };
                over.push(Ended { alert, noticed: raised.noticed });
            }
            goes_on
        });
        // What is under another passes into it before that is over itself.
        over.sort_by_key(|ended: &Ended| ended.alert.cause.height());
        self.pass(over);
        let raised = self.conditions.iter().filter(|(_, condition)| condition.raised.is_some());
        self.roots = roots::find(raised.map(|(cause, _)| cause), facts);
        self.past.retain(|past| {
            past.until_ms
                .is_some_and(|until| now.since_1970_ms() < until + PAST_FOR.as_millis() as u64)
        });
        self.notice(now.monotonic);
    }

    /// Those that are over, the lowest first, go to what they are under, or into the past.
    fn pass(&mut self, over: Vec<Ended>) {
        let places = over.iter().map(|ended| ended.alert.cause.clone()).zip(0..);
        let places: BTreeMap<Cause, usize> = places.collect();
        let mut over: Vec<Option<Ended>> = over.into_iter().map(Some).collect();
        for place in 0..over.len() {
            let Some(Ended { alert, noticed }) = over[place].take() else { continue };
            if noticed {
                self.notices.push(Notice { is_over: true, alert: alert.clone() });
            }
            let root = self.roots.get(&alert.cause).filter(|root| **root != alert.cause);
            let ended = root.and_then(|root| over[*places.get(root)?].as_mut());
            let raised = root.and_then(|root| self.conditions.get_mut(root)?.raised.as_mut());
            match (ended, raised) {
                (Some(root), _) => collect(&mut root.alert.related, alert),
                (None, Some(root)) => collect(&mut root.related, alert),
                (None, None) => {
                    self.past.push_front(Arc::new(alert));
                    self.past.truncate(PAST_MAX);
                }
            }
        }
    }

    /// Notes what is to be told to somebody outside: after a moment, in which it may converge.
    fn notice(&mut self, now: Instant) {
        let mut due = BTreeSet::new();
        for (cause, condition) in &mut self.conditions {
            let Some(raised) = &mut condition.raised else { continue };
            let is_due = !raised.noticed && raised.at + NOTICE_AFTER <= now;
            if is_due && self.roots.get(cause) == Some(cause) {
                raised.noticed = true;
                due.insert(cause.clone());
            }
        }
        if !due.is_empty() {
            let told = self.open().into_iter().filter(|alert| due.contains(&alert.cause));
            self.notices.extend(told.map(|alert| Notice { is_over: false, alert }));
        }
    }

    /// What somebody outside should be told since this was last asked.
    pub fn poll_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What is wrong, the worst first.
    pub fn open(&self) -> Vec<Alert> {
        let mut alerts: BTreeMap<&Cause, Alert> = BTreeMap::new();
        let mut under: Vec<(&Cause, Alert)> = Vec::new();
        for (cause, condition) in &self.conditions {
            let Some(raised) = &condition.raised else { continue };
            let alert = raised.alert(cause, &condition.title);
            match self.roots.get(cause) {
                Some(root) if root != cause => under.push((root, alert)),
                _ => {
                    alerts.insert(cause, alert);
                }
            }
        }
        for (root, mut alert) in under {
            if let Some(root) = alerts.get_mut(root) {
                root.related.append(&mut alert.related);
                root.related.push(alert);
            }
        }
        let mut alerts: Vec<Alert> = alerts.into_values().collect();
        for alert in &mut alerts {
            alert.related.sort_by_key(|one| (one.until_ms.is_some(), one.cause.severity()));
            alert.related.truncate(RELATED_MAX);
        }
        alerts.sort_by_key(|alert| (alert.cause.severity(), u64::MAX - alert.since_ms));
        alerts
    }

    /// What was wrong within [`PAST_FOR`], the latest first.
    pub fn past(&self) -> Vec<Arc<Alert>> {
        self.past.iter().map(Arc::clone).collect()
    }

    /// Notes that an operator has seen an alert, or takes that back; answers its title, or `None` if none of
    /// this id is open.
    pub fn acknowledge(&mut self, id: &str, by: Option<Acknowledged>) -> Option<&str> {
        let condition = self
            .conditions
            .values_mut()
            .find(|condition| condition.raised.as_ref().is_some_and(|raised| &*raised.id == id))?;
        condition.raised.as_mut()?.acknowledged = by;
        Some(&condition.title)
    }
}

/// An alert that is over, and whether somebody outside knows of it.
struct Ended {
    alert: Alert,
    noticed: bool,
}

/// Puts what is over under its cause; what happened again is told once.
fn collect(related: &mut Vec<Alert>, mut ended: Alert) {
    let below = std::mem::take(&mut ended.related);
    for ended in below.into_iter().chain([ended]) {
        related.retain(|one| one.cause != ended.cause);
        if related.len() < RELATED_MAX {
            related.push(ended);
        }
    }
}

impl Condition {
    /// Whether there is still something to say.
    fn handle(
        &mut self,
        cause: &Cause,
        (level, title): (Level, Option<&str>),
        now: Moment,
    ) -> bool {
        if let Some(title) = title {
            title.clone_into(&mut self.title);
        }
        match (level, &self.raised) {
            (Level::Bad, Some(_)) | (Level::Between, Some(_)) => {
                self.good_since = None;
                true
            }
            (Level::Bad, None) => {
                let since = now.monotonic.saturating_duration_since(self.bad_since.monotonic);
                if since >= cause.raise_after() {
                    self.raised = Some(Raised::new(cause, self.bad_since, now.monotonic));
                }
                true
            }
            (Level::Between | Level::Good, None) => false,
            (Level::Good, Some(_)) => {
                let since = *self.good_since.get_or_insert(now.monotonic);
                now.monotonic.saturating_duration_since(since) < cause.clear_after()
            }
        }
    }
}

impl Raised {
    fn new(cause: &Cause, since: Moment, at: Instant) -> Self {
        let since_ms = since.since_1970_ms();
        let hash = xxh3_64(format!("{cause:?} {since_ms}").as_bytes());
        Self {
            id: format!("{}-{:08x}", cause.kind(), hash as u32).into(),
            at,
            since_ms,
            acknowledged: None,
            noticed: false,
            related: Vec::new(),
        }
    }

    fn alert(&self, cause: &Cause, title: &str) -> Alert {
        Alert {
            id: Arc::clone(&self.id),
            cause: cause.clone(),
            title: title.to_owned(),
            since_ms: self.since_ms,
            until_ms: None,
            acknowledged: self.acknowledged.clone(),
            related: self.related.clone(),
        }
    }
}

/// At least so many may be wrong at once: all lines of a few hundred edges.
pub const CONDITIONS_MAX: usize = 20_000;

/// Alerts that are over, and how long they are told.
pub const PAST_MAX: usize = 500;

/// See [`PAST_MAX`].
pub const PAST_FOR: Duration = Duration::from_secs(3600);

/// Alerts under one other.
pub const RELATED_MAX: usize = 200;

/// How long an alert may turn out to be part of another before somebody outside is told.
pub const NOTICE_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

//! The audit log: who did what, when, from where, and what came of it.
//!
//! A machine that numbers entries and keeps the last ones in memory; whoever drives it writes each
//! as a line. Strangers can make entries by failing, so those are held to a pace of their own: what
//! exceeds it is counted in the next entry instead of pushing everything else out.
//!
//! Invariant: numbers grow by one, and memory is bounded.

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::site::Moment;

/// One thing that was done or tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts entries.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who: an operator's name as it was given, `file`, or empty.
    pub who: String,
    /// From where: an address, or a path.
    pub from: String,
    /// What: `sign-in`, `sign-out`, `change`, `acknowledge`.
    pub action: String,
    /// What came of it: `ok`, `refused`.
    pub outcome: String,
    /// The change, or why not.
    pub detail: Vec<String>,
    /// Why it was done, as its author says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The revision that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Failures before this one that have no entry.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Whether a stranger caused it, so that it is kept apart.
    #[serde(skip)]
    pub strange: bool,
}

impl Entry {
    /// Whether somebody signed in.
    pub fn is_sign_in(&self) -> bool {
        self.action == SIGN_IN && self.is_done()
    }

    fn is_done(&self) -> bool {
        self.outcome == DONE
    }

    /// About what it takes in memory.
    fn bytes(&self) -> usize {
        let texts = [&self.who, &self.from, &self.action, &self.outcome, &self.note];
        let texts = texts.into_iter().chain(&self.detail);
        let of_text = |text: &String| size_of::<String>() + text.len();
        size_of::<Self>() + texts.map(of_text).sum::<usize>()
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What there is to write down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Note {
    /// See [`Entry::who`].
    pub who: String,
    /// See [`Entry::from`].
    pub from: String,
    /// See [`Entry::action`].
    pub action: &'static str,
    /// Whether it was done.
    pub done: bool,
    /// Whether a stranger can cause it at will.
    pub strange: bool,
    /// See [`Entry::detail`].
    pub detail: Vec<String>,
    /// See [`Entry::note`].
    pub note: String,
    /// See [`Entry::revision`].
    pub revision: Option<u64>,
}

/// The last entries.
#[derive(Debug)]
pub struct Audit {
    next: u64,
    entries: VecDeque<Entry>,
    /// Of those, what was refused, and what all take.
    refused: usize,
    bytes: usize,
    /// Entries of strangers that are not yet forgotten, and when that was.
    strange: (f64, Option<Instant>),
    left_out: u64,
}

impl Audit {
    /// Goes on after entries that were kept, by their numbers.
    pub fn new(kept: impl IntoIterator<Item = Entry>) -> Self {
        let mut audit = Self {
            next: 1,
            entries: VecDeque::new(),
            refused: 0,
            bytes: 0,
            strange: (0.0, None),
            left_out: 0,
        };
        for entry in kept {
            audit.next = audit.next.max(entry.id.saturating_add(1));
            audit.push(entry);
        }
        audit
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.refused += usize::from(!entry.is_done());
        self.entries.push_back(entry);
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            // What strangers tried makes room before what operators did.
            let refused = || self.entries.iter().position(|entry| !entry.is_done());
            let at = if self.refused > ENTRIES_MAX / 2 { refused() } else { None };
            let Some(gone) = self.entries.remove(at.unwrap_or(0)) else { return };
            self.bytes -= gone.bytes();
            self.refused -= usize::from(!gone.is_done());
        }
    }

    /// Makes an entry, to be written as a line; `None` if strangers made too many.
    pub fn note(&mut self, note: Note, now: Moment) -> Option<Entry> {
        if note.strange && !self.may_be_strange(now.monotonic) {
            self.left_out += 1;
            return None;
        }
        let short = |text: &str| cut(text, TEXT_CHARS_MAX);
        let entry = Entry {
            id: self.next,
            at_ms: now.since_1970_ms(),
            who: if note.strange { cut(&note.who, STRANGER_CHARS_MAX) } else { short(&note.who) },
            from: short(&note.from),
            action: note.action.to_owned(),
            outcome: if note.done { DONE } else { "refused" }.to_owned(),
            detail: note.detail.iter().take(TEXTS_MAX).map(|line| short(line)).collect(),
            note: short(&note.note),
            revision: note.revision,
            left_out: std::mem::take(&mut self.left_out),
            strange: note.strange,
        };
        self.next += 1;
        self.push(entry.clone());
        Some(entry)
    }

    fn may_be_strange(&mut self, now: Instant) -> bool {
        let (count, since) = self.strange;
        let passed = since.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let forgotten = passed / STRANGE_EVERY_S;
        let count = (count - forgotten).max(0.0);
        let may = count + 1.0 <= STRANGE_BURST;
        self.strange = (if may { count + 1.0 } else { count }, Some(now));
        may
    }

    /// At most `limit` entries before the one numbered `before`, newest first.
    pub fn read(&self, before: Option<u64>, limit: usize) -> impl Iterator<Item = &Entry> {
        let older = move |entry: &&Entry| before.is_none_or(|before| entry.id < before);
        self.entries.iter().rev().filter(older).take(limit)
    }

    /// At most `limit` entries after the one numbered `after`, oldest first.
    pub fn after(&self, after: u64, limit: usize) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.id <= after);
        self.entries.range(from..).take(limit)
    }

    /// The number of the last entry; 0 before the first.
    pub fn last(&self) -> u64 {
        self.next - 1
    }
}

/// Entries in memory, some hundred bytes each.
pub const ENTRIES_MAX: usize = 5_000;
/// And what they take together.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest text of an entry, characters.
pub const TEXT_CHARS_MAX: usize = 500;
/// Longest name that a stranger gives, characters: names are shorter, and what is kept of strangers is
/// to reach back far.
const STRANGER_CHARS_MAX: usize = 64;
/// Texts of its detail: more than any change has lines or any request faults.
pub const TEXTS_MAX: usize = 64;
/// Entries that strangers may cause at once, and then one in so many seconds: 14,000 a day.
const STRANGE_BURST: f64 = 100.0;
const STRANGE_EVERY_S: f64 = 6.0;

/// What somebody does who signs in.
pub const SIGN_IN: &str = "sign-in";
/// What comes of what is done.
const DONE: &str = "ok";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::moment as at;

    fn note(who: &str, strange: bool) -> Note {
        Note { who: who.to_owned(), action: "sign-in", strange, ..Note::default() }
    }

    #[test]
    fn strangers_cannot_push_out_what_operators_did() {
        let mut audit = Audit::new([]);
        audit.note(note("ann", false), at(0)).unwrap();
        let written = (0..100_000).filter(|n| audit.note(note("x", true), at(n / 1000)).is_some());
        assert_eq!(written.count(), 116, "a hundred, and one in six seconds");
        let entry = audit.note(note("ann", false), at(100)).unwrap();
        assert!(entry.left_out > 0);
        assert_eq!(audit.read(None, 1000).last().unwrap().who, "ann");
        assert_eq!(entry.id, 118);
        let long = audit.note(note(&"\u{1}".repeat(500), true), at(200)).unwrap();
        assert_eq!((long.who.len(), long.strange, entry.strange), (64, true, false));
    }

    #[test]
    fn what_is_in_memory_is_bounded_and_what_was_done_stays_longest() {
        let mut audit = Audit::new([]);
        let done = Note { done: true, ..note("ann", false) };
        audit.note(done, at(0)).unwrap();
        for _ in 0..ENTRIES_MAX + 100 {
            audit.note(note("x", false), at(1)).unwrap();
        }
        let all = |audit: &Audit| audit.read(None, usize::MAX).cloned().collect::<Vec<Entry>>();
        assert_eq!(all(&audit).len(), ENTRIES_MAX);
        assert_eq!(all(&audit).last().unwrap().who, "ann");
        let mut oldest_first = all(&audit);
        oldest_first.reverse();
        assert_eq!(all(&Audit::new(oldest_first)), all(&audit), "nor does a restart forget it");
        for _ in 0..1000 {
            let detail = vec!["x".repeat(2 * TEXT_CHARS_MAX); 2 * TEXTS_MAX];
            let entry = audit.note(Note { detail, ..note("x", false) }, at(1)).unwrap();
            assert_eq!((entry.detail.len(), entry.detail[0].len()), (TEXTS_MAX, TEXT_CHARS_MAX));
        }
        assert!(all(&audit).iter().map(Entry::bytes).sum::<usize>() <= BYTES_MAX);
    }

    #[test]
    fn a_calendar_that_jumps_hides_nobody_and_lets_nobody_write_more() {
        let mut audit = Audit::new([]);
        let written = [(0, 0), (0, 100), (6, 0), (12, 1)].map(|(seconds, hours)| {
            let now = Moment { calendar: at(3600 * hours).calendar, ..at(seconds) };
            (0..1000).filter(|_| audit.note(note("x", true), now).is_some()).count()
        });
        assert_eq!(written, [100, 0, 1, 1]);
    }

    #[test]
    fn entries_are_read_page_by_page_and_go_on_after_a_restart() {
        let mut audit = Audit::new([]);
        let lines: Vec<Entry> =
            (0..10).filter_map(|n| audit.note(note("ann", false), at(n))).collect();
        let ids = |audit: &Audit, before, limit| {
            audit.read(before, limit).map(|e| e.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&audit, None, 3), [10, 9, 8]);
        assert_eq!(ids(&audit, Some(8), 3), [7, 6, 5]);
        assert_eq!(ids(&audit, Some(1), 3), [0; 0]);
        let mut again = Audit::new(lines);
        assert_eq!(again.note(note("bob", false), at(20)).unwrap().id, 11);
        for n in 0..2 * ENTRIES_MAX as u64 {
            again.note(note(&"x".repeat(1000), false), at(n));
        }
        assert_eq!(again.read(None, usize::MAX).count(), ENTRIES_MAX);
        assert_eq!(again.read(None, 1).next().unwrap().who.len(), TEXT_CHARS_MAX);
    }
}

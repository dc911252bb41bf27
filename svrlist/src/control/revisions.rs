//! The revisions of a control: a machine that takes changes and keeps what was.
//!
//! Invariant: numbers grow by one with every change, and the last revision is in force.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::wanted::{ControlJson, Wanted};
use super::{Control, Faults, Part, change};

/// One change, and what was wanted from then on.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Counts changes; 0 is the beginning, where nothing was wanted.
    pub number: u64,
    /// What is wanted.
    pub control: Arc<Control>,
    /// Who changed it.
    pub author: Author,
    /// When.
    pub at: SystemTime,
    /// What differs from the revision before, a line each.
    pub changes: Vec<String>,
    /// Why; may be empty.
    pub note: String,
    /// What it takes to keep it.
    bytes: usize,
}

impl Revision {
    fn sized(mut self) -> Self {
        let text = serde_json::to_vec(&revision_json(&self, true));
        self.bytes = text.map_or(0, |text| text.len());
        self
    }
}

/// Who changes something, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// An operator's name, or what else changes controls: the file.
    pub who: String,
    /// An address, or the file's path.
    pub from: String,
}

/// The revisions that are kept, oldest first; at least one.
#[derive(Clone, Debug)]
pub struct Revisions {
    current: Revision,
    before: VecDeque<Revision>,
}

/// A revision that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {wanted} is not kept; {oldest} to {current} are")]
pub struct NotKept {
    wanted: u64,
    oldest: u64,
    current: u64,
}

impl Default for Revisions {
    fn default() -> Self {
        let current = Revision {
            number: 0,
            control: Arc::default(),
            author: Author { who: String::new(), from: String::new() },
            at: UNIX_EPOCH,
            changes: Vec::new(),
            note: String::new(),
            bytes: 0,
        };
        Self { current: current.sized(), before: VecDeque::new() }
    }
}

impl Revisions {
    /// The revision in force.
    pub fn current(&self) -> &Revision {
        &self.current
    }

    /// All that are kept, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Revision> {
        std::iter::once(&self.current).chain(self.before.iter().rev())
    }

    /// A revision that is kept.
    pub fn get(&self, wanted: u64) -> Result<&Revision, NotKept> {
        let mut oldest = &self.current;
        for revision in self.iter() {
            if revision.number == wanted {
                return Ok(revision);
            }
            // Where one is missing among them, those after it are told.
            if revision.number > wanted || wanted > self.current.number {
                oldest = revision;
            }
        }
        Err(NotKept { wanted, oldest: oldest.number, current: self.current.number })
    }

    /// Puts a control into force; false if it is what is in force, which changes nothing.
    pub fn change(
        &mut self,
        control: Control,
        author: Author,
        note: String,
        at: SystemTime,
    ) -> bool {
        if control == *self.current.control {
            return false;
        }
        let revision = Revision {
            number: self.current.number + 1,
            changes: change::lines(&self.current.control, &control),
            control: Arc::new(control),
            author,
            at,
            note,
            bytes: 0,
        };
        let before = std::mem::replace(&mut self.current, revision.sized());
        self.before.push_back(before);
        self.forget();
        true
    }

    /// Keeps what is in force, and as many before it as may be.
    fn forget(&mut self) {
        let mut bytes: usize = self.iter().map(|revision| revision.bytes).sum();
        while self.before.len() >= KEPT_MAX || bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.before.pop_front() else { return };
            bytes -= oldest.bytes;
        }
    }

    fn load(read: Vec<RevisionJson<Wanted>>) -> Result<Self, LoadError> {
        let mut kept = VecDeque::new();
        let last = read.last().map(|revision| revision.summary.revision);
        for RevisionJson { summary, control } in read {
            let number = summary.revision;
            let control = match control.control() {
                Ok(control) => control,
                Err(faults) if last == Some(number) => {
                    return Err(LoadError::Control(number, faults));
                }
                // A bound that is newer than an old revision is no reason not to start.
                Err(faults) => {
                    tracing::warn!(revision = number, %faults, "forgot an old revision of the control");
                    continue;
                }
            };
            let is_next = kept.back().is_none_or(|last: &Revision| last.number < number);
            if !is_next {
                return Err(LoadError::Order(number));
            }
            let revision = Revision {
                number,
                control: Arc::new(control),
                author: Author { who: summary.who, from: summary.from },
                at: UNIX_EPOCH + Duration::from_millis(summary.at_ms),
                changes: summary.changes,
                note: summary.note,
                bytes: 0,
            };
            kept.push_back(revision.sized());
        }
        let current = kept.pop_back().ok_or(LoadError::Empty)?;
        let mut revisions = Self { current, before: kept };
        revisions.forget();
        Ok(revisions)
    }
}

/// What survives a restart.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The revisions.
    pub revisions: Revisions,
    /// What the file had. Should the next one be broken, that is still the file's.
    pub owned: Vec<Part>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptJson<C> {
    file: Vec<String>,
    revisions: Vec<RevisionJson<C>>,
}

impl Kept {
    /// Everything as a text.
    pub fn save(&self) -> Vec<u8> {
        let revisions = self.revisions.iter().map(|revision| revision_json(revision, true));
        let mut revisions: Vec<RevisionJson<ControlJson>> = revisions.collect();
        revisions.reverse();
        let file = self.owned.iter().map(|part| part.name().to_owned()).collect();
        serde_json::to_vec(&KeptJson { file, revisions }).unwrap_or_default()
    }

    /// What [`Kept::save`] wrote.
    pub fn load(text: &[u8]) -> Result<Self, LoadError> {
        let read = serde_json::from_slice::<KeptJson<Wanted>>(text);
        let KeptJson { file, revisions } = read.or_else(|error| {
            // Revisions alone say that there was no file.
            let revisions = serde_json::from_slice(text).map_err(|_| error)?;
            Ok::<_, LoadError>(KeptJson { file: Vec::new(), revisions })
        })?;
        let is_owned = |part: &Part| file.iter().any(|name| name == part.name());
        let owned = Part::ALL.into_iter().filter(is_owned).collect();
        Ok(Self { revisions: Revisions::load(revisions)?, owned })
    }
}

/// A file that keeps no control.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is none of ours, or torn.
    #[error("it is not what svrlist writes")]
    Form(#[from] serde_json::Error),
    /// The control in force cannot be.
    #[error("revision {0}: {1}")]
    Control(u64, Faults),
    /// Numbers do not grow.
    #[error("revision {0} is out of order")]
    Order(u64),
    /// There is none in it.
    #[error("it holds no revision")]
    Empty,
}

/// A revision as it is told and kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct RevisionJson<C> {
    #[serde(flatten)]
    summary: Summary,
    control: C,
}

/// A revision as it is listed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    revision: u64,
    who: String,
    from: String,
    at_ms: u64,
    changes: Vec<String>,
    note: String,
}

/// A revision as it is listed; only operators are told from where it came.
pub fn summary(revision: &Revision, is_operator: bool) -> Summary {
    let since_1970 = revision.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Summary {
        revision: revision.number,
        who: revision.author.who.clone(),
        from: if is_operator { revision.author.from.clone() } else { String::new() },
        at_ms: since_1970.as_millis() as u64,
        changes: revision.changes.clone(),
        note: revision.note.clone(),
    }
}

/// The same with what was wanted.
pub fn revision_json(revision: &Revision, is_operator: bool) -> RevisionJson<ControlJson> {
    let control = ControlJson::from(&*revision.control);
    RevisionJson { summary: summary(revision, is_operator), control }
}

/// Revisions that are kept.
pub const KEPT_MAX: usize = 100;
/// What those that are kept take together, in memory and on the disk; the one in force is kept
/// whatever it takes.
pub const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

//! How values went over the last hours and weeks: a machine that takes samples and keeps means.
//!
//! Of every [`Series`] it keeps means of ten seconds for six hours and of five minutes for 31 days, each
//! in a [`track`]. What changed since it was last asked comes out as [`Change`]s of chunks, for a
//! store; [`History::restore`] takes them in again.
//!
//! Invariants: at most `series_max` series are kept, so memory is bounded by some 45 KiB times that;
//! a series that is still written gives way to none; time without samples is told as such.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

mod series;
mod track;

pub use self::series::{EdgeValue, LineValue, Series, SiteValue, Unit};
use self::track::{CHUNK_FINE, Chunk, Track};

/// The machine.
#[derive(Debug)]
pub struct History {
    series_max: usize,
    kept: BTreeMap<Series, Kept>,
    removed: Vec<Change>,
}

#[derive(Debug)]
struct Kept {
    written_ms: u64,
    fine: Track,
    coarse: Track,
}

impl Kept {
    fn new() -> Self {
        Self { written_ms: 0, fine: Track::fine(), coarse: Track::coarse() }
    }

    fn tracks(&mut self) -> [(u8, &mut Track); 2] {
        [(FINE, &mut self.fine), (COARSE, &mut self.coarse)]
    }
}

/// A chunk that a store is to put, or to remove where there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// What a store held under a key is no chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry {key:?} of {bytes} bytes is no chunk of a series")]
pub struct Damaged {
    /// Its key, as far as it is a text.
    pub key: String,
    /// The length of its value.
    pub bytes: usize,
}

/// What became of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Taken.
    pub taken: usize,
    /// Left out because there are too many series.
    pub refused: usize,
}

/// The points in time of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The beginning of the first.
    pub start_ms: u64,
    /// How long each lasts.
    pub step_ms: u64,
    /// How many there are.
    pub points: usize,
    coarse: bool,
}

impl Grid {
    /// At most `points` and one more points that cover a time. What lies too far back for means of ten
    /// seconds comes as those of five minutes.
    pub fn new(time_ms: Range<u64>, points: usize, now_ms: u64) -> Self {
        let coarse = time_ms.start < now_ms.saturating_sub(FINE_FOR.as_millis() as u64);
        let least = if coarse { track::COARSE_STEP_MS } else { track::FINE_STEP_MS };
        let span = time_ms.end.saturating_sub(time_ms.start);
        let step_ms = span.div_ceil(points.max(1) as u64).max(1).div_ceil(least) * least;
        let start_ms = time_ms.start / step_ms * step_ms;
        let points = time_ms.end.saturating_sub(start_ms).div_ceil(step_ms) as usize;
        Self { start_ms, step_ms, points, coarse }
    }
}

impl History {
    /// Knows nothing, and will know so many series at most.
    pub fn new(series_max: usize) -> Self {
        Self { series_max, kept: BTreeMap::new(), removed: Vec::new() }
    }

    /// Samples of one moment. Where there are too many series, the one that was written least recently
    /// leaves if that was [`IDLE_FOR`] ago; otherwise the new one is refused.
    pub fn handle_samples(
        &mut self,
        samples: impl IntoIterator<Item = (Series, f64)>,
        now_ms: u64,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let mut full = false;
        for (series, value) in samples {
            if !value.is_finite() {
                continue;
            }
            if !self.kept.contains_key(&series) && self.kept.len() >= self.series_max {
                full = full || !self.make_room(now_ms);
                if full {
                    outcome.refused += 1;
                    continue;
                }
            }
            let kept = self.kept.entry(series).or_insert_with(Kept::new);
            kept.written_ms = now_ms;
            kept.fine.add(now_ms, value);
            kept.coarse.add(now_ms, value);
            outcome.taken += 1;
        }
        outcome
    }

    /// A series' means; `None` in time without samples.
    pub fn read(&self, series: &Series, grid: &Grid) -> Vec<(u64, Option<f64>)> {
        let kept = self.kept.get(series);
        let points = (0..grid.points as u64).map(|point| grid.start_ms + point * grid.step_ms);
        let mean = |from_ms: u64| {
            let kept = kept?;
            let track = if grid.coarse { &kept.coarse } else { &kept.fine };
            track.mean(from_ms..from_ms + grid.step_ms)
        };
        points.map(|from_ms| (from_ms, mean(from_ms))).collect()
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What changed since this was last asked.
    pub fn poll_changes(&mut self) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.removed);
        for (series, kept) in &mut self.kept {
            let name = series.to_string();
            for (kind, track) in kept.tracks() {
                track.poll_chunks(|number, values| {
                    changes.push(Change { key: key(&name, kind, number), value: values });
                });
            }
        }
        changes
    }

    /// What was polled last did not reach the store: all is to be written anew.
    pub fn handle_lost(&mut self) {
        for kept in self.kept.values_mut() {
            for (_, track) in kept.tracks() {
                track.handle_lost();
            }
        }
    }

    /// Takes in what a store holds, in the order of its keys.
    pub fn restore(&mut self, name: &[u8], value: &[u8]) -> Result<(), Damaged> {
        let damaged =
            || Damaged { key: String::from_utf8_lossy(name).into_owned(), bytes: value.len() };
        let (series, kind, number) = parse_key(name).ok_or_else(damaged)?;
        let kept = self.kept.entry(series).or_insert_with(Kept::new);
        let track = if kind == FINE { &mut kept.fine } else { &mut kept.coarse };
        let values = Chunk::decode(value, track.chunk()).ok_or_else(damaged)?;
        track.restore(number, &values);
        kept.written_ms = kept.written_ms.max(kept.fine.end_ms()).max(kept.coarse.end_ms());
        Ok(())
    }

    /// The beginning of the last time of which anything is known, in milliseconds since 1970.
    pub fn last_ms(&self) -> Option<u64> {
        self.kept.values().filter_map(|kept| kept.fine.last_ms().max(kept.coarse.last_ms())).max()
    }

    /// All was restored: what is too much or too old leaves.
    pub fn handle_restored(&mut self, now_ms: u64) {
        let old: Vec<Series> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.written_ms + COARSE_FOR.as_millis() as u64 <= now_ms)
            .map(|(series, _)| series.clone())
            .collect();
        for series in old {
            self.remove(&series);
        }
        while self.kept.len() > self.series_max {
            let Some(least) = self.least_recent() else { return };
            self.remove(&least);
        }
    }

    fn make_room(&mut self, now_ms: u64) -> bool {
        let idle_ms = IDLE_FOR.as_millis() as u64;
        let Some(least) = self.least_recent() else { return false };
        let idle = self.kept.get(&least).is_some_and(|kept| kept.written_ms + idle_ms <= now_ms);
        if idle {
            self.remove(&least);
        }
        idle
    }

    fn least_recent(&self) -> Option<Series> {
        let least = self.kept.iter().min_by_key(|(_, kept)| kept.written_ms);
        least.map(|(series, _)| series.clone())
    }

    fn remove(&mut self, series: &Series) {
        let Some(mut kept) = self.kept.remove(series) else { return };
        let name = series.to_string();
        for (kind, track) in kept.tracks() {
            let stored = track.stored().map(|number| key(&name, kind, number));
            self.removed.extend(stored.map(|key| Change { key, value: None }));
        }
    }
}

/// The name, a zero, the kind of track, the chunk's number: chunks of a track lie together, in order.
fn key(name: &str, kind: u8, number: u64) -> Vec<u8> {
    [name.as_bytes(), &[0, kind], &number.to_be_bytes()].concat()
}

fn parse_key(key: &[u8]) -> Option<(Series, u8, u64)> {
    let at = key.iter().position(|byte| *byte == 0)?;
    let series = Series::parse(std::str::from_utf8(&key[..at]).ok()?)?;
    let (kind, number) = key[at + 1..].split_first()?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    let possible = number <= u64::MAX / track::COARSE_STEP_MS / CHUNK_FINE as u64 / 10;
    (possible && [FINE, COARSE].contains(kind)).then_some((series, *kind, number))
}

const FINE: u8 = b'f';
const COARSE: u8 = b'c';

/// How long means of ten seconds are kept.
pub const FINE_FOR: Duration = Duration::from_secs(6 * 3600);

/// How long means of five minutes are kept.
pub const COARSE_FOR: Duration = Duration::from_secs(31 * 86_400);

/// A series that was not written for so long may give way to a new one.
pub const IDLE_FOR: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;

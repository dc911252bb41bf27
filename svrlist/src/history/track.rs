//! Means of equally long times, without gaps in memory: the latest are kept, and leave in chunks.
//!
//! Invariant: `values` are those of the times up to `end`, the last one still growing; at most `keep`.

use std::collections::VecDeque;
use std::ops::Range;

/// The means of one series at one resolution.
#[derive(Debug)]
pub(super) struct Track {
    step_ms: u64,
    keep: usize,
    chunk: usize,
    /// The number of the time after the last.
    end: u64,
    /// Not a number where there were no samples.
    values: VecDeque<f32>,
    /// Sum and number of the samples of the last time.
    open: (f64, u32),
    /// The first time that changed since chunks were polled.
    changed: Option<u64>,
    /// The chunks that a store may hold.
    stored: Range<u64>,
}

impl Track {
    pub(super) fn fine() -> Self {
        Self::new(FINE_STEP_MS, super::FINE_FOR.as_millis() as u64, CHUNK_FINE)
    }

    pub(super) fn coarse() -> Self {
        Self::new(COARSE_STEP_MS, super::COARSE_FOR.as_millis() as u64, CHUNK_COARSE)
    }

    fn new(step_ms: u64, keep_ms: u64, chunk: usize) -> Self {
        Self {
            step_ms,
            keep: (keep_ms / step_ms) as usize,
            chunk,
            end: 0,
            values: VecDeque::new(),
            open: (0.0, 0),
            changed: None,
            stored: 0..0,
        }
    }

    /// Times of a chunk.
    pub(super) fn chunk(&self) -> usize {
        self.chunk
    }

    /// The end of the last time.
    pub(super) fn end_ms(&self) -> u64 {
        self.end * self.step_ms
    }

    /// The beginning of the last time.
    pub(super) fn last_ms(&self) -> Option<u64> {
        (!self.values.is_empty()).then(|| (self.end - 1) * self.step_ms)
    }

    /// Takes a sample. One of an earlier time than the last means that the clock was put back: what
    /// was said of the times since was said too early, and is forgotten.
    pub(super) fn add(&mut self, at_ms: u64, value: f64) {
        let time = at_ms / self.step_ms;
        if time + 1 != self.end || self.values.is_empty() {
            self.open = (0.0, 0);
            self.go_to(time);
        }
        self.open.0 += value;
        self.open.1 += 1;
        if let Some(last) = self.values.back_mut() {
            *last = (self.open.0 / f64::from(self.open.1)) as f32;
        }
        self.changed = Some(self.changed.map_or(time, |changed| changed.min(time)));
    }

    /// Makes `time` the last.
    fn go_to(&mut self, time: u64) {
        let gap = time.saturating_sub(self.end);
        if time < self.end {
            let left = time.saturating_sub(self.first());
            self.values.truncate(left as usize);
        } else if gap >= self.keep as u64 {
            self.values.clear();
        } else if !self.values.is_empty() {
            self.values.extend(std::iter::repeat_n(f32::NAN, gap as usize));
            let since = self.end;
            self.changed = Some(self.changed.map_or(since, |changed| changed.min(since)));
        }
        self.values.push_back(f32::NAN);
        self.end = time + 1;
        let over = self.values.len().saturating_sub(self.keep);
        self.values.drain(..over);
    }

    fn first(&self) -> u64 {
        self.end - self.values.len() as u64
    }

    /// The mean over a time, by the times that lie in it.
    pub(super) fn mean(&self, time_ms: Range<u64>) -> Option<f64> {
        let within = |time: u64| time.clamp(self.first(), self.end);
        let from = within(time_ms.start.div_ceil(self.step_ms));
        let to = within(time_ms.end.div_ceil(self.step_ms)).max(from);
        let at = |time: u64| (time - self.first()) as usize;
        let known = self.values.range(at(from)..at(to)).filter(|value| !value.is_nan());
        let (sum, count) =
            known.fold((0.0, 0_u32), |(sum, count), value| (sum + f64::from(*value), count + 1));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// Tells of chunks that changed, and with `None` of those that are no more.
    pub(super) fn poll_chunks(&mut self, mut tell: impl FnMut(u64, Option<Vec<u8>>)) {
        let Some(changed) = self.changed.take() else { return };
        let of = |time: u64| time / self.chunk as u64;
        let now = of(self.first())..of(self.end - 1) + 1;
        for gone in self.stored.clone().filter(|number| !now.contains(number)) {
            tell(gone, None);
        }
        for number in of(changed).max(now.start)..now.end {
            tell(number, Some(self.encode(number)));
        }
        self.stored = now;
    }

    /// Nothing that was told of chunks is known to be stored.
    pub(super) fn handle_lost(&mut self) {
        if !self.values.is_empty() {
            self.changed = Some(self.first());
        }
    }

    /// The chunks that a store may hold.
    pub(super) fn stored(&self) -> Range<u64> {
        self.stored.clone()
    }

    fn encode(&self, number: u64) -> Vec<u8> {
        let first = number * self.chunk as u64;
        let value = |time: u64| {
            let at = time.checked_sub(self.first())?;
            self.values.get(at as usize).copied()
        };
        let times = first..first + self.chunk as u64;
        times.flat_map(|time| value(time).unwrap_or(f32::NAN).to_le_bytes()).collect()
    }

    /// Takes in the chunk after those before.
    pub(super) fn restore(&mut self, number: u64, values: &Chunk) {
        let first = number * self.chunk as u64;
        for (time, value) in (first..).zip(&values.0) {
            if !value.is_nan() && (time >= self.end || self.values.is_empty()) {
                self.go_to(time);
                self.open = (f64::from(*value), 1);
                if let Some(last) = self.values.back_mut() {
                    *last = *value;
                }
            }
        }
        let start = if self.stored.is_empty() { number } else { self.stored.start.min(number) };
        self.stored = start..self.stored.end.max(number + 1);
        self.changed = None;
    }
}

/// The values of a chunk.
#[derive(Debug)]
pub(super) struct Chunk(Vec<f32>);

impl Chunk {
    /// Reads a chunk of so many values.
    pub(super) fn decode(bytes: &[u8], values: usize) -> Option<Self> {
        let (parts, rest) = bytes.as_chunks::<4>();
        let whole = parts.len() == values && rest.is_empty();
        let value = |part: &[u8; 4]| f32::from_le_bytes(*part);
        whole.then(|| {
            Self(
                parts.iter().map(value).map(|v| if v.is_finite() { v } else { f32::NAN }).collect(),
            )
        })
    }
}

/// Ten seconds.
pub(super) const FINE_STEP_MS: u64 = 10_000;

/// Five minutes.
pub(super) const COARSE_STEP_MS: u64 = 300_000;

/// Ten minutes in one entry of a store: what is written anew each time.
pub(super) const CHUNK_FINE: usize = 60;

/// A day.
const CHUNK_COARSE: usize = 288;

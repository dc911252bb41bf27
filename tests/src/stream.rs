//! Judging one stream of numbered messages.
//!
//! A test publishes `{"n":0}`, `{"n":1}` … and gives whatever arrives to a [`Stream`], which keeps what
//! is wrong with it: numbers that came twice, came early, never came, or offsets that are not dense.
//!
//! Invariant: `verdict(count)` is `Ok` if and only if 0 … count - 1 arrived exactly once, in order, on
//! dense offsets.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

/// What arrived of one stream of numbered messages.
#[derive(Debug, Default)]
pub struct Stream {
    arrived: Vec<u64>,
    seen: BTreeSet<u64>,
    faults: Vec<Fault>,
    last_offset: Option<u64>,
}

/// One thing that is wrong with a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A number came a second time.
    Duplicate(u64),
    /// Another number was due.
    OutOfOrder {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The offset is not the one after the offset before it.
    OffsetJump {
        /// The offset before it.
        after: u64,
        /// The offset that came.
        got: u64,
    },
}

impl Stream {
    /// The body of message `n`, as a publisher sends it.
    pub fn body(n: u64) -> Value {
        json!({ "n": n })
    }

    /// Takes a message with the given body, on `offset` if its protocol has one.
    pub fn take(&mut self, body: &Value, offset: Option<u64>) -> Result<()> {
        let Some(n) = body.get("n").and_then(Value::as_u64) else {
            bail!("a body without a number: {body}");
        };
        self.take_number(n, offset);
        Ok(())
    }

    /// Takes message `n`, on `offset` if its protocol has one.
    pub fn take_number(&mut self, n: u64, offset: Option<u64>) {
        let expected = self.arrived.last().map_or(0, |last| last + 1);
        if !self.seen.insert(n) {
            self.faults.push(Fault::Duplicate(n));
        } else if n != expected {
            self.faults.push(Fault::OutOfOrder { expected, got: n });
        }
        self.arrived.push(n);
        if let (Some(after), Some(got)) = (self.last_offset, offset)
            && got != after + 1
        {
            self.faults.push(Fault::OffsetJump { after, got });
        }
        self.last_offset = offset.or(self.last_offset);
    }

    /// How many different numbers arrived.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// True if nothing arrived yet.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Fails unless exactly 0 … `count` - 1 arrived, in order, once, on dense offsets.
    pub fn verdict(&self, count: u64) -> Result<()> {
        let missing: Vec<u64> = (0..count).filter(|n| !self.seen.contains(n)).collect();
        let shown = |len: usize| len.min(SHOWN);
        ensure!(
            missing.is_empty() && self.faults.is_empty() && self.arrived.len() as u64 == count,
            "{} of {count} arrived; {} missing, first {:?}; {} faults, first {:?}",
            self.seen.len(),
            missing.len(),
            &missing[..shown(missing.len())],
            self.faults.len(),
            &self.faults[..shown(self.faults.len())],
        );
        Ok(())
    }
}

const SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(numbers: &[(u64, u64)]) -> Stream {
        let mut stream = Stream::default();
        for (n, offset) in numbers {
            stream.take_number(*n, Some(*offset));
        }
        stream
    }

    #[test]
    fn a_perfect_stream_passes() {
        assert!(stream(&[(0, 5), (1, 6), (2, 7)]).verdict(3).is_ok());
        assert!(Stream::default().verdict(0).is_ok());
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(
            stream(&[(0, 1), (0, 1)]).faults,
            [Fault::Duplicate(0), Fault::OffsetJump { after: 1, got: 1 }]
        );
        assert_eq!(stream(&[(1, 1)]).faults, [Fault::OutOfOrder { expected: 0, got: 1 }]);
        assert_eq!(stream(&[(0, 1), (1, 3)]).faults, [Fault::OffsetJump { after: 1, got: 3 }]);
    }

    #[test]
    fn an_incomplete_stream_fails_with_what_is_missing() {
        let verdict = stream(&[(0, 1), (1, 2)]).verdict(4).expect_err("two are missing");
        assert!(verdict.to_string().contains("first [2, 3]"), "{verdict}");
    }

    #[test]
    fn a_message_too_many_fails() {
        assert!(stream(&[(0, 1), (1, 2)]).verdict(1).is_err());
    }

    #[test]
    fn a_body_without_a_number_is_an_error() {
        assert!(Stream::default().take(&json!({"x": 1}), None).is_err());
    }
}

//! Every fuzz target for a moment, so that none rots and what a change breaks shows soon.
//!
//! The inputs are the targets' seeds and damaged copies of them, the same in every run. What looks
//! further is `tests/fuzz/run` (see `tests/fuzz/README.md`).

#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestRunner};
use targets::TARGETS;

/// Damaged inputs for each target.
const INPUTS: u32 = 200;

/// Something that is done to an input.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// From here on the input is another seed's.
    Splice(Index, Index),
}

/// Bytes for a target, shown as a Rust literal.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn edits() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), 0..8u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (at(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at(), 1..40usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        (at(), at()).prop_map(|(at, seed)| Edit::Splice(at, seed)),
    ]
}

fn edited(seeds: &[Vec<u8>], seed: Index, edits: Vec<Edit>) -> Vec<u8> {
    let mut input = seed.get(seeds).clone();
    for edit in edits {
        let end = input.len();
        match edit {
            Edit::Set(at, byte) if end > 0 => input[at.index(end)] = byte,
            Edit::Flip(at, bit) if end > 0 => input[at.index(end)] ^= 1 << bit,
            Edit::Set(..) | Edit::Flip(..) => {}
            Edit::Insert(at, bytes) => {
                let at = at.index(end + 1);
                input.splice(at..at, bytes);
            }
            Edit::Remove(at, count) => {
                let at = at.index(end + 1);
                input.drain(at..end.min(at + count));
            }
            Edit::Splice(at, seed) => {
                let at = at.index(end + 1);
                input.truncate(at);
                input.extend(seed.get(seeds).iter().skip(at));
            }
        }
    }
    input
}

#[test]
fn seeds_hold() {
    for target in TARGETS {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            println!("{} {number}", target.name);
            (target.run)(seed);
        }
        (target.run)(b"");
    }
}

#[test]
fn damaged_seeds_hold() {
    for target in TARGETS {
        println!("{}", target.name);
        let seeds = (target.seeds)();
        let config = ProptestConfig {
            cases: INPUTS,
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let inputs = (any::<Index>(), vec(edits(), 1..6))
            .prop_map(|(seed, edits)| Input(edited(&seeds, seed, edits)));
        let outcome = TestRunner::new(config).run(&inputs, |Input(input)| {
            (target.run)(&input);
            Ok(())
        });
        if let Err(broken) = outcome {
            panic!("{}: {broken}", target.name);
        }
    }
}

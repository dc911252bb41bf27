//! The witness: a small file beside the store that says how far the store had come.
//!
//! The embedded store cuts a journal off at the first bytes it cannot read, without a word: whether
//! that was the torn end of a commit nobody was told of, or a flipped bit before thousands of
//! acknowledged messages, looks the same to it. The witness tells the two apart. It is written after
//! every commit and never synced: it survives the process, and after a power cut it may lag, which
//! is harmless because it then asks for less.
//!
//! Invariant: a store that has less than its witness saw acknowledged is not opened.

use bytes::{Buf, BufMut};

use super::record::Damaged;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// The last commit that was handed to the operating system.
    pub commit: u64,
    /// The last commit that was on stable storage.
    pub synced: u64,
    /// Whether the store was closed in order, with everything on stable storage.
    pub closed: bool,
    /// The run of the machine during which this was written.
    pub boot: u64,
}

/// What a start may assume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was acknowledged is there.
    Whole,
    /// Everything that had reached stable storage is there; the machine restarted meanwhile, so
    /// commits that had only reached the operating system may be gone.
    Restarted,
    /// Acknowledged commits are gone.
    Missing {
        /// The last commit there should be.
        expected: u64,
        /// The last commit there is.
        found: u64,
    },
}

impl Witness {
    /// Bytes of the file.
    pub const BYTES: usize = 29;

    /// The file's content.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let mut body = &mut bytes[4..];
        body.put_u64_le(self.commit);
        body.put_u64_le(self.synced);
        body.put_u8(u8::from(self.closed));
        body.put_u64_le(self.boot);
        let sum = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the file's content.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        if bytes.len() != Self::BYTES {
            return Err(Damaged);
        }
        let (mut sum, mut body) = bytes.split_at(4);
        if sum.get_u32_le() != crc32fast::hash(body) {
            return Err(Damaged);
        }
        Ok(Self {
            commit: body.get_u64_le(),
            synced: body.get_u64_le(),
            closed: body.get_u8() != 0,
            boot: body.get_u64_le(),
        })
    }

    /// What a start during the machine's run `boot` may assume of a store whose last commit is
    /// `found`.
    pub fn judge(&self, found: u64, boot: u64) -> Verdict {
        let same_run = self.boot == boot && boot != UNKNOWN_BOOT;
        let expected = if same_run || self.closed { self.commit } else { self.synced };
        if found < expected {
            Verdict::Missing { expected, found }
        } else if same_run || self.closed {
            Verdict::Whole
        } else {
            Verdict::Restarted
        }
    }
}

/// The number of a run of the machine that the system does not tell.
pub const UNKNOWN_BOOT: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    const WITNESS: Witness = Witness { commit: 9, synced: 7, closed: false, boot: 5 };

    #[test]
    fn survives_and_damage_is_found() {
        let bytes = WITNESS.encode();
        assert_eq!(Witness::decode(&bytes), Ok(WITNESS));
        for index in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[index] ^= 4;
            assert_eq!(Witness::decode(&damaged), Err(Damaged));
            assert_eq!(Witness::decode(&bytes[..index]), Err(Damaged));
        }
    }

    #[test]
    fn a_killed_process_loses_nothing_and_a_power_cut_only_what_was_not_synced() {
        let missing = |expected, found| Verdict::Missing { expected, found };
        assert_eq!(WITNESS.judge(9, 5), Verdict::Whole);
        assert_eq!(WITNESS.judge(10, 5), Verdict::Whole);
        assert_eq!(WITNESS.judge(8, 5), missing(9, 8));
        assert_eq!(WITNESS.judge(8, 6), Verdict::Restarted);
        assert_eq!(WITNESS.judge(6, 6), missing(7, 6));
        let closed = Witness { closed: true, ..WITNESS };
        assert_eq!(closed.judge(9, 6), Verdict::Whole);
        assert_eq!(closed.judge(8, 6), missing(9, 8));
        let unknown = Witness { boot: UNKNOWN_BOOT, ..WITNESS };
        assert_eq!(unknown.judge(9, UNKNOWN_BOOT), Verdict::Restarted);
    }
}

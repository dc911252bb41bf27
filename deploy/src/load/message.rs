//! What each message of a load run says: which run, which room, which number in its room, and when it
//! was due.
//!
//! ```text
//! "LCM1rrrrRRRRRRssssssssttttttttttttttxxxx…x"
//!      │   │     │       └ due: microseconds of the machine's monotonic clock, 14 hexadecimal digits
//!      │   │     └ number in the room, from 0, 8 digits
//!      │   └ room, 6 digits
//!      └ run, 4 digits
//! ```
//!
//! The body is a JSON string whatever protocol carries it, so that one message can be read by clients
//! of all of them. Every field has a fixed width and place: a reader looks for the mark, never parses
//! JSON, and allocates nothing.
//!
//! Invariant: a body has exactly the bytes that were asked for, and [`Stamp::find`] finds what
//! [`Stamp::put`] wrote.

use memchr::memmem;

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The run, so that a message of an earlier one is not taken for one of this.
    pub run: u16,
    /// The room, below [`ROOMS_MAX`].
    pub room: u32,
    /// The number in the room, from 0.
    pub sequence: u32,
    /// When it was due: microseconds of the monotonic clock, which all processes of a machine share.
    pub due: u64,
}

impl Stamp {
    /// Appends a body of `size` bytes, at least [`BODY_BYTES_MIN`].
    pub fn put(&self, size: usize, out: &mut Vec<u8>) {
        let end = out.len() + size.max(BODY_BYTES_MIN);
        out.extend_from_slice(MARK);
        put_hex(self.run.into(), RUN_DIGITS, out);
        put_hex(self.room.into(), ROOM_DIGITS, out);
        put_hex(self.sequence.into(), SEQUENCE_DIGITS, out);
        put_hex(self.due, DUE_DIGITS, out);
        out.resize(end - 1, b'x');
        out.push(b'"');
    }

    /// Reads a body that starts with the stamp, or the first one inside `bytes`.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        let at = if bytes.starts_with(MARK) { 0 } else { memmem::find(bytes, MARK)? };
        let fields: &[u8; FIELDS_BYTES] =
            bytes.get(at + MARK.len()..)?.get(..FIELDS_BYTES)?.try_into().ok()?;
        let (run, rest) = fields.split_at(RUN_DIGITS);
        let (room, rest) = rest.split_at(ROOM_DIGITS);
        let (sequence, due) = rest.split_at(SEQUENCE_DIGITS);
        Some(Self {
            run: hex(run)? as u16,
            room: hex(room)? as u32,
            sequence: hex(sequence)? as u32,
            due: hex(due)?,
        })
    }
}

fn put_hex(value: u64, digits: usize, out: &mut Vec<u8>) {
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * at)) as usize & 15]);
    }
}

/// The value of lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    let mut all = 0;
    for digit in digits {
        let one = VALUES[usize::from(*digit)];
        all |= one;
        value = value << 4 | u64::from(one);
    }
    (all < 16).then_some(value)
}

/// What each byte is worth as a hexadecimal digit; 0x80 where it is none.
const VALUES: [u8; 256] = {
    let mut values = [0x80; 256];
    let mut value = 0;
    while value < 10 {
        values[b'0' as usize + value] = value as u8;
        value += 1;
    }
    while value < 16 {
        values[b'a' as usize + value - 10] = value as u8;
        value += 1;
    }
    values
};

const MARK: &[u8] = b"\"LCM1";
const RUN_DIGITS: usize = 4;
const ROOM_DIGITS: usize = 6;
const SEQUENCE_DIGITS: usize = 8;
const DUE_DIGITS: usize = 14;
const FIELDS_BYTES: usize = RUN_DIGITS + ROOM_DIGITS + SEQUENCE_DIGITS + DUE_DIGITS;

/// The smallest body: the mark, the fields, and the quote at the end.
pub const BODY_BYTES_MIN: usize = MARK.len() + FIELDS_BYTES + 1;

/// Rooms that the field has digits for.
pub const ROOMS_MAX: u32 = 1 << (4 * ROOM_DIGITS as u32);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_found(
            run: u16, room in 0..ROOMS_MAX, sequence: u32, due in 0_u64..1 << 56,
            size in BODY_BYTES_MIN..500, before in "[a-z{:]{0,40}",
        ) {
            let stamp = Stamp { run, room, sequence, due };
            let mut body = before.clone().into_bytes();
            stamp.put(size, &mut body);
            prop_assert_eq!(body.len(), before.len() + size);
            prop_assert_eq!(Stamp::find(&body), Some(stamp));
            let body = &body[before.len()..];
            prop_assert!(serde_json::from_slice::<String>(body).is_ok());
        }

        #[test]
        fn other_bytes_are_no_stamp(bytes: Vec<u8>) {
            let mut bytes = bytes;
            bytes.extend_from_slice(MARK);
            bytes.extend_from_slice(b"0123ABCD");
            prop_assert_eq!(Stamp::find(&bytes), None);
        }
    }
}

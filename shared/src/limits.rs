//! Every bound that more than one crate relies on, with the sum behind it.

use std::time::Duration;

/// Bytes of a channel name: Centrifugo's limit, and one byte of length in the log's keys.
pub const CHANNEL_BYTES_MAX: usize = 255;

/// Bytes of a message's body. Centrifugo's clients read frames up to 64 KiB by default and back ends
/// publish somewhat larger ones; 256 KiB of 40 messages a second are 80 Mbit/s to one client.
pub const BODY_BYTES_MAX: usize = 256 << 10;

/// Bytes of everything beside the body: tags, the publisher's info, the idempotency key.
pub const META_BYTES_MAX: usize = 16 << 10;

/// Bytes of a live frame: a body, what belongs to it, and 64 bytes of numbers.
pub const FRAME_BYTES_MAX: usize = BODY_BYTES_MAX + META_BYTES_MAX + 64;

/// Bytes of one control message on a line. The largest are snapshots of presence and online counts,
/// which are cut into pieces of [`SNAPSHOT_ENTRIES_MAX`], and answers with history.
pub const CONTROL_BYTES_MAX: usize = 4 << 20;

/// Bytes of a user's id: what an inbox's name holds beside its mark.
pub const USER_BYTES_MAX: usize = CHANNEL_BYTES_MAX - 1;

/// Bytes of the info that a token or a back end attaches to a client, and of that to its
/// subscription: a name, a picture's address and some ranks take less than 1 KiB, and every reader
/// of a channel that tells of comings and goings is sent them.
pub const INFO_BYTES_MAX: usize = 4 << 10;

/// Bytes of a client's presence in a channel: the names of both, its two infos, and 256 bytes for
/// the connection's id (36) and the fields' heads: 8,957 bytes.
pub const PRESENCE_BYTES_MAX: usize = CHANNEL_BYTES_MAX + USER_BYTES_MAX + 2 * INFO_BYTES_MAX + 256;

/// Entries in one piece of a snapshot: of the largest, [`PRESENCE_BYTES_MAX`] each, 1.8 MB, which
/// leaves more than half of [`CONTROL_BYTES_MAX`].
pub const SNAPSHOT_ENTRIES_MAX: usize = 200;

/// Messages one history or recovery answer carries at most (Centrifugo's
/// `recovery_max_publication_limit`).
pub const HISTORY_MESSAGES_MAX: usize = 300;

/// Messages every ring keeps even where clients see no history, so that an edge that was away for a
/// moment misses nothing: 5 s of a busy room at 40 messages a second.
pub const CATCH_UP_MESSAGES_MIN: usize = 200;

/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// How long an idempotency key is remembered (Centrifugo's five minutes).
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(300);

/// Messages of credit an edge gives a pull: 25 s of a busy room.
pub const PULL_CREDIT_MESSAGES: u32 = 1024;

/// Pulls one line session holds at most: an edge's channels, users' inboxes included.
pub const PULLS_MAX: usize = 1 << 20;

const _: () = assert!(FRAME_BYTES_MAX < CONTROL_BYTES_MAX);
const _: () = assert!(SNAPSHOT_ENTRIES_MAX * PRESENCE_BYTES_MAX < CONTROL_BYTES_MAX / 2);
const _: () = assert!(PRESENCE_BYTES_MAX < FRAME_BYTES_MAX);
// A message names the client that published it.
const _: () = assert!(PRESENCE_BYTES_MAX < META_BYTES_MAX);
const _: () = assert!(CATCH_UP_MESSAGES_MIN < PULL_CREDIT_MESSAGES as usize);

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::message::ClientInfo;
    use crate::wire::{control, convert};

    fn largest() -> ClientInfo {
        ClientInfo {
            user: "u".repeat(USER_BYTES_MAX),
            client: "c".repeat(36),
            conn_info: vec![b'1'; INFO_BYTES_MAX].into(),
            chan_info: vec![b'1'; INFO_BYTES_MAX].into(),
        }
    }

    #[test]
    fn the_largest_snapshot_fits() {
        let change = control::PresenceChange {
            channel: "n".repeat(CHANNEL_BYTES_MAX),
            joined: true,
            info: Some(convert::info_out(&largest())),
        };
        let changes = vec![change; SNAPSHOT_ENTRIES_MAX];
        let update = control::PresenceUpdate { seq: u64::MAX, snapshot: true, changes };
        let bytes = update.encoded_len();
        assert!(bytes <= SNAPSHOT_ENTRIES_MAX * PRESENCE_BYTES_MAX, "{bytes}");
    }

    #[test]
    fn the_largest_presence_note_fits() {
        let info = Some(convert::info_out(&largest()));
        let note = control::PresenceNote { pull: u64::MAX, joined: true, info };
        assert!(note.encoded_len() <= PRESENCE_BYTES_MAX, "{}", note.encoded_len());
    }
}

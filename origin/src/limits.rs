//! Every bound of the origin alone, with the sum behind it. Those that other crates share are in
//! [`shared::limits`].

use std::time::Duration;

use shared::limits::{BODY_BYTES_MAX, CONTROL_BYTES_MAX};

/// Bytes of one run: large enough that a record's own cost (some 60 bytes) does not matter, small
/// enough that reading one message does not read much else.
pub const RUN_BYTES_MAX: usize = 64 << 10;

/// Messages one commit takes at most: at 100,000 a second 40 ms, so that no publisher waits long
/// behind others.
pub const COMMIT_MESSAGES_MAX: usize = 4096;

/// Bytes of bodies one commit takes at most: about 50 ms of a disk that writes 160 MB/s.
pub const COMMIT_BYTES_MAX: usize = 8 << 20;

/// Removals that ride on one commit: as many as keep up with it, few enough not to slow it.
pub const COMMIT_REMOVALS_MAX: usize = 512;

/// KiB of publishes that may wait for their commit; more publishers wait for room.
pub const PENDING_KIB_MAX: u32 = 64 << 10;

/// Messages an origin keeps of a channel in memory, however long its history: 10 s at 400 a second,
/// which is what an edge that was away catches up from.
pub const RING_MESSAGES_MAX: usize = 4096;

/// Bytes an origin keeps of a channel in memory, however large its history.
pub const RING_BYTES_MAX: usize = 4 << 20;

/// How long messages are kept at least, whatever a namespace's history says, so that an edge whose
/// lines are all down for a moment misses nothing.
pub const KEPT_AT_LEAST: Duration = Duration::from_secs(30);

/// Idempotency keys remembered in one channel: 14,000 a second for five minutes, 250 MB.
pub const KEYS_MAX: usize = 1 << 22;

/// Bytes gathered in memory before they become a table, at most.
pub const MEMTABLE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of commits whose marks are kept. Whatever is older has long been moved from the store's
/// journals (128 MiB at most) into its tables.
pub const MARKED_BYTES_MIN: u64 = 512 << 20;

/// Bytes of journals the store keeps before it moves them into tables.
pub const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// Commands of back ends that a line's session may lag behind before it must start anew, and that
/// are kept for edges whose lines are away.
pub const COMMANDS_MAX: usize = 4096;

/// Bytes of one such command: a control message less what it is wrapped in.
pub const COMMAND_BYTES_MAX: usize = CONTROL_BYTES_MAX - 64;

/// Bytes of such commands that are kept: 4096 of 16 KiB each; most have less than 200 bytes.
pub const COMMANDS_BYTES_MAX: usize = 64 << 20;

/// Channels in memory at once where nothing else is configured: 20 edges that each pull the 200,000
/// they may by default. One takes about 1 KiB beside its messages, so 4 GB when all are in use;
/// channels that nobody pulls or publishes to leave after a minute.
pub const CHANNELS_MAX_DEFAULT: usize = 4_000_000;

/// Clients that a client's question for presence lists at most; a larger room has counts. The list
/// is copied under the lock that every edge's updates take: 10,000 references, 0.1 ms.
pub const PRESENCE_CLIENTS_MAX: usize = 10_000;

/// Edges that may have trunks to one origin at once. A trunk without lines costs some kilobytes, and a
/// thousand edges with 100,000 clients each are more clients than there are.
pub const EDGES_MAX: usize = 4096;

/// Channels one call of the API may name.
pub const API_CHANNELS_MAX: usize = 10_000;

/// Commands one batch of the API may hold.
pub const API_COMMANDS_MAX: usize = 10_000;

const _: () = assert!(MARKED_BYTES_MIN > 2 * (JOURNAL_BYTES_MAX + MEMTABLE_BYTES_MAX));
const _: () = assert!(COMMIT_BYTES_MAX < (PENDING_KIB_MAX as usize) << 10);
const _: () = assert!(BODY_BYTES_MAX < COMMAND_BYTES_MAX);
const _: () = assert!(2 * COMMAND_BYTES_MAX < COMMANDS_BYTES_MAX);
const _: () = assert!(RUN_BYTES_MAX < COMMIT_BYTES_MAX);

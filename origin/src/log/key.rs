//! Keys of the store. See the room's header for the layout.

use shared::channel::ChannelName;
use shared::message::Epoch;

/// The store's format, generation and salt.
pub const STORE: &[u8] = b"s/store";
/// The last commit.
pub const HEAD: &[u8] = b"s/head";
/// Before all metas.
pub const METAS: &[u8] = b"c";
/// After all metas.
pub const METAS_END: &[u8] = b"d";

const MESSAGES_TAG: u8 = b'm';
const META_TAG: u8 = b'c';
const KEYS_TAG: u8 = b'i';
const COMMIT_TAG: u8 = b'w';

/// The meta of a channel.
pub fn meta(channel: &ChannelName) -> Vec<u8> {
    of_channel(META_TAG, channel, 0)
}

/// The channel a meta's key belongs to; `None` for keys of other kinds.
pub fn meta_channel(key: &[u8]) -> Option<ChannelName> {
    let [META_TAG, length, name @ ..] = key else {
        return None;
    };
    let name = std::str::from_utf8(name).ok().filter(|name| name.len() == usize::from(*length))?;
    ChannelName::parse(name).ok().map(|(name, _)| name)
}

/// The run whose last message is at `last`; also the bound from which to look for the run that
/// holds an offset, since runs are sorted by their last one.
pub fn run(channel: &ChannelName, epoch: Epoch, last: u64) -> Vec<u8> {
    let mut key = of_channel(MESSAGES_TAG, channel, 12);
    key.extend_from_slice(&epoch.number().to_be_bytes());
    key.extend_from_slice(&last.to_be_bytes());
    key
}

/// What all runs of a channel begin with, whatever their epoch.
pub fn runs(channel: &ChannelName) -> Vec<u8> {
    of_channel(MESSAGES_TAG, channel, 0)
}

/// The last offset that a run's key names.
pub fn run_last(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|last| u64::from_be_bytes(*last))
}

/// The idempotency keys that a commit wrote to a channel.
pub fn keys(channel: &ChannelName, time_ms: u64, commit: u64) -> Vec<u8> {
    let mut key = of_channel(KEYS_TAG, channel, 16);
    key.extend_from_slice(&time_ms.to_be_bytes());
    key.extend_from_slice(&commit.to_be_bytes());
    key
}

/// What all idempotency records of a channel begin with.
pub fn keys_of(channel: &ChannelName) -> Vec<u8> {
    of_channel(KEYS_TAG, channel, 0)
}

/// When the keys of an idempotency record were used.
pub fn keys_time_ms(key: &[u8]) -> Option<u64> {
    let (rest, _commit) = key.split_last_chunk::<8>()?;
    rest.last_chunk().map(|time| u64::from_be_bytes(*time))
}

/// The mark of a commit.
pub fn commit(sequence: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(COMMIT_TAG);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

/// The commit that a mark's key names.
pub fn commit_sequence(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|sequence| u64::from_be_bytes(*sequence))
}

fn of_channel(tag: u8, channel: &ChannelName, more: usize) -> Vec<u8> {
    let name = channel.as_str().as_bytes();
    let mut key = Vec::with_capacity(2 + name.len() + more);
    key.push(tag);
    // A canonical name has at most 255 bytes.
    key.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    key.extend_from_slice(name);
    key
}

const _: () = assert!(shared::limits::CHANNEL_BYTES_MAX <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_offsets_and_stay_within_their_channel() {
        let name = |text| ChannelName::parse(text).unwrap().0;
        let epoch = Epoch::new(7).unwrap();
        let (a, b) = (name("a"), name("aa"));
        assert!(run(&a, epoch, 255) < run(&a, epoch, 256));
        assert!(run(&a, epoch, u64::MAX) < run(&a, Epoch::new(8).unwrap(), 1));
        assert!(run(&a, Epoch::new(u32::MAX).unwrap(), u64::MAX) < run(&b, epoch, 1));
        assert!(!run(&b, epoch, 1).starts_with(&runs(&a)));
        assert_eq!(run_last(&run(&a, epoch, 300)), Some(300));
        assert_eq!(meta_channel(&meta(&b)), Some(b));
        assert_eq!(meta_channel(&runs(&a)), None);
        assert_eq!(keys_time_ms(&keys(&a, 5, 9)), Some(5));
        assert_eq!(commit_sequence(&commit(9)), Some(9));
    }
}

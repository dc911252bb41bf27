//! Values of the store: what each kind of record holds, and its checksum.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use prost::Message as _;
use shared::limits::{BODY_BYTES_MAX, META_BYTES_MAX};
use shared::message::{Class, Content, Epoch, Message};
use shared::wire::{control, convert};

/// A record whose bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record does not match its checksum or its form")]
pub struct Damaged;

/// What is known of a channel apart from its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The life of the log.
    pub epoch: Epoch,
    /// The last offset given.
    pub top: u64,
    /// The first offset that readers may see.
    pub first: u64,
    /// Runs that end before this offset are no longer in the store.
    pub oldest: u64,
    /// When the last message was admitted.
    pub time_ms: u64,
    /// The store's generation when this was written.
    pub generation: u64,
    /// Whether the last commit was left to the operating system: a power cut may have taken it.
    pub volatile: bool,
}

/// What a commit left behind to be counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Bytes of the commit's records.
    pub bytes: u64,
    /// Messages in it.
    pub messages: u64,
}

/// The last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Commits there were; the last one has this number.
    pub commit: u64,
    /// The oldest commit whose mark is kept.
    pub oldest_mark: u64,
}

/// What the store says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// The version of this layout.
    pub format: u32,
    /// Grows when messages that only the operating system had may be gone.
    pub generation: u64,
    /// From which the epochs of channels follow that nobody has published to.
    pub salt: u64,
}

/// An idempotency key, hashed.
pub type KeyHash = u128;

impl Meta {
    /// The record under `key`.
    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut value = begin(49);
        value.put_u32_le(self.epoch.number());
        value.put_u64_le(self.top);
        value.put_u64_le(self.first);
        value.put_u64_le(self.oldest);
        value.put_u64_le(self.time_ms);
        value.put_u64_le(self.generation);
        value.put_u8(u8::from(self.volatile));
        seal(key, value)
    }

    /// Reads the record under `key`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damaged> {
        let mut body = unseal(key, value)?;
        let meta = Self {
            epoch: Epoch::new(body.try_get_u32_le().or(Err(Damaged))?).ok_or(Damaged)?,
            top: u64_of(&mut body)?,
            first: u64_of(&mut body)?,
            oldest: u64_of(&mut body)?,
            time_ms: u64_of(&mut body)?,
            generation: u64_of(&mut body)?,
            volatile: body.try_get_u8().or(Err(Damaged))? != 0,
        };
        ended(body, meta)
    }
}

impl Mark {
    /// The record under `key`.
    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut value = begin(16);
        value.put_u64_le(self.bytes);
        value.put_u64_le(self.messages);
        seal(key, value)
    }

    /// Reads the record under `key`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damaged> {
        let mut body = unseal(key, value)?;
        let mark = Self { bytes: u64_of(&mut body)?, messages: u64_of(&mut body)? };
        ended(body, mark)
    }
}

impl Head {
    /// Before the first commit.
    pub const NONE: Self = Self { commit: 0, oldest_mark: 1 };

    /// The record under `key`.
    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut value = begin(16);
        value.put_u64_le(self.commit);
        value.put_u64_le(self.oldest_mark);
        seal(key, value)
    }

    /// Reads the record under `key`.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damaged> {
        let mut body = unseal(key, value)?;
        let head = Self { commit: u64_of(&mut body)?, oldest_mark: u64_of(&mut body)? };
        ended(body, head)
    }
}

impl Store {
    /// The layout this code writes and reads.
    pub const FORMAT: u32 = 1;

    /// The record under `key`.
    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut value = begin(20);
        value.put_u32_le(self.format);
        value.put_u64_le(self.generation);
        value.put_u64_le(self.salt);
        seal(key, value)
    }

    /// Reads the record under `key`. Later formats may say more: only the format of theirs counts.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, Damaged> {
        let mut body = unseal(key, value)?;
        Ok(Self {
            format: body.try_get_u32_le().or(Err(Damaged))?,
            generation: u64_of(&mut body)?,
            salt: u64_of(&mut body)?,
        })
    }
}

/// The idempotency record under `key`.
pub fn encode_keys(key: &[u8], keys: &[(KeyHash, u64)]) -> Vec<u8> {
    let mut value = begin(24 * keys.len());
    for (hash, offset) in keys {
        value.put_u128_le(*hash);
        value.put_u64_le(*offset);
    }
    seal(key, value)
}

/// Reads the idempotency record under `key`.
pub fn decode_keys(key: &[u8], value: &[u8]) -> Result<Vec<(KeyHash, u64)>, Damaged> {
    let mut body = unseal(key, value)?;
    let mut keys = Vec::with_capacity(body.len() / 24);
    while !body.is_empty() {
        keys.push((body.try_get_u128_le().or(Err(Damaged))?, u64_of(&mut body)?));
    }
    Ok(keys)
}

/// The run under `key`: consecutive messages, oldest first.
pub fn encode_run(key: &[u8], messages: &[Arc<Message>]) -> Vec<u8> {
    let bodies: usize = messages.iter().map(|message| message.content.body.len() + 33).sum();
    let mut value = begin(bodies);
    for message in messages {
        let content = &message.content;
        let meta = convert::meta_of(content).map_or_else(Vec::new, |meta| meta.encode_to_vec());
        value.put_u64_le(message.offset);
        value.put_u64_le(message.time_ms);
        value.put_u8(content.class.number());
        value.put_i32_le(content.operation);
        // Admission keeps both far below 4 GiB.
        value.put_u32_le(u32::try_from(meta.len()).unwrap_or(u32::MAX));
        value.put_u32_le(u32::try_from(content.body.len()).unwrap_or(u32::MAX));
        value.put_slice(&meta);
        value.put_slice(&content.body);
    }
    seal(key, value)
}

/// Reads the run under `key`; its offsets are dense and end where the key says.
pub fn decode_run(key: &[u8], value: &[u8]) -> Result<Vec<Message>, Damaged> {
    let mut body = unseal(key, value)?;
    let mut messages: Vec<Message> = Vec::new();
    while !body.is_empty() {
        let message = decode_message(&mut body)?;
        if messages.last().is_some_and(|last| last.offset.checked_add(1) != Some(message.offset)) {
            return Err(Damaged);
        }
        messages.push(message);
    }
    let last = messages.last().ok_or(Damaged)?.offset;
    if super::key::run_last(key) == Some(last) { Ok(messages) } else { Err(Damaged) }
}

fn decode_message(body: &mut &[u8]) -> Result<Message, Damaged> {
    let offset = u64_of(body)?;
    let time_ms = u64_of(body)?;
    let class = Class::from_number(body.try_get_u8().or(Err(Damaged))?).ok_or(Damaged)?;
    let operation = body.try_get_i32_le().or(Err(Damaged))?;
    let meta_len = body.try_get_u32_le().or(Err(Damaged))? as usize;
    let body_len = body.try_get_u32_le().or(Err(Damaged))? as usize;
    if meta_len > META_BYTES_MAX || body_len > BODY_BYTES_MAX || meta_len + body_len > body.len() {
        return Err(Damaged);
    }
    let (meta, rest) = body.split_at(meta_len);
    let (payload, rest) = rest.split_at(body_len);
    *body = rest;
    let mut content =
        Content { body: Bytes::copy_from_slice(payload), class, operation, ..Content::default() };
    if !meta.is_empty() {
        convert::apply_meta(&mut content, control::Meta::decode(meta).or(Err(Damaged))?);
    }
    Ok(Message { offset, time_ms, content })
}

fn u64_of(body: &mut &[u8]) -> Result<u64, Damaged> {
    body.try_get_u64_le().or(Err(Damaged))
}

fn ended<T>(rest: &[u8], value: T) -> Result<T, Damaged> {
    if rest.is_empty() { Ok(value) } else { Err(Damaged) }
}

/// A value with room for its checksum.
fn begin(capacity: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(CHECKSUM_BYTES + capacity);
    value.put_u32_le(0);
    value
}

fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &value[CHECKSUM_BYTES..]);
    value[..CHECKSUM_BYTES].copy_from_slice(&sum.to_le_bytes());
    value
}

fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damaged> {
    let (sum, body) = value.split_first_chunk::<CHECKSUM_BYTES>().ok_or(Damaged)?;
    if u32::from_le_bytes(*sum) == checksum(key, body) { Ok(body) } else { Err(Damaged) }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

const CHECKSUM_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::channel::ChannelName;
    use shared::message::ClientInfo;

    use super::super::key;
    use super::*;

    fn messages(first: u64, bodies: Vec<(Vec<u8>, i32, bool)>) -> Vec<Arc<Message>> {
        let content = |body: Vec<u8>, operation, rich: bool| Content {
            body: body.into(),
            class: if rich { Class::Urgent } else { Class::Droppable },
            operation,
            publisher: rich
                .then(|| Box::new(ClientInfo { user: "42".into(), ..ClientInfo::default() })),
            tags: if rich { [("a".into(), "b".into())].into() } else { Default::default() },
            speed: u32::from(rich),
        };
        (first..)
            .zip(bodies)
            .map(|(offset, (body, operation, rich))| {
                Arc::new(Message {
                    offset,
                    time_ms: offset * 3,
                    content: content(body, operation, rich),
                })
            })
            .collect()
    }

    fn channel() -> ChannelName {
        ChannelName::parse("live:1").unwrap().0
    }

    proptest! {
        #[test]
        fn runs_survive_and_damage_is_found(
            first in 1u64..1_000_000,
            bodies in proptest::collection::vec(any::<(Vec<u8>, i32, bool)>(), 1..6),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let run = messages(first, bodies);
            let name = key::run(&channel(), Epoch::new(9).unwrap(), first + run.len() as u64 - 1);
            let mut value = encode_run(&name, &run);
            let read = decode_run(&name, &value).unwrap();
            prop_assert_eq!(read, run.iter().map(|message| (**message).clone()).collect::<Vec<_>>());
            let other = key::run(&channel(), Epoch::new(9).unwrap(), first + run.len() as u64);
            prop_assert_eq!(decode_run(&other, &value), Err(Damaged));
            let index = at.index(value.len());
            prop_assert_eq!(decode_run(&name, &value[..index]), Err(Damaged));
            value[index] ^= 1 << bit;
            prop_assert_eq!(decode_run(&name, &value), Err(Damaged));
        }

        #[test]
        fn noise_is_damage(noise in any::<Vec<u8>>()) {
            let name = key::run(&channel(), Epoch::new(9).unwrap(), 1);
            prop_assert_eq!(decode_run(&name, &noise), Err(Damaged));
            prop_assert_eq!(Meta::decode(key::METAS, &noise), Err(Damaged));
            prop_assert_eq!(Head::decode(key::HEAD, &noise), Err(Damaged));
        }
    }

    #[test]
    fn small_records_survive() {
        let meta = Meta {
            epoch: Epoch::new(5).unwrap(),
            top: 9,
            first: 3,
            oldest: 2,
            time_ms: 77,
            generation: 1,
            volatile: true,
        };
        assert_eq!(Meta::decode(b"k", &meta.encode(b"k")), Ok(meta));
        let mark = Mark { bytes: 7, messages: 2 };
        assert_eq!(Mark::decode(b"k", &mark.encode(b"k")), Ok(mark));
        let head = Head { commit: 7, oldest_mark: 2 };
        assert_eq!(Head::decode(b"k", &head.encode(b"k")), Ok(head));
        let store = Store { format: 1, generation: 7, salt: 2 };
        assert_eq!(Store::decode(b"k", &store.encode(b"k")), Ok(store));
        let keys = vec![(1, 2), (u128::MAX, 3)];
        assert_eq!(decode_keys(b"k", &encode_keys(b"k", &keys)), Ok(keys));
        assert_eq!(Head::decode(b"l", &head.encode(b"k")), Err(Damaged));
    }
}

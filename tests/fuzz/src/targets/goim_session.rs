//! A goim or danmaku session: what its client says, and what else happens meanwhile.
//!
//! The client numbers its frames, so that answers can be told from what the session says by itself
//! (sequence 0): every frame after the login is answered once, in order.

use bytes::BytesMut;
use edge::form::Transport;
use edge::goim::session::MESSAGE_BYTES_MAX;
use serde_json::json;

use super::choices::{Choices, listed, seed};
use super::goim_frames::goim;
use super::token::sign;
use super::world::{START_MS, Setting, Spoken, World};
use super::written;

const OPERATIONS: [i32; 16] = [7, 2, 4, 12, 14, 16, 9, 77, 3, 5, 8, -1, i32::MIN, 7, 12, 4];

/// In the first byte of a list's item: more of the same message follows; the bytes are no frame.
const TOGETHER: u8 = 0x80;
const RAW: u8 = 0x40;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let transport = choices.one_of(&[Transport::Tcp, Transport::WebSocket]);
    let setting = Setting::of(Spoken::Goim(transport), choices.byte());
    let fates = choices.few();
    let events = choices.few();
    let mut client = Client {
        world: World::new(setting, fates),
        transport,
        input: BytesMut::new(),
        said: Vec::new(),
        is_wild: false,
    };
    let mut message = Vec::new();
    for (at, item) in choices.list().into_iter().enumerate() {
        let (kind, body) = item.split_first().unwrap_or((&0, &[]));
        if kind & RAW != 0 {
            client.is_wild = true;
            let room = MESSAGE_BYTES_MAX as usize - message.len();
            message.extend_from_slice(&body[..body.len().min(room)]);
        } else {
            let operation = OPERATIONS[usize::from(kind & 15)];
            let sequence = at as i32 + 1;
            let frame = goim(operation, sequence, body);
            if message.len() + frame.len() > MESSAGE_BYTES_MAX as usize {
                continue;
            }
            client.said.push((operation, sequence));
            message.extend(frame);
        }
        if kind & TOGETHER == 0 {
            client.say(&std::mem::take(&mut message));
            if let Some(event) = events.get(at % events.len().max(1)) {
                client.world.happen(*event);
                client.go_on();
            }
        }
    }
    client.settle();
    client.check(message.is_empty());
}

struct Client<'a> {
    world: World<'a>,
    transport: Transport,
    /// What a TCP stream has brought and the session has not taken.
    input: BytesMut,
    /// Operation and sequence of each frame.
    said: Vec<(i32, i32)>,
    /// Whether something else than frames was said.
    is_wild: bool,
}

impl Client<'_> {
    fn say(&mut self, bytes: &[u8]) {
        match self.transport {
            Transport::Tcp => {
                self.input.extend_from_slice(bytes);
                self.go_on();
            }
            Transport::WebSocket => {
                assert!(bytes.len() <= MESSAGE_BYTES_MAX as usize, "the decoder sees to it");
                let message = BytesMut::from(bytes);
                self.world.act(bytes.len(), |protocol, cx, out| {
                    protocol.handle_message(message, cx, out);
                });
            }
        }
    }

    /// After an answer, a stream goes on with what it had brought.
    fn go_on(&mut self) {
        let input = &mut self.input;
        if self.transport == Transport::Tcp && !self.world.protocol.is_busy() {
            let bytes = input.len();
            self.world.act(bytes, |protocol, cx, out| protocol.handle_bytes(input, cx, out));
        }
    }

    fn settle(&mut self) {
        while self.world.ended.is_none() && self.world.waits() {
            self.world.answer(0);
            self.go_on();
        }
    }

    fn check(&self, is_complete: bool) {
        let frames = match self.transport {
            Transport::Tcp => written::goim(&self.world.written),
            Transport::WebSocket => written::websocket(&self.world.written)
                .iter()
                .flat_map(|(opcode, payload)| {
                    assert_eq!(*opcode, 2);
                    written::goim(payload)
                })
                .collect(),
        };
        if self.is_wild {
            return;
        }
        let answers = frames.iter().filter(|(_, _, sequence, _)| *sequence != 0);
        let answers: Vec<(i32, i32)> =
            answers.map(|(_, op, sequence, _)| (*op, *sequence)).collect();
        let mut said = self.said.iter().skip_while(|(operation, _)| *operation != 7);
        let login = said.next().map(|(_, sequence)| (8, *sequence));
        let requests = said
            .filter(|(operation, _)| *operation != 9 || self.transport == Transport::WebSocket)
            .map(|(operation, sequence)| match operation {
                2 | 12 | 14 | 16 => (operation + 1, *sequence),
                other => (*other, *sequence),
            });
        let expected: Vec<(i32, i32)> = login.into_iter().chain(requests).collect();
        assert!(expected.starts_with(&answers), "{answers:?} of {expected:?}");
        if self.world.ended.is_none() && is_complete {
            assert_eq!(answers, expected, "every frame is answered");
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let item = |kind: u8, body: &str| [&[kind], body.as_bytes()].concat();
    let login = r#"{"mid":42,"key":"k","room_id":"live://1","accepts":[1000,1001]}"#;
    let token = sign(&json!({ "sub": "42", "keys": ["k"], "exp": START_MS / 1000 + 60 }));
    let proved = json!({ "mid": 42, "key": "k", "room_id": "shy://1", "token": token }).to_string();
    let danmaku = r#"{"uid":0,"roomid":1000,"protover":3}"#;
    let goim = [
        item(0, login),
        item(1, ""),
        item(2, "hi"),
        item(3, "live:2"),
        item(3, r#"["live:2","quiet:3"]"#),
        item(3, ""),
        item(4, "1003, 1004"),
        item(5, "1003"),
        item(6, "x"),
        item(7, "x"),
    ];
    let goim: Vec<&[u8]> = goim.iter().map(Vec::as_slice).collect();
    let some = |from: u32| (from..from + 800).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let mut flood = vec![item(0, login), item(4, &some(0)), item(4, &some(800))];
    for _ in 0..100 {
        flood.extend([item(TOGETHER | 5, "7"), item(TOGETHER | 4, "7"), item(TOGETHER | 1, "")]);
    }
    flood.push(item(1, ""));
    let flood: Vec<&[u8]> = flood.iter().map(Vec::as_slice).collect();
    let danmaku = [item(TOGETHER, danmaku), item(TOGETHER | 1, ""), item(2, "hi"), item(1, "")];
    let danmaku: Vec<&[u8]> = danmaku.iter().map(Vec::as_slice).collect();
    vec![
        seed(&[0, 0, 1, 0, 2, 4, 7], &listed(&goim)),
        seed(&[1, 0, 6, 0, 0, 0, 0, 0, 7, 3, 4, 0x17, 0x29], &listed(&goim)),
        seed(&[1, 9, 0, 2, 4, 0x4B], &listed(&[&item(0, &proved), &item(1, ""), &item(2, "hi")])),
        seed(&[1, 2, 0, 1, 4], &listed(&danmaku)),
        seed(&[0, 4, 0, 3, 4, 12, 0x29], &listed(&danmaku)),
        seed(&[0, 0, 0, 1, 4], &listed(&flood)),
        seed(&[1, 0, 0, 1, 4], &listed(&flood)),
        seed(&[1, 0, 0, 0], &listed(&[&item(RAW, "\0\0\0\x10\0\x10\0\x01\0\0\0\x07\0\0\0\x01")])),
    ]
}

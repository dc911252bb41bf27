//! Frames to commands: a frame carries one or many, joined by newlines (JSON) or each after its
//! length (Protobuf).
//!
//! Commands come one at a time, so that what is before a broken one is still carried out and a
//! frame of many small commands never stands decoded in memory.
//!
//! Invariant: a frame gives at least one command or [`Undecodable`].

use bytes::Bytes;
use prost::Message;

use super::protocol::{
    ChannelRequest, ConnectRequest, Envelope, HistoryRequest, PublishRequest, RefreshRequest,
    RpcRequest, SubRefreshRequest, SubscribeRequest,
};
use crate::form::Encoding;

/// Commands in one frame at most: a connect and a full set of subscribes fit several times.
const COMMANDS_PER_FRAME_MAX: usize = 1024;

/// A client's command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    /// For the reply; 0 on `send` and pongs.
    pub(crate) id: u32,
    /// What it asks for.
    pub(crate) request: Request,
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Connect(Box<ConnectRequest>),
    Subscribe(Box<SubscribeRequest>),
    Unsubscribe(ChannelRequest),
    Publish(PublishRequest),
    Presence(ChannelRequest),
    PresenceStats(ChannelRequest),
    History(Box<HistoryRequest>),
    Rpc(RpcRequest),
    Send,
    Refresh(RefreshRequest),
    SubRefresh(SubRefreshRequest),
    /// No request that we know: a pong if the id is 0.
    None,
}

/// A frame, or a command in it, that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be decoded")]
pub(crate) struct Undecodable;

/// The commands of a frame. Ends after the first that cannot be read.
pub(crate) struct Commands<'a> {
    rest: Option<Rest<'a>>,
    count: usize,
}

enum Rest<'a> {
    /// Text that has not been cut at newlines yet.
    Json(&'a str),
    Protobuf(Bytes),
    /// A frame that is not even text.
    Broken,
}

/// The commands in the payload of a frame.
pub(crate) fn commands(encoding: Encoding, payload: &[u8]) -> Commands<'_> {
    let rest = match encoding {
        Encoding::Json => match std::str::from_utf8(payload) {
            Ok(text) => Rest::Json(text.strip_suffix('\n').unwrap_or(text)),
            Err(_) => Rest::Broken,
        },
        Encoding::Protobuf if payload.is_empty() => Rest::Broken,
        Encoding::Protobuf => Rest::Protobuf(Bytes::copy_from_slice(payload)),
    };
    Commands { rest: Some(rest), count: 0 }
}

fn json_envelope(line: &str) -> Result<Envelope, Undecodable> {
    // The decoder would take an array for the fields in order.
    if !line.trim_start().starts_with('{') {
        return Err(Undecodable);
    }
    serde_json::from_str(line).map_err(|_| Undecodable)
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, Undecodable>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        self.count += 1;
        if self.count > COMMANDS_PER_FRAME_MAX {
            return Some(Err(Undecodable));
        }
        let (envelope, rest) = match rest {
            Rest::Json(text) => {
                let (line, rest) = match text.split_once('\n') {
                    Some((line, rest)) => (line, Some(Rest::Json(rest))),
                    None => (text, None),
                };
                (json_envelope(line), rest)
            }
            Rest::Protobuf(mut bytes) => {
                let envelope = Envelope::decode_length_delimited(&mut bytes);
                let rest = (!bytes.is_empty()).then_some(Rest::Protobuf(bytes));
                (envelope.map_err(|_| Undecodable), rest)
            }
            Rest::Broken => (Err(Undecodable), None),
        };
        if envelope.is_ok() {
            self.rest = rest;
        }
        Some(envelope.map(Command::from))
    }
}

impl From<Envelope> for Command {
    /// Where several requests are set, the first in Centrifuge's order counts.
    fn from(envelope: Envelope) -> Self {
        let request = if let Some(request) = envelope.connect {
            Request::Connect(request)
        } else if let Some(request) = envelope.subscribe {
            Request::Subscribe(request)
        } else if let Some(request) = envelope.unsubscribe {
            Request::Unsubscribe(request)
        } else if let Some(request) = envelope.publish {
            Request::Publish(request)
        } else if let Some(request) = envelope.presence {
            Request::Presence(request)
        } else if let Some(request) = envelope.presence_stats {
            Request::PresenceStats(request)
        } else if let Some(request) = envelope.history {
            Request::History(request)
        } else if let Some(request) = envelope.rpc {
            Request::Rpc(request)
        } else if envelope.send.is_some() {
            Request::Send
        } else if let Some(request) = envelope.refresh {
            Request::Refresh(request)
        } else if let Some(request) = envelope.sub_refresh {
            Request::SubRefresh(request)
        } else {
            Request::None
        };
        Self { id: envelope.id, request }
    }
}

impl Command {
    /// The channel it is about, as the client spelled it; `None` where it is about none.
    pub(crate) fn channel(&self) -> Option<&str> {
        match &self.request {
            Request::Subscribe(request) => Some(&request.channel),
            Request::Unsubscribe(request)
            | Request::Presence(request)
            | Request::PresenceStats(request) => Some(&request.channel),
            Request::Publish(request) => Some(&request.channel),
            Request::History(request) => Some(&request.channel),
            Request::SubRefresh(request) => Some(&request.channel),
            Request::Connect(_)
            | Request::Rpc(_)
            | Request::Send
            | Request::Refresh(_)
            | Request::None => None,
        }
    }

    /// About the bytes it costs to keep.
    pub(crate) fn weight(&self) -> usize {
        let texts = match &self.request {
            Request::Subscribe(request) => request.token.len() + request.epoch.len(),
            Request::Publish(request) => request.data.len(),
            Request::Rpc(request) => request.data.len() + request.method.len(),
            Request::Refresh(request) => request.token.len(),
            Request::SubRefresh(request) => request.token.len(),
            _ => 0,
        };
        texts + self.channel().map_or(0, str::len) + 256
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(encoding: Encoding, payload: &[u8]) -> Vec<Option<u32>> {
        commands(encoding, payload).map(|command| command.ok().map(|c| c.id)).collect()
    }

    #[test]
    fn json_frames() {
        let table: [(&str, &[Option<u32>]); 12] = [
            (r#"{"id":1,"connect":{}}"#, &[Some(1)]),
            (
                "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}",
                &[Some(1), Some(2)],
            ),
            ("{\"id\":7,\"rpc\":{}}\n", &[Some(7)]),
            ("{}", &[Some(0)]),
            ("", &[None]),
            ("\n", &[None]),
            ("{}\n\n{}", &[Some(0), None]),
            ("{}\n\n", &[Some(0), None]),
            ("{\"id\":1}\nnonsense\n{\"id\":2}", &[Some(1), None]),
            (r#"{"id":-1}"#, &[None]),
            (r#"{"id":3,"unknown":[1,{}],"connect":{"token":null,"later":1}}"#, &[Some(3)]),
            ("[]", &[None]),
        ];
        for (frame, expected) in table {
            assert_eq!(ids(Encoding::Json, frame.as_bytes()), expected, "{frame:?}");
        }
        assert_eq!(ids(Encoding::Json, b"\xff"), [None]);
    }

    #[test]
    fn embedded_json_is_taken_as_it_is() {
        let frame = r#"{"id":5,"publish":{"channel":"a","data":{"b" : [1.50, "\u00e9"]}}}"#;
        let command = commands(Encoding::Json, frame.as_bytes()).next().expect("one").expect("ok");
        let Request::Publish(request) = command.request else { panic!("{command:?}") };
        assert_eq!(request.data, r#"{"b" : [1.50, "\u00e9"]}"#);
        let frame = r#"{"id":5,"publish":{"channel":"a","data":null}}"#;
        let command = commands(Encoding::Json, frame.as_bytes()).next().expect("one").expect("ok");
        let Request::Publish(request) = command.request else { panic!("{command:?}") };
        assert_eq!(request.data, "null");
    }

    #[test]
    fn protobuf_frames() {
        let table: [(&[u8], &[Option<u32>]); 7] = [
            (&[0], &[Some(0)]),
            (&[4, 8, 1, 34, 0], &[Some(1)]),
            (&[2, 8, 1, 0, 2, 8, 3], &[Some(1), Some(0), Some(3)]),
            (&[], &[None]),
            (&[5, 8], &[None]),
            (&[2, 8, 1, 255], &[Some(1), None]),
            (&[2, 255, 255], &[None]),
        ];
        for (frame, expected) in table {
            assert_eq!(ids(Encoding::Protobuf, frame), expected, "{frame:?}");
        }
    }

    #[test]
    fn commands_in_a_frame_are_bounded() {
        let frame = vec![0; COMMANDS_PER_FRAME_MAX + 5];
        let decoded = ids(Encoding::Protobuf, &frame);
        assert_eq!(decoded.len(), COMMANDS_PER_FRAME_MAX + 1);
        assert_eq!(decoded.last(), Some(&None));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                prop_assert!(commands(encoding, &bytes).count() >= 1);
            }
        }
    }
}

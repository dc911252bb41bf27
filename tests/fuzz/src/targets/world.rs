//! A session in a world that answers it: what an edge's shard does, as plainly as possible, with an
//! eye on what the session may never do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use edge::form::{Compression, Dialect, Encoding, Transport};
use edge::goim::session::Session as GoimSession;
use edge::protocol::Protocol;
use edge::session::{Answer, Ask, AskId, Close, Context, Output, Recover, Subscribed};
use edge::{centrifuge, goim, token};
use shared::channel::ChannelName;
use shared::config::{Layers, resolve};
use shared::message::{Class, ClientInfo, Content, Epoch, Message, Position};
use shared::namespace::{Access, Namespaces, Options};
use shared::wire::control::{self, command, request, response};
use shared::wire::convert;

/// The time at which every world begins, milliseconds since 1970.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// The key of tokens, where there is one.
pub(crate) const SECRET: &str = "secret";

/// The connection's id.
const CLIENT: &str = "11111111-2222-3333-4444-555555555555";

/// What a session may write and ask for at most: so many bytes, and so many for each it is given.
const OUTPUT_BYTES: usize = 256 << 10;
const OUTPUT_BYTES_PER_BYTE: usize = 64;

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Goim(Transport),
    Centrifuge(Encoding),
}

/// What an operator has set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) spoken: Spoken,
    /// Whether there is a key for tokens.
    pub(crate) keyed: bool,
    pub(crate) gap: goim::GapMode,
    /// Few rooms and subscriptions are allowed.
    pub(crate) narrow: bool,
}

impl Setting {
    pub(crate) fn of(spoken: Spoken, byte: u8) -> Self {
        let gap = [goim::GapMode::Skip, goim::GapMode::Notice, goim::GapMode::Close];
        Self {
            spoken,
            keyed: byte & 1 == 1,
            gap: gap[usize::from(byte >> 1) % 3],
            narrow: byte & 8 == 8,
        }
    }
}

/// One session and all that it may notice.
pub(crate) struct World<'a> {
    pub(crate) protocol: Protocol,
    /// How asks are answered, by their number.
    fates: &'a [u8],
    now: Instant,
    unix_ms: u64,
    last_ask: u64,
    identified: bool,
    asked: BTreeMap<AskId, (ChannelName, Option<Recover>)>,
    open: BTreeSet<ChannelName>,
    requests: BTreeMap<AskId, request::Kind>,
    /// All that the session wrote.
    pub(crate) written: Vec<u8>,
    /// All that it asked for, as text; not the operations it accepts, which are told once for all
    /// changes that come together.
    pub(crate) asks: Vec<String>,
    pub(crate) accepted: Option<BTreeSet<i32>>,
    pub(crate) ended: Option<Close>,
}

impl<'a> World<'a> {
    pub(crate) fn new(setting: Setting, fates: &'a [u8]) -> Self {
        let now = start();
        Self {
            protocol: protocol(setting, now),
            fates,
            now,
            unix_ms: START_MS,
            last_ask: 0,
            identified: false,
            asked: BTreeMap::new(),
            open: BTreeSet::new(),
            requests: BTreeMap::new(),
            written: Vec::new(),
            asks: Vec::new(),
            accepted: None,
            ended: None,
        }
    }

    /// Lets the session decide on something of so many bytes, and carries out what it decided.
    pub(crate) fn act(
        &mut self,
        bytes: usize,
        decide: impl FnOnce(&mut Protocol, &Context<'_>, &mut Output),
    ) {
        // As a shard does: who is ending hears nothing more.
        if self.ended.is_some() {
            return;
        }
        let mut output = Output::default();
        let context = Context {
            now: self.now,
            unix_ms: self.unix_ms,
            namespaces: &NAMESPACES,
            online: &|channel| channel.as_str().len() as u32,
        };
        decide(&mut self.protocol, &context, &mut output);
        let weight = output.bytes.len() + output.asks.iter().map(weight).sum::<usize>();
        let bound = OUTPUT_BYTES + OUTPUT_BYTES_PER_BYTE * bytes;
        assert!(weight <= bound, "{weight} bytes of {bytes}: {} asks", output.asks.len());
        self.written.extend_from_slice(&output.bytes);
        for ask in output.asks {
            self.take(ask);
        }
        assert_eq!(self.protocol.next_deadline().is_none(), self.ended.is_some());
        assert!(
            !self.protocol.is_busy() || self.ended.is_some() || self.waits(),
            "a session that waits has asked for something"
        );
    }

    fn take(&mut self, ask: Ask) {
        assert_eq!(self.ended, None, "nothing is asked for after the end: {ask:?}");
        if let Ask::Subscribe { id, .. } | Ask::Request { id, .. } = &ask {
            assert!(id.0 > self.last_ask, "ids are never reused");
            self.last_ask = id.0;
        }
        if !matches!(ask, Ask::Accept(_)) {
            self.asks.push(format!("{ask:?}"));
        }
        match ask {
            Ask::Identify(identity) => {
                assert!(!self.identified && identity.client == CLIENT);
                self.identified = true;
            }
            Ask::Subscribe { id, channel, recover, .. } => {
                assert!(self.identified, "who it is comes first");
                assert!(!self.open.contains(&channel), "{channel} is open");
                assert!(!self.asked.values().any(|(asked, _)| *asked == channel));
                self.asked.insert(id, (channel, recover));
            }
            Ask::Unsubscribe(channel) => {
                self.open.remove(&channel);
                self.asked.retain(|_, (asked, _)| *asked != channel);
            }
            Ask::Accept(operations) => self.accepted = Some(operations),
            Ask::Request { id, request } => {
                assert!(self.identified);
                self.requests.insert(id, request);
            }
            Ask::Close(close) => {
                let Close { code, reason, .. } = &close;
                assert!(matches!(code, 1000..=1003 | 1007..=1014 | 3000..5000), "code {code}");
                assert!(reason.len() <= 123, "{reason}");
                // Centrifuge's SDKs take an empty reason for another end.
                let is_centrifuge = matches!(self.protocol, Protocol::Centrifuge(_));
                assert!(!is_centrifuge || !reason.is_empty());
                self.ended = Some(close);
            }
        }
    }

    /// Whether anything is still to be answered.
    pub(crate) fn waits(&self) -> bool {
        !self.asked.is_empty() || !self.requests.is_empty()
    }

    /// Answers one of the open asks, the first, second ... in order.
    pub(crate) fn answer(&mut self, index: usize) {
        let asks = self.asked.keys().chain(self.requests.keys());
        let mut asks: Vec<AskId> = asks.copied().collect();
        asks.sort_unstable();
        let Some(id) = asks.get(index % asks.len().max(1)).copied() else { return };
        let answer = self.answer_to(id);
        self.act(0, |protocol, cx, out| protocol.handle_answer(id, answer, cx, out));
    }

    /// Answers everything, the oldest first, until nothing is open.
    pub(crate) fn answer_all(&mut self) {
        while self.ended.is_none() && self.waits() {
            self.answer(0);
        }
    }

    fn answer_to(&mut self, id: AskId) -> Answer {
        let fate = self.fates.get(id.0 as usize % self.fates.len().max(1)).copied().unwrap_or(0);
        let subscribing = self.asked.remove(&id);
        let request = self.requests.remove(&id);
        match (fate % 8, subscribing, request) {
            (7, ..) => Answer::Failed {
                code: u32::from(fate),
                message: "away \"\u{1}\n你".to_owned(),
                temporary: fate & 8 == 8,
            },
            (6, ..) => Answer::Response(response::Kind::Failure(control::Failure {
                code: 103,
                message: "not you".to_owned(),
                temporary: false,
                disconnect: if fate & 8 == 8 { 4000 + u32::from(fate) } else { 0 },
            })),
            // Something else than what was asked for.
            (5, Some(_), _) => Answer::Response(response::Kind::PresenceStats(Default::default())),
            (5, None, _) => Answer::Subscribed(subscribed(0, None)),
            (fate, Some((channel, recover)), _) => {
                self.open.insert(channel);
                let offset = recover.map_or(9, |recover| recover.offset.wrapping_add(fate.into()));
                let recovered = recover.filter(|_| fate < 3).map(|recover| recover.offset);
                Answer::Subscribed(subscribed(offset, recovered))
            }
            (_, None, request) => {
                Answer::Response(request.map_or(response::Kind::Rpc(Default::default()), fulfilled))
            }
        }
    }

    /// Something that does not come from the client happens, as `byte` decides.
    pub(crate) fn happen(&mut self, byte: u8) {
        let index = usize::from(byte >> 4);
        match byte & 15 {
            0..=3 => self.answer(index),
            4..=6 => self.answer_all(),
            7 => self.lose(index),
            8..=11 => {
                let channel = self.open.iter().chain(self.asked.values().map(|(asked, _)| asked));
                let channel = channel.cycle().nth(index).map_or("live:1", ChannelName::as_str);
                let kind = ordered(byte & 3, index as u32, channel.to_owned());
                self.act(0, |protocol, cx, out| protocol.handle_command(&kind, cx, out));
            }
            12..=14 => {
                self.pass(Duration::from_secs(1 << (index % 10)));
            }
            _ => {}
        }
    }

    fn lose(&mut self, index: usize) {
        let Some(channel) = self.open.iter().cycle().nth(index).cloned() else { return };
        self.open.remove(&channel);
        self.act(0, |protocol, cx, out| protocol.handle_lost(&channel, index as u64, cx, out));
    }

    /// Time passes.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.unix_ms += time.as_millis() as u64;
        if self.protocol.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.act(0, |protocol, cx, out| protocol.handle_deadline(cx, out));
        }
    }
}

fn subscribed(offset: u64, recovered: Option<u64>) -> Subscribed {
    let position = Position { epoch: Epoch::new(5).expect("not zero"), offset };
    let recovered = recovered.map(|from| {
        (1..4).filter_map(|step| from.checked_add(step)).map(|at| Arc::new(message(at))).collect()
    });
    Subscribed { position, recovered }
}

/// A message that is hard to write: its body is not JSON, its publisher's name needs escapes.
fn message(offset: u64) -> Message {
    let publisher = ClientInfo {
        user: "\"\\\n".to_owned(),
        conn_info: b"\xff\0".to_vec().into(),
        ..ClientInfo::default()
    };
    Message {
        offset,
        time_ms: START_MS,
        content: Content {
            body: b"{\"a\":\n[1]}\n\n".to_vec().into(),
            class: Class::Normal,
            operation: 1000,
            publisher: Some(Box::new(publisher)),
            tags: BTreeMap::from([("\u{7f}\t".to_owned(), "\u{0}".to_owned())]),
            speed: 0,
        },
    }
}

/// What a good upstream answers. Bodies of the client come back to it.
fn fulfilled(request: request::Kind) -> response::Kind {
    match request {
        request::Kind::Publish(_) => response::Kind::Publish(control::PublishResult::default()),
        request::Kind::History(history) => response::Kind::History(control::HistoryResult {
            epoch: history.since_epoch,
            top: history.since_offset,
            messages: vec![convert::stored_out(&message(1)), control::StoredMessage::default()],
        }),
        request::Kind::Presence(query) => response::Kind::Presence(control::PresenceResult {
            clients: vec![control::ClientInfo { user: query.channel, ..Default::default() }],
        }),
        request::Kind::PresenceStats(_) => response::Kind::PresenceStats(Default::default()),
        request::Kind::Rpc(rpc) => response::Kind::Rpc(control::RpcResult { data: rpc.data }),
    }
}

/// What a back end orders.
fn ordered(which: u8, number: u32, channel: String) -> command::Kind {
    match which {
        0 => command::Kind::Disconnect(control::Disconnect {
            code: [0, 1005, 3500, 70_000][number as usize % 4],
            reason: "x".repeat(number as usize * 20),
            ..Default::default()
        }),
        1 => command::Kind::Unsubscribe(control::Unsubscribe {
            channel: if number.is_multiple_of(3) { String::new() } else { channel },
            ..Default::default()
        }),
        2 => command::Kind::Subscribe(control::Subscribe {
            channel: ["live:9", "#42", "@all", "no:where"][number as usize % 4].to_owned(),
            data: b"{\n}".to_vec().into(),
            expire_at_s: if number > 8 { u64::MAX } else { 0 },
            recover_epoch: number % 2 * 5,
            recover_offset: number.into(),
            ..Default::default()
        }),
        _ => command::Kind::Refresh(control::Refresh {
            expired: number == 15,
            expire_at_s: [0, START_MS / 1000 + 30, u64::MAX][number as usize % 3],
            ..Default::default()
        }),
    }
}

/// About the bytes an ask keeps.
fn weight(ask: &Ask) -> usize {
    let info = |info: &ClientInfo| info.user.len() + info.client.len();
    size_of::<Ask>()
        + match ask {
            Ask::Identify(who) => {
                who.user.len() + who.client.len() + who.key.as_ref().map_or(0, String::len)
            }
            Ask::Subscribe { channel, presence, .. } => {
                channel.as_str().len() + presence.as_ref().map_or(0, info)
            }
            Ask::Unsubscribe(channel) => channel.as_str().len(),
            Ask::Accept(operations) => operations.len() * size_of::<i32>(),
            Ask::Request { request, .. } => match request {
                request::Kind::Publish(publish) => publish.body.len() + publish.channel.len(),
                request::Kind::Rpc(rpc) => rpc.data.len() + rpc.method.len(),
                request::Kind::History(history) => history.channel.len(),
                request::Kind::Presence(query) | request::Kind::PresenceStats(query) => {
                    query.channel.len()
                }
            },
            Ask::Close(close) => close.reason.len(),
        }
}

fn protocol(setting: Setting, now: Instant) -> Protocol {
    let tokens = if setting.keyed { KEYED.clone() } else { token::Config::default() };
    match setting.spoken {
        Spoken::Goim(transport) => {
            let default = goim::Config::default();
            let config = goim::Config {
                auth: if setting.narrow && setting.keyed {
                    goim::AuthMode::Token
                } else {
                    goim::AuthMode::Anyone
                },
                gap: setting.gap,
                rooms_max: if setting.narrow { 2 } else { default.rooms_max },
                ..default
            };
            let setup = Arc::new(goim::Setup { config, tokens });
            Protocol::Goim(Box::new(GoimSession::new(setup, transport, CLIENT, now)))
        }
        Spoken::Centrifuge(encoding) => {
            let default = centrifuge::Config::default();
            let config = centrifuge::Config {
                personal_channel: setting.narrow,
                channels_max: if setting.narrow { 2 } else { default.channels_max },
                ..default
            };
            let setup = Arc::new(centrifuge::Setup { config, tokens });
            let session = centrifuge::session::Session::new(setup, encoding, CLIENT, 7, now);
            Protocol::Centrifuge(Box::new(session))
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "worlds need some instant to begin at")]
fn start() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

/// Tokens are signed with [`SECRET`].
pub(crate) static KEYED: LazyLock<token::Config> = LazyLock::new(|| {
    let file = format!("[token]\nhmac_secret = \"{SECRET}\"");
    let nothing = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    resolve(Layers::new("FUZZ").with_file("fuzz", &file), nothing).expect("a key")
});

/// `live` is open and chatty, `quiet` keeps nothing, `shy` admits users, `closed` nobody.
static NAMESPACES: LazyLock<Namespaces> = LazyLock::new(|| {
    let default = Options::default;
    let options = [
        ("live", Options { publish: Access::Anyone, join_leave: true, ..default() }),
        (
            "quiet",
            Options { history_size: 0, presence: false, publish: Access::Subscriber, ..default() },
        ),
        (
            "shy",
            Options {
                subscribe: Access::User,
                publish: Access::User,
                force_recovery: false,
                history: false,
                ..default()
            },
        ),
        ("closed", Options { subscribe: Access::Nobody, ..default() }),
    ];
    Namespaces::new(options.map(|(name, options)| (name.to_owned(), options)).into())
});

/// All forms in which a message leaves an edge.
pub(crate) const DIALECTS: [Dialect; 12] = {
    use Transport::{Tcp, WebSocket};
    [
        Dialect::Goim(Tcp),
        Dialect::Goim(WebSocket),
        Dialect::Danmaku(Tcp, Compression::None),
        Dialect::Danmaku(Tcp, Compression::Zlib),
        Dialect::Danmaku(Tcp, Compression::Brotli),
        Dialect::Danmaku(WebSocket, Compression::None),
        Dialect::Danmaku(WebSocket, Compression::Zlib),
        Dialect::Danmaku(WebSocket, Compression::Brotli),
        Dialect::Centrifuge(Encoding::Json),
        Dialect::Centrifuge(Encoding::Protobuf),
        Dialect::CentrifugeMessage(Encoding::Json),
        Dialect::CentrifugeMessage(Encoding::Protobuf),
    ]
};

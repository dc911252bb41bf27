//! One goim or danmaku client: what its frames do.
//!
//! Requests are answered in order. One that only the shard can answer (a login, a change of rooms, a
//! message) makes the session *busy*: it takes nothing more from a TCP stream, which thereby
//! presses back on the client, and keeps the rest of a WebSocket message in its backlog.
//!
//! Invariant: every frame after the login gets exactly one answer, with its own version and
//! sequence, unless the connection ends; only operation 9 on TCP, which goim's clients do not send,
//! gets none.

mod command;
mod enter;
mod log_in;
mod publish;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use shared::channel::{ChannelName, Spelling};
use shared::message::{ClientInfo, Content, Message};

use super::auth::Dialect;
use super::config::GapMode;
use super::frame::{self, BODY_BYTES_MAX, Frame, FrameError, HEADER_BYTES, Head};
use super::{Setup, operation};
use crate::form::{self, Form, Item, Transport};
use crate::session::{Answer, Ask, AskId, Blame, Close, Context, Output};
use crate::websocket::{self, Opcode};
use enter::Entering;

/// Bytes of a WebSocket message at most: four of the largest frames. goim sends one a message,
/// danmaku a few small ones.
pub const MESSAGE_BYTES_MAX: u32 = 4 * (HEADER_BYTES + BODY_BYTES_MAX) as u32;

/// Bytes of frames that may wait in the backlog: 16 of the largest. Reached only by a client that
/// goes on sending while the shard goes on reading for a busy session.
const BACKLOG_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(MESSAGE_BYTES_MAX as usize <= BACKLOG_BYTES_MAX);

/// Operations a client may accept: twice as many as fit into one login.
const ACCEPTS_MAX: usize = 2048;

/// A client's session.
pub struct Session {
    setup: Arc<Setup>,
    transport: Transport,
    stage: Stage,
    dialect: Dialect,
    client: Box<str>,
    /// Proved by a token where there are keys for tokens, else what the client says.
    user: Box<str>,
    /// The rooms the client is in, the one it writes to and counts first.
    rooms: Vec<ChannelName>,
    /// `None` until the client says what it accepts: everything.
    accepts: Option<BTreeSet<i32>>,
    /// Whether the shard has not been told of `accepts` yet: once for all frames that came together.
    has_new_accepts: bool,
    /// When the login or the next heartbeat is due.
    deadline: Instant,
    /// When the token that proved the user runs out.
    expires: Option<Instant>,
    /// The last id given to an ask.
    asked: u64,
    pending: Option<Box<Pending>>,
    backlog: Option<Box<Backlog>>,
    reopening: Option<Box<Reopening>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing but a login is heard.
    Fresh,
    /// The login waits for its subscriptions.
    LoggingIn,
    Open,
    Closed,
}

/// A request that waits for the shard.
struct Pending {
    head: Head,
    work: Work,
}

enum Work {
    /// A login or a change of rooms waits for subscriptions.
    Enter(Entering),
    /// A message waits to be published.
    Publish(AskId),
}

/// Frames behind a pending request.
#[derive(Default)]
struct Backlog {
    frames: VecDeque<Frame>,
    bytes: usize,
}

/// Channels that lost messages and are asked for anew, at least one. An answer to any other ask that
/// no request waits for belongs to one that was given up, and does not count.
#[derive(Default)]
struct Reopening {
    asks: Vec<(AskId, ChannelName)>,
}

/// Why a request is not done. Codes are Centrifuge's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    code: u32,
    message: String,
}

impl Refusal {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn body(&self) -> Vec<u8> {
        serde_json::json!({ "code": self.code, "message": self.message }).to_string().into_bytes()
    }
}

impl Session {
    /// A connection that was accepted at `started`. `client` names it and is unique in the network.
    pub fn new(setup: Arc<Setup>, transport: Transport, client: &str, started: Instant) -> Self {
        Self {
            deadline: started + setup.config.handshake_timeout,
            setup,
            transport,
            stage: Stage::Fresh,
            dialect: Dialect::Goim,
            client: client.into(),
            user: "".into(),
            rooms: Vec::new(),
            accepts: None,
            has_new_accepts: false,
            expires: None,
            asked: 0,
            pending: None,
            backlog: None,
            reopening: None,
        }
    }

    /// Whether rooms must treat the connection as not writable: no message may come before the
    /// answer to the login, which waits for all subscriptions made with it.
    pub fn is_held(&self) -> bool {
        self.stage == Stage::LoggingIn
    }

    /// Whether the client need not be read, because nothing more is taken until an answer came.
    pub fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    /// Bytes of a TCP stream. Takes whole frames off the front; the rest stays for the next call,
    /// which is due when more bytes came, and when the session is no longer busy.
    pub fn handle_input(
        &mut self,
        input: &mut BytesMut,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        while !self.is_busy() && self.stage != Stage::Closed {
            match frame::decode(input) {
                Ok(Some(frame)) => self.handle_frame(frame, context, output),
                Ok(None) => break,
                Err(error) => self.end_malformed(error, output),
            }
        }
        if self.stage == Stage::Closed {
            input.clear();
        }
        self.tell_accepts(output);
    }

    /// A WebSocket message: one frame, or several as danmaku clients send them.
    pub fn handle_message(
        &mut self,
        mut message: BytesMut,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if message.is_empty() && self.stage != Stage::Closed {
            return self.end_malformed(FrameError::Truncated, output);
        }
        while self.stage != Stage::Closed {
            match frame::decode_message(&mut message) {
                Ok(Some(frame)) if self.is_busy() => self.keep(&frame, output),
                Ok(Some(frame)) => self.handle_frame(frame, context, output),
                Ok(None) => break,
                Err(error) => self.end_malformed(error, output),
            }
        }
        self.tell_accepts(output);
    }

    /// The shard answers an ask.
    pub fn handle_answer(
        &mut self,
        id: AskId,
        answer: Answer,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if self.stage == Stage::Closed {
            return;
        }
        match self.pending.take() {
            Some(pending) => self.answer_pending(*pending, id, answer, context, output),
            None => self.answer_reopened(id, answer, output),
        }
        self.catch_up(context, output);
    }

    /// An open subscription lost messages and ended.
    pub fn handle_lost(
        &mut self,
        channel: &ChannelName,
        missing: u64,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if self.stage == Stage::Closed {
            return;
        }
        match self.setup.config.gap {
            GapMode::Skip => {
                self.subscribe_again(channel, context, output);
            }
            GapMode::Notice => {
                if self.subscribe_again(channel, context, output) {
                    self.tell_missing(channel, missing, context, output);
                }
            }
            GapMode::Close => {
                self.end(3010, "messages are missing: connect again", Blame::Us, output);
            }
        }
    }

    /// When to call [`Session::handle_deadline`] at the latest; `None` once the session is over.
    pub fn next_deadline(&self) -> Option<Instant> {
        let next = self.expires.map_or(self.deadline, |expires| expires.min(self.deadline));
        (self.stage != Stage::Closed).then_some(next)
    }

    /// A deadline may have passed.
    pub fn handle_deadline(&mut self, context: &Context<'_>, output: &mut Output) {
        if self.stage != Stage::Closed && self.expires.is_some_and(|at| at <= context.now) {
            return self.end_expired(output);
        }
        if context.now < self.deadline {
            return;
        }
        match self.stage {
            Stage::Closed => {}
            Stage::Fresh => {
                let reason = "no login in time: send operation 7 first";
                self.end(3502, reason, Blame::Peer, output);
            }
            Stage::LoggingIn => {
                self.end(3004, "the login took too long: try again", Blame::Us, output);
            }
            Stage::Open => {
                let reason = "no heartbeat in time: send operation 2 regularly";
                self.end(3012, reason, Blame::Silence, output);
            }
        }
    }

    /// Goes on with the frames that waited.
    fn catch_up(&mut self, context: &Context<'_>, output: &mut Output) {
        while self.pending.is_none() && self.stage != Stage::Closed {
            let next = self.backlog.as_mut().and_then(|backlog| backlog.frames.pop_front());
            let Some(frame) = next else {
                self.backlog = None;
                break;
            };
            if let Some(backlog) = &mut self.backlog {
                backlog.bytes -= HEADER_BYTES + frame.body.len();
            }
            self.handle_frame(frame, context, output);
        }
        self.tell_accepts(output);
    }

    fn handle_frame(&mut self, frame: Frame, context: &Context<'_>, output: &mut Output) {
        let Frame { head, body } = frame;
        if self.stage == Stage::Fresh {
            // As in goim, whatever comes before the login is dropped.
            if head.operation == operation::AUTH {
                self.log_in(head, &body, context, output);
            }
            return;
        }
        match head.operation {
            operation::HEARTBEAT => {
                self.deadline = context.now + self.setup.config.heartbeat_timeout();
                let online = self.rooms.first().map_or(0, |room| (context.online)(room));
                let online = i32::try_from(online).unwrap_or(i32::MAX);
                self.reply(head, operation::HEARTBEAT_REPLY, &online.to_be_bytes(), output);
            }
            operation::CHANGE_ROOM => self.change_room(head, &body, context, output),
            operation::SEND_MESSAGE => self.publish(head, &body, context, output),
            operation::SUB => self.change_accepts(head, &body, true, output),
            operation::UNSUB => self.change_accepts(head, &body, false, output),
            operation::RAW if self.transport == Transport::Tcp => {}
            other => self.reply(head, other, b"", output),
        }
    }

    /// Sub and unsub. As in goim, a body that is not a list of numbers changes nothing and is
    /// answered like any other.
    fn change_accepts(&mut self, head: Head, body: &[u8], add: bool, output: &mut Output) {
        let answer = if add { operation::SUB_REPLY } else { operation::UNSUB_REPLY };
        let Some(named) = operations(body) else {
            return self.reply(head, answer, body, output);
        };
        let known = |operation: &i32| self.accepts.as_ref().is_some_and(|a| a.contains(operation));
        let changed: BTreeSet<i32> = named.into_iter().filter(|o| known(o) != add).collect();
        let kept = self.accepts.as_ref().map_or(0, BTreeSet::len);
        if add && kept + changed.len() > ACCEPTS_MAX {
            let refusal = Refusal::new(106, format!("at most {ACCEPTS_MAX} operations are kept"));
            return self.reply(head, answer, &refusal.body(), output);
        }
        self.has_new_accepts |= self.accepts.is_none() || !changed.is_empty();
        let accepts = self.accepts.get_or_insert_default();
        for operation in changed {
            if add {
                accepts.insert(operation)
            } else {
                accepts.remove(&operation)
            };
        }
        self.reply(head, answer, body, output);
    }

    /// Tells the shard of the operations that the client accepts, if they have changed.
    fn tell_accepts(&mut self, output: &mut Output) {
        if std::mem::take(&mut self.has_new_accepts)
            && self.stage != Stage::Closed
            && let Some(accepts) = &self.accepts
        {
            output.asks.push(Ask::Accept(accepts.clone()));
        }
    }

    fn answer_pending(
        &mut self,
        pending: Pending,
        id: AskId,
        answer: Answer,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let Pending { head, work } = pending;
        match work {
            Work::Publish(asked) if asked == id => self.answer_publish(head, answer, output),
            Work::Enter(entering) if entering.awaits(id) => {
                self.answer_enter(head, entering, id, answer, context, output);
            }
            work @ (Work::Publish(_) | Work::Enter(_)) => {
                self.pending = Some(Box::new(Pending { head, work }));
                self.answer_reopened(id, answer, output);
            }
        }
    }

    /// Answers a request.
    fn reply(&self, request: Head, operation: i32, body: &[u8], output: &mut Output) {
        let version = match self.dialect {
            Dialect::Goim => request.version,
            // danmaku's clients read the version as the compression of the body: 1 is none.
            Dialect::Danmaku(_) => 1,
        };
        let head = Head { version, operation, sequence: request.sequence };
        self.put(head, body, output);
    }

    fn put(&self, head: Head, body: &[u8], output: &mut Output) {
        if self.transport == Transport::WebSocket {
            websocket::put_header(&mut output.bytes, Opcode::Binary, HEADER_BYTES + body.len());
        }
        frame::put(&mut output.bytes, head, body);
    }

    fn keep(&mut self, frame: &Frame, output: &mut Output) {
        let backlog = self.backlog.get_or_insert_default();
        backlog.bytes += HEADER_BYTES + frame.body.len();
        if backlog.bytes > BACKLOG_BYTES_MAX {
            let reason = "too many requests: wait for answers";
            return self.end(3013, reason, Blame::Peer, output);
        }
        // A copy: the body is a part of the shard's input.
        backlog.frames.push_back(Frame { head: frame.head, body: frame.body[..].into() });
    }

    fn end_malformed(&mut self, error: FrameError, output: &mut Output) {
        self.end(1002, &error.to_string(), Blame::Peer, output);
    }

    fn end_expired(&mut self, output: &mut Output) {
        let reason = "the token has expired: connect again with a new one";
        self.end(3005, reason, Blame::Peer, output);
    }

    fn end(&mut self, code: u16, reason: &str, blame: Blame, output: &mut Output) {
        let reason = &reason[..reason.floor_char_boundary(websocket::CLOSE_REASON_BYTES_MAX)];
        output.asks.push(Ask::Close(Close { code, reason: reason.to_owned(), blame }));
        self.stage = Stage::Closed;
        self.pending = None;
        self.backlog = None;
        self.reopening = None;
    }

    /// Asks for a channel from now on. `quiet` ones are inboxes and the broadcast, where only
    /// accepted operations are written.
    fn subscribe(
        &mut self,
        channel: ChannelName,
        presence: Option<ClientInfo>,
        quiet: bool,
        output: &mut Output,
    ) -> AskId {
        let id = self.next_id();
        output.asks.push(Ask::Subscribe {
            id,
            channel,
            form: self.form(),
            recover: None,
            presence,
            filtered: quiet,
        });
        id
    }

    /// Tells the client of messages that it does not get.
    fn tell_missing(
        &self,
        channel: &ChannelName,
        missing: u64,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let name = channel.spelled(Spelling::Slashes);
        let body =
            serde_json::json!({ "cmd": "LINECAST_GAP", "channel": name, "missing": missing });
        let operation = self.setup.config.notice_operation;
        let content = Content { body: body.to_string().into(), operation, ..Content::default() };
        let notice = Message { offset: 0, time_ms: context.unix_ms, content };
        let items = [Item::Message(Arc::new(notice))];
        self.form().encode(channel, false, &items, &mut output.bytes);
    }

    /// Gives up a channel, whether it is open, under way or being opened anew.
    fn unsubscribe(&mut self, channel: ChannelName, output: &mut Output) {
        self.take_reopening(|(_, reopening)| *reopening == channel);
        output.asks.push(Ask::Unsubscribe(channel));
    }

    /// Whether there was such an ask.
    fn take_reopening(&mut self, is_meant: impl Fn(&(AskId, ChannelName)) -> bool) -> bool {
        let Some(Reopening { asks }) = self.reopening.as_deref_mut() else { return false };
        let before = asks.len();
        asks.retain(|ask| !is_meant(ask));
        let taken = asks.len() < before;
        if asks.is_empty() {
            self.reopening = None;
        }
        taken
    }

    /// The user that the client proved to be.
    fn known_user(&self) -> Option<&str> {
        (!self.user.is_empty() && self.demands_proof()).then_some(&*self.user)
    }

    /// Whether a user is one only with a token.
    fn demands_proof(&self) -> bool {
        self.setup.tokens.has_connection_keys()
    }

    fn next_id(&mut self) -> AskId {
        self.asked += 1;
        AskId(self.asked)
    }

    fn info(&self) -> ClientInfo {
        ClientInfo {
            user: self.user.to_string(),
            client: self.client.to_string(),
            ..ClientInfo::default()
        }
    }

    fn form(&self) -> Form {
        let dialect = match self.dialect {
            Dialect::Goim => form::Dialect::Goim(self.transport),
            Dialect::Danmaku(compression) => form::Dialect::Danmaku(self.transport, compression),
        };
        // Neither dialect repeats a channel's name, so all spellings share their bytes.
        Form { dialect, spelling: Spelling::default() }
    }
}

/// Reads `1000,1001`.
fn operations(body: &[u8]) -> Option<Vec<i32>> {
    let text = std::str::from_utf8(body).ok()?;
    text.split(',').map(|number| number.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests;

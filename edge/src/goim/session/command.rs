//! What a back end orders: disconnect, unsubscribe, refresh.
//!
//! A client that is taken out of a room is told by the protocol's nearest word: an answer to a change
//! of rooms that it did not ask for, with the rooms that are left. Inboxes and the broadcast are parts
//! of the login, which only its end takes away; and no client is put into a room, since the protocol
//! has no word for that.

use std::time::{Duration, Instant};

use shared::channel::{ChannelName, Spelling};
use shared::wire::control::command;

use super::{Blame, Pending, Refusal, Session, Stage, Work};
use crate::goim::frame::Head;
use crate::goim::operation;
use crate::session::{Context, Output, is_spared};

impl Session {
    /// A back end's command that is aimed at this connection.
    pub fn handle_command(
        &mut self,
        command: &command::Kind,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if self.stage == Stage::Closed {
            return;
        }
        match command {
            command::Kind::Disconnect(order) if is_spared(order, &self.client) => {}
            command::Kind::Disconnect(order) => {
                self.end(close_code(order.code), &order.reason, Blame::Order, output);
            }
            command::Kind::Unsubscribe(order) => {
                self.leave_removed(&order.channel, output);
                self.catch_up(context, output);
            }
            command::Kind::Refresh(order) => {
                let expires_ms = order.expire_at_s.saturating_mul(1000);
                if order.expired || expires_ms > 0 && expires_ms <= context.unix_ms {
                    return self.end_expired(output);
                }
                self.expires = instant(expires_ms, context).filter(|_| expires_ms > 0);
            }
            command::Kind::Subscribe(_) => {}
        }
    }

    /// Leaves the room that a back end names, all of them where it names none.
    fn leave_removed(&mut self, channel: &str, output: &mut Output) {
        let named = ChannelName::parse(channel).ok().map(|(name, _)| name);
        if named.is_none() && !channel.is_empty() {
            return;
        }
        let is_removed = |room: &ChannelName| named.as_ref().is_none_or(|name| name == room);
        // A change that leads into a removed room is off.
        match self.pending.take().map(|pending| *pending) {
            Some(Pending { head, work: Work::Enter(entering) })
                if entering.rooms.iter().any(is_removed) =>
            {
                let refusal = Refusal::new(103, "removed by the back end");
                self.give_up_entering(head, entering, &refusal, output);
            }
            pending => self.pending = pending.map(Box::new),
        }
        if self.stage != Stage::Open {
            return;
        }
        let rooms = std::mem::take(&mut self.rooms);
        let (removed, left): (Vec<_>, Vec<_>) = rooms.into_iter().partition(is_removed);
        self.rooms = left;
        if removed.is_empty() {
            return;
        }
        let head = Head { version: 1, operation: operation::CHANGE_ROOM_REPLY, sequence: 0 };
        self.put(head, self.rooms_text().as_bytes(), output);
        for room in removed {
            self.unsubscribe(room, output);
        }
    }

    fn rooms_text(&self) -> String {
        let mut names = self.rooms.iter().map(|room| room.spelled(Spelling::Slashes));
        match self.rooms.len() {
            0 | 1 => names.next().unwrap_or_default(),
            _ => serde_json::Value::from_iter(names).to_string(),
        }
    }
}

/// The instant of a time in milliseconds since 1970; `None` if it is too far away to come.
pub(super) fn instant(unix_ms: u64, context: &Context<'_>) -> Option<Instant> {
    context.now.checked_add(Duration::from_millis(unix_ms.saturating_sub(context.unix_ms)))
}

/// The close code that a back end names, if it is one that a server may close a WebSocket with on an
/// application's behalf; Centrifuge's range.
pub(super) fn close_code(code: u32) -> u16 {
    let code = u16::try_from(code).ok().filter(|code| (3000..5000).contains(code));
    code.unwrap_or(DISCONNECTED)
}

/// Centrifuge's code for a connection that a back end ends.
const DISCONNECTED: u16 = 3503;

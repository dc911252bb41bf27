//! Entering and leaving rooms.
//!
//! A change of rooms is all or nothing: the new ones are opened first, then the old ones are left
//! and the request is answered, so that a refused change leaves the client where it was and a
//! change to the same room misses nothing.

use shared::channel::ChannelName;

use super::{Pending, Refusal, Session, Work};
use crate::access;
use crate::goim::frame::Head;
use crate::goim::operation;
use crate::session::{Answer, AskId, Blame, Context, Output};

/// A room that the client may be in.
pub(super) struct Room {
    channel: ChannelName,
    /// Whether presence shows who is in it.
    presence: bool,
}

/// Subscriptions under way for one request.
pub(super) struct Entering {
    pub(super) waiting: Vec<(AskId, ChannelName)>,
    opened: Vec<ChannelName>,
    /// The rooms the client will be in.
    pub(super) rooms: Vec<ChannelName>,
    then: Then,
}

/// What is answered when all subscriptions are open.
pub(super) enum Then {
    LogIn,
    /// A change of rooms, answered with its own body.
    Echo(Box<[u8]>),
}

impl Room {
    /// Looks up a room by what a client calls it. `user` is the one it proved to be.
    pub(super) fn find(
        text: &str,
        user: Option<&str>,
        context: &Context<'_>,
    ) -> Result<Self, Refusal> {
        let (channel, _) =
            ChannelName::parse(text).map_err(|error| Refusal::new(107, error.to_string()))?;
        if channel.is_inbox() || channel.is_reserved() || channel.is_private() {
            // An inbox comes with the login, and goim has no tokens for channels.
            return Err(Refusal::new(103, "this channel is not a room that can be entered"));
        }
        let options = context.namespaces.options(&channel).ok_or_else(|| {
            Refusal::new(102, format!("there is no namespace \"{}\"", channel.namespace()))
        })?;
        if !access::may_read(&channel, options, user) {
            return Err(Refusal::new(103, "this client may not read the room"));
        }
        let presence = options.presence;
        Ok(Self { channel, presence })
    }
}

impl Entering {
    pub(super) fn new(then: Then) -> Self {
        Self { waiting: Vec::new(), opened: Vec::new(), rooms: Vec::new(), then }
    }

    pub(super) fn awaits(&self, id: AskId) -> bool {
        self.waiting.iter().any(|(asked, _)| *asked == id)
    }
}

impl Session {
    /// Operation 12: a room as text, several as a JSON array of texts (our addition), none as
    /// nothing.
    pub(super) fn change_room(
        &mut self,
        head: Head,
        body: &[u8],
        context: &Context<'_>,
        output: &mut Output,
    ) {
        match self.rooms_of(body, context) {
            Ok(rooms) => {
                let entering = Entering::new(Then::Echo(body.into()));
                self.enter(head, entering, rooms, context, output);
            }
            Err(refusal) => {
                self.reply(head, operation::CHANGE_ROOM_REPLY, &refusal.body(), output);
            }
        }
    }

    fn rooms_of(&self, body: &[u8], context: &Context<'_>) -> Result<Vec<Room>, Refusal> {
        let names: Vec<String> = if body.first() == Some(&b'[') {
            serde_json::from_slice(body)
                .map_err(|_| Refusal::new(107, "a list of rooms is a JSON array of texts"))?
        } else if body.is_empty() {
            Vec::new()
        } else {
            let text = std::str::from_utf8(body);
            vec![text.map_err(|_| Refusal::new(107, "a room's name is UTF-8"))?.to_owned()]
        };
        let most = self.setup.config.rooms_max as usize;
        if names.len() > most {
            return Err(Refusal::new(106, format!("at most {most} rooms at once")));
        }
        names.iter().map(|name| Room::find(name, self.known_user(), context)).collect()
    }

    /// Begins to enter `rooms` and, once there, to leave all others.
    pub(super) fn enter(
        &mut self,
        head: Head,
        mut entering: Entering,
        rooms: Vec<Room>,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        for Room { channel, presence } in rooms {
            if entering.rooms.contains(&channel) {
                continue;
            }
            if !self.rooms.contains(&channel) {
                let info = presence.then(|| self.info());
                let id = self.subscribe(channel.clone(), info, false, output);
                entering.waiting.push((id, channel.clone()));
            }
            entering.rooms.push(channel);
        }
        self.go_on_entering(head, entering, context, output);
    }

    pub(super) fn answer_enter(
        &mut self,
        head: Head,
        mut entering: Entering,
        id: AskId,
        answer: Answer,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let Some(index) = entering.waiting.iter().position(|(asked, _)| *asked == id) else {
            return;
        };
        let (_, channel) = entering.waiting.swap_remove(index);
        match answer {
            Answer::Subscribed(_) => {
                entering.opened.push(channel);
                self.go_on_entering(head, entering, context, output);
            }
            Answer::Failed { code, message, .. } => {
                let refusal = Refusal { code, message };
                self.give_up_entering(head, entering, &refusal, output);
            }
            Answer::Response(_) => {
                let refusal = Refusal::new(100, "internal server error");
                self.give_up_entering(head, entering, &refusal, output);
            }
        }
    }

    fn go_on_entering(
        &mut self,
        head: Head,
        entering: Entering,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if !entering.waiting.is_empty() {
            let work = Work::Enter(entering);
            self.pending = Some(Box::new(Pending { head, work }));
            return;
        }
        let mut rooms = entering.rooms;
        rooms.shrink_to_fit();
        for left in std::mem::replace(&mut self.rooms, rooms) {
            if !self.rooms.contains(&left) {
                self.unsubscribe(left, output);
            }
        }
        match entering.then {
            Then::LogIn => self.accept_login(head, context, output),
            Then::Echo(body) => self.reply(head, operation::CHANGE_ROOM_REPLY, &body, output),
        }
    }

    pub(super) fn give_up_entering(
        &mut self,
        head: Head,
        entering: Entering,
        refusal: &Refusal,
        output: &mut Output,
    ) {
        match entering.then {
            Then::LogIn => {
                let reason = format!("the login failed: {}; try again", refusal.message);
                self.end(3004, &reason, Blame::Us, output);
            }
            Then::Echo(_) => {
                let waiting = entering.waiting.into_iter().map(|(_, channel)| channel);
                for channel in entering.opened.into_iter().chain(waiting) {
                    self.unsubscribe(channel, output);
                }
                self.reply(head, operation::CHANGE_ROOM_REPLY, &refusal.body(), output);
            }
        }
    }

    /// Opens a subscription anew that lost messages, if it is still wanted.
    pub(super) fn subscribe_again(
        &mut self,
        channel: &ChannelName,
        context: &Context<'_>,
        output: &mut Output,
    ) -> bool {
        let quiet = channel.is_inbox() || channel.is_reserved();
        if !quiet && !self.rooms.contains(channel) && !self.has_just_opened(channel) {
            return false;
        }
        let shown = context.namespaces.options(channel).is_some_and(|options| options.presence);
        let info = (shown && !quiet).then(|| self.info());
        let id = self.subscribe(channel.clone(), info, quiet, output);
        self.reopening.get_or_insert_default().asks.push((id, channel.clone()));
        true
    }

    /// What became of a subscription that was opened anew: without it the client would miss
    /// everything and not know.
    pub(super) fn answer_reopened(&mut self, id: AskId, answer: Answer, output: &mut Output) {
        if !self.take_reopening(|(asked, _)| *asked == id) {
            return;
        }
        match answer {
            Answer::Subscribed(_) | Answer::Response(_) => {}
            Answer::Failed { message, .. } => {
                let reason = format!("a channel is lost: {message}; connect again");
                self.end(3004, &reason, Blame::Us, output);
            }
        }
    }

    fn has_just_opened(&self, channel: &ChannelName) -> bool {
        self.pending.as_ref().is_some_and(|pending| match &pending.work {
            Work::Enter(entering) => entering.opened.contains(channel),
            Work::Publish(_) => false,
        })
    }
}

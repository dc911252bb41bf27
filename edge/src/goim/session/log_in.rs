//! Logging in: who the client is, and what it reads from then on.

use shared::channel::ChannelName;

use super::enter::{Entering, Room, Then};
use super::{Blame, Dialect, Refusal, Session, Stage};
use crate::goim::auth::{self, Auth};
use crate::goim::config::AuthMode;
use crate::goim::frame::Head;
use crate::goim::operation;
use crate::session::{Ask, Context, Identity, Output};

/// What danmaku clients are told when a login is accepted, and when it is not.
const DANMAKU_ACCEPTED: &[u8] = b"{\"code\":0}";
const DANMAKU_REFUSED: &[u8] = b"{\"code\":-101}";

/// Centrifuge's disconnect codes for what a login can lack.
const BAD_REQUEST: u16 = 3501;
const INVALID_TOKEN: u16 = 3500;
const PERMISSION_DENIED: u16 = 3507;

/// A login that was looked at and found good.
struct Admitted {
    user: String,
    known_user: bool,
    /// The inboxes and the broadcast, where accepted operations count.
    quiet: Vec<ChannelName>,
    room: Option<Room>,
}

/// Why a login is refused: a close code and a reason.
type Refused = (u16, String);

impl Session {
    /// Operation 7. The answer waits until everything is open, so that nothing that is published
    /// after it is missed.
    pub(super) fn log_in(
        &mut self,
        head: Head,
        body: &[u8],
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let auth = match auth::parse(body, &self.setup.config.danmaku_room) {
            Ok(auth) => auth,
            Err(error) => return self.refuse_login(head, BAD_REQUEST, &error.to_string(), output),
        };
        self.dialect = auth.dialect;
        let admitted = match self.admit(&auth, context) {
            Ok(admitted) => admitted,
            Err((code, reason)) => return self.refuse_login(head, code, &reason, output),
        };
        self.stage = Stage::LoggingIn;
        self.user = admitted.user.as_str().into();
        self.known_user = admitted.known_user;
        output.asks.push(Ask::Identify(Identity {
            user: admitted.user,
            client: self.client.to_string(),
            key: Some(auth.key).filter(|key| !key.is_empty()),
        }));
        if let Some(accepts) = auth.accepts {
            output.asks.push(Ask::Accept(accepts.clone()));
            self.accepts = Some(accepts);
        }
        let mut entering = Entering::new(Then::LogIn);
        for channel in admitted.quiet {
            let id = self.subscribe(channel.clone(), None, true, output);
            entering.waiting.push((id, channel));
        }
        let rooms = admitted.room.into_iter().collect();
        self.enter(head, entering, rooms, context, output);
    }

    /// What a completed login is answered.
    pub(super) fn accept_login(&mut self, head: Head, context: &Context<'_>, output: &mut Output) {
        self.stage = Stage::Open;
        self.deadline = context.now + self.setup.config.heartbeat_timeout();
        let body: &[u8] = match self.dialect {
            Dialect::Goim => b"",
            Dialect::Danmaku(_) => DANMAKU_ACCEPTED,
        };
        self.reply(head, operation::AUTH_REPLY, body, output);
    }

    /// goim closes without a word; danmaku's clients are told.
    fn refuse_login(&mut self, head: Head, code: u16, reason: &str, output: &mut Output) {
        match self.dialect {
            Dialect::Goim => {}
            Dialect::Danmaku(_) => {
                self.reply(head, operation::AUTH_REPLY, DANMAKU_REFUSED, output);
            }
        }
        self.end(code, reason, Blame::Peer, output);
    }

    fn admit(&self, auth: &Auth, context: &Context<'_>) -> Result<Admitted, Refused> {
        let claimed = if auth.mid == 0 { String::new() } else { auth.mid.to_string() };
        let (user, known_user) = match self.setup.config.auth {
            AuthMode::Anyone => (claimed, false),
            AuthMode::Token => {
                let token = self.setup.tokens.connection(&auth.token, context.unix_ms);
                let user = token.map_err(|error| (INVALID_TOKEN, error.to_string()))?.user;
                if !claimed.is_empty() && claimed != user {
                    return Err((INVALID_TOKEN, "the token is of another user".to_owned()));
                }
                let known_user = !user.is_empty();
                (user, known_user)
            }
        };
        let bad_name = |error: shared::channel::NameError| (BAD_REQUEST, error.to_string());
        let mut quiet = Vec::with_capacity(3);
        if !user.is_empty() {
            quiet.push(ChannelName::inbox(&user).map_err(bad_name)?);
        }
        if !auth.key.is_empty() {
            quiet.push(ChannelName::key(&auth.key).map_err(bad_name)?);
        }
        quiet.push(ChannelName::broadcast());
        let room = (!auth.room.is_empty())
            .then(|| Room::find(&auth.room, known_user, context))
            .transpose()
            .map_err(|Refusal { message, .. }| (PERMISSION_DENIED, message))?;
        Ok(Admitted { user, known_user, quiet, room })
    }
}

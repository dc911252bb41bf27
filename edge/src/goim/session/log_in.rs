//! Logging in: who the client is, and what it reads from then on.

use std::time::Instant;

use shared::channel::ChannelName;

use super::command::instant;
use super::enter::{Entering, Room, Then};
use super::{Blame, Dialect, Refusal, Session, Stage};
use crate::goim::auth::{self, Auth};
use crate::goim::config::AuthMode;
use crate::goim::frame::Head;
use crate::goim::operation;
use crate::session::{Ask, Context, Identity, Output};
use crate::token::TokenError;

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
    /// When it ends with the token.
    expires: Option<Instant>,
    /// The inboxes and the broadcast, where accepted operations count.
    quiet: Vec<ChannelName>,
    room: Option<Room>,
}

/// Who a client is taken for.
struct Proof {
    /// Empty for nobody.
    user: String,
    /// When the token ends that proves it.
    expires: Option<Instant>,
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
        self.expires = admitted.expires;
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
        let Proof { user, expires } = self.prove(auth, context)?;
        let known_user = (!user.is_empty() && self.demands_proof()).then_some(user.as_str());
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
        Ok(Admitted { user, expires, quiet, room })
    }

    /// Who the client is. Where keys for tokens are set, a user needs one: a client without is
    /// refused, or, where anyone may log in, is nobody and has no inbox. Where there are no keys,
    /// clients are believed, as in goim.
    fn prove(&self, auth: &Auth, context: &Context<'_>) -> Result<Proof, Refused> {
        let mode = self.setup.config.auth;
        let claimed = if auth.mid == 0 { String::new() } else { auth.mid.to_string() };
        let token = self.setup.tokens.connection(&auth.token, context.unix_ms);
        if mode == AuthMode::Anyone {
            if !self.demands_proof() {
                return Ok(Proof { user: claimed, expires: None });
            }
            // What danmaku clients call a key may be of another system.
            let danmaku = matches!(auth.dialect, Dialect::Danmaku(_));
            if auth.token.is_empty() || danmaku && token == Err(TokenError::Invalid) {
                return Ok(Proof { user: String::new(), expires: None });
            }
        }
        let invalid = |reason: &str| (INVALID_TOKEN, reason.to_owned());
        let token = token.map_err(|error| invalid(&error.to_string()))?;
        if !claimed.is_empty() && claimed != token.user {
            return Err(invalid("the token is of another user"));
        }
        if token.expires_ms.is_some_and(|at| at <= context.unix_ms) {
            return Err(invalid(&TokenError::Expired.to_string()));
        }
        if mode == AuthMode::Token && !auth.key.is_empty() && !token.keys.contains(&auth.key) {
            let reason = "the token does not name this key: list it in the token's claim \"keys\"";
            return Err((PERMISSION_DENIED, reason.to_owned()));
        }
        let expires = token.expires_ms.and_then(|at| instant(at, context));
        Ok(Proof { user: token.user, expires })
    }
}

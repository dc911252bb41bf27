//! What time does to a session: pings and pongs, tokens that run out and are refreshed.
//!
//! Invariant: there is at most one ping without its pong.

use std::time::{Duration, Instant};

use super::{Broadcast, Phase, Session, parse_channel};
use crate::centrifuge::VERSION;
use crate::centrifuge::codes::{Disconnect, Failure, Refusal, Removal};
use crate::centrifuge::protocol::{Expiry, RefreshResult, Reply, SubRefreshRequest};
use crate::session::{Context, Output};
use crate::token::TokenError;

/// When the next thing about being alive is due: the connect command, a ping, or the pong to one.
#[derive(Debug)]
pub(super) struct Pings {
    due: Instant,
    awaiting_pong: bool,
}

/// How long a connection or subscription stays valid.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Validity {
    /// Whole seconds until the client must refresh; 0 is for ever.
    pub(super) ttl: u32,
    /// When we end it, a while after that.
    pub(super) closes: Option<Instant>,
}

impl Validity {
    pub(super) fn expires(self) -> bool {
        self.ttl > 0
    }

    pub(super) fn expiry(self) -> Expiry {
        Expiry { expires: self.expires(), ttl: self.ttl }
    }
}

impl Pings {
    /// Nothing is due before `due`.
    pub(super) fn until(due: Instant) -> Self {
        Self { due, awaiting_pong: false }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

impl Session {
    /// The first ping comes after half to a whole interval, so that clients which came together are
    /// not pinged together.
    pub(super) fn start_pings(&mut self, seed: u64, now: Instant) {
        let interval = self.setup.config.ping_interval;
        let share = 0.5 + (seed >> 11) as f64 / (1_u64 << 54) as f64;
        self.pings = Pings::until(now + interval.mul_f64(share));
    }

    pub(super) fn handle_ping_due(&mut self, context: &Context<'_>, output: &mut Output) {
        match self.phase {
            Phase::Fresh { .. } | Phase::Refused => self.end(Disconnect::Stale, output),
            Phase::Connecting(_) => self.end(Disconnect::Internal, output),
            Phase::Open if self.pings.awaiting_pong => self.end(Disconnect::NoPong, output),
            Phase::Open => {
                self.verified = 0;
                self.reply(Reply::default(), output);
                let due = context.now + self.setup.config.pong_timeout;
                self.pings = Pings { due, awaiting_pong: true };
                if self.broadcast == Broadcast::Lost {
                    self.subscribe_broadcast(output);
                }
            }
            Phase::Closed => {}
        }
    }

    pub(super) fn handle_pong(&mut self) -> Result<(), Failure> {
        if !self.pings.awaiting_pong {
            return Err(Disconnect::BadRequest("a pong without a ping").into());
        }
        let config = &self.setup.config;
        let rest = config.ping_interval.saturating_sub(config.pong_timeout);
        self.pings = Pings::until(self.pings.due + rest);
        Ok(())
    }

    /// How long something that ends at `expires_ms` stays valid; `None` if it has ended.
    pub(super) fn validity(
        &self,
        expires_ms: Option<u64>,
        context: &Context<'_>,
    ) -> Option<Validity> {
        let Some(expires_ms) = expires_ms else { return Some(Validity::default()) };
        let left_ms = expires_ms.checked_sub(context.unix_ms).filter(|left| *left > 0)?;
        let seconds = (expires_ms / 1000).saturating_sub(context.unix_ms / 1000).max(1);
        Some(Validity {
            ttl: u32::try_from(seconds).unwrap_or(u32::MAX),
            closes: Duration::from_millis(left_ms)
                .checked_add(self.setup.config.expired_close_delay)
                .and_then(|left| context.now.checked_add(left)),
        })
    }

    pub(super) fn expire_subscriptions(&mut self, context: &Context<'_>, output: &mut Output) {
        while let Some(index) = self.subscriptions.iter().position(|subscription| {
            subscription.closes().is_some_and(|closes| closes <= context.now)
        }) {
            if self.subscriptions[index].side.is_server() {
                return self.end(Disconnect::SubscriptionExpired, output);
            }
            self.remove(index, Removal::Expired, output);
        }
    }

    pub(super) fn refresh(
        &mut self,
        id: u32,
        token: &str,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        if token.is_empty() {
            return Err(Disconnect::BadRequest("refresh brings no token").into());
        }
        self.count_token()?;
        let token = match self.setup.tokens.connection(token, context.unix_ms) {
            Ok(token) if *token.user == *self.user => token,
            Ok(_) | Err(TokenError::Invalid) => return Err(Disconnect::InvalidToken.into()),
            Err(TokenError::Expired) => return Err(Disconnect::ConnectionExpired.into()),
        };
        let validity = self
            .validity(token.expires_ms, context)
            .ok_or(Failure::Disconnected(Disconnect::ConnectionExpired))?;
        if !self.is_granted(&token.subscriptions) {
            return Err(Disconnect::InsufficientState.into());
        }
        self.closes = validity.closes;
        self.conn_info = token.info;
        let refresh = RefreshResult {
            client: self.client.to_string(),
            version: VERSION.to_owned(),
            expires: validity.expires(),
            ttl: validity.ttl,
        };
        self.reply(Reply { id, refresh: Some(refresh), ..Reply::default() }, output);
        Ok(())
    }

    pub(super) fn sub_refresh(
        &mut self,
        id: u32,
        request: &SubRefreshRequest,
        context: &Context<'_>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (channel, _) = parse_channel(&request.channel)?;
        let index = self
            .find(&channel)
            .filter(|index| self.subscriptions[*index].is_open())
            .ok_or(Refusal::PermissionDenied)?;
        if request.token.is_empty() {
            return Err(Refusal::BadRequest.into());
        }
        self.count_token()?;
        let token = match self.setup.tokens.subscription(&request.token, context.unix_ms) {
            Ok(token) if self.is_ours(&token, &channel) => token,
            Ok(_) | Err(TokenError::Invalid) => return Err(Disconnect::InvalidToken.into()),
            Err(TokenError::Expired) => return Err(Refusal::Expired.into()),
        };
        let validity = self.validity(token.expires_ms, context).ok_or(Refusal::Expired)?;
        self.subscriptions[index].set_closes(validity.closes);
        let sub_refresh = Some(validity.expiry());
        self.reply(Reply { id, sub_refresh, ..Reply::default() }, output);
        Ok(())
    }
}

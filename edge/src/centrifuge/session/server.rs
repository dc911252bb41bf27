//! What a back end orders: disconnect, unsubscribe, subscribe, refresh.

use bytes::Bytes;
use shared::channel::ChannelName;
use shared::message::Epoch;
use shared::wire::control;

use super::expiry::Validity;
use super::subscription::{Cause, Plan, Side, Wanted};
use super::{Phase, Session};
use crate::centrifuge::codes::{Disconnect, Removal};
use crate::centrifuge::protocol::Push;
use crate::session::{Context, Output, Recover, is_spared};
use crate::token::Grant;

impl Session {
    /// A back end's command that is aimed at this connection.
    pub fn handle_command(
        &mut self,
        command: &control::command::Kind,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        if !matches!(self.phase, Phase::Connecting(_) | Phase::Open) {
            return;
        }
        match command {
            control::command::Kind::Disconnect(order) => {
                if !is_spared(order, &self.client) {
                    let (code, reason) = (order.code, order.reason.clone());
                    self.end(Disconnect::Ordered { code, reason }, output);
                }
            }
            control::command::Kind::Unsubscribe(order) => {
                self.remove_channels(&order.channel, context, output);
            }
            control::command::Kind::Subscribe(order) => {
                self.subscribe_by_order(order, context, output);
            }
            control::command::Kind::Refresh(order) => {
                self.refresh_by_order(order, context, output);
            }
        }
    }

    /// Ends a channel's subscription, or all of them where no channel is named.
    fn remove_channels(&mut self, channel: &str, context: &Context<'_>, output: &mut Output) {
        let channels: Vec<ChannelName> = if channel.is_empty() {
            self.subscriptions.iter().map(|known| known.channel.clone()).collect()
        } else {
            ChannelName::parse(channel).into_iter().map(|(channel, _)| channel).collect()
        };
        for channel in channels {
            if let Some(opening) = self.opening(&channel) {
                opening.removed = true;
            } else if let Some(index) = self.find(&channel) {
                self.remove(index, Removal::Server, output);
            }
        }
        self.finish_connect_if_complete(context, output);
    }

    fn subscribe_by_order(
        &mut self,
        order: &control::Subscribe,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let Ok((channel, spelling)) = ChannelName::parse(&order.channel) else { return };
        let Some(options) = context.namespaces.options(&channel) else { return };
        let expires_ms = (order.expire_at_s > 0).then(|| order.expire_at_s.saturating_mul(1000));
        let Some(validity) = self.validity(expires_ms, context) else { return };
        if channel.is_reserved() || self.find(&channel).is_some() {
            return;
        }
        let from = Epoch::new(order.recover_epoch)
            .map(|epoch| Recover { epoch: Some(epoch), offset: order.recover_offset });
        let cause = if self.is_held() { Cause::Connect } else { Cause::Push };
        let grant =
            Grant { info: order.info.clone(), data: order.data.clone(), ..Grant::default() };
        let plan = Plan {
            wanted: Wanted::new(None, options, None).at_position(from),
            seen: options.presence,
            channel,
            spelling,
            side: Side::Server,
            cause,
            grant,
            validity,
        };
        self.open(plan, output);
    }

    fn refresh_by_order(
        &mut self,
        order: &control::Refresh,
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let expires_ms = (order.expire_at_s > 0).then(|| order.expire_at_s.saturating_mul(1000));
        let validity = self.validity(expires_ms, context).filter(|_| !order.expired);
        let Some(validity) = validity else {
            return self.end(Disconnect::ConnectionExpired, output);
        };
        if !order.info.is_empty() {
            self.conn_info = Bytes::clone(&order.info);
        }
        self.tell_refreshed(validity, output);
    }

    fn tell_refreshed(&mut self, validity: Validity, output: &mut Output) {
        if self.set_validity(validity) {
            let refresh = Some(validity.expiry());
            self.push(Push { refresh, ..Push::default() }, output);
        }
    }
}

//! Answers to edges: what their clients publish and ask.

use std::sync::Arc;

use shared::channel::ChannelName;
use shared::limits::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX, HISTORY_MESSAGES_MAX};
use shared::message::{ClientInfo, Epoch};
use shared::namespace::Options;
use shared::wire::{control, convert};

use super::origin::{Origin, Since};
use crate::hook::{Call, HookResult, Purpose, Verdict};
use crate::limits::PRESENCE_CLIENTS_MAX;
use crate::publish::{Publish, Refusal};

type Answer = Result<control::response::Kind, control::Failure>;

impl Origin {
    /// Answers an uplink request of an edge. The edge has checked that its client may ask.
    pub async fn answer(&self, edge: &str, request: control::Request) -> control::Response {
        use control::request::Kind as Ask;
        // What is not asked of them need not wait for an edge's updates.
        let of_updates = matches!(request.kind, Some(Ask::Presence(_) | Ask::PresenceStats(_)));
        if of_updates && request.after_update > 0 {
            self.update_applied(edge, request.after_update).await;
        }
        let answer = match request.kind {
            Some(Ask::Publish(publish)) => self.answer_publish(publish).await,
            Some(Ask::History(history)) => self.answer_history(&history).await,
            Some(Ask::Presence(query)) => self.answer_presence(&query),
            Some(Ask::PresenceStats(query)) => self.answer_presence_stats(&query),
            Some(Ask::Rpc(rpc)) => self.rpc(rpc).await,
            None => Err(failure(107, "this origin does not know the request", false)),
        };
        let kind = answer.unwrap_or_else(control::response::Kind::Failure);
        control::Response { kind: Some(kind) }
    }

    async fn answer_publish(&self, publish: control::Publish) -> Answer {
        let (channel, _) = self.known(&publish.channel)?;
        let publisher = publish.publisher.map(convert::info_in).unwrap_or_default();
        let hooked = match self.shared.hooks.config.publish.clone() {
            Some(uri) => {
                let call = Call {
                    caller: &publisher,
                    // The line does not say.
                    transport: "",
                    protocol: "",
                    data: &publish.body,
                    purpose: Purpose::Publish(channel.as_str()),
                };
                decided(self.shared.hooks.ask(&uri, &call).await)?
            }
            None => HookResult::default(),
        };
        let key = Some(hooked.idempotency_key).filter(|key| !key.is_empty());
        let published = self
            .publish(Publish {
                operation: publish.operation,
                publisher: (publisher != ClientInfo::default()).then(|| Box::new(publisher)),
                tags: hooked.tags,
                idempotency_key: key.unwrap_or(publish.idempotency_key),
                ..Publish::new(channel, hooked.data.unwrap_or(publish.body))
            })
            .await
            .map_err(refused)?;
        Ok(control::response::Kind::Publish(control::PublishResult {
            epoch: published.position.epoch.number(),
            offset: published.position.offset,
        }))
    }

    async fn answer_history(&self, history: &control::History) -> Answer {
        let (channel, options) = self.known(&history.channel)?;
        if !options.history && !history.recovery {
            return Err(refused(Refusal::NotAvailable("history")));
        }
        let limit = usize::try_from(history.limit).unwrap_or(usize::MAX).min(HISTORY_MESSAGES_MAX);
        let since = history.since.then(|| Since {
            epoch: Epoch::new(history.since_epoch),
            offset: history.since_offset,
        });
        // One message may be as large as a frame whatever the bound says.
        let bytes_max = CONTROL_BYTES_MAX - FRAME_BYTES_MAX;
        let found = self
            .history(&channel, limit, since, history.reverse, bytes_max)
            .await
            .map_err(refused)?;
        Ok(control::response::Kind::History(control::HistoryResult {
            epoch: found.position.epoch.number(),
            top: found.position.offset,
            messages: found.messages.iter().map(|message| convert::stored_out(message)).collect(),
        }))
    }

    fn answer_presence(&self, query: &control::ChannelQuery) -> Answer {
        let channel = self.with_presence(&query.channel)?;
        let infos: Option<Vec<Arc<ClientInfo>>> = self.with_edges(|edges| {
            let presence = edges.presence();
            let fits = presence.stats(&channel).clients as usize <= PRESENCE_CLIENTS_MAX
                && presence.bytes(&channel) <= CONTROL_BYTES_MAX - 64;
            fits.then(|| presence.of(&channel).cloned().collect())
        });
        let Some(infos) = infos else {
            return Err(failure(106, "too many clients to list: ask for presence_stats", false));
        };
        let clients = infos.iter().map(|info| convert::info_out(info)).collect();
        Ok(control::response::Kind::Presence(control::PresenceResult { clients }))
    }

    fn answer_presence_stats(&self, query: &control::ChannelQuery) -> Answer {
        let channel = self.with_presence(&query.channel)?;
        let stats = self.with_edges(|edges| edges.presence().stats(&channel));
        Ok(control::response::Kind::PresenceStats(control::PresenceStats {
            clients: stats.clients,
            users: stats.users,
        }))
    }

    /// Calls a remote procedure of the back end for a client.
    pub async fn rpc(&self, rpc: control::Rpc) -> Answer {
        let Some(uri) = self.shared.hooks.config.rpc.clone() else {
            return Err(failure(108, "not available: no rpc hook is configured", false));
        };
        let caller = rpc.caller.map(convert::info_in).unwrap_or_default();
        let call = Call {
            caller: &caller,
            transport: &rpc.transport,
            protocol: &rpc.protocol,
            data: &rpc.data,
            purpose: Purpose::Rpc(&rpc.method),
        };
        let result = decided(self.shared.hooks.ask(&uri, &call).await)?;
        let data = result.data.unwrap_or_default();
        Ok(control::response::Kind::Rpc(control::RpcResult { data }))
    }

    /// The channel and its namespace's options.
    fn known(&self, text: &str) -> Result<(ChannelName, Options), control::Failure> {
        let (channel, _) = ChannelName::parse(text).map_err(|error| refused(error.into()))?;
        match self.namespaces().options(&channel) {
            Some(options) => {
                let options = options.clone();
                Ok((channel, options))
            }
            None => Err(refused(Refusal::UnknownNamespace(channel.namespace().to_owned()))),
        }
    }

    fn with_presence(&self, text: &str) -> Result<ChannelName, control::Failure> {
        let (channel, options) = self.known(text)?;
        if options.presence { Ok(channel) } else { Err(refused(Refusal::NotAvailable("presence"))) }
    }
}

/// What the back end agreed to, or why not.
fn decided(
    verdict: Result<Verdict, super::hook::HookError>,
) -> Result<HookResult, control::Failure> {
    match verdict {
        Ok(Verdict::Result(result)) => Ok(result),
        Ok(Verdict::Error { code, message, temporary }) => Err(failure(code, &message, temporary)),
        Ok(Verdict::Disconnect { code, reason }) => {
            Err(control::Failure { code: 103, message: reason, temporary: false, disconnect: code })
        }
        // It has been logged; the client learns nothing of the back end's insides.
        Err(_) => Err(failure(100, "internal server error", true)),
    }
}

fn refused(refusal: Refusal) -> control::Failure {
    failure(refusal.code(), &refusal.to_string(), refusal.temporary())
}

fn failure(code: u32, message: &str, temporary: bool) -> control::Failure {
    control::Failure { code, message: message.to_owned(), temporary, disconnect: 0 }
}

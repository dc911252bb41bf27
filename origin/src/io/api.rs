//! The HTTP APIs at work: who may call, what is done, how it is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method as HttpMethod};
use serde::Serialize;
use shared::config::Secret;
use shared::io::http::{
    Parts, Query, Request, Response, StatusCode, bytes, empty, error, json, text,
};
use shared::message::{ClientInfo, Position};
use shared::ring::Weigh;

use super::origin::{Origin, Since};
use crate::api::centrifugo::{self, BatchItem, Call, Method};
use crate::api::fits;
use crate::api::goim::{self, Envelope, GoimError};
use crate::api::reply::{
    self, ApiError, ChannelInfo, Client, Named, Node, Place, Response as Reply,
};
use crate::config::ApiAccess;
use crate::publish::{Publish, Published, Refusal};

/// The APIs of one origin.
pub(super) struct Api {
    pub(super) origin: Origin,
    pub(super) access: ApiAccess,
    /// The origin's own name.
    pub(super) name: String,
    pub(super) started: Instant,
}

type Answer = Result<reply::Result, ApiError>;

impl Api {
    /// Answers requests of which the head shows that they are not for us or not allowed.
    pub(super) fn refuse(
        &self,
        method: &HttpMethod,
        path: &str,
        query: &Query,
        headers: &HeaderMap,
    ) -> Option<Response> {
        if is_goim(path) {
            if let Err(fault) = goim::read(method == HttpMethod::POST, path, query) {
                return Some(faulty(fault));
            }
            if !self.access.goim_open && !admits(&self.access.keys, headers, query) {
                let why = "an API key is required: X-API-Key or api_key";
                return Some(enveloped(StatusCode::UNAUTHORIZED, goim::UNAUTHORISED, why));
            }
            return None;
        }
        let rest = path.strip_prefix("/api");
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Some(error(StatusCode::NOT_FOUND, "no such path"));
        }
        if method != HttpMethod::POST {
            return Some(empty(StatusCode::METHOD_NOT_ALLOWED));
        }
        if !self.access.api_open && !admits(&self.access.keys, headers, query) {
            return Some(empty(StatusCode::UNAUTHORIZED));
        }
        None
    }

    /// Answers any request.
    pub(super) async fn answer(&self, request: Request) -> Response {
        let Request { method, path, query, headers, .. } = &request;
        // Its head was looked at before its body came; whoever calls this has no more rights.
        if let Some(refused) = self.refuse(method, path, query, headers) {
            return refused;
        }
        if is_goim(path) {
            return self.answer_goim(&request).await;
        }
        match path.strip_prefix("/api").unwrap_or("").trim_matches('/') {
            "" => self.answer_legacy(&request).await,
            "batch" => self.answer_batch(&request).await,
            name => match Method::parse(name) {
                Some(method) => self.answer_call(method, &request).await,
                None => error(StatusCode::NOT_FOUND, "no such method"),
            },
        }
    }

    async fn answer_call(&self, method: Method, request: &Request) -> Response {
        self.origin.metrics().requested(method.name());
        let call = match centrifugo::read(method, &request.body) {
            Ok(call) => call,
            Err(error) => return malformed(&error),
        };
        let answer = match call {
            Ok(call) => self.call(call, &mut { HISTORY_BYTES_MAX }).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(result) => json(StatusCode::OK, &Reply::Result(result)),
            Err(error) => failed(error.spelled(), request),
        }
    }

    async fn answer_batch(&self, request: &Request) -> Response {
        #[derive(Serialize)]
        struct Replies {
            replies: Vec<Named>,
        }
        self.origin.metrics().requested("batch");
        match centrifugo::read_batch(&request.body) {
            Ok(Ok(items)) => {
                let replies = self.call_all(items).await;
                json(StatusCode::OK, &Replies { replies })
            }
            Ok(Err(error)) => failed(error.spelled(), request),
            Err(error) => malformed(&error),
        }
    }

    /// The API of Centrifugo 4 and before: commands and replies one a line.
    async fn answer_legacy(&self, request: &Request) -> Response {
        #[derive(Serialize)]
        struct Line {
            #[serde(skip_serializing_if = "is_zero")]
            id: u32,
            #[serde(flatten)]
            reply: Reply<reply::Result>,
        }
        self.origin.metrics().requested("legacy");
        let commands = match centrifugo::read_legacy(&request.body) {
            Ok(Ok(commands)) => commands,
            Ok(Err(error)) => return failed(error.spelled(), request),
            Err(error) => return malformed(&error),
        };
        let (ids, items): (Vec<u32>, Vec<BatchItem>) =
            commands.into_iter().map(|command| (command.id, command.item)).unzip();
        let mut body = Vec::new();
        for (id, named) in ids.into_iter().zip(self.call_all(items).await) {
            let reply = match named.reply {
                Ok(result) => Reply::Result(result),
                Err(error) => Reply::Error(error),
            };
            if !body.is_empty() {
                body.push(b'\n');
            }
            if let Err(error) = serde_json::to_writer(&mut body, &Line { id, reply }) {
                tracing::error!(%error, "a reply could not be written as JSON");
            }
        }
        bytes(StatusCode::OK, "application/json", body)
    }

    /// Carries out commands in their order; publishes that stand together share their commits.
    async fn call_all(&self, items: Vec<BatchItem>) -> Vec<Named> {
        let mut replies = Vec::with_capacity(items.len());
        let mut publishes = Vec::new();
        let mut history_bytes = HISTORY_BYTES_MAX;
        for (method, call) in items {
            if let Ok(Call::Publish(publish)) = call {
                publishes.push(publish);
                continue;
            }
            self.publish_all(&mut publishes, &mut replies).await;
            let reply = match call {
                Ok(call) => self.call(call, &mut history_bytes).await,
                Err(error) => Err(error),
            };
            let reply = reply.map_err(ApiError::spelled);
            replies.push(Named { method: method.map(Method::name), reply });
        }
        self.publish_all(&mut publishes, &mut replies).await;
        replies
    }

    async fn publish_all(&self, publishes: &mut Vec<Publish>, replies: &mut Vec<Named>) {
        if publishes.is_empty() {
            return;
        }
        let publishes = std::mem::take(publishes);
        let shown: Vec<bool> = publishes.iter().map(|publish| self.shows(publish)).collect();
        let outcomes = self.origin.publish_all(publishes).await;
        replies.extend(outcomes.into_iter().zip(shown).map(|(outcome, is_shown)| Named {
            method: Some(Method::Publish.name()),
            reply: placed(outcome, is_shown).map(reply::Result::Place),
        }));
    }

    /// `history_bytes` is what histories may still take of the answer to the whole request.
    async fn call(&self, call: Call, history_bytes: &mut usize) -> Answer {
        match call {
            Call::Publish(publish) => {
                let is_shown = self.shows(&publish);
                placed(self.origin.publish(publish).await, is_shown).map(reply::Result::Place)
            }
            Call::Broadcast(messages) => {
                Ok(reply::Result::Places { responses: self.broadcast(messages).await })
            }
            Call::Command(command) => {
                self.origin.command(command)?;
                Ok(reply::Result::Empty {})
            }
            Call::Presence(channel) => {
                self.check_presence(&channel)?;
                let infos: Vec<Arc<ClientInfo>> = self
                    .origin
                    .with_edges(|edges| edges.presence().of(&channel).cloned().collect());
                let named = |info: &Arc<ClientInfo>| (info.client.clone(), Client::from(&**info));
                let presence = infos.iter().map(named).collect();
                Ok(reply::Result::Presence { presence })
            }
            Call::PresenceStats(channel) => {
                self.check_presence(&channel)?;
                Ok(self.origin.with_edges(|edges| edges.presence().stats(&channel)).into())
            }
            Call::History(history) => {
                let since = history.since.map(|(epoch, offset)| Since { epoch, offset });
                let limit = history.limit.unwrap_or(usize::MAX);
                let (channel, reverse) = (history.channel, history.reverse);
                if *history_bytes == 0 {
                    let message = "the histories of one request are too large together";
                    return Err(ApiError { code: 106, message: message.to_owned() });
                }
                let bytes_max = *history_bytes;
                let found = self.origin.history(&channel, limit, since, reverse, bytes_max).await?;
                let bytes: usize = found.messages.iter().map(Weigh::weight).sum();
                *history_bytes = bytes_max.saturating_sub(bytes);
                Ok(found.into())
            }
            Call::HistoryRemove(channel) => {
                self.origin.history_remove(&channel).await?;
                Ok(reply::Result::Empty {})
            }
            Call::Channels(pattern) => Ok(self.channels(&pattern)),
            Call::Info => Ok(self.info()),
        }
    }

    async fn broadcast(&self, messages: Vec<Result<Publish, Refusal>>) -> Vec<Reply<Place>> {
        let mut publishes = Vec::with_capacity(messages.len());
        let mut kept: Vec<Result<bool, Refusal>> = Vec::with_capacity(messages.len());
        for message in messages {
            kept.push(message.map(|publish| {
                let is_shown = self.shows(&publish);
                publishes.push(publish);
                is_shown
            }));
        }
        let mut outcomes = self.origin.publish_all(publishes).await.into_iter();
        kept.into_iter()
            .map(|kept| {
                let placed = kept.map_err(ApiError::from).and_then(|is_shown| {
                    let outcome = outcomes.next().unwrap_or(Err(Refusal::ShuttingDown));
                    placed(outcome, is_shown)
                });
                match placed {
                    Ok(place) => Reply::Result(place),
                    Err(error) => Reply::Error(error),
                }
            })
            .collect()
    }

    fn channels(&self, pattern: &str) -> reply::Result {
        let is_wanted = |name: &str| pattern.is_empty() || fits(name, pattern);
        let channels: BTreeMap<String, ChannelInfo> = self.origin.with_edges(|edges| {
            let rooms = edges.online().rooms();
            let rooms = rooms.filter(|(name, _)| !name.is_reserved() && is_wanted(name.as_str()));
            rooms
                .map(|(name, num_clients)| (name.to_string(), ChannelInfo { num_clients }))
                .collect()
        });
        reply::Result::Channels { channels }
    }

    fn info(&self) -> reply::Result {
        let own = Node {
            uid: format!("origin.{}", self.name),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            num_channels: self.origin.channels_len() as u64,
            uptime: self.started.elapsed().as_secs(),
            ..Node::default()
        };
        let mut nodes = vec![own];
        self.origin.with_edges(|edges| {
            for (name, _) in edges.names() {
                let (num_clients, num_channels, num_subs) = edges.online().of_edge(name);
                nodes.push(Node {
                    uid: format!("edge.{name}"),
                    name: name.to_owned(),
                    num_clients,
                    num_users: edges.presence().users_of(name),
                    num_subs,
                    num_channels: num_channels as u64,
                    ..Node::default()
                });
            }
        });
        reply::Result::Info { nodes }
    }

    async fn answer_goim(&self, request: &Request) -> Response {
        let is_post = request.method == HttpMethod::POST;
        let call = match goim::read(is_post, &request.path, &request.query) {
            Ok(call) => call,
            Err(fault) => return faulty(fault),
        };
        self.origin.metrics().requested("goim");
        match call {
            goim::Call::Push { channels, operation, speed } => {
                let to = |channel| Publish {
                    operation,
                    speed,
                    may_be_empty: true,
                    ..Publish::new(channel, request.body.clone())
                };
                let outcomes =
                    self.origin.publish_all(channels.into_iter().map(to).collect()).await;
                match outcomes.into_iter().find_map(Result::err) {
                    Some(refusal) => {
                        enveloped(StatusCode::OK, goim::code_of(&refusal), refusal.to_string())
                    }
                    None => json(StatusCode::OK, &Envelope::<()>::ok(None)),
                }
            }
            goim::Call::Top { kind, limit } => {
                let rooms = self.origin.with_edges(|edges| edges.online().top(&kind, limit));
                let rooms: Vec<goim::Room> = rooms
                    .into_iter()
                    .map(|(room, count)| goim::Room { room_id: room.rest().to_owned(), count })
                    .collect();
                json(StatusCode::OK, &Envelope::ok(Some(rooms)))
            }
            goim::Call::Rooms { rooms } => {
                let counts: BTreeMap<String, u32> = self.origin.with_edges(|edges| {
                    let count = |(room, channel)| (room, edges.online().room(&channel));
                    rooms.into_iter().map(count).collect()
                });
                json(StatusCode::OK, &Envelope::ok(Some(counts)))
            }
            goim::Call::Total => {
                let total = self.origin.with_edges(|edges| edges.online().total());
                let total =
                    goim::Total { ip_count: total.addresses, conn_count: total.connections };
                json(StatusCode::OK, &Envelope::ok(Some(total)))
            }
        }
    }

    /// Whether clients see offsets in the channel.
    fn shows(&self, publish: &Publish) -> bool {
        let options = self.origin.namespaces().options(&publish.channel);
        options.is_some_and(shared::namespace::Options::recovers)
    }

    fn check_presence(&self, channel: &shared::channel::ChannelName) -> Result<(), ApiError> {
        match self.origin.namespaces().options(channel) {
            None => Err(Refusal::UnknownNamespace(channel.namespace().to_owned()).into()),
            Some(options) if options.presence => Ok(()),
            Some(_) => Err(Refusal::NotAvailable("presence").into()),
        }
    }
}

/// Serves the APIs.
pub(super) async fn serve(
    api: Api,
    server: shared::io::http::Server,
    listener: tokio::net::TcpListener,
    shutdown: shared::io::shutdown::Shutdown,
) {
    let api = Arc::new(api);
    let refuse = {
        let api = Arc::clone(&api);
        move |head: &Parts, query: &Query, _: SocketAddr| {
            api.refuse(&head.method, head.uri.path(), query, &head.headers)
        }
    };
    let handler = move |request| {
        let api = Arc::clone(&api);
        async move { api.answer(request).await }
    };
    server.serve_admitted(listener, shutdown, refuse, handler).await;
}

fn is_goim(path: &str) -> bool {
    path == "/goim" || path.starts_with("/goim/")
}

fn faulty(fault: GoimError) -> Response {
    match fault {
        GoimError::Path => error(StatusCode::NOT_FOUND, "no such path"),
        GoimError::Method => empty(StatusCode::METHOD_NOT_ALLOWED),
        GoimError::Bind(why) => enveloped(StatusCode::BAD_REQUEST, goim::REQUEST, why),
        GoimError::Request(why) => enveloped(StatusCode::OK, goim::REQUEST, why),
    }
}

fn placed(outcome: Result<Published, Refusal>, is_shown: bool) -> Result<Place, ApiError> {
    let position: Position = outcome?.position;
    Ok(Place::new(position, is_shown))
}

/// Whether a request carries one of the keys: in its own header, in `Authorization` where that
/// header is absent, or in the query. Every key is compared, so that time tells nothing.
fn admits(keys: &[Secret], headers: &HeaderMap, query: &Query) -> bool {
    let header = headers.get("x-api-key").and_then(|value| value.to_str().ok());
    let authorization = headers
        .get(AUTHORIZATION)
        .filter(|_| header.is_none())
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("apikey"))
        .map(|(_, key)| key.trim());
    let presented = [header, authorization, query.get("api_key")];
    let mut is_admitted = false;
    for presented in presented.into_iter().flatten() {
        for key in keys {
            is_admitted |= key.matches(presented.as_bytes());
        }
    }
    is_admitted
}

fn malformed(error: &centrifugo::BodyError) -> Response {
    text(StatusCode::BAD_REQUEST, format!("malformed request: {error}\n"))
}

/// A logical error: inside a reply, or as the HTTP status for those who ask for that.
fn failed(error: ApiError, request: &Request) -> Response {
    if request.header("x-centrifugo-error-mode") == Some("transport") {
        let status = StatusCode::from_u16(error.status());
        return json(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &error);
    }
    json(StatusCode::OK, &Reply::<reply::Result>::Error(error))
}

fn enveloped(status: StatusCode, code: i32, why: impl Into<String>) -> Response {
    json(status, &Envelope::<()>::error(code, why))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(id: &u32) -> bool {
    *id == 0
}

/// Bytes of messages that one answer with histories carries at most.
const HISTORY_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests;

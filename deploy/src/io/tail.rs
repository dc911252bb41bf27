//! `linecast tail`: follows a channel as a client would, over as many connections as it takes.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use shared::io::shutdown::Shutdown;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_websockets::{
    ClientBuilder, Connector, Limits, MaybeTlsStream, Message as Frame, WebSocketStream,
};

use super::http::{self, Http, HttpError};
use super::output::{chain, note, say};
use crate::tail::{Ended, Message, Out, Start, Tail};

/// What to follow, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The channel.
    pub channel: String,
    /// Who knows the way to it.
    pub via: Via,
    /// A token that says who we are.
    pub token: Option<String>,
    /// Where to start.
    pub start: Start,
    /// After how many messages to end; `None` for never.
    pub count: Option<u64>,
    /// Whether to print bodies alone.
    pub bodies: bool,
    /// Certificates to trust instead of those that browsers trust.
    pub ca: Option<PathBuf>,
}

/// Who knows the way to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A svrlist, which names edges.
    Svrlist(String),
    /// One edge, by the URL of its Centrifuge WebSocket.
    Edge(String),
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The svrlist could not be asked.
    #[error("cannot ask the svrlist for an edge; is it running there?")]
    Svrlist(#[source] HttpError),
    /// The svrlist has no edge to offer.
    #[error("the svrlist at {url} answered {status}: {line}")]
    NoEdge {
        /// Who was asked.
        url: String,
        /// The status code.
        status: u16,
        /// The first line of the answer.
        line: String,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] HttpError),
    /// The URL of the edge cannot be used.
    #[error("{0:?} is no URL of the form ws://host:port/connection/websocket, or wss")]
    Url(String),
    /// The first connection could not be opened.
    #[error("cannot connect to {url}")]
    Connect {
        /// Where.
        url: String,
        /// Why.
        source: tokio_websockets::Error,
    },
    /// The edge refused in a way that another attempt would not change.
    #[error("{0}")]
    Refused(String),
}

/// How one connection ended.
enum Outcome {
    /// The reader has gone, or all messages that were asked for were printed.
    Done,
    /// The connection cannot go on.
    Ended(Ended),
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Follows until the shutdown, the last message asked for, or a refusal.
pub async fn tail(options: Options, shutdown: Shutdown) -> Result<(), TailError> {
    let ca = options.ca.as_deref();
    let mut tls = http::tls(ca).map_err(TailError::Tls)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut follower = Follower {
        http: Http::new(ca).map_err(TailError::Tls)?,
        tls: Arc::new(tls),
        tail: Tail::new(&options.channel, options.token.clone(), options.start),
        edges: VecDeque::new(),
        left: options.count,
        options,
    };
    tokio::select! {
        () = shutdown.triggered() => Ok(()),
        ended = follower.follow() => ended,
    }
}

struct Follower {
    options: Options,
    http: Http,
    tls: Arc<ClientConfig>,
    tail: Tail,
    /// Edges of the last answer that were not tried yet.
    edges: VecDeque<String>,
    left: Option<u64>,
}

impl Follower {
    async fn follow(&mut self) -> Result<(), TailError> {
        let mut failures = 0_u32;
        // What fails at the very first is a mistake in the command; later it is the network.
        let mut connected_once = false;
        loop {
            match self.connect().await {
                Ok((url, stream)) => {
                    connected_once = true;
                    note(&format!("-- connected to {url}"));
                    let started = tokio::time::Instant::now();
                    match self.talk(stream).await {
                        Outcome::Done => return Ok(()),
                        Outcome::Ended(Ended::ForGood(reason)) => {
                            return Err(TailError::Refused(reason));
                        }
                        Outcome::Ended(Ended::Again(reason)) => note(&format!("-- {reason}")),
                    }
                    if started.elapsed() > STABLE {
                        failures = 0;
                    }
                }
                Err(error) if !connected_once && self.edges.is_empty() => return Err(error),
                Err(error) => note(&format!("-- {}", chain(&error))),
            }
            let pause = pause(failures, rand::random());
            failures += 1;
            tokio::time::sleep(pause).await;
        }
    }

    async fn connect(&mut self) -> Result<(String, Stream), TailError> {
        let url = match &self.options.via {
            Via::Edge(url) if url.starts_with("ws://") || url.starts_with("wss://") => url.clone(),
            Via::Edge(url) => return Err(TailError::Url(url.clone())),
            Via::Svrlist(list) => {
                if self.edges.is_empty() {
                    self.edges = ask(&self.http, list, &self.options.channel).await?;
                }
                self.edges.pop_front().unwrap_or_default()
            }
        };
        let connector = if url.starts_with("wss:") {
            Connector::Rustls(TlsConnector::from(Arc::clone(&self.tls)))
        } else {
            Connector::Plain
        };
        let builder = ClientBuilder::new()
            .uri(&url)
            .map_err(|_| TailError::Url(url.clone()))?
            .connector(&connector)
            .limits(Limits::default().max_payload_len(Some(FRAME_BYTES_MAX)));
        let late = || tokio_websockets::Error::Io(io::ErrorKind::TimedOut.into());
        let connected = tokio::time::timeout(CONNECT_WITHIN, builder.connect()).await;
        match connected.unwrap_or_else(|_| Err(late())) {
            Ok((stream, _)) => Ok((url, stream)),
            Err(source) => Err(TailError::Connect { url, source }),
        }
    }

    async fn talk(&mut self, mut stream: Stream) -> Outcome {
        let opening = self.tail.handle_open();
        if let Err(error) = stream.send(Frame::text(opening)).await {
            return Outcome::Ended(Ended::Again(chain(&error)));
        }
        let mut silence_max = SILENCE_MAX;
        loop {
            let frame = match tokio::time::timeout(silence_max, stream.next()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Outcome::Ended(Ended::Again(chain(&error))),
                Ok(None) => return Outcome::Ended(self.tail.handle_closed(1006, "")),
                Err(_) => {
                    let text = format!("the edge has been silent for {} s", silence_max.as_secs());
                    return Outcome::Ended(Ended::Again(text));
                }
            };
            if let Some((code, reason)) = frame.as_close() {
                return Outcome::Ended(self.tail.handle_closed(code.into(), reason));
            }
            let Some(text) = frame.as_text() else { continue };
            let out = match self.tail.handle_frame(text) {
                Ok(out) => out,
                Err(ended) => return Outcome::Ended(ended),
            };
            for out in out {
                match out {
                    Out::Send(text) => {
                        if let Err(error) = stream.send(Frame::text(text)).await {
                            return Outcome::Ended(Ended::Again(chain(&error)));
                        }
                    }
                    Out::Ping(seconds) => silence_max = Duration::from_secs(seconds) + PING_LATE,
                    Out::Message(message) => {
                        if self.print(&message).is_err() || self.is_done() {
                            return Outcome::Done;
                        }
                    }
                    Out::Gap(first, last) => note(&gap(first, last)),
                    Out::NewEpoch(epoch) => {
                        note(&format!("-- the channel began anew, as epoch {epoch}"));
                    }
                    Out::Following(offset) => {
                        let channel = &self.options.channel;
                        note(&format!("-- following {channel}, after offset {offset}"));
                    }
                }
            }
        }
    }

    fn print(&self, message: &Message) -> io::Result<()> {
        let body = message.data.get();
        if self.options.bodies {
            return say(body);
        }
        let offset = message.offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let mut line = format!("{offset:>8}  {}  {body}", time_of_day(SystemTime::now()));
        if let Some(user) = &message.user {
            line.push_str(&format!("  by {user}"));
        }
        for tag in &message.tags {
            line.push_str(&format!("  {tag}"));
        }
        say(&line)
    }

    /// Counts a message that was printed: whether it was the last one asked for.
    fn is_done(&mut self) -> bool {
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.left == Some(0)
    }
}

/// The WebSocket URLs of the edges that a svrlist names for a channel, best first.
async fn ask(http: &Http, list: &str, channel: &str) -> Result<VecDeque<String>, TailError> {
    let base = http::base(list).map_err(TailError::Svrlist)?;
    let url = format!("{base}/svrlist?room={}&platform=web", percent_encoded(channel));
    let answer = http.get(&url).await.map_err(TailError::Svrlist)?;
    let servers = answer.json().map(|mut answer| answer["servers"].take());
    // Whoever asks over TLS is to be served over TLS.
    let schemes = if base.starts_with("https:") { ["wss", "ws"] } else { ["ws", "wss"] };
    let url_of = |server: &serde_json::Value| {
        schemes.iter().find_map(|scheme| server["urls"][scheme].as_str()).map(str::to_owned)
    };
    let edges: VecDeque<String> = match &servers {
        Some(serde_json::Value::Array(servers)) => servers.iter().filter_map(url_of).collect(),
        _ => VecDeque::new(),
    };
    if answer.status != 200 || edges.is_empty() {
        return Err(TailError::NoEdge { url, status: answer.status, line: answer.first_line() });
    }
    Ok(edges)
}

fn percent_encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn gap(first: u64, last: u64) -> String {
    if first == last {
        format!("-- gap: message {first} cannot be had")
    } else {
        format!("-- gap: {} messages, {first} to {last}, cannot be had", last - first + 1)
    }
}

/// Hours, minutes, seconds and milliseconds of a moment, in UTC.
fn time_of_day(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, milliseconds) = (since.as_secs() % 86_400, since.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}Z")
}

/// The pause before another attempt: doubling, somewhere between half and all of it by `dice`.
fn pause(failures: u32, dice: f64) -> Duration {
    let longest = PAUSE_MIN.saturating_mul(1 << failures.min(8)).min(PAUSE_MAX);
    longest.mul_f64(0.5 + dice / 2.0)
}

const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A connection that lasted this long was a good one.
const STABLE: Duration = Duration::from_secs(10);

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long an edge may say nothing before it has told how often it pings.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How late a ping may be.
const PING_LATE: Duration = Duration::from_secs(10);

/// The longest frame that is read: a page of the history.
const FRAME_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_queries() {
        assert_eq!(percent_encoded("live://1000"), "live%3A%2F%2F1000");
        assert_eq!(percent_encoded("房a&b"), "%E6%88%BFa%26b");
    }

    #[test]
    fn pauses_grow_and_differ() {
        assert_eq!(pause(0, 0.0), PAUSE_MIN / 2);
        assert_eq!(pause(0, 1.0), PAUSE_MIN);
        assert_eq!(pause(2, 1.0), 4 * PAUSE_MIN);
        assert_eq!(pause(1000, 1.0), PAUSE_MAX);
    }

    #[test]
    fn a_moment_is_shown_to_the_millisecond() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(86_400_000 + 3_723_004);
        assert_eq!(time_of_day(moment), "01:02:03.004Z");
    }

    #[test]
    fn gaps_are_counted() {
        assert_eq!(gap(4, 4), "-- gap: message 4 cannot be had");
        assert_eq!(gap(4, 6), "-- gap: 3 messages, 4 to 6, cannot be had");
    }
}

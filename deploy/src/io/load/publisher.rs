//! A publisher: a thread with one connection that publishes what is due, all that is due at once.
//!
//! The next request leaves when the last one is answered, so that a room's messages keep their order.
//! What became due meanwhile waits, and its latency counts from when it was due.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::clock;
use crate::io::http::Http;
use crate::load::args::PublishWay;
use crate::load::pipe::histogram;
use crate::load::plan::{Plan, Publishing};
use crate::load::protocol::nats;
use crate::load::schedule::{Due, Schedule};

/// What a publisher did.
#[derive(Debug)]
pub(super) struct Published {
    /// Messages that were published, by room.
    pub(super) counts: Vec<u32>,
    /// From when a measured message was due until it was answered, in microseconds.
    pub(super) answered: Histogram<u64>,
    /// From when a measured message was due until it was sent.
    pub(super) sent: Histogram<u64>,
    /// Why it ended early.
    pub(super) error: Option<String>,
}

/// Publishes the part of the rooms that is one publisher's, from `start` until before `until`, and
/// measures what is due after `from`.
pub(super) fn publish(
    plan: &Plan,
    publishing: &Publishing,
    part: u32,
    span: (u64, u64, u64),
    stop: &AtomicBool,
) -> Published {
    let (start, from, until) = span;
    let mut published = Published {
        counts: vec![0; plan.rooms.count() as usize],
        answered: histogram(),
        sent: histogram(),
        error: None,
    };
    let schedule = Schedule::new(&plan.rooms, part, publishing.publishers, start, until);
    let ended = Way::new(plan, publishing).and_then(|mut way| {
        publish_all(plan, publishing, schedule, from, stop, &mut way, &mut published)
    });
    published.error = ended.err();
    published
}

fn publish_all(
    plan: &Plan,
    publishing: &Publishing,
    mut schedule: Schedule,
    from: u64,
    stop: &AtomicBool,
    way: &mut Way,
    published: &mut Published,
) -> Result<(), String> {
    let mut due: Vec<Due> = Vec::new();
    while let Some(at) = schedule.next_at() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let pause = clock::until(at);
        if !pause.is_zero() {
            sleep(pause.min(STOP_WITHIN));
            continue;
        }
        due.clear();
        schedule.take(clock::now(), publishing.at_once(plan.size), &mut due);
        let sent = clock::now();
        way.publish(plan, publishing, &due)?;
        let answered = clock::now();
        for due in &due {
            published.counts[due.room as usize] += 1;
            if due.at >= from {
                published.sent.saturating_record((sent - due.at).max(1));
                published.answered.saturating_record((answered - due.at).max(1));
            }
        }
    }
    way.finish()
}

/// A connection, and the runtime that it needs while it is used.
struct Way {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
}

enum Connection {
    Http(Http),
    Nats(TcpStream),
}

impl Way {
    fn new(plan: &Plan, publishing: &Publishing) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let connection = match publishing.way {
            PublishWay::Nats => {
                let address = publishing.url.trim_start_matches("nats://");
                let opened = runtime.block_on(open_nats(address, plan.token.as_deref()));
                Connection::Nats(opened.map_err(|error| format!("{}: {error}", publishing.url))?)
            }
            _ => {
                let http = Http::new(plan.ca.as_deref());
                Connection::Http(http.map_err(|error| crate::io::output::chain(&error))?)
            }
        };
        Ok(Self { runtime, connection })
    }

    fn publish(&mut self, plan: &Plan, publishing: &Publishing, due: &[Due]) -> Result<(), String> {
        let request = publishing.request(plan, due);
        match &mut self.connection {
            Connection::Http(http) => {
                let headers =
                    [("x-api-key", publishing.key.as_str()), ("content-type", "application/json")];
                let answer = self.runtime.block_on(http.post(&request.url, &headers, request.body));
                let answer = answer.map_err(|error| crate::io::output::chain(&error))?;
                match publishing.refusal(answer.status, &answer.body) {
                    Some(why) => Err(format!("{}: {why}", request.url)),
                    None => Ok(()),
                }
            }
            Connection::Nats(stream) => {
                let written = self.runtime.block_on(write_nats(stream, &request.body));
                written.map_err(|error| format!("{}: {error}", request.url))
            }
        }
    }

    /// Waits until everything that was published has arrived.
    fn finish(&mut self) -> Result<(), String> {
        match &mut self.connection {
            Connection::Http(_) => Ok(()),
            Connection::Nats(stream) => {
                let heard = self.runtime.block_on(ping_nats(stream));
                heard.map_err(|error| format!("NATS does not answer the last ping: {error}"))
            }
        }
    }
}

async fn open_nats(address: &str, token: Option<&str>) -> io::Result<TcpStream> {
    let connect = tokio::time::timeout(NATS_WITHIN, TcpStream::connect(address));
    let mut stream = connect.await??;
    stream.set_nodelay(true)?;
    let mut hello = Vec::new();
    nats::put_connect(token, &mut hello);
    stream.write_all(&hello).await?;
    ping_nats(&mut stream).await?;
    Ok(stream)
}

/// Sends a ping and reads until its answer.
async fn ping_nats(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"PING\r\n").await?;
    let heard = async {
        let (mut input, mut ready, mut reply) = (Vec::new(), false, Vec::new());
        while !ready {
            if stream.read_buf(&mut input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let walked = nats::walk(&input, &mut reply, &mut |_| ready = true);
            let done = walked.map_err(io::Error::other)?;
            input.drain(..done);
        }
        stream.write_all(&reply).await
    };
    tokio::time::timeout(NATS_WITHIN, heard).await?
}

/// Writes messages, and answers pings that came meanwhile.
async fn write_nats(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    let mut said = [0; 1024];
    match stream.try_read(&mut said) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(bytes) if said[..bytes].starts_with(b"PING") => stream.write_all(b"PONG\r\n").await,
        Ok(bytes) if said[..bytes].starts_with(b"-ERR") => {
            Err(io::Error::other(String::from_utf8_lossy(&said[..bytes]).into_owned()))
        }
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// How long it may take until an end is noticed.
const STOP_WITHIN: Duration = Duration::from_millis(100);

/// How long NATS may take to answer.
const NATS_WITHIN: Duration = Duration::from_secs(10);

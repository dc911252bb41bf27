//! The relay of a demo's network: asked over HTTP for its lines, and to change them.
//!
//! However many pages watch, the relay is asked a few times a second: what it told a moment ago is
//! told again.
//!
//! Invariant: one request is under way at a time, and every one ends within [`ANSWER_WITHIN`].

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use shared::io::http::{Response, StatusCode};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::registry::List;
use crate::site::lines::{self, Refusal, Wanted};

/// The relay of `demo.relay`, if there is one.
#[derive(Debug)]
pub(super) struct Relay {
    address: Option<SocketAddr>,
    /// All lines, and when they were told.
    last: Mutex<Option<(Instant, Answer)>>,
}

/// A status and a body; `None` if the relay could not be asked.
type Answer = Option<(StatusCode, Bytes)>;

impl Relay {
    pub(super) fn new(address: Option<SocketAddr>) -> Self {
        Self { address, last: Mutex::default() }
    }

    /// Answers a request about lines, with what the edges of `list` measure on them.
    pub(super) async fn answer(&self, wanted: Result<Wanted, Refusal>, list: &List) -> Response {
        let (wanted, address) = match (wanted, self.address) {
            (Ok(wanted), Some(address)) => (wanted, address),
            (Ok(Wanted::All), None) => return lines::none(),
            (Ok(Wanted::Change { .. }), None) => return Refusal::Name.response(),
            (Err(refusal), _) => return refusal.response(),
        };
        match tokio::time::timeout(PATIENCE, self.ask(&wanted, address)).await {
            Ok(Some((status, body))) => lines::answer(status, &body, list),
            Ok(None) | Err(_) => lines::unreachable(),
        }
    }

    async fn ask(&self, wanted: &Wanted, address: SocketAddr) -> Answer {
        let mut last = self.last.lock().await;
        if let (Wanted::All, Some((at, answer))) = (wanted, &*last)
            && at.elapsed() < FRESH_FOR
        {
            return answer.clone();
        }
        let asked = tokio::time::timeout(ANSWER_WITHIN, exchange(wanted, address)).await;
        let answer = match asked {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::debug!(%address, error = &*error, "the relay cannot be asked");
                None
            }
            Err(_) => {
                tracing::debug!(%address, "the relay does not answer in time");
                None
            }
        };
        *last = match wanted {
            Wanted::All => Some((Instant::now(), answer.clone())),
            // The next one to look sees the change.
            Wanted::Change { .. } => None,
        };
        answer
    }
}

/// One request on a connection of its own.
async fn exchange(
    wanted: &Wanted,
    address: SocketAddr,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let (method, path, body) = wanted.order();
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?;
        Ok((status, body.to_bytes()))
    };
    // The connection ends with its sender; what went wrong on it, the answer tells.
    let (answered, _) = tokio::join!(answered, connection);
    answered
}

/// How long the relay may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long a page may wait, for others' requests included.
const PATIENCE: Duration = Duration::from_secs(5);

/// How old what is told may be: less than a page waits between two looks.
const FRESH_FOR: Duration = Duration::from_millis(250);

/// A line takes some 2 KiB; a relay of hundreds is no demo.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;

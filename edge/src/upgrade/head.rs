//! Reads a request head and answers it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf, BytesMut};
use httparse::Status;
use sha1::{Digest, Sha1};

use super::config::Config;
use super::{HEAD_BYTES_MAX, HEADERS_MAX};

/// What RFC 6455 appends to a key before hashing.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a request head came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// It has not arrived completely; the input is untouched.
    More,
    /// A client wants WebSocket. The head is gone from the input; what is left are its first frames.
    Upgrade(Upgrade),
    /// Anything else: these bytes are the answer, after which the connection ends.
    Refused(String),
}

/// A WebSocket that is about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Which protocol the path stands for.
    pub endpoint: Endpoint,
    /// The query, without its `?`; empty for none.
    pub query: String,
    /// The subprotocol chosen from those offered.
    pub subprotocol: Option<Subprotocol>,
    /// The values of all X-Forwarded-For headers, joined with commas: a claim, unless the peer is a
    /// trusted proxy.
    pub forwarded_for: Option<String>,
    accept: String,
}

/// What is served on WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/sub`: goim and its danmaku dialect.
    Goim,
    /// `/connection/websocket`: Centrifuge; the subprotocol or the query says which encoding.
    Centrifuge,
}

/// Subprotocols of Centrifuge's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// `centrifuge-json`.
    CentrifugeJson,
    /// `centrifuge-protobuf`.
    CentrifugeProtobuf,
}

impl Subprotocol {
    const NAMES: [(&'static str, Self); 2] = [
        ("centrifuge-json", Self::CentrifugeJson),
        ("centrifuge-protobuf", Self::CentrifugeProtobuf),
    ];

    fn name(self) -> &'static str {
        let [json, protobuf] = Self::NAMES;
        match self {
            Self::CentrifugeJson => json.0,
            Self::CentrifugeProtobuf => protobuf.0,
        }
    }
}

impl Endpoint {
    fn of_path(path: &str) -> Option<Self> {
        match path {
            "/sub" => Some(Self::Goim),
            "/connection/websocket" => Some(Self::Centrifuge),
            _ => None,
        }
    }
}

impl Upgrade {
    /// Whether the client wants Centrifuge's Protobuf encoding: by subprotocol, or by
    /// `cf_protocol=protobuf` or `format=protobuf` in the query.
    pub fn wants_protobuf(&self) -> bool {
        self.subprotocol == Some(Subprotocol::CentrifugeProtobuf)
            || self
                .query
                .split('&')
                .any(|pair| matches!(pair, "cf_protocol=protobuf" | "format=protobuf"))
    }

    /// Appends the answer after which frames follow.
    pub fn put_answer(&self, out: &mut BytesMut) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(self.accept.as_bytes());
        if let Some(subprotocol) = self.subprotocol {
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(subprotocol.name().as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Why a request is not upgraded; each knows its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed(&'static str),
    TooLarge,
    OtherVersion,
    OtherMethod,
    UnknownPath,
    GoimOff,
    NoUpgrade,
    OtherWebSocketVersion,
    ForeignOrigin,
}

impl Refusal {
    fn answer(self) -> String {
        let (status, header, text) = match self {
            Self::Malformed(text) => ("400 Bad Request", "", text),
            Self::TooLarge => ("431 Request Header Fields Too Large", "", "the head is too large"),
            Self::OtherVersion => ("505 HTTP Version Not Supported", "", "HTTP/1.1 is required"),
            Self::OtherMethod => {
                ("405 Method Not Allowed", "Allow: GET\r\n", "a WebSocket is opened with GET")
            }
            Self::UnknownPath => (
                "404 Not Found",
                "",
                "WebSocket is served on /sub (goim, danmaku) and /connection/websocket (Centrifuge)",
            ),
            Self::GoimOff => (
                "404 Not Found",
                "",
                "goim is switched off here (goim.enabled); /connection/websocket serves Centrifuge",
            ),
            Self::NoUpgrade => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "this path speaks WebSocket: connect with a WebSocket client",
            ),
            Self::OtherWebSocketVersion => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "only version 13 of WebSocket (RFC 6455) is spoken here",
            ),
            Self::ForeignOrigin => (
                "403 Forbidden",
                "",
                "pages of this origin may not connect: the edge's websocket.origins does not list it",
            ),
        };
        let length = text.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n{header}\r\n{text}\n"
        )
    }
}

/// Reads the request head at the front of `input`.
pub fn read(input: &mut BytesMut, config: &Config) -> Head {
    let bounded = &input[..input.len().min(HEAD_BYTES_MAX)];
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let outcome = match request.parse(bounded) {
        Ok(Status::Complete(bytes)) => upgrade_of(&request, config).map(|upgrade| (bytes, upgrade)),
        Ok(Status::Partial) if input.len() < HEAD_BYTES_MAX => return Head::More,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => Err(Refusal::TooLarge),
        Err(httparse::Error::Version) => Err(Refusal::OtherVersion),
        Err(_) => Err(Refusal::Malformed("this is not an HTTP request")),
    };
    match outcome {
        Ok((bytes, upgrade)) => {
            input.advance(bytes);
            Head::Upgrade(upgrade)
        }
        Err(refusal) => Head::Refused(refusal.answer()),
    }
}

fn upgrade_of(request: &httparse::Request<'_, '_>, config: &Config) -> Result<Upgrade, Refusal> {
    if request.version != Some(1) {
        return Err(Refusal::OtherVersion);
    }
    let (path, query) = path_and_query(request.path.unwrap_or_default());
    let endpoint = Endpoint::of_path(path).ok_or(Refusal::UnknownPath)?;
    if endpoint == Endpoint::Goim && !config.goim {
        return Err(Refusal::GoimOff);
    }
    if request.method != Some("GET") {
        return Err(Refusal::OtherMethod);
    }
    let headers = Headers(request.headers);
    if headers.one("host")?.is_none() {
        return Err(Refusal::Malformed("the Host header is missing"));
    }
    if headers.one("transfer-encoding")?.is_some()
        || headers.one("content-length")?.is_some_and(|length| length != b"0")
    {
        return Err(Refusal::Malformed("a request to open a WebSocket has no body"));
    }
    if !headers.list("upgrade").any(|item| item.eq_ignore_ascii_case(b"websocket")) {
        return Err(Refusal::NoUpgrade);
    }
    if !headers.list("connection").any(|item| item.eq_ignore_ascii_case(b"upgrade")) {
        return Err(Refusal::Malformed("the Connection header does not name Upgrade"));
    }
    if headers.one("sec-websocket-version")? != Some(b"13") {
        return Err(Refusal::OtherWebSocketVersion);
    }
    if !config.admits(headers.one("origin")?) {
        return Err(Refusal::ForeignOrigin);
    }
    let key = headers.one("sec-websocket-key")?.unwrap_or_default();
    if BASE64.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(Refusal::Malformed("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    Ok(Upgrade {
        endpoint,
        query: query.to_owned(),
        subprotocol: (endpoint == Endpoint::Centrifuge).then(|| choose(&headers)).flatten(),
        forwarded_for: headers.joined("x-forwarded-for"),
        accept: accept(key),
    })
}

/// Splits a request target, in origin form or with a scheme and a host before it.
fn path_and_query(target: &str) -> (&str, &str) {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    target.split_once('?').unwrap_or((target, ""))
}

/// The first subprotocol we know of those the client offers, in its order of preference.
fn choose(headers: &Headers<'_, '_>) -> Option<Subprotocol> {
    headers.list("sec-websocket-protocol").find_map(|offer| {
        let known = Subprotocol::NAMES.into_iter().find(|(name, _)| name.as_bytes() == offer);
        known.map(|(_, subprotocol)| subprotocol)
    })
}

fn accept(key: &[u8]) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize())
}

struct Headers<'h, 'b>(&'h [httparse::Header<'b>]);

impl<'b> Headers<'_, 'b> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value.trim_ascii())
    }

    /// The value of a header that must not occur twice.
    fn one(&self, name: &str) -> Result<Option<&'b [u8]>, Refusal> {
        let mut values = self.all(name);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Refusal::Malformed("a header that may occur once occurs twice")),
        }
    }

    /// The items of a header that is a list, over all its occurrences.
    fn list(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.all(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// The values of a list header as one text, if they are text.
    fn joined(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.all(name).map(std::str::from_utf8).collect::<Result<_, _>>().ok()?;
        (!values.is_empty()).then(|| values.join(", "))
    }
}

#[cfg(test)]
mod tests;

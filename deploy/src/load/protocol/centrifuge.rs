//! Centrifuge's client protocol, JSON and Protobuf: a connect, one subscription, its publications, and
//! pongs.

use memchr::{memchr, memmem};
use serde::Deserialize;
use serde_json::json;

use super::{Event, Fault, Login};

/// What a server says that is no publication.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The command that is answered; 0 for what nobody asked for.
    id: u64,
    /// The command failed: code and words.
    error: Option<(u64, String)>,
    /// Whether pings want pongs, in the answer to a connect.
    pong: Option<bool>,
    /// The subscription was ended with this code.
    unsubscribed: Option<u64>,
    /// The connection ends with this code and these words.
    disconnect: Option<(u64, String)>,
}

/// What has to be done about a [`Control`].
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// The connect was answered: pings want pongs, or not.
    Connected(bool),
    /// The subscription was answered.
    Subscribed,
    /// The subscription is to be made again: what was sent in between is lost, and this says so.
    Again,
}

impl Control {
    /// What it means.
    pub fn next(self) -> Result<Next, Fault> {
        if let Some((code, words)) = self.error {
            let what = if self.id == CONNECT { "connect" } else { "subscribe" };
            return Err(Fault::Refused(format!("{what} is answered with error {code}: {words}")));
        }
        if let Some((code, reason)) = self.disconnect {
            return Err(Fault::Closed { code: code as u16, reason });
        }
        match self.unsubscribed {
            Some(code @ 2500..) if code < 3000 => return Ok(Next::Again),
            Some(code) => return Err(Fault::Refused(format!("unsubscribed with code {code}"))),
            None => {}
        }
        Ok(match self.id {
            CONNECT => Next::Connected(self.pong.unwrap_or_default()),
            0 => Next::Nothing,
            _ => Next::Subscribed,
        })
    }
}

// ---- JSON ----

/// Appends connect and subscribe in JSON, without a frame.
pub fn put_json_login(login: &Login, out: &mut Vec<u8>) {
    let mut connect = json!({ "name": "linecast-load" });
    if let Some(token) = &login.token {
        connect["token"] = json!(token);
    }
    out.extend_from_slice(json!({ "id": CONNECT, "connect": connect }).to_string().as_bytes());
    out.push(b'\n');
    put_json_subscribe(login, out);
}

/// Appends a subscribe in JSON, without a frame.
pub fn put_json_subscribe(login: &Login, out: &mut Vec<u8>) {
    let subscribe = json!({ "id": SUBSCRIBE, "subscribe": { "channel": login.channel } });
    out.extend_from_slice(subscribe.to_string().as_bytes());
}

/// Walks over a frame's payload: publications, pings, and what else there is.
///
/// `place` is where the last publication had its data, which is where the next one of the same channel
/// is likely to have them.
pub fn walk_json(
    payload: &[u8],
    place: &mut u16,
    on: &mut impl FnMut(Event<'_>),
    control: &mut impl FnMut(Option<Control>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut rest = payload;
    while !rest.is_empty() {
        let (line, after) = match memchr(b'\n', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = after;
        let likely = usize::from(*place);
        if line.get(likely..).is_some_and(|data| data.starts_with(DATA)) {
            on(Event::Message(&line[likely + DATA.len() - MARK_BYTES..]));
            continue;
        }
        match memmem::find(line, DATA) {
            Some(at) => {
                *place = at as u16;
                on(Event::Message(&line[at + DATA.len() - MARK_BYTES..]));
            }
            None if line == b"{}" => control(None)?,
            None if line.is_empty() => {}
            None => control(Some(json_control(line)?))?,
        }
    }
    Ok(())
}

/// Appends a publication as the bare loop sends it.
pub fn put_json_message(channel: &str, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"push\":{\"channel\":\"");
    out.extend_from_slice(channel.as_bytes());
    out.extend_from_slice(b"\",\"pub\":{\"data\":");
    out.extend_from_slice(body);
    out.extend_from_slice(b",\"offset\":100000}}}");
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonReply {
    id: u64,
    error: Option<JsonReason>,
    connect: Option<JsonConnect>,
    push: Option<JsonPush>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonReason {
    code: u64,
    #[serde(alias = "reason")]
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonConnect {
    pong: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonPush {
    unsubscribe: Option<JsonReason>,
    disconnect: Option<JsonReason>,
}

fn json_control(line: &[u8]) -> Result<Control, Fault> {
    let reply: JsonReply = serde_json::from_slice(line)
        .map_err(|_| Fault::Protocol("a line is not a reply in JSON"))?;
    let push = reply.push.unwrap_or_default();
    let both = |reason: JsonReason| (reason.code, reason.message);
    Ok(Control {
        id: reply.id,
        error: reply.error.map(both),
        pong: reply.connect.map(|connect| connect.pong),
        unsubscribed: push.unsubscribe.map(|reason| reason.code),
        disconnect: push.disconnect.map(both),
    })
}

// ---- Protobuf ----

/// Appends connect and subscribe in Protobuf, without a frame.
pub fn put_protobuf_login(login: &Login, out: &mut Vec<u8>) {
    let mut connect = Vec::new();
    if let Some(token) = &login.token {
        put_field(1, token.as_bytes(), &mut connect);
    }
    put_field(4, b"linecast-load", &mut connect);
    put_command(CONNECT, 4, &connect, out);
    put_protobuf_subscribe(login, out);
}

/// Appends a subscribe in Protobuf, without a frame.
pub fn put_protobuf_subscribe(login: &Login, out: &mut Vec<u8>) {
    let mut subscribe = Vec::new();
    put_field(1, login.channel.as_bytes(), &mut subscribe);
    put_command(SUBSCRIBE, 5, &subscribe, out);
}

/// Walks over a frame's payload: publications, pings, and what else there is.
pub fn walk_protobuf(
    payload: &[u8],
    on: &mut impl FnMut(Event<'_>),
    control: &mut impl FnMut(Option<Control>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut rest = payload;
    while !rest.is_empty() {
        let bytes = varint(&mut rest)? as usize;
        let reply = rest.get(..bytes).ok_or(CUT)?;
        rest = &rest[bytes..];
        if reply.is_empty() {
            control(None)?;
            continue;
        }
        match field(reply, 4)?.map(|push| field(push, 4)).transpose()?.flatten() {
            Some(publication) => match field(publication, 4)? {
                Some(data) => on(Event::Message(data)),
                None => return Err(Fault::Protocol("a publication has no data")),
            },
            None => control(Some(protobuf_control(reply)?))?,
        }
    }
    Ok(())
}

/// Appends a publication as the bare loop sends it.
pub fn put_protobuf_message(channel: &str, body: &[u8], out: &mut Vec<u8>) {
    let (mut publication, mut push, mut reply) = (Vec::new(), Vec::new(), Vec::new());
    put_field(4, body, &mut publication);
    publication.push(6 << 3);
    put_varint(100_000, &mut publication);
    put_field(2, channel.as_bytes(), &mut push);
    put_field(4, &publication, &mut push);
    put_field(4, &push, &mut reply);
    put_varint(reply.len() as u64, out);
    out.extend_from_slice(&reply);
}

fn protobuf_control(reply: &[u8]) -> Result<Control, Fault> {
    let reason = |message: &[u8]| -> Result<(u64, String), Fault> {
        let words = String::from_utf8_lossy(field(message, 2)?.unwrap_or_default()).into_owned();
        Ok((number(message, 1)?, words))
    };
    let push = field(reply, 4)?.unwrap_or_default();
    Ok(Control {
        id: number(reply, 1)?,
        error: field(reply, 2)?.map(reason).transpose()?,
        pong: field(reply, 5)?.map(|connect| number(connect, 8)).transpose()?.map(|pong| pong == 1),
        unsubscribed: field(push, 7)?.map(|message| number(message, 2)).transpose()?,
        disconnect: field(push, 11)?.map(reason).transpose()?,
    })
}

fn put_command(id: u64, kind: u8, request: &[u8], out: &mut Vec<u8>) {
    let mut command = vec![1 << 3, id as u8];
    put_field(kind, request, &mut command);
    put_varint(command.len() as u64, out);
    out.extend_from_slice(&command);
}

fn put_field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes of field `number` of a message, if it has one.
fn field(message: &[u8], number: u64) -> Result<Option<&[u8]>, Fault> {
    let mut rest = message;
    while !rest.is_empty() {
        let (of, value) = next_field(&mut rest)?;
        if let (true, Value::Bytes(bytes)) = (of == number, value) {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// The value of field `number` of a message, or 0.
fn number(message: &[u8], number: u64) -> Result<u64, Fault> {
    let mut rest = message;
    while !rest.is_empty() {
        let (of, value) = next_field(&mut rest)?;
        if let (true, Value::Number(value)) = (of == number, value) {
            return Ok(value);
        }
    }
    Ok(0)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), Fault> {
    let key = varint(rest)?;
    let mut take = |bytes: usize| {
        let taken = rest.get(..bytes).ok_or(CUT)?;
        *rest = &rest[bytes..];
        Ok(taken)
    };
    let value = match key & 7 {
        0 => Value::Number(varint(rest)?),
        1 => take(8).map(|_| Value::Other)?,
        2 => {
            let bytes = varint(rest)? as usize;
            let taken = rest.get(..bytes).ok_or(CUT)?;
            *rest = &rest[bytes..];
            Value::Bytes(taken)
        }
        5 => take(4).map(|_| Value::Other)?,
        _ => return Err(Fault::Protocol("a Protobuf field is of no known kind")),
    };
    Ok((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(CUT)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Fault::Protocol("a number has too many bytes"))
}

const CUT: Fault = Fault::Protocol("a Protobuf message is cut off");

/// How a message of a load run starts in JSON. What others publish is passed over.
const DATA: &[u8] = b"\"data\":\"LCM1";

/// The bytes of the message in [`DATA`].
const MARK_BYTES: usize = 5;

const CONNECT: u64 = 1;
const SUBSCRIBE: u64 = 2;

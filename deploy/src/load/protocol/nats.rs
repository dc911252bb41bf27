//! NATS's client protocol, over WebSocket for those who read and over TCP for who publishes.

use memchr::memchr;
use serde_json::json;

use super::{Event, Fault, Login};

/// Appends what opens a connection, without the subscription.
pub fn put_connect(token: Option<&str>, out: &mut Vec<u8>) {
    let mut connect = json!({
        "verbose": false, "pedantic": false, "name": "linecast-load", "lang": "rust", "version": "1",
    });
    if let Some(token) = token {
        connect["auth_token"] = json!(token);
    }
    out.extend_from_slice(format!("CONNECT {connect}\r\n").as_bytes());
}

/// Appends what opens a connection and subscribes; the answer to the ping at its end says that both
/// were done.
pub fn put_login(login: &Login, out: &mut Vec<u8>) {
    put_connect(login.token.as_deref(), out);
    out.extend_from_slice(format!("SUB {} 1\r\nPING\r\n", login.channel).as_bytes());
}

/// Appends a message to be published.
pub fn put_publish(subject: &str, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("PUB {subject} {}\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// Appends a message as the bare loop sends it.
pub fn put_message(subject: &str, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("MSG {subject} 1 {}\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

/// Walks over whole protocol messages and answers how many bytes they had. A pong means that
/// everything before the ping was done: [`Event::Ready`].
pub fn walk(
    input: &[u8],
    out: &mut Vec<u8>,
    on: &mut impl FnMut(Event<'_>),
) -> Result<usize, Fault> {
    let mut at = 0;
    while let Some(end) = memchr(b'\n', &input[at..]) {
        let line = input[at..at + end].trim_ascii_end();
        let after = at + end + 1;
        match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
            b"MSG" => {
                let bytes = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                let bytes: usize = std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|bytes| bytes.parse().ok())
                    .filter(|bytes| *bytes <= super::FRAME_BYTES_MAX)
                    .ok_or(Fault::Protocol("a message has no length"))?;
                if input.len() < after + bytes + 2 {
                    break;
                }
                on(Event::Message(&input[after..after + bytes]));
                at = after + bytes + 2;
                continue;
            }
            b"PING" => out.extend_from_slice(b"PONG\r\n"),
            b"PONG" => on(Event::Ready),
            b"INFO" | b"+OK" => {}
            b"-ERR" => return Err(Fault::Refused(String::from_utf8_lossy(line).into_owned())),
            _ => return Err(Fault::Protocol("this is not how NATS speaks")),
        }
        at = after;
    }
    Ok(at)
}

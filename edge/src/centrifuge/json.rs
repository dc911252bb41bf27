//! JSON as Centrifuge's SDKs read it, written straight into the output.
//!
//! Fields that are empty, zero or false are left out unless the protocol always has them. Bodies
//! are embedded, never encoded again.
//!
//! Invariant: no raw newline is written, since newlines part replies.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use shared::body::json_body;
use shared::wire::control::ClientInfo;

use super::protocol::{Error, Expiry, Publication, Push, Reply, SubscribeResult};

/// An object that is being written.
pub(crate) struct Object<'a> {
    out: &'a mut BytesMut,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(out: &'a mut BytesMut) -> Self {
        out.put_u8(b'{');
        Self { out, empty: true }
    }

    pub(crate) fn close(self) {
        self.out.put_u8(b'}');
    }

    /// Begins a field; its value must follow. `key` needs no escapes.
    pub(crate) fn key(&mut self, key: &str) -> &mut BytesMut {
        self.out.put_slice(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.put_slice(key.as_bytes());
        self.out.put_slice(b"\":");
        self.out
    }

    pub(crate) fn object(&mut self, key: &str) -> Object<'_> {
        Object::open(self.key(key))
    }

    /// A text, even an empty one.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        put_text(self.key(key), value);
    }

    /// A number, even 0.
    pub(crate) fn number(&mut self, key: &str, value: u64) {
        put_number(self.key(key), value);
    }

    /// A body, even an empty one.
    pub(crate) fn body(&mut self, key: &str, value: &[u8]) {
        let value: Cow<'_, [u8]> = json_body(value);
        self.key(key).put_slice(&value);
    }

    fn text_unless_empty(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    pub(crate) fn number_unless_zero(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.number(key, value);
        }
    }

    pub(crate) fn body_unless_empty(&mut self, key: &str, value: &[u8]) {
        if !value.is_empty() {
            self.body(key, value);
        }
    }

    fn flag_if_set(&mut self, key: &str, value: bool) {
        if value {
            self.key(key).put_slice(b"true");
        }
    }

    /// A client's info; the user and client are always there.
    pub(crate) fn info(&mut self, key: &str, info: Info<'_>) {
        let mut object = self.object(key);
        object.text("user", info.user);
        object.text("client", info.client);
        object.body_unless_empty("conn_info", info.conn_info);
        object.body_unless_empty("chan_info", info.chan_info);
        object.close();
    }

    /// What a publication has beside its data.
    pub(crate) fn publication_rest(
        &mut self,
        info: Option<Info<'_>>,
        offset: u64,
        tags: &BTreeMap<String, String>,
    ) {
        if let Some(info) = info {
            self.info("info", info);
        }
        self.number_unless_zero("offset", offset);
        if !tags.is_empty() {
            let mut object = self.object("tags");
            for (name, value) in tags {
                object.name(name);
                put_text(object.out, value);
            }
            object.close();
        }
    }

    /// Begins a field whose name comes from outside.
    fn name(&mut self, name: &str) {
        if !self.empty {
            self.out.put_u8(b',');
        }
        self.empty = false;
        put_text(self.out, name);
        self.out.put_u8(b':');
    }

    fn publications(&mut self, publications: &[Publication]) {
        let out = self.key("publications");
        out.put_u8(b'[');
        for (index, publication) in publications.iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            put_publication(out, publication);
        }
        out.put_u8(b']');
    }

    fn expiry(&mut self, expires: bool, ttl: u32) {
        self.flag_if_set("expires", expires);
        self.number_unless_zero("ttl", ttl.into());
    }

    fn subscribed(mut self, result: &SubscribeResult) {
        self.expiry(result.expires, result.ttl);
        self.flag_if_set("recoverable", result.recoverable);
        self.text_unless_empty("epoch", &result.epoch);
        if !result.publications.is_empty() {
            self.publications(&result.publications);
        }
        self.flag_if_set("recovered", result.recovered);
        self.number_unless_zero("offset", result.offset);
        self.flag_if_set("positioned", result.positioned);
        self.body_unless_empty("data", &result.data);
        self.flag_if_set("was_recovering", result.was_recovering);
        self.close();
    }
}

/// A client's info, borrowed from whoever has it.
#[derive(Clone, Copy)]
pub(crate) struct Info<'a> {
    pub(crate) user: &'a str,
    pub(crate) client: &'a str,
    pub(crate) conn_info: &'a [u8],
    pub(crate) chan_info: &'a [u8],
}

impl<'a> From<&'a ClientInfo> for Info<'a> {
    fn from(info: &'a ClientInfo) -> Self {
        Self {
            user: &info.user,
            client: &info.client,
            conn_info: &info.conn_info,
            chan_info: &info.chan_info,
        }
    }
}

impl<'a> From<&'a shared::message::ClientInfo> for Info<'a> {
    fn from(info: &'a shared::message::ClientInfo) -> Self {
        Self {
            user: &info.user,
            client: &info.client,
            conn_info: &info.conn_info,
            chan_info: &info.chan_info,
        }
    }
}

/// Writes a reply or push.
pub(crate) fn put_reply(out: &mut BytesMut, reply: &Reply) {
    let mut object = Object::open(out);
    object.number_unless_zero("id", reply.id.into());
    if let Some(error) = &reply.error {
        put_error(object.object("error"), error);
    }
    if let Some(push) = &reply.push {
        put_push(object.object("push"), push);
    }
    if let Some(result) = &reply.connect {
        let mut inner = object.object("connect");
        inner.text("client", &result.client);
        inner.text("version", &result.version);
        inner.expiry(result.expires, result.ttl);
        if !result.subs.is_empty() {
            let mut subs = inner.object("subs");
            for (channel, result) in &result.subs {
                subs.name(channel);
                Object::open(subs.out).subscribed(result);
            }
            subs.close();
        }
        inner.number_unless_zero("ping", result.ping.into());
        inner.flag_if_set("pong", result.pong);
        inner.close();
    }
    if let Some(result) = &reply.subscribe {
        object.object("subscribe").subscribed(result);
    }
    if reply.unsubscribe.is_some() {
        object.object("unsubscribe").close();
    }
    if reply.publish.is_some() {
        object.object("publish").close();
    }
    if let Some(result) = &reply.presence {
        let mut inner = object.object("presence");
        let mut clients = inner.object("presence");
        for (client, info) in &result.presence {
            clients.name(client);
            let mut entry = Object::open(clients.out);
            entry.text("user", &info.user);
            entry.text("client", &info.client);
            entry.body_unless_empty("conn_info", &info.conn_info);
            entry.body_unless_empty("chan_info", &info.chan_info);
            entry.close();
        }
        clients.close();
        inner.close();
    }
    if let Some(result) = &reply.presence_stats {
        let mut inner = object.object("presence_stats");
        inner.number("num_clients", result.num_clients.into());
        inner.number("num_users", result.num_users.into());
        inner.close();
    }
    if let Some(result) = &reply.history {
        let mut inner = object.object("history");
        inner.publications(&result.publications);
        inner.text("epoch", &result.epoch);
        inner.number("offset", result.offset);
        inner.close();
    }
    if let Some(result) = &reply.rpc {
        let mut inner = object.object("rpc");
        inner.body_unless_empty("data", &result.data);
        inner.close();
    }
    if let Some(result) = &reply.refresh {
        let mut inner = object.object("refresh");
        inner.text("client", &result.client);
        inner.text("version", &result.version);
        inner.expiry(result.expires, result.ttl);
        inner.close();
    }
    if let Some(result) = &reply.sub_refresh {
        put_expiry(object.object("sub_refresh"), result);
    }
    object.close();
}

fn put_push(mut object: Object<'_>, push: &Push) {
    object.text_unless_empty("channel", &push.channel);
    if let Some(publication) = &push.publication {
        put_publication(object.key("pub"), publication);
    }
    if let Some(unsubscribe) = &push.unsubscribe {
        let mut inner = object.object("unsubscribe");
        inner.number("code", unsubscribe.code.into());
        inner.text("reason", &unsubscribe.reason);
        inner.close();
    }
    if let Some(subscribe) = &push.subscribe {
        let mut inner = object.object("subscribe");
        inner.flag_if_set("recoverable", subscribe.recoverable);
        inner.text_unless_empty("epoch", &subscribe.epoch);
        inner.number_unless_zero("offset", subscribe.offset);
        inner.flag_if_set("positioned", subscribe.positioned);
        inner.body_unless_empty("data", &subscribe.data);
        inner.close();
    }
    if let Some(expiry) = &push.refresh {
        put_expiry(object.object("refresh"), expiry);
    }
    object.close();
}

fn put_error(mut object: Object<'_>, error: &Error) {
    object.number("code", error.code.into());
    object.text("message", &error.message);
    object.flag_if_set("temporary", error.temporary);
    object.close();
}

fn put_expiry(mut object: Object<'_>, expiry: &Expiry) {
    object.expiry(expiry.expires, expiry.ttl);
    object.close();
}

fn put_publication(out: &mut BytesMut, publication: &Publication) {
    let mut object = Object::open(out);
    object.body("data", &publication.data);
    let info = publication.info.as_ref().map(Info::from);
    object.publication_rest(info, publication.offset, &publication.tags);
    object.close();
}

/// Writes a JSON string.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    put_escaped(out, text);
    out.put_u8(b'"');
}

/// Writes the inside of a JSON string.
pub(crate) fn put_escaped(out: &mut BytesMut, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.put_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            control => {
                out.put_slice(b"\\u00");
                out.put_slice(&[HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]]);
            }
        }
    }
    out.put_slice(&bytes[plain..]);
}

/// Writes a number in decimal.
pub(crate) fn put_number(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0; 20]; // u64::MAX has 20
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.put_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_read_back(text in "\\PC{0,20}[\"\\\\\u{0}-\u{1f}]{0,5}.{0,10}") {
            let mut out = BytesMut::new();
            put_text(&mut out, &text);
            prop_assert!(!out.contains(&b'\n'));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).ok(), Some(text));
        }

        #[test]
        fn numbers_read_back(number: u64) {
            let mut out = BytesMut::new();
            put_number(&mut out, number);
            prop_assert_eq!(std::str::from_utf8(&out).map(|text| text.to_owned()),
                Ok(number.to_string()));
        }
    }
}

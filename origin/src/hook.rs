//! Hooks: what the back end is asked, and how its answers read.
//!
//! Requests and answers are Centrifugo's proxy messages, so that a back end that served it serves
//! us: POST of JSON, status 200, a body with one of `result`, `error` and `disconnect`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::message::ClientInfo;

/// A client's call to the back end.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    /// Who asks.
    pub caller: &'a ClientInfo,
    /// How it is connected, such as `websocket`; empty where that is not known.
    pub transport: &'a str,
    /// What it speaks, such as `json`; empty where that is not known.
    pub protocol: &'a str,
    /// What it sends.
    pub data: &'a [u8],
    /// What for.
    pub purpose: Purpose<'a>,
}

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// A remote procedure of this name.
    Rpc(&'a str),
    /// Publishing to this channel.
    Publish(&'a str),
}

/// What the back end decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It answers, or agrees.
    Result(HookResult),
    /// It refuses.
    Error {
        /// Its own code.
        code: u32,
        /// For the client.
        message: String,
        /// Whether trying again may help.
        temporary: bool,
    },
    /// It wants the client gone.
    Disconnect {
        /// Close code.
        code: u32,
        /// Close reason.
        reason: String,
    },
}

/// What a result carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookResult {
    /// The answer of an rpc; for a publish what replaces its data. `None` for neither.
    pub data: Option<Bytes>,
    /// For a publish.
    pub tags: BTreeMap<String, String>,
    /// For a publish.
    pub idempotency_key: String,
}

/// An answer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not the JSON that was expected.
    #[error("the answer does not parse: {0}")]
    Json(#[from] serde_json::Error),
    /// Binary data that is no base64.
    #[error("b64data is not base64")]
    Base64,
    /// A wish that cannot be fulfilled.
    #[error("skip_history is not supported: use a namespace with history_size = 0")]
    SkipHistory,
}

impl Call<'_> {
    /// The request's body.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            client: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            transport: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            protocol: &'a str,
            encoding: &'a str,
            user: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            method: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            channel: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            b64data: Option<String>,
        }
        let data: Option<&RawValue> = serde_json::from_slice(self.data).ok();
        let is_binary = data.is_none() && !self.data.is_empty();
        let (method, channel) = match self.purpose {
            Purpose::Rpc(method) => (Some(method), None),
            Purpose::Publish(channel) => (None, Some(channel)),
        };
        let body = Body {
            client: &self.caller.client,
            transport: self.transport,
            protocol: self.protocol,
            encoding: if is_binary { "binary" } else { "json" },
            user: &self.caller.user,
            method,
            channel,
            data,
            b64data: is_binary.then(|| BASE64.encode(self.data)),
        };
        // Strings and checked JSON always serialise.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// Reads the back end's answer.
pub fn read_answer(body: &[u8]) -> Result<Verdict, AnswerError> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Option<Fields<'a>>,
        error: Option<Failure>,
        disconnect: Option<Disconnect>,
    }
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        b64data: Option<String>,
        tags: Option<BTreeMap<String, String>>,
        idempotency_key: Option<String>,
        skip_history: Option<bool>,
    }
    #[derive(Deserialize)]
    struct Failure {
        #[serde(default)]
        code: u32,
        #[serde(default)]
        message: String,
        #[serde(default)]
        temporary: bool,
    }
    #[derive(Deserialize)]
    struct Disconnect {
        #[serde(default)]
        code: u32,
        #[serde(default)]
        reason: String,
    }
    let answer: Answer<'_> = serde_json::from_slice(body)?;
    if let Some(Disconnect { code, reason }) = answer.disconnect {
        return Ok(Verdict::Disconnect { code, reason });
    }
    if let Some(Failure { code, message, temporary }) = answer.error {
        return Ok(Verdict::Error { code, message, temporary });
    }
    let Some(fields) = answer.result else {
        return Ok(Verdict::Result(HookResult::default()));
    };
    if fields.skip_history == Some(true) {
        return Err(AnswerError::SkipHistory);
    }
    let data = match (fields.b64data.filter(|data| !data.is_empty()), fields.data) {
        (Some(data), _) => Some(BASE64.decode(data).or(Err(AnswerError::Base64))?.into()),
        (None, Some(data)) => Some(crate::api::one_line(data)),
        (None, None) => None,
    };
    Ok(Verdict::Result(HookResult {
        data,
        tags: fields.tags.unwrap_or_default(),
        idempotency_key: fields.idempotency_key.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(caller: &'a ClientInfo, data: &'a [u8], purpose: Purpose<'a>) -> String {
        let call = Call { caller, transport: "websocket", protocol: "json", data, purpose };
        String::from_utf8(call.to_json()).unwrap()
    }

    #[test]
    fn requests_are_centrifugos() {
        let caller = ClientInfo { user: "42".into(), client: "c".into(), ..ClientInfo::default() };
        assert_eq!(
            call(&caller, b"{\"a\": 1}", Purpose::Rpc("m")),
            "{\"client\":\"c\",\"transport\":\"websocket\",\"protocol\":\"json\",\
             \"encoding\":\"json\",\"user\":\"42\",\"method\":\"m\",\"data\":{\"a\": 1}}"
        );
        assert_eq!(
            call(&caller, &[0xff], Purpose::Publish("ch")),
            "{\"client\":\"c\",\"transport\":\"websocket\",\"protocol\":\"json\",\
             \"encoding\":\"binary\",\"user\":\"42\",\"channel\":\"ch\",\"b64data\":\"/w==\"}"
        );
        assert!(!call(&caller, b"", Purpose::Rpc("m")).contains("data"));
        let purpose = Purpose::Publish("ch");
        let call = Call { caller: &caller, transport: "", protocol: "", data: b"1", purpose };
        let body = String::from_utf8(call.to_json()).unwrap();
        assert!(!body.contains("transport") && !body.contains("protocol"), "{body}");
    }

    #[test]
    fn answers_of_three_kinds() {
        let data = |data: &'static [u8]| {
            let data = Some(Bytes::from_static(data));
            Verdict::Result(HookResult { data, ..HookResult::default() })
        };
        for (body, expected) in [
            ("{}", Verdict::Result(HookResult::default())),
            ("{\"result\":{}}", Verdict::Result(HookResult::default())),
            ("{\"result\":{\"data\":{\"a\":\n1}}}", data(b"{\"a\":1}")),
            ("{\"result\":{\"b64data\":\"/w==\",\"data\":1}}", data(b"\xff")),
            (
                "{\"error\":{\"code\":1000,\"message\":\"no\"},\"result\":{}}",
                Verdict::Error { code: 1000, message: "no".into(), temporary: false },
            ),
            (
                "{\"disconnect\":{\"code\":4500,\"reason\":\"out\"},\"error\":{\"code\":1}}",
                Verdict::Disconnect { code: 4500, reason: "out".into() },
            ),
        ] {
            assert_eq!(read_answer(body.as_bytes()).unwrap(), expected, "{body}");
        }
        for body in ["", "[]", "{\"result\":{\"b64data\":\"?\"}}", "{\"error\":7}"] {
            assert!(read_answer(body.as_bytes()).is_err(), "{body}");
        }
    }
}

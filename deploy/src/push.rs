//! Publishing through the origin's HTTP API: requests, and what its answers mean.

use std::fmt;

use bytes::Bytes;
use serde_json::{Value, json};

/// What holds for every message of one command.
#[derive(Clone, Debug)]
pub struct Request {
    /// The channel.
    pub channel: String,
    /// The class, where the namespace's own is not wanted.
    pub class: Option<String>,
    /// goim's operation, where the namespace's own is not wanted.
    pub operation: Option<i32>,
    /// The key that makes a repeated message count once.
    pub idempotency_key: Option<String>,
}

impl Request {
    /// The body of the request that publishes message `number` (from 1) of `count`. In the message,
    /// `{n}` stands for the number; JSON is sent as it is, any other text as a JSON string.
    pub fn body(&self, message: &str, number: u64, count: u64) -> String {
        let message = message.replace("{n}", &number.to_string());
        let data = serde_json::from_str(&message).unwrap_or(Value::String(message));
        let mut request = json!({ "channel": self.channel, "data": data });
        if let Some(class) = &self.class {
            request["class"] = json!(class);
        }
        if let Some(operation) = self.operation {
            request["op"] = json!(operation);
        }
        if let Some(key) = &self.idempotency_key {
            request["idempotency_key"] =
                if count == 1 { json!(key) } else { json!(format!("{key}-{number}")) };
        }
        request.to_string()
    }
}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset; `None` in a channel that keeps none.
    pub offset: Option<u64>,
    /// The epoch, likewise.
    pub epoch: Option<String>,
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.offset, &self.epoch) {
            (Some(offset), Some(epoch)) => write!(out, "offset {offset}, epoch {epoch}"),
            (Some(offset), None) => write!(out, "offset {offset}"),
            (None, _) => out.write_str("published; the channel keeps no history"),
        }
    }
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key is not one of the origin's.
    #[error(
        "the origin does not accept the API key (status 401); --key or LINECAST_API_KEY gives another"
    )]
    Key,
    /// The API says why.
    #[error("the origin refused the message: {message} ({code}){hint}")]
    Error {
        /// The API's code.
        code: u64,
        /// Its words.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Something other than the API answered.
    #[error("this is not how an origin answers (status {status}): {line}")]
    NotTheApi {
        /// The status code.
        status: u16,
        /// The first line of the body.
        line: String,
    },
}

/// What the API's answer to a publish means.
pub fn outcome(status: u16, body: &Bytes, line: &str) -> Result<Position, Refusal> {
    let not_the_api = || Refusal::NotTheApi { status, line: line.to_owned() };
    if status == 401 {
        return Err(Refusal::Key);
    }
    let answer: Value = serde_json::from_slice(body).map_err(|_| not_the_api())?;
    if let Some(code) = answer["error"]["code"].as_u64() {
        let message = answer["error"]["message"].as_str().unwrap_or("no reason given").to_owned();
        let hint = if code == UNKNOWN_CHANNEL { UNKNOWN_CHANNEL_HINT } else { "" };
        return Err(Refusal::Error { code, message, hint });
    }
    let result = answer.get("result").filter(|_| status == 200).ok_or_else(not_the_api)?;
    let epoch = result["epoch"].as_str().map(str::to_owned);
    Ok(Position { offset: result["offset"].as_u64(), epoch })
}

const UNKNOWN_CHANNEL: u64 = 102;
const UNKNOWN_CHANNEL_HINT: &str = "; what stands before the colon must be a namespace in the \
                                    origin's configuration";

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let channel = "live:1000".to_owned();
        Request { channel, class: None, operation: None, idempotency_key: None }
    }

    fn outcome_of(status: u16, body: &'static str) -> Result<Position, Refusal> {
        outcome(status, &Bytes::from(body), body)
    }

    #[test]
    fn bodies_are_json_or_text() {
        let body = |message: &str| {
            let body: Value = serde_json::from_str(&request().body(message, 7, 10)).unwrap();
            body["data"].clone()
        };
        assert_eq!(body(r#"{"n": {n}}"#), json!({ "n": 7 }));
        assert_eq!(body("message {n}"), json!("message 7"));
        assert_eq!(body("42"), json!(42));
        assert_eq!(body(""), json!(""));
    }

    #[test]
    fn options_are_sent_only_if_given() {
        assert_eq!(request().body("1", 1, 1), r#"{"channel":"live:1000","data":1}"#);
        let all = Request {
            class: Some("urgent".to_owned()),
            operation: Some(1001),
            idempotency_key: Some("k".to_owned()),
            ..request()
        };
        let sent: Value = serde_json::from_str(&all.body("1", 2, 2)).unwrap();
        let due = json!({
            "channel": "live:1000", "data": 1, "class": "urgent", "op": 1001,
            "idempotency_key": "k-2",
        });
        assert_eq!(sent, due);
    }

    #[test]
    fn answers_are_understood() {
        let position = outcome_of(200, r#"{"result":{"offset":3,"epoch":"x7"}}"#).unwrap();
        assert_eq!(position.to_string(), "offset 3, epoch x7");
        let nowhere = outcome_of(200, r#"{"result":{}}"#).unwrap();
        assert_eq!(nowhere.to_string(), "published; the channel keeps no history");
        assert_eq!(outcome_of(401, ""), Err(Refusal::Key));
        let unknown = outcome_of(200, r#"{"error":{"code":102,"message":"unknown channel"}}"#);
        let text = unknown.unwrap_err().to_string();
        assert!(text.contains("unknown channel (102); what stands before the colon"), "{text}");
        let page = outcome_of(404, "<html>not found").unwrap_err();
        assert_eq!(
            page.to_string(),
            "this is not how an origin answers (status 404): <html>not found"
        );
        assert!(outcome_of(500, r#"{"result":{}}"#).is_err());
    }
}

//! What publishers say, and what the answers mean, for each way of publishing.

use serde_json::{Value, json};

use super::args::PublishWay;
use super::message::Stamp;
use super::plan::{Plan, Publishing};
use super::protocol::Protocol;
use super::schedule::Due;

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where to.
    pub url: String,
    /// What.
    pub body: Vec<u8>,
}

impl Publishing {
    /// Messages of `size` bytes that one request can hold.
    pub fn at_once(&self, size: usize) -> usize {
        match self.way {
            PublishWay::OriginApi | PublishWay::Nats => {
                (BYTES_AT_ONCE / size.max(1)).clamp(1, MESSAGES_AT_ONCE)
            }
            PublishWay::GoimPush | PublishWay::HttpPost => 1,
        }
    }

    /// The request that publishes these messages.
    pub fn request(&self, plan: &Plan, due: &[Due]) -> Request {
        let base = self.url.trim_end_matches('/');
        match self.way {
            PublishWay::OriginApi => {
                Request { url: format!("{base}/api/batch"), body: self.batch(plan, due) }
            }
            PublishWay::GoimPush => {
                let room = due.first().map_or(0, |due| due.room);
                let url = format!(
                    "{base}/goim/push/room?operation={}&type={}&room={}",
                    self.operation.unwrap_or(OPERATION),
                    plan.namespace,
                    plan.rooms.name(room),
                );
                Request { url, body: bodies(plan, due) }
            }
            PublishWay::HttpPost => {
                let room = due.first().map_or(0, |due| due.room);
                Request {
                    url: self.url.replace("{room}", &plan.rooms.name(room)),
                    body: bodies(plan, due),
                }
            }
            PublishWay::Nats => Request { url: self.url.clone(), body: self.nats(plan, due) },
        }
    }

    fn batch(&self, plan: &Plan, due: &[Due]) -> Vec<u8> {
        let mut body = b"{\"commands\":[".to_vec();
        for (number, due) in due.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            let mut options = json!({
                "channel": plan.rooms.channel(due.room, &plan.namespace, Protocol::CentrifugeJson),
            });
            if let Some(class) = &self.class {
                options["class"] = json!(class);
            }
            if let Some(operation) = self.operation {
                options["op"] = json!(operation);
            }
            let options = options.to_string();
            body.extend_from_slice(b"{\"publish\":");
            body.extend_from_slice(options.trim_end_matches('}').as_bytes());
            body.extend_from_slice(b",\"data\":");
            stamp(plan, due).put(plan.size, &mut body);
            body.extend_from_slice(b"}}");
        }
        body.extend_from_slice(b"]}");
        body
    }

    fn nats(&self, plan: &Plan, due: &[Due]) -> Vec<u8> {
        let mut out = Vec::new();
        for due in due {
            let subject = plan.rooms.channel(due.room, &plan.namespace, Protocol::NatsWs);
            let mut body = Vec::new();
            stamp(plan, due).put(plan.size, &mut body);
            super::protocol::nats::put_publish(&subject, &body, &mut out);
        }
        out
    }

    /// Why an answer is no success.
    pub fn refusal(&self, status: u16, body: &[u8]) -> Option<String> {
        if status == 401 {
            return Some(
                "the API key is not accepted (status 401); --key gives another".to_owned(),
            );
        }
        if !(200..300).contains(&status) {
            let line = String::from_utf8_lossy(body);
            let line: String = line.lines().next().unwrap_or_default().chars().take(200).collect();
            return Some(format!("answered with status {status}: {line}"));
        }
        match self.way {
            PublishWay::HttpPost | PublishWay::Nats => None,
            PublishWay::GoimPush => {
                let answer: Value = serde_json::from_slice(body).unwrap_or_default();
                match answer["code"].as_i64() {
                    Some(0) => None,
                    _ => Some(format!("refused: {answer}")),
                }
            }
            PublishWay::OriginApi => {
                let Ok(answer) = serde_json::from_slice::<Value>(body) else {
                    return Some("answered with something other than JSON".to_owned());
                };
                let replies = answer["replies"].as_array().into_iter().flatten();
                let wrong = replies.chain([&answer]).find_map(|reply| reply.get("error"));
                let known = wrong.is_some() || answer["replies"].is_array();
                match wrong {
                    Some(error) => Some(format!("refused: {error}")),
                    None if known => None,
                    None => Some(format!("answered with something other than replies: {answer}")),
                }
            }
        }
    }
}

fn stamp(plan: &Plan, due: &Due) -> Stamp {
    Stamp { run: plan.run, room: due.room, sequence: due.sequence, due: due.at }
}

fn bodies(plan: &Plan, due: &[Due]) -> Vec<u8> {
    let mut body = Vec::new();
    for due in due {
        stamp(plan, due).put(plan.size, &mut body);
    }
    body
}

/// Messages in one request or write.
const MESSAGES_AT_ONCE: usize = 256;

/// Bytes of bodies in one request or write: far below what an origin reads.
const BYTES_AT_ONCE: usize = 256 << 10;

/// goim's operation where none is said.
const OPERATION: i32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn publishing(way: PublishWay) -> Publishing {
        let url = "http://here/".to_owned();
        Publishing { way, url, key: String::new(), class: None, operation: None, publishers: 1 }
    }

    #[test]
    fn answers_are_told_apart() {
        let api = publishing(PublishWay::OriginApi);
        assert_eq!(api.refusal(200, br#"{"replies":[{"publish":{"offset":1}}]}"#), None);
        for wrong in [
            r#"{"replies":[{"publish":{}},{"error":{"code":102,"message":"unknown channel"}}]}"#,
            r#"{"error":{"code":107,"message":"bad request"}}"#,
            "{}",
            "<html>",
        ] {
            assert!(api.refusal(200, wrong.as_bytes()).is_some(), "{wrong}");
        }
        assert!(api.refusal(401, b"").unwrap().contains("--key"));
        let goim = publishing(PublishWay::GoimPush);
        assert_eq!(goim.refusal(200, br#"{"code":0,"message":""}"#), None);
        assert!(goim.refusal(200, br#"{"code":-400,"message":"no"}"#).unwrap().contains("no"));
        let nchan = publishing(PublishWay::HttpPost);
        assert_eq!(
            (nchan.refusal(201, b"").is_none(), nchan.refusal(403, b"").is_none()),
            (true, false)
        );
    }
}

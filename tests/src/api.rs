//! The server APIs as a back end calls them: Centrifugo's and goim's at the origin, the list at svrlist;
//! and the relay's, as an operator does.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::http::{Answer, Http};

/// The origin's APIs.
#[derive(Debug, Clone)]
pub struct Origin {
    http: Http,
    base: String,
    key: String,
}

/// Where a message stands for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The channel's epoch.
    pub epoch: String,
    /// The message's offset.
    pub offset: u64,
}

impl Origin {
    /// The origin at `base` (`http://host:port`), called with API key `key`.
    pub fn new(base: impl Into<String>, key: impl Into<String>) -> Self {
        Self { http: Http::new(), base: base.into(), key: key.into() }
    }

    /// `POST /api/<method>`: the whole envelope, `{"result":…}` or `{"error":…}`.
    pub async fn envelope(&self, method: &str, request: &Value) -> Result<Value> {
        let url = format!("{}/api/{method}", self.base);
        let headers = [("x-api-key", self.key.as_str()), ("content-type", "application/json")];
        let answer = self.http.post(&url, &headers, request.to_string()).await?;
        ensure!(answer.status == 200, "{method}: status {}: {}", answer.status, answer.text());
        answer.json()
    }

    /// `POST /api/<method>`: the result; an error in the envelope is an error here.
    pub async fn call(&self, method: &str, request: &Value) -> Result<Value> {
        let mut envelope = self.envelope(method, request).await?;
        match envelope.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => bail!("{method} {request}: {envelope}"),
        }
    }

    /// The error code that a call is refused with.
    pub async fn refusal(&self, method: &str, request: &Value) -> Result<u64> {
        let envelope = self.envelope(method, request).await?;
        let code = envelope.pointer("/error/code").and_then(Value::as_u64);
        code.with_context(|| format!("{method} {request} was accepted: {envelope}"))
    }

    /// Publishes `data` and tells where it stands.
    pub async fn publish(&self, channel: &str, data: &Value) -> Result<Position> {
        self.publish_as(&json!({ "channel": channel, "data": data })).await
    }

    /// Publishes a whole request and tells where the message stands.
    pub async fn publish_as(&self, request: &Value) -> Result<Position> {
        position(&self.call("publish", request).await?)
    }

    /// Every message of a channel that its log still holds: offset and data, ascending.
    pub async fn history(&self, channel: &str) -> Result<Vec<(u64, Value)>> {
        let mut all: Vec<(u64, Value)> = Vec::new();
        loop {
            let mut request = json!({ "channel": channel, "limit": PAGE });
            let top = self.call("history", &json!({ "channel": channel, "limit": 0 })).await?;
            let since = all.last().map(|(offset, _)| *offset);
            if let Some(offset) = since {
                request["since"] = json!({ "offset": offset, "epoch": top["epoch"] });
            }
            let mut page = self.call("history", &request).await?;
            let Value::Array(publications) = page["publications"].take() else {
                bail!("history without publications: {page}");
            };
            let end = publications.is_empty();
            for mut publication in publications {
                let offset = publication["offset"].as_u64().context("offset")?;
                all.push((offset, publication["data"].take()));
            }
            if end {
                return Ok(all);
            }
        }
    }

    /// How many clients a channel has, over all edges.
    pub async fn clients(&self, channel: &str) -> Result<u64> {
        let stats = self.call("presence_stats", &json!({ "channel": channel })).await?;
        stats["num_clients"].as_u64().with_context(|| format!("no num_clients: {stats}"))
    }

    /// `POST /goim/push/<kind>?<query>` with an opaque body; fails unless code is 0.
    pub async fn push(&self, kind: &str, query: &str, body: impl Into<Bytes>) -> Result<()> {
        let answer = self.push_answer(kind, query, body).await?;
        let envelope = answer.json()?;
        ensure!(answer.status == 200 && envelope["code"] == 0, "push/{kind}?{query}: {envelope}");
        Ok(())
    }

    /// `POST /goim/push/<kind>?<query>`: whatever it answers.
    pub async fn push_answer(
        &self,
        kind: &str,
        query: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let url = format!("{}/goim/push/{kind}?{query}", self.base);
        self.http.post(&url, &[("x-api-key", &self.key)], body).await
    }

    /// `GET /goim/<path>`: the `data` of its envelope.
    pub async fn goim(&self, path: &str) -> Result<Value> {
        let url = format!("{}/goim/{path}", self.base);
        let mut envelope = self.http.get(&url).await?.json()?;
        ensure!(envelope["code"] == 0, "{path}: {envelope}");
        Ok(envelope["data"].take())
    }
}

/// The svrlist's APIs.
#[derive(Debug, Clone)]
pub struct Svrlist {
    http: Http,
    base: String,
}

impl Svrlist {
    /// The svrlist at `base` (`http://host:port`).
    pub fn new(base: impl Into<String>) -> Self {
        Self { http: Http::new(), base: base.into() }
    }

    /// `GET /<path>` as JSON; fails unless the status is 200.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.http.get(&format!("{}/{path}", self.base)).await?;
        ensure!(answer.status == 200, "{path}: status {}: {}", answer.status, answer.text());
        answer.json()
    }
}

/// The lines of a demo, as the page at svrlist's `/demo` shows and changes them.
#[derive(Debug, Clone)]
pub struct DemoLines {
    http: Http,
    base: String,
}

impl DemoLines {
    /// The lines of the svrlist at `base` (`http://host:port`).
    pub fn new(base: impl Into<String>) -> Self {
        Self { http: Http::new(), base: base.into() }
    }

    /// Every line of every edge.
    pub async fn all(&self) -> Result<Vec<Value>> {
        let answer = self.http.get(&format!("{}/demo/lines", self.base)).await?;
        ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text());
        lines_by_edge(answer.json()?)
    }

    /// Makes a line, or all lines of an edge, what a preset says; tells what they are then.
    pub async fn set(&self, name: &str, preset: &str) -> Result<Vec<Value>> {
        let answer = self.set_from(name, preset, &self.base).await?;
        ensure!(answer.status == 200, "{name}: status {}: {}", answer.status, answer.text());
        lines_by_edge(answer.json()?)
    }

    /// The same as a browser asks it for a page of `origin`; whatever is answered.
    pub async fn set_from(&self, name: &str, preset: &str, origin: &str) -> Result<Answer> {
        let url = format!("{}/demo/lines/{name}", self.base);
        let headers = [("content-type", "application/json"), ("origin", origin)];
        self.http.post(&url, &headers, json!({ "preset": preset }).to_string()).await
    }
}

fn lines_by_edge(mut answer: Value) -> Result<Vec<Value>> {
    let Value::Array(edges) = answer["edges"].take() else { bail!("no edges: {answer}") };
    let lines = edges.into_iter().map(lines).collect::<Result<Vec<_>>>()?;
    Ok(lines.into_iter().flatten().collect())
}

/// The relay's API.
#[derive(Debug, Clone)]
pub struct Relay {
    http: Http,
    base: String,
}

impl Relay {
    /// The relay at `base` (`http://host:port`).
    pub fn new(base: impl Into<String>) -> Self {
        Self { http: Http::new(), base: base.into() }
    }

    /// Loses everything on a line; tells what it is then.
    pub async fn break_line(&self, name: &str) -> Result<Value> {
        self.set_line(name, &json!({ "preset": "blackhole" })).await
    }

    /// Changes settings of a line; tells what it is then.
    pub async fn set_line(&self, name: &str, settings: &Value) -> Result<Value> {
        self.post(&format!("lines/{name}"), settings).await
    }

    /// Takes everything back that was done to a line; tells what it is then.
    pub async fn heal_line(&self, name: &str) -> Result<Value> {
        self.post(&format!("lines/{name}/heal"), &json!({})).await
    }

    /// A line with its settings and counters.
    pub async fn line(&self, name: &str) -> Result<Value> {
        self.get(&format!("lines/{name}")).await
    }

    /// Loses everything on all lines of an edge; tells what they are then.
    pub async fn cut_off(&self, edge: &str) -> Result<Vec<Value>> {
        self.set_edge(edge, &json!({ "preset": "blackhole" })).await
    }

    /// Changes settings of all lines of an edge; tells what they are then.
    pub async fn set_edge(&self, edge: &str, settings: &Value) -> Result<Vec<Value>> {
        lines(self.post(&format!("lines/{edge}"), settings).await?)
    }

    /// Takes everything back that was done to the lines of an edge; tells what they are then.
    pub async fn heal_edge(&self, edge: &str) -> Result<Vec<Value>> {
        lines(self.post(&format!("lines/{edge}/heal"), &json!({})).await?)
    }

    /// The lines of an edge with their settings and counters.
    pub async fn lines_of(&self, edge: &str) -> Result<Vec<Value>> {
        lines(self.get(&format!("lines/{edge}")).await?)
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.http.get(&format!("{}/{path}", self.base)).await?;
        ensure!(answer.status == 200, "{path}: status {}: {}", answer.status, answer.text());
        answer.json()
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer =
            self.http.post(&format!("{}/{path}", self.base), &[], body.to_string()).await?;
        ensure!(answer.status == 200, "{path}: status {}: {}", answer.status, answer.text());
        answer.json()
    }
}

fn lines(mut report: Value) -> Result<Vec<Value>> {
    match report["lines"].take() {
        Value::Array(lines) => Ok(lines),
        _ => bail!("no lines: {report}"),
    }
}

fn position(result: &Value) -> Result<Position> {
    let offset = result["offset"].as_u64().with_context(|| format!("no offset in {result}"))?;
    let epoch = result["epoch"].as_str().with_context(|| format!("no epoch in {result}"))?;
    Ok(Position { epoch: epoch.to_owned(), offset })
}

/// Messages asked for at once when a whole log is read.
const PAGE: u64 = 1000;

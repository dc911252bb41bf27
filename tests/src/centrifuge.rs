//! A small Centrifuge client in JSON over WebSocket, for what the protocol says rather than what an
//! SDK does: any command, any frame, every reply and push as it came.
//!
//! Invariant: pings are answered at once and never seen by the caller; replies are found by their id,
//! pushes that come in between are kept in order.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use crate::wait::within;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: Box<WebSocketStream<TcpStream>>,
    /// Lines of frames that were read but not looked at.
    lines: VecDeque<String>,
    replies: Vec<Value>,
    pushes: VecDeque<Value>,
    id: u64,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("closed by the edge: {code} {reason}")]
pub struct Closed {
    /// The WebSocket close code; 1006 if there was no close frame.
    pub code: u16,
    /// The reason in words.
    pub reason: String,
}

impl Client {
    /// Opens the WebSocket; no connect command yet.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let tcp =
            TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        tcp.set_nodelay(true)?;
        let uri = format!("ws://{address}{PATH}");
        let (stream, _) = ClientBuilder::new()
            .uri(&uri)?
            .connect_on(tcp)
            .await
            .with_context(|| format!("upgrade {uri}"))?;
        Ok(Self {
            stream: Box::new(stream),
            lines: VecDeque::new(),
            replies: Vec::new(),
            pushes: VecDeque::new(),
            id: 0,
        })
    }

    /// Opens the WebSocket and connects with the given connect request.
    pub async fn connect(address: SocketAddr, request: Value) -> Result<Self> {
        let mut client = Self::open(address).await?;
        client.ask("connect", request).await?;
        Ok(client)
    }

    /// Sends a command and waits for its result; an error reply is an error.
    pub async fn ask(&mut self, method: &str, request: Value) -> Result<Value> {
        let mut reply = self.command(method, request.clone()).await?;
        ensure!(reply.get("error").is_none(), "{method} {request}: {reply}");
        match reply.get_mut(method) {
            Some(result) => Ok(result.take()),
            None => bail!("{method} {request}: a reply without its result: {reply}"),
        }
    }

    /// Sends a command and waits for the code it is refused with.
    pub async fn refusal(&mut self, method: &str, request: Value) -> Result<u64> {
        let reply = self.command(method, request.clone()).await?;
        let code = reply.pointer("/error/code").and_then(Value::as_u64);
        code.with_context(|| format!("{method} {request} was accepted: {reply}"))
    }

    /// Sends a command and waits for its whole reply.
    pub async fn command(&mut self, method: &str, request: Value) -> Result<Value> {
        let (id, line) = self.line(method, request);
        self.send(&line).await?;
        self.reply(id).await
    }

    /// A command as one line, and its id.
    pub fn line(&mut self, method: &str, request: Value) -> (u64, String) {
        self.id += 1;
        (self.id, json!({ "id": self.id, method: request }).to_string())
    }

    /// Subscribes with recovery and position wanted.
    pub async fn subscribe(&mut self, channel: &str) -> Result<Value> {
        let request = json!({ "channel": channel, "recoverable": true, "positioned": true });
        self.ask("subscribe", request).await
    }

    /// Sends one text frame as it is.
    pub async fn send(&mut self, frame: &str) -> Result<()> {
        self.stream.send(Message::text(frame.to_owned())).await.context("send")
    }

    /// Waits for the reply with this id.
    pub async fn reply(&mut self, id: u64) -> Result<Value> {
        within(&format!("reply {id}"), async {
            loop {
                if let Some(at) = self.replies.iter().position(|reply| reply["id"] == id) {
                    return Ok(self.replies.remove(at));
                }
                self.read().await?;
            }
        })
        .await
    }

    /// Waits for the next push of any kind.
    pub async fn push(&mut self) -> Result<Value> {
        within("a push", async {
            loop {
                if let Some(push) = self.pushes.pop_front() {
                    return Ok(push);
                }
                self.read().await?;
            }
        })
        .await
    }

    /// Waits for the next push and returns its publication; another kind of push is an error.
    pub async fn publication(&mut self) -> Result<Value> {
        let mut push = self.push().await?;
        match push.get_mut("pub") {
            Some(publication) => Ok(publication.take()),
            None => bail!("a push that is no publication: {push}"),
        }
    }

    /// Pushes that came before everything up to the answer of a harmless command was read. That there
    /// is none says nothing of a message that is still on its way to the edge.
    pub async fn pushes_now(&mut self, channel: &str) -> Result<Vec<Value>> {
        self.command("unsubscribe", json!({ "channel": format!("{channel}-nobody") })).await?;
        Ok(self.pushes.drain(..).collect())
    }

    /// Waits until the edge closes the connection; replies and pushes before that are dropped.
    pub async fn closed(mut self) -> Result<Closed> {
        within("the edge closes a Centrifuge connection", async {
            loop {
                match self.frame().await? {
                    Ok(_) => {}
                    Err(closed) => return Ok(closed),
                }
            }
        })
        .await
    }

    /// Reads one line: a ping is answered, a reply or a push is kept.
    async fn read(&mut self) -> Result<()> {
        let Some(line) = self.lines.pop_front() else {
            match self.frame().await? {
                Ok(text) => self.lines.extend(text.split('\n').map(str::to_owned)),
                Err(closed) => return Err(closed.into()),
            }
            return Ok(());
        };
        let mut reply: Value =
            serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))?;
        if reply.get("id").is_some() {
            self.replies.push(reply);
        } else if let Some(push) = reply.get_mut("push") {
            self.pushes.push_back(push.take());
        } else {
            ensure!(line == "{}", "neither reply nor push nor ping: {line}");
            self.send("{}").await?;
        }
        Ok(())
    }

    /// The text of the next frame, or why there is none.
    async fn frame(&mut self) -> Result<std::result::Result<String, Closed>> {
        loop {
            let message = match self.stream.next().await {
                None | Some(Err(tokio_websockets::Error::Io(_))) => {
                    return Ok(Err(Closed { code: 1006, reason: String::new() }));
                }
                Some(message) => message.context("receive")?,
            };
            if let Some((code, reason)) = message.as_close() {
                return Ok(Err(Closed { code: code.into(), reason: reason.to_owned() }));
            }
            if let Some(text) = message.as_text() {
                return Ok(Ok(text.to_owned()));
            }
            ensure!(!message.is_binary(), "a binary frame to a JSON client");
        }
    }
}

/// A connection token of `user`, signed with HS256, that does not expire.
pub fn token(secret: &str, user: &str) -> Result<String> {
    let key = EncodingKey::from_secret(secret.as_bytes());
    let claims = json!({ "sub": user });
    jsonwebtoken::encode(&Header::default(), &claims, &key).context("sign a token")
}

const PATH: &str = "/connection/websocket";

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_websockets::{CloseCode, ServerBuilder};

    use super::*;

    type Server = WebSocketStream<TcpStream>;

    /// A client and the server's end of its connection.
    async fn pair() -> (Client, Server) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accept = async {
            let (stream, _) = listener.accept().await?;
            Ok(ServerBuilder::new().accept(stream).await?.1)
        };
        tokio::try_join!(Client::open(address), accept).expect("a connection")
    }

    async fn received(server: &mut Server) -> String {
        let message = server.next().await.expect("open").expect("a frame");
        message.as_text().expect("text").to_owned()
    }

    #[tokio::test]
    async fn replies_are_found_by_id_and_pushes_keep_their_order() {
        let (mut client, mut server) = pair().await;
        let frame = [
            r#"{"push":{"channel":"c","pub":{"data":1,"offset":1}}}"#,
            r#"{"id":2,"rpc":{"data":{}}}"#,
            r#"{"push":{"channel":"c","pub":{"data":2,"offset":2}}}"#,
            r#"{"id":1,"error":{"code":105,"message":"already subscribed"}}"#,
        ];
        server.send(Message::text(frame.join("\n"))).await.expect("sent");
        assert_eq!(client.refusal("subscribe", json!({ "channel": "c" })).await.expect("105"), 105);
        assert_eq!(client.ask("rpc", json!({})).await.expect("a result"), json!({ "data": {} }));
        assert_eq!(client.publication().await.expect("the first")["data"], 1);
        assert_eq!(client.publication().await.expect("the second")["data"], 2);
        let sent = [received(&mut server).await, received(&mut server).await];
        assert_eq!(sent, [r#"{"id":1,"subscribe":{"channel":"c"}}"#, r#"{"id":2,"rpc":{}}"#]);
    }

    #[tokio::test]
    async fn pings_are_answered_and_not_seen() {
        let (mut client, mut server) = pair().await;
        let frame = "{}\n{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":7}}}";
        server.send(Message::text(frame)).await.expect("sent");
        assert_eq!(client.publication().await.expect("a push")["data"], 7);
        assert_eq!(received(&mut server).await, "{}");
    }

    #[tokio::test]
    async fn an_empty_line_is_an_error_as_it_is_for_the_sdk() {
        let (mut client, mut server) = pair().await;
        server.send(Message::text("")).await.expect("sent");
        client.push().await.expect_err("JSON.parse of nothing throws");
    }

    #[tokio::test]
    async fn a_close_is_told_with_code_and_reason() {
        let (client, mut server) = pair().await;
        let code = CloseCode::try_from(3501).expect("a code");
        server.send(Message::close(Some(code), "bad request")).await.expect("sent");
        let closed = client.closed().await.expect("closed");
        assert_eq!(closed, Closed { code: 3501, reason: "bad request".to_owned() });
    }
}

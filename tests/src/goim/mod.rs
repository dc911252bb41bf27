//! A goim v2 client, over TCP and over WebSocket, as strict as the protocol's description.
//!
//! Strict means: on WebSocket a message is exactly one frame, pushes come nested in one frame of
//! operation 9 and nowhere else; on TCP operation 9 never appears; a reply carries its request's version
//! and sequence; a push carries sequence 0. Whatever breaks a rule is an error of the client.

pub mod frame;
mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes};
use serde_json::json;

use crate::wait::within;
use frame::{Frame, operation};
use wire::Wire;

/// Who logs in, and into which room.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// User id; 0 is anonymous.
    pub mid: i64,
    /// Connection id; the server makes one up when it is empty.
    pub key: String,
    /// Room such as `live://1000`; empty for none.
    pub room: String,
    /// Business operations accepted from pushes to keys, mids and all.
    pub accepts: Vec<i32>,
    /// Token that proves the user; empty for none.
    pub token: String,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    pushes: VecDeque<Frame>,
    sequence: i32,
}

impl Login {
    /// An anonymous login into `room`.
    pub fn room(room: &str) -> Self {
        Self { room: room.to_owned(), ..Self::default() }
    }

    /// The body of the login frame.
    pub fn body(&self) -> Bytes {
        let Self { mid, key, room, accepts, token } = self;
        json!({
            "mid": mid, "key": key, "room_id": room, "platform": "web", "accepts": accepts,
            "token": token,
        })
        .to_string()
        .into()
    }
}

impl Client {
    /// Connects over TCP; not logged in yet.
    pub async fn tcp(address: SocketAddr) -> Result<Self> {
        Ok(Self::over(Wire::tcp(address).await?))
    }

    /// Connects over TCP with TLS, trusting `certificate`; not logged in yet.
    pub async fn tls(address: SocketAddr, certificate: &Path) -> Result<Self> {
        Ok(Self::over(Wire::tls(address, certificate).await?))
    }

    /// Connects over WebSocket at `path` (goim's is `/sub`); not logged in yet.
    pub async fn websocket(address: SocketAddr, path: &str) -> Result<Self> {
        Ok(Self::over(Wire::websocket(address, path).await?))
    }

    fn over(wire: Wire) -> Self {
        Self { wire, pushes: VecDeque::new(), sequence: 0 }
    }

    /// Logs in and waits for the reply.
    pub async fn login(&mut self, login: &Login) -> Result<()> {
        let reply = self.request(operation::AUTH, operation::AUTH_REPLY, login.body()).await?;
        ensure!(reply.body.is_empty(), "login reply with a body: {reply:?}");
        Ok(())
    }

    /// Sends a heartbeat; the answer is the room's online count.
    pub async fn heartbeat(&mut self) -> Result<i32> {
        let reply =
            self.request(operation::HEARTBEAT, operation::HEARTBEAT_REPLY, Bytes::new()).await?;
        ensure!(reply.body.len() == 4, "heartbeat reply: {reply:?}");
        Ok(reply.body.clone().get_i32())
    }

    /// Changes to `room`; empty leaves.
    pub async fn change_room(&mut self, room: &str) -> Result<()> {
        self.echoed(operation::CHANGE_ROOM, operation::CHANGE_ROOM_REPLY, room).await
    }

    /// Accepts these business operations too, `"1000,1001"`.
    pub async fn sub(&mut self, operations: &str) -> Result<()> {
        self.echoed(operation::SUB, operation::SUB_REPLY, operations).await
    }

    /// No longer accepts these business operations.
    pub async fn unsub(&mut self, operations: &str) -> Result<()> {
        self.echoed(operation::UNSUB, operation::UNSUB_REPLY, operations).await
    }

    async fn echoed(&mut self, operation: i32, answer: i32, body: &str) -> Result<()> {
        let reply = self.request(operation, answer, body.to_owned()).await?;
        ensure!(reply.body == body, "reply {answer} does not echo {body:?}: {reply:?}");
        Ok(())
    }

    /// Sends a request and waits for its reply; pushes that come before it are kept.
    pub async fn request(
        &mut self,
        operation: i32,
        answer: i32,
        body: impl Into<Bytes>,
    ) -> Result<Frame> {
        self.sequence += 1;
        let request = Frame::request(operation, self.sequence, body);
        self.send(&request.encode()).await?;
        within(&format!("reply to goim operation {operation}"), async {
            loop {
                let frame = self.receive().await?.context("closed by the edge")?;
                if frame.sequence == 0 {
                    self.pushes.push_back(frame);
                    continue;
                }
                let got = (frame.operation, frame.sequence, frame.version);
                let due = (answer, request.sequence, request.version);
                ensure!(got == due, "(operation, sequence, version) {got:?}, expected {due:?}");
                return Ok(frame);
            }
        })
        .await
    }

    /// The next pushed message.
    pub async fn push(&mut self) -> Result<Frame> {
        if let Some(frame) = self.pushes.pop_front() {
            return Ok(frame);
        }
        let frame =
            within("a goim push", async { self.receive().await?.context("closed by the edge") })
                .await?;
        ensure!(frame.sequence == 0, "a reply to nothing: {frame:?}");
        Ok(frame)
    }

    /// A push that is already here after everything the edge sent before its next reply was read. That
    /// there is none says nothing of a message that is still on its way to the edge.
    pub async fn push_now(&mut self) -> Result<Option<Frame>> {
        self.heartbeat().await?;
        Ok(self.pushes.pop_front())
    }

    /// Sends bytes as they are: on WebSocket as one binary message.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.send(bytes).await
    }

    /// The next frame, reply or push; `None` when the edge closed the connection.
    pub async fn receive(&mut self) -> Result<Option<Frame>> {
        self.wire.receive().await
    }

    /// Waits until the edge closes the connection; a frame before that is an error.
    pub async fn closed(&mut self) -> Result<()> {
        within("the edge closes a goim connection", async {
            match self.receive().await? {
                None => Ok(()),
                Some(frame) => bail!("a frame came: {frame:?}"),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::SinkExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_websockets::{Message, ServerBuilder, WebSocketStream};

    use super::*;

    async fn tcp() -> (Client, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accept = async { Ok(listener.accept().await?.0) };
        tokio::try_join!(Client::tcp(address), accept).expect("a connection")
    }

    async fn websocket() -> (Client, WebSocketStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accept = async {
            let (stream, _) = listener.accept().await?;
            Ok(ServerBuilder::new().accept(stream).await?.1)
        };
        tokio::try_join!(Client::websocket(address, "/sub"), accept).expect("a connection")
    }

    fn push(body: &'static str) -> Vec<u8> {
        Frame { version: 1, operation: 1000, sequence: 0, body: body.into() }.encode()
    }

    fn reply(operation: i32, sequence: i32) -> Vec<u8> {
        Frame::request(operation, sequence, "").encode()
    }

    #[tokio::test]
    async fn pushes_around_a_reply_are_kept_in_order() {
        let (mut client, mut server) = tcp().await;
        let bytes = [push("one"), reply(operation::AUTH_REPLY, 1), push("two")].concat();
        server.write_all(&bytes).await.expect("sent");
        client.login(&Login::default()).await.expect("logged in");
        assert_eq!(client.push().await.expect("one").body, "one");
        assert_eq!(client.push().await.expect("two").body, "two");
        drop(server);
        client.closed().await.expect("closed");
    }

    #[tokio::test]
    async fn a_reply_with_another_sequence_is_an_error() {
        let (mut client, mut server) = tcp().await;
        server.write_all(&reply(operation::AUTH_REPLY, 2)).await.expect("sent");
        client.login(&Login::default()).await.expect_err("sequence 1 was due");
    }

    #[tokio::test]
    async fn an_envelope_on_tcp_is_an_error() {
        let (mut client, mut server) = tcp().await;
        let envelope = Frame::request(operation::RAW, 0, push("nested"));
        server.write_all(&envelope.encode()).await.expect("sent");
        client.push().await.expect_err("operation 9");
    }

    #[tokio::test]
    async fn pushes_on_websocket_come_in_an_envelope() {
        let (mut client, mut server) = websocket().await;
        let envelope = Frame::request(operation::RAW, 0, [push("one"), push("two")].concat());
        server.send(Message::binary(envelope.encode())).await.expect("sent");
        assert_eq!(client.push().await.expect("one").body, "one");
        assert_eq!(client.push().await.expect("two").body, "two");
        server.send(Message::binary(push("bare"))).await.expect("sent");
        client.push().await.expect_err("a push without its envelope");
    }

    #[tokio::test]
    async fn two_frames_in_one_websocket_message_are_an_error() {
        let (mut client, mut server) = websocket().await;
        let two = [reply(operation::SUB_REPLY, 1), reply(operation::SUB_REPLY, 2)].concat();
        server.send(Message::binary(two)).await.expect("sent");
        client.receive().await.expect_err("goim's clients read the first only");
    }
}

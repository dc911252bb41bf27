//! A channel is one thing whatever protocol its readers and writers speak.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::api::Origin;
use tests::network::{Network, Plan, TOKEN_SECRET};
use tests::{centrifuge, goim};

use crate::{network, network_with};

const CHANNEL: &str = "live:1000";
const ROOM: &str = "live://1000";

/// One reader of each kind in the same room.
struct Readers {
    api: Origin,
    centrifuge: centrifuge::Client,
    tcp: goim::Client,
    websocket: goim::Client,
}

impl Readers {
    async fn join(network: &Network) -> Result<Self> {
        let edge = network.edge(0);
        let mut centrifuge = centrifuge::Client::connect(edge.http, json!({})).await?;
        centrifuge.subscribe(CHANNEL).await?;
        let mut tcp = goim::Client::tcp(edge.tcp).await?;
        let mut websocket = goim::Client::websocket(edge.http, "/sub").await?;
        for client in [&mut tcp, &mut websocket] {
            client.login(&goim::Login::room(ROOM)).await?;
        }
        Ok(Self { api: network.api(), centrifuge, tcp, websocket })
    }

    /// Everybody gets one message: `data` in JSON, `body` with `operation` in goim.
    async fn all_get(&mut self, data: Value, body: &[u8], operation: Option<i32>) -> Result<()> {
        let publication = self.centrifuge.publication().await?;
        ensure!(publication["data"] == data, "Centrifuge: {publication}, expected {data}");
        for client in [&mut self.tcp, &mut self.websocket] {
            let push = client.push().await?;
            ensure!(push.body == body, "goim: {push:?}, expected {body:?}");
            ensure!(push.version == 1, "goim: {push:?}");
            if let Some(operation) = operation {
                ensure!(push.operation == operation, "goim: {push:?}, operation {operation}");
            }
        }
        Ok(())
    }
}

#[test]
fn a_goim_push_reaches_everybody() {
    network(1, async |network| {
        let mut readers = Readers::join(network).await?;
        let query = "operation=1234&type=live&room=1000";
        readers.api.push("room", query, r#"{"text":"你好"}"#).await?;
        let body = r#"{"text":"你好"}"#.as_bytes();
        readers.all_get(json!({ "text": "你好" }), body, Some(1234)).await
    });
}

#[test]
fn a_body_that_is_not_json_is_a_string_or_base64() {
    network(1, async |network| {
        let mut readers = Readers::join(network).await?;
        let query = "operation=1000&type=live&room=1000";
        for (body, data) in [
            (b"plain text".as_slice(), json!("plain text")),
            ("弹幕".as_bytes(), json!("弹幕")),
            (b"{broken", json!("{broken")),
            (b"line\nbreak", json!("line\nbreak")),
            (b"17", json!(17)),
            (&[0xff, 0xfe, 0x00], json!("//4A")),
        ] {
            readers.api.push("room", query, body.to_vec()).await?;
            readers.all_get(data, body, Some(1000)).await?;
        }
        Ok(())
    });
}

#[test]
fn json_with_line_breaks_does_not_break_the_framing() {
    network(1, async |network| {
        let mut readers = Readers::join(network).await?;
        let body = b"{\n  \"text\": \"two\\nlines\",\r\n  \"n\": 1\n}";
        readers.api.push("room", "operation=1000&type=live&room=1000", body.to_vec()).await?;
        let publication = readers.centrifuge.publication().await?;
        ensure!(publication["data"] == json!({ "text": "two\nlines", "n": 1 }), "{publication}");
        Ok(())
    });
}

#[test]
fn a_message_of_the_publish_api_reaches_everybody() {
    network(1, async |network| {
        let mut readers = Readers::join(network).await?;
        readers.api.publish(CHANNEL, &json!({ "n": 1 })).await?;
        readers.all_get(json!({ "n": 1 }), br#"{"n":1}"#, None).await?;
        let request = json!({ "channel": CHANNEL, "data": "text", "op": 4321 });
        readers.api.publish_as(&request).await?;
        readers.all_get(json!("text"), br#""text""#, Some(4321)).await?;
        let request = json!({ "channel": CHANNEL, "b64data": "AP8=" });
        readers.api.publish_as(&request).await?;
        readers.all_get(json!("AP8="), &[0, 0xff], None).await
    });
}

#[test]
fn a_channel_has_two_spellings() {
    network(1, async |network| {
        let mut readers = Readers::join(network).await?;
        let first = readers.api.publish("live://1000", &json!(1)).await?;
        let second = readers.api.publish("live:1000", &json!(2)).await?;
        ensure!(first.epoch == second.epoch && second.offset == first.offset + 1, "{second:?}");
        readers.all_get(json!(1), b"1", None).await?;
        readers.all_get(json!(2), b"2", None).await
    });
}

#[test]
fn a_message_of_a_centrifuge_client_reaches_everybody() {
    network(1, async |network| {
        let mut readers = Readers::join(network).await?;
        let mut writer = centrifuge::Client::connect(network.edge(0).http, json!({})).await?;
        writer.ask("publish", json!({ "channel": CHANNEL, "data": { "from": "me" } })).await?;
        readers.all_get(json!({ "from": "me" }), br#"{"from":"me"}"#, None).await
    });
}

#[test]
fn a_user_has_one_inbox_in_both_protocols() {
    let edge = vec!["centrifuge.personal_channel=true".to_owned()];
    network_with(Plan { edge, ..Plan::edges(1) }, async |network| {
        let edge = network.edge(0);
        let api = network.api();
        let token = centrifuge::token(TOKEN_SECRET, "42")?;
        let login = goim::Login {
            mid: 42,
            accepts: vec![1000],
            token: token.clone(),
            ..goim::Login::default()
        };
        let mut phone = goim::Client::tcp(edge.tcp).await?;
        phone.login(&login).await?;
        let mut laptop = goim::Client::websocket(edge.http, "/sub").await?;
        laptop.login(&login).await?;
        let request = json!({ "token": token });
        let mut page = centrifuge::Client::connect(edge.http, request).await?;
        let request = json!({ "channel": "#42", "data": "hello", "op": 1000 });
        api.publish_as(&request).await?;
        api.push("mids", "operation=1000&mids=42&mids=43", "again").await?;
        for client in [&mut phone, &mut laptop] {
            ensure!(client.push().await?.body == br#""hello""#.as_slice());
            ensure!(client.push().await?.body == b"again".as_slice());
        }
        ensure!(page.publication().await?["data"] == "hello");
        ensure!(page.publication().await?["data"] == "again");
        Ok(())
    });
}

#[test]
fn both_protocols_count_in_one_presence() {
    network(2, async |network| {
        let _readers = Readers::join(network).await?;
        let mut other = goim::Client::tcp(network.edge(1).tcp).await?;
        other.login(&goim::Login::room(ROOM)).await?;
        let api = network.api();
        tests::wait::until("presence", async || api.clients(CHANNEL).await, |n| *n == 4).await?;
        let online = async || other.heartbeat().await;
        tests::wait::until("online count", online, |count| *count == 4).await?;
        Ok(())
    });
}

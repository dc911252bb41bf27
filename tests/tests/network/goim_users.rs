//! Who goim clients are, and what they may read: with keys for tokens, as `linecast up` has one.

use anyhow::{Context, Result, ensure};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tests::goim::frame::operation;
use tests::goim::{Client, Login};
use tests::network::{EdgeAddress, Plan, TOKEN_SECRET};
use tests::wait::until;

use crate::{network, network_with};

const ROOM: &str = "live://1000";

fn signed(claims: &Value) -> Result<String> {
    let key = EncodingKey::from_secret(TOKEN_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).context("sign a token")
}

/// A network whose goim clients need tokens.
fn demanding() -> Plan {
    Plan { edge: vec!["goim.auth=token".to_owned()], ..Plan::edges(1) }
}

async fn refused(edge: EdgeAddress, login: &Login) -> Result<()> {
    let mut client = Client::tcp(edge.tcp).await?;
    ensure!(client.login(login).await.is_err(), "{login:?} was accepted");
    Ok(())
}

#[test]
fn an_inbox_is_read_by_its_user_alone() {
    network(1, async |network| {
        let (edge, api) = (network.edge(0), network.api());
        let token = signed(&json!({ "sub": "42" }))?;
        let mut owner = Client::tcp(edge.tcp).await?;
        owner.login(&Login { mid: 42, token, accepts: vec![1000], ..Login::room(ROOM) }).await?;
        let mut stranger = Client::tcp(edge.tcp).await?;
        stranger.login(&Login { mid: 42, accepts: vec![1000], ..Login::room(ROOM) }).await?;
        api.push("mids", "operation=1000&mids=42", "for 42").await?;
        ensure!(owner.push().await?.body == b"for 42".as_slice());
        api.push("room", "operation=1000&type=live&room=1000", "for all").await?;
        ensure!(stranger.push().await?.body == b"for all".as_slice());
        for room in ["live://dialog#42,43", "live://#42"] {
            refused(edge, &Login { mid: 42, ..Login::room(room) }).await?;
            owner.change_room(room).await?;
        }
        Ok(())
    });
}

#[test]
fn a_key_is_taken_over_by_its_user_alone() {
    network_with(demanding(), async |network| {
        let (edge, api) = (network.edge(0), network.api());
        let login = |claims: Value| -> Result<Login> {
            Ok(Login {
                key: "phone".to_owned(),
                token: signed(&claims)?,
                accepts: vec![1000],
                ..Login::default()
            })
        };
        let mut owner = Client::tcp(edge.tcp).await?;
        owner.login(&login(json!({ "sub": "1", "keys": ["phone"] }))?).await?;
        refused(edge, &login(json!({ "sub": "2" }))?).await?;
        api.push("keys", "operation=1000&keys=phone", "mine").await?;
        ensure!(owner.push().await?.body == b"mine".as_slice());
        refused(edge, &Login::room(ROOM)).await
    });
}

#[test]
fn a_connection_ends_with_its_token() {
    network_with(demanding(), async |network| {
        let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
        let token = signed(&json!({ "sub": "1", "exp": now + 3 }))?;
        let mut client = Client::websocket(network.edge(0).http, "/sub").await?;
        client.login(&Login { token, ..Login::default() }).await?;
        client.closed().await
    });
}

#[test]
fn a_back_end_takes_a_client_out_of_a_room() {
    network(1, async |network| {
        let (edge, api) = (network.edge(0), network.api());
        let mut client = Client::tcp(edge.tcp).await?;
        let token = signed(&json!({ "sub": "7" }))?;
        client.login(&Login { mid: 7, token, ..Login::room(ROOM) }).await?;
        api.call("unsubscribe", &json!({ "user": "7", "channel": "live:1000" })).await?;
        let told = client.receive().await?.context("closed by the edge")?;
        ensure!(told.operation == operation::CHANGE_ROOM_REPLY && told.body.is_empty(), "{told:?}");
        let online = async || client.heartbeat().await;
        until("online count in no room", online, |count| *count == 0).await?;
        Ok(())
    });
}

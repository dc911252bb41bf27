//! What goim's protocol says, and the traps that goim itself falls into.
//!
//! Each rule holds over TCP and over WebSocket unless its name says otherwise.

use anyhow::{Result, ensure};
use bytes::Bytes;
use serde_json::json;
use tests::centrifuge;
use tests::goim::frame::{BODY_MAX, Frame, HEADER, header_then, operation};
use tests::goim::{Client, Login};
use tests::network::{EdgeAddress, Network, Plan, TOKEN_SECRET};
use tests::wait::until;

use crate::{network, network_with};

const ROOM: &str = "live://1000";
const PUSH: &str = "operation=1000&type=live&room=1000";

/// A connection over each transport, not logged in.
async fn both(edge: EdgeAddress) -> Result<[Client; 2]> {
    Ok([Client::tcp(edge.tcp).await?, Client::websocket(edge.http, "/sub").await?])
}

/// A connection over each transport, logged in.
async fn both_in(edge: EdgeAddress, login: &Login) -> Result<[Client; 2]> {
    let mut clients = both(edge).await?;
    for client in &mut clients {
        client.login(login).await?;
    }
    Ok(clients)
}

async fn push_reaches(network: &Network, clients: &mut [Client], body: &'static str) -> Result<()> {
    network.api().push("room", PUSH, body).await?;
    for client in clients {
        let push = client.push().await?;
        ensure!(push.body == body && push.operation == 1000, "{push:?}");
    }
    Ok(())
}

#[test]
fn changing_to_the_room_one_is_in_changes_nothing() {
    network(1, async |network| {
        let mut clients = both_in(network.edge(0), &Login::room(ROOM)).await?;
        for _ in 0..3 {
            for client in &mut clients {
                client.change_room(ROOM).await?;
            }
        }
        push_reaches(network, &mut clients, "still here").await?;
        for client in &mut clients {
            let online = async || client.heartbeat().await;
            until("online count", online, |count| *count == 2).await?;
        }
        push_reaches(network, &mut clients, "the first came once").await
    });
}

#[test]
fn a_client_changes_rooms_and_leaves() {
    // With one shard a room's message is written to all its members before the next one is: what
    // the witness has, the others have had, or never will.
    let plan = Plan { edge: vec!["shards=1".to_owned()], ..Plan::edges(1) };
    network_with(plan, async |network| {
        let api = network.api();
        let mut witness = Client::tcp(network.edge(0).tcp).await?;
        witness.login(&Login::room("live://1")).await?;
        let mut clients = both_in(network.edge(0), &Login::room("live://1")).await?;
        for client in &mut clients {
            client.change_room(ROOM).await?;
        }
        api.push("room", "operation=1000&type=live&room=1", "the old room").await?;
        ensure!(witness.push().await?.body == b"the old room".as_slice());
        witness.change_room(ROOM).await?;
        push_reaches(network, &mut clients, "the new room").await?;
        for client in &mut clients {
            client.change_room("").await?;
            let online = async || client.heartbeat().await;
            until("online count in no room", online, |count| *count == 0).await?;
        }
        api.push("room", PUSH, "to the witness").await?;
        for body in ["the new room", "to the witness"] {
            ensure!(witness.push().await?.body == body);
        }
        for client in &mut clients {
            client.change_room("live://2").await?;
        }
        api.push("room", "operation=1000&type=live&room=2", "the third room").await?;
        for client in &mut clients {
            ensure!(client.push().await?.body == b"the third room".as_slice());
        }
        Ok(())
    });
}

#[test]
fn a_packet_length_that_lies_ends_the_connection() {
    network(1, async |network| {
        let edge = network.edge(0);
        let too_long = (HEADER + BODY_MAX + 1) as i32;
        for length in [0, 15, -1, i32::MIN, i32::MAX, too_long] {
            let mut client = Client::tcp(edge.tcp).await?;
            client.login(&Login::room(ROOM)).await?;
            client.send(&header_then(length, 16, 1, operation::HEARTBEAT, 1, b"")).await?;
            client.closed().await?;
        }
        for length in [0, 15, -1, i32::MAX, too_long, 17, 200] {
            let mut client = Client::websocket(edge.http, "/sub").await?;
            client.login(&Login::room(ROOM)).await?;
            client.send(&header_then(length, 16, 1, operation::SUB, 1, b"")).await?;
            client.closed().await?;
        }
        Ok(())
    });
}

#[test]
fn a_header_length_other_than_16_ends_the_connection() {
    network(1, async |network| {
        for client in &mut both_in(network.edge(0), &Login::room(ROOM)).await? {
            client.send(&header_then(32, 32, 1, operation::HEARTBEAT, 1, &[0; 16])).await?;
            client.closed().await?;
        }
        Ok(())
    });
}

/// An operation that means nothing to an edge.
const UNKNOWN: i32 = 4711;

#[test]
fn a_body_of_4096_bytes_passes_and_one_more_does_not() {
    network(1, async |network| {
        for client in &mut both_in(network.edge(0), &Login::room(ROOM)).await? {
            // An operation of no meaning, which is echoed; a message would come back to the room.
            let body = vec![b'x'; BODY_MAX];
            let reply = client.request(UNKNOWN, UNKNOWN, body).await?;
            ensure!(reply.body.is_empty(), "{reply:?}");
            let body = vec![b'x'; BODY_MAX + 1];
            client.send(&Frame::request(UNKNOWN, 9, body).encode()).await?;
            client.closed().await?;
        }
        Ok(())
    });
}

#[test]
fn forty_pipelined_requests_get_forty_replies() {
    network(1, async |network| {
        for client in &mut both_in(network.edge(0), &Login::room(ROOM)).await? {
            for sequence in 1..=40 {
                let frame = Frame::request(operation::HEARTBEAT, 100 + sequence, Bytes::new());
                client.send(&frame.encode()).await?;
            }
            for sequence in 1..=40 {
                let reply = client.receive().await?;
                let got = reply.as_ref().map(|frame| (frame.operation, frame.sequence));
                ensure!(got == Some((operation::HEARTBEAT_REPLY, 100 + sequence)), "{reply:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn requests_in_one_piece_get_replies_in_order() {
    network(1, async |network| {
        for client in &mut both_in(network.edge(0), &Login::room(ROOM)).await? {
            let requests: Vec<u8> = (1..=10)
                .flat_map(|n| Frame::request(operation::SUB, 200 + n, format!("{n}")).encode())
                .collect();
            client.send(&requests).await?;
            for n in 1..=10 {
                let reply = client.receive().await?;
                let got = reply.as_ref().map(|frame| (frame.sequence, frame.body.clone()));
                ensure!(got == Some((200 + n, format!("{n}").into())), "{reply:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_second_login_with_one_key_takes_its_place() {
    network(1, async |network| {
        let login = Login { key: "device-1".to_owned(), accepts: vec![1000], ..Login::room(ROOM) };
        let mut first = Client::tcp(network.edge(0).tcp).await?;
        first.login(&login).await?;
        let mut second = Client::websocket(network.edge(0).http, "/sub").await?;
        second.login(&login).await?;
        first.closed().await?;
        let api = network.api();
        api.push("keys", "operation=1000&keys=device-1", "to the second").await?;
        ensure!(second.push().await?.body == b"to the second".as_slice());
        second.heartbeat().await?;
        Ok(())
    });
}

#[test]
fn a_key_that_moves_to_another_edge_is_reached_there() {
    network(2, async |network| {
        let login = Login { key: "device-1".to_owned(), accepts: vec![1000], ..Login::default() };
        let api = network.api();
        let mut before = Client::tcp(network.edge(0).tcp).await?;
        before.login(&login).await?;
        for turn in 1..=6 {
            let mut after = Client::tcp(network.edge(turn % 2).tcp).await?;
            after.login(&login).await?;
            drop(before);
            let body = format!("turn {turn}");
            api.push("keys", "operation=1000&keys=device-1", body.clone()).await?;
            let got = after.push().await?.body;
            ensure!(got == body, "turn {turn}: got {:?}", got);
            before = after;
        }
        Ok(())
    });
}

#[test]
fn a_second_login_on_one_connection_is_no_login() {
    network(1, async |network| {
        for client in &mut both_in(network.edge(0), &Login::room(ROOM)).await? {
            let other = Login::room("live://2").body();
            let reply = client.request(operation::AUTH, operation::AUTH, other).await?;
            ensure!(reply.body.is_empty(), "{reply:?}");
            push_reaches(network, std::slice::from_mut(client), "the first room").await?;
        }
        Ok(())
    });
}

#[test]
fn frames_before_the_login_are_ignored() {
    network(1, async |network| {
        for client in &mut both(network.edge(0)).await? {
            for early in [operation::HEARTBEAT, operation::SUB, operation::CHANGE_ROOM] {
                client.send(&Frame::request(early, 77, ROOM).encode()).await?;
            }
            client.login(&Login::room(ROOM)).await?;
            push_reaches(network, std::slice::from_mut(client), "after the login").await?;
        }
        Ok(())
    });
}

#[test]
fn a_login_that_is_not_json_ends_the_connection() {
    network(1, async |network| {
        for body in ["", "{", "[]", r#"{"mid":"not a number"}"#] {
            for client in &mut both(network.edge(0)).await? {
                client.send(&Frame::request(operation::AUTH, 1, body).encode()).await?;
                client.closed().await?;
            }
        }
        Ok(())
    });
}

#[test]
fn unknown_operations_are_echoed_without_body() {
    network(1, async |network| {
        for client in &mut both_in(network.edge(0), &Login::room(ROOM)).await? {
            for unknown in [1000, 99, operation::SEND] {
                let reply = client.request(unknown, unknown, "anything").await?;
                ensure!(reply.body.is_empty(), "{reply:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_websocket_path_may_have_a_query() {
    network(1, async |network| {
        let mut client = Client::websocket(network.edge(0).http, "/sub?token=1").await?;
        client.login(&Login::room(ROOM)).await?;
        push_reaches(network, std::slice::from_mut(&mut client), "with a query").await
    });
}

#[test]
fn accepts_filter_what_goes_to_keys_mids_and_all_but_not_to_rooms() {
    network(1, async |network| {
        let api = network.api();
        let token = centrifuge::token(TOKEN_SECRET, "7")?;
        let login =
            Login { mid: 7, key: "k".into(), accepts: vec![1000], token, ..Login::room(ROOM) };
        let mut client = Client::tcp(network.edge(0).tcp).await?;
        client.login(&login).await?;
        let mut expect = async |operations: &[i32]| -> Result<()> {
            // Each of the three ways is in order, so that what is filtered comes first.
            for operation in [1001, 1000] {
                api.push("keys", &format!("operation={operation}&keys=k"), "key").await?;
                api.push("mids", &format!("operation={operation}&mids=7"), "mid").await?;
                api.push("all", &format!("operation={operation}&speed=100000"), "all").await?;
            }
            api.push("room", "operation=1999&type=live&room=1000", "end").await?;
            let mut got = Vec::new();
            while got.len() < operations.len() * 3 + 1 {
                let push = client.push().await?;
                got.push((push.operation, String::from_utf8_lossy(&push.body).into_owned()));
            }
            got.sort();
            let mut due = vec![(1999, "end".to_owned())];
            for operation in operations {
                due.extend(["key", "mid", "all"].map(|body| (*operation, body.to_owned())));
            }
            due.sort();
            ensure!(got == due, "got {got:?}, due {due:?}");
            let change = if operations.len() == 1 { client.sub("1001") } else { client.sub("1") };
            change.await
        };
        expect(&[1000]).await?;
        expect(&[1000, 1001]).await?;
        client.unsub("1000").await?;
        api.push("mids", "operation=1000&mids=7", "no more").await?;
        api.push("mids", "operation=1001&mids=7", "but this").await?;
        ensure!(client.push().await?.body == b"but this".as_slice());
        Ok(())
    });
}

#[test]
fn online_counts_are_told_to_back_ends() {
    network(2, async |network| {
        let api = network.api();
        let mut clients = Vec::new();
        for (edge, room) in [(0, "live://1"), (1, "live://1"), (1, "live://2")] {
            let mut client = Client::tcp(network.edge(edge).tcp).await?;
            client.login(&Login::room(room)).await?;
            clients.push(client);
        }
        let rooms = async || api.goim("online/room?type=live&rooms=1&rooms=2&rooms=3").await;
        let due = json!({ "1": 2, "2": 1, "3": 0 });
        until("online of rooms", rooms, |counts| *counts == due).await?;
        let top = async || api.goim("online/top?type=live&limit=1").await;
        let due = json!([{ "room_id": "1", "count": 2 }]);
        until("top rooms", top, |rooms| *rooms == due).await?;
        let total = async || api.goim("online/total").await;
        until("total", total, |total| total["conn_count"] == 3).await?;
        drop(clients.pop());
        let rooms = async || api.goim("online/room?type=live&rooms=2").await;
        until("online after a leave", rooms, |counts| *counts == json!({ "2": 0 })).await?;
        Ok(())
    });
}

#[test]
fn pushes_that_cannot_be_are_refused() {
    network(1, async |network| {
        let api = network.api();
        for (kind, query) in [
            ("room", "operation=0&type=live&room=1"),
            ("room", "type=live&room=1"),
            ("room", "operation=1000&room=1"),
            ("mids", "operation=1000&mids=1,2"),
            ("all", "operation=many"),
        ] {
            let answer = api.push_answer(kind, query, "body").await?;
            ensure!(answer.status == 400, "{kind}?{query}: {}", answer.status);
            ensure!(answer.json()?["code"] == -400, "{kind}?{query}: {}", answer.text());
        }
        api.push("keys", "operation=1000&keys=nobody", "to nobody").await?;
        api.push("mids", "operation=1000&mids=404", "to nobody").await
    });
}

#[test]
fn a_client_that_does_not_read_delays_nobody() {
    network(1, async |network| {
        let edge = network.edge(0);
        let login = Login { key: "stuck".to_owned(), ..Login::room(ROOM) };
        let mut stuck = Client::tcp(edge.tcp).await?;
        stuck.login(&login).await?;
        let mut clients = both_in(edge, &Login::room(ROOM)).await?;
        let api = network.api();
        let large = "x".repeat(60_000);
        for n in 0..200 {
            api.push("room", PUSH, format!("{n} {large}")).await?;
            for client in &mut clients {
                let push = client.push().await?;
                ensure!(push.body.starts_with(format!("{n} ").as_bytes()), "out of order at {n}");
            }
        }
        let mut again = Client::tcp(edge.tcp).await?;
        again.login(&login).await?;
        Ok(())
    });
}

//! Behaviours that re-implementations of the Centrifuge protocol get wrong, at the level of its frames.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::centrifuge::Client;
use tests::network::{Network, Plan};
use tests::wait::until;

use crate::{network, network_with, publish};

const CHANNEL: &str = "live:1000";

async fn connect(network: &Network) -> Result<Client> {
    Client::connect(network.edge(0).http, json!({})).await
}

/// Opens a connection, sends `frame` and expects it to be closed with `code` and a reason that is not
/// JSON, so that SDKs take the code for what it is.
async fn closes(network: &Network, connected: bool, frame: &str, code: u16) -> Result<()> {
    let mut client = if connected {
        connect(network).await?
    } else {
        Client::open(network.edge(0).http).await?
    };
    client.send(frame).await?;
    let closed = client.closed().await?;
    ensure!(closed.code == code, "{frame:?}: {closed:?}, expected {code}");
    let reason = &closed.reason;
    let json = serde_json::from_str::<Value>(reason).is_ok();
    ensure!(!reason.is_empty() && !json, "{frame:?}: the reason {reason:?} misleads SDKs");
    Ok(())
}

#[test]
fn connect_and_subscribe_in_one_frame_are_answered_in_order() {
    network(1, async |network| {
        let mut client = Client::open(network.edge(0).http).await?;
        let (connect, first) = client.line("connect", json!({ "name": "js" }));
        let (one, second) = client.line("subscribe", json!({ "channel": "live:1", "flag": 1 }));
        let (two, third) = client.line("subscribe", json!({ "channel": "live:2", "flag": 1 }));
        client.send(&format!("{first}\n{second}\n{third}\n")).await?;
        let reply = client.reply(connect).await?;
        let result = &reply["connect"];
        let told = [&result["client"], &result["version"]].map(|v| v.as_str().unwrap_or(""));
        ensure!(told.iter().all(|text| !text.is_empty()), "{reply}");
        ensure!(result["ping"].as_u64() > Some(0) && result["pong"] == true, "{reply}");
        for id in [one, two] {
            let reply = client.reply(id).await?;
            ensure!(reply["subscribe"].is_object(), "{reply}");
            ensure!(reply["subscribe"].get("id").is_none(), "a numeric channel id: {reply}");
        }
        Ok(())
    });
}

#[test]
fn ids_may_start_anywhere() {
    network(1, async |network| {
        let mut client = Client::open(network.edge(0).http).await?;
        client.send(r#"{"id":37,"connect":{}}"#).await?;
        client.reply(37).await?;
        client.send(r#"{"id":4294967295,"subscribe":{"channel":"live:1"}}"#).await?;
        client.reply(4_294_967_295).await?;
        Ok(())
    });
}

#[test]
fn what_breaks_the_protocol_closes_with_3501() {
    network(1, async |network| {
        closes(network, false, r#"{"id":1,"subscribe":{"channel":"live:1"}}"#, 3501).await?;
        closes(network, false, r#"{"connect":{}}"#, 3501).await?;
        closes(network, true, r#"{"id":2,"connect":{}}"#, 3501).await?;
        closes(network, true, "", 3501).await?;
        closes(network, true, "{", 3501).await?;
        closes(network, true, "{\"id\":2,\"rpc\":{}}\n\n{\"id\":3,\"rpc\":{}}", 3501).await?;
        closes(network, true, r#"{"id":2}"#, 3501).await?;
        closes(network, true, r#"{"id":2,"subscribe":{"channel":""}}"#, 3501).await?;
        closes(network, true, "{}", 3501).await
    });
}

#[test]
fn subscribing_twice_is_an_error_and_leaves_one_subscription() {
    network(1, async |network| {
        let mut client = connect(network).await?;
        client.subscribe(CHANNEL).await?;
        let again = json!({ "channel": CHANNEL });
        ensure!(client.refusal("subscribe", again).await? == 105);
        for n in 1..=2 {
            network.api().publish(CHANNEL, &json!(n)).await?;
        }
        for n in 1..=2 {
            let publication = client.publication().await?;
            ensure!(publication["data"] == n, "due {n}, which comes once: {publication}");
        }
        Ok(())
    });
}

#[test]
fn channels_that_cannot_be_are_refused() {
    network(1, async |network| {
        let mut client = connect(network).await?;
        let long = format!("live:{}", "x".repeat(300));
        for (channel, code) in
            [(long.as_str(), 107), ("nosuchnamespace:1", 102), ("live:聊天", 107), ("@all", 103)]
        {
            let got = client.refusal("subscribe", json!({ "channel": channel })).await?;
            ensure!(got == code, "{channel}: {got}, expected {code}");
        }
        Ok(())
    });
}

#[test]
fn unsubscribing_is_answered_whether_or_not_one_was_subscribed() {
    // With one shard a room's message is written to all its members before the next one is.
    let plan = Plan { edge: vec!["shards=1".to_owned()], ..Plan::edges(1) };
    network_with(plan, async |network| {
        let api = network.api();
        let mut witness = connect(network).await?;
        witness.subscribe(CHANNEL).await?;
        let mut client = connect(network).await?;
        client.subscribe("live:after").await?;
        let (subscribe, first) = client.line("subscribe", json!({ "channel": CHANNEL }));
        let (unsubscribe, second) = client.line("unsubscribe", json!({ "channel": CHANNEL }));
        client.send(&format!("{first}\n{second}")).await?;
        ensure!(client.reply(subscribe).await?["subscribe"].is_object());
        ensure!(client.reply(unsubscribe).await?["unsubscribe"].is_object());
        client.ask("unsubscribe", json!({ "channel": CHANNEL })).await?;
        until("presence", async || api.clients(CHANNEL).await, |count| *count == 1).await?;
        api.publish(CHANNEL, &json!(1)).await?;
        ensure!(witness.publication().await?["data"] == 1);
        api.publish("live:after", &json!(2)).await?;
        let push = client.push().await?;
        ensure!(push["channel"] == "live:after", "a push after unsubscribe: {push}");
        Ok(())
    });
}

#[test]
fn no_push_overtakes_its_subscribe_reply_and_none_is_lost_behind_it() {
    network(1, async |network| {
        let api = network.api();
        let published = publish::numbers(&api, CHANNEL, 0..300);
        let joined = async {
            for _ in 0..10 {
                let mut client = connect(network).await?;
                let result = client.subscribe(CHANNEL).await?;
                let mut next = result["offset"].as_u64().unwrap_or(0) + 1;
                while next <= 300 {
                    let publication = client.publication().await?;
                    ensure!(publication["offset"] == next, "{publication}, due {next}");
                    next += 1;
                }
            }
            Ok(())
        };
        tokio::try_join!(published, joined).map(drop)
    });
}

#[test]
fn recovery_gives_exactly_what_was_missed() {
    network(1, async |network| {
        publish::numbers(&network.api(), CHANNEL, 0..20).await?;
        let mut client = connect(network).await?;
        let fresh = client.subscribe(CHANNEL).await?;
        let epoch = fresh["epoch"].as_str().context("epoch")?.to_owned();
        ensure!(fresh["offset"] == 20 && fresh["recoverable"] == true, "{fresh}");
        ensure!(fresh.get("publications").is_none() && fresh.get("was_recovering").is_none());
        let cases = [
            (json!({ "epoch": epoch, "offset": 15 }), true, 15, 5),
            (json!({ "epoch": epoch, "offset": 20 }), true, 20, 0),
            (json!({ "epoch": epoch }), true, 0, 20),
            (json!({}), true, 0, 20),
            (json!({ "epoch": epoch, "offset": 25 }), false, 20, 0),
            (json!({ "epoch": "other", "offset": 15 }), false, 20, 0),
            (json!({ "epoch": "_", "offset": 20 }), false, 20, 0),
        ];
        for (place, recovered, offset, count) in cases {
            client.ask("unsubscribe", json!({ "channel": CHANNEL })).await?;
            let mut request = place.clone();
            request["channel"] = json!(CHANNEL);
            request["recover"] = json!(true);
            let result = client.ask("subscribe", request).await?;
            let publications = result["publications"].as_array().map_or(0, Vec::len);
            let offset_told = result["offset"].as_u64().unwrap_or(0);
            let got = (result["recovered"] == true, offset_told, publications);
            ensure!(got == (recovered, offset, count), "{place}: {result}");
            ensure!(result["was_recovering"] == true, "{place}: {result}");
            ensure!(result["epoch"] == epoch.as_str(), "{place}: {result}");
        }
        Ok(())
    });
}

#[test]
fn only_publications_of_clients_say_who_sent_them() {
    network(1, async |network| {
        let mut client = connect(network).await?;
        client.subscribe(CHANNEL).await?;
        network.api().publish(CHANNEL, &json!({ "from": "the back end" })).await?;
        let publication = client.publication().await?;
        ensure!(publication.get("info").is_none(), "{publication}");
        client.ask("publish", json!({ "channel": CHANNEL, "data": { "from": "me" } })).await?;
        let publication = client.publication().await?;
        let info = &publication["info"];
        ensure!(info["client"].is_string() && info["user"].is_string(), "{publication}");
        Ok(())
    });
}

#[test]
fn tags_and_null_travel_as_they_are() {
    network(1, async |network| {
        let mut client = connect(network).await?;
        client.subscribe(CHANNEL).await?;
        let api = network.api();
        let request = json!({ "channel": CHANNEL, "data": null, "tags": { "kind": "gift" } });
        api.publish_as(&request).await?;
        let publication = client.publication().await?;
        ensure!(publication["data"].is_null() && publication.get("data").is_some());
        ensure!(publication["tags"] == json!({ "kind": "gift" }), "{publication}");
        Ok(())
    });
}

#[test]
fn a_repeated_idempotency_key_delivers_nothing_new() {
    network(1, async |network| {
        let api = network.api();
        let mut client = connect(network).await?;
        client.subscribe(CHANNEL).await?;
        let request = json!({ "channel": CHANNEL, "data": 1, "idempotency_key": "once" });
        let first = api.publish_as(&request).await?;
        ensure!(api.publish_as(&request).await? == first);
        let second = api.publish(CHANNEL, &json!(2)).await?;
        ensure!(second.offset == first.offset + 1, "{second:?} after {first:?}");
        ensure!(client.publication().await?["data"] == 1);
        ensure!(client.publication().await?["data"] == 2);
        Ok(())
    });
}

#[test]
fn back_ends_unsubscribe_and_disconnect_clients() {
    network(1, async |network| {
        let api = network.api();
        let mut client = connect(network).await?;
        client.subscribe(CHANNEL).await?;
        let present = async || api.call("presence", &json!({ "channel": CHANNEL })).await;
        let presence = until("presence", present, |presence| {
            presence["presence"].as_object().is_some_and(|clients| clients.len() == 1)
        })
        .await?;
        let clients = presence["presence"].as_object().context("presence")?;
        let id = clients.keys().next().context("a client")?.clone();

        let request = json!({ "user": "", "channel": CHANNEL, "client": id });
        api.call("unsubscribe", &request).await?;
        let push = client.push().await?;
        ensure!(push["channel"] == CHANNEL && push["unsubscribe"]["code"] == 2000, "{push}");
        ensure!(push["unsubscribe"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));

        api.call("disconnect", &json!({ "user": "", "client": id })).await?;
        let closed = client.closed().await?;
        ensure!(closed.code == 3503 && !closed.reason.is_empty(), "{closed:?}");
        Ok(())
    });
}

#[test]
fn the_server_api_refuses_as_documented() {
    network(1, async |network| {
        let api = network.api();
        for (method, request, code) in [
            ("publish", json!({ "channel": "nosuchnamespace:1", "data": 1 }), 102),
            ("publish", json!({ "channel": "", "data": 1 }), 107),
            ("publish", json!({ "channel": CHANNEL }), 107),
            ("history", json!({ "channel": "nosuchnamespace:1" }), 102),
        ] {
            let got = api.refusal(method, &request).await?;
            ensure!(got == code, "{method} {request}: {got}, expected {code}");
        }
        let commands = json!({ "commands": [
            { "publish": { "channel": CHANNEL, "data": 1 } },
            {},
            { "presence_stats": { "channel": CHANNEL } },
        ] });
        let replies = api.envelope("batch", &commands).await?["replies"].take();
        ensure!(replies[0]["publish"]["offset"] == 1, "{replies}");
        ensure!(replies[1]["error"]["code"] == 104, "{replies}");
        ensure!(replies[2]["presence_stats"]["num_clients"] == 0, "{replies}");
        let stranger = tests::api::Origin::new(network.api_url(), "not the key");
        let refused = stranger.publish(CHANNEL, &json!(1)).await.map_err(|error| error.to_string());
        ensure!(refused.as_ref().is_err_and(|error| error.contains("401")), "{refused:?}");
        Ok(())
    });
}

#[test]
fn history_remove_keeps_the_epoch_and_the_top() {
    network(1, async |network| {
        let api = network.api();
        publish::numbers(&api, CHANNEL, 0..5).await?;
        let before = api.call("history", &json!({ "channel": CHANNEL, "limit": 0 })).await?;
        api.call("history_remove", &json!({ "channel": CHANNEL })).await?;
        let after = api.call("history", &json!({ "channel": CHANNEL, "limit": -1 })).await?;
        ensure!(after["publications"] == json!([]), "{after}");
        ensure!((&after["epoch"], &after["offset"]) == (&before["epoch"], &json!(5)), "{after}");
        ensure!(api.publish(CHANNEL, &json!(1)).await?.offset == 6);
        Ok(())
    });
}

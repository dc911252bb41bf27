use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::namespace::{Namespaces, Options};
use shared::wire::control;

use super::*;
use crate::io::fixture::{Temporary, no_hooks};
use crate::io::hook::HookConfig;

/// An API over an origin with a folder of its own.
struct Fixture {
    api: Api,
    _temporary: Temporary,
}

impl Fixture {
    fn new(hook: HookConfig) -> Self {
        let silent = Options { history_size: 0, presence: false, ..Options::default() };
        let temporary = Temporary::open(|settings| {
            settings.namespaces = Namespaces::new(
                [("live".to_owned(), Options::default()), ("silent".to_owned(), silent)].into(),
            );
            settings.hook = hook;
        });
        let keys = vec![Secret::new("old"), Secret::new("key")];
        let access = ApiAccess { keys, api_open: false, goim_open: false };
        let origin = temporary.origin.clone();
        let api = Api { origin, access, name: "one".to_owned(), started: Instant::now() };
        Self { api, _temporary: temporary }
    }

    async fn ask(
        &self,
        method: HttpMethod,
        target: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let request = Request {
            method,
            path: path.to_owned(),
            query: Query::parse(query).unwrap(),
            headers: map,
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: ([127, 0, 0, 1], 1).into(),
        };
        let response = self.api.answer(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, target: &str, body: &Value) -> Value {
        let headers = [("x-api-key", "key")];
        let (status, text) = self.ask(HttpMethod::POST, target, &headers, &body.to_string()).await;
        assert_eq!(status, 200, "{target}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn goim(&self, method: HttpMethod, target: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.ask(method, target, &[("x-api-key", "key")], body).await;
        (status, serde_json::from_str(&text).unwrap())
    }
}

#[tokio::test]
async fn keys_open_the_door() {
    let fixture = Fixture::new(no_hooks());
    for (headers, query, expected) in [
        (vec![], "", 401),
        (vec![("x-api-key", "wrong")], "", 401),
        (vec![("x-api-key", "key")], "", 200),
        (vec![("x-api-key", "old")], "", 200),
        (vec![("authorization", "apikey key")], "", 200),
        (vec![("authorization", "bearer key")], "", 401),
        (vec![("x-api-key", "wrong"), ("authorization", "apikey key")], "", 401),
        (vec![("x-api-key", "wrong")], "?api_key=key", 200),
        (vec![], "?api_key=kez", 401),
    ] {
        let target = format!("/api/info{query}");
        let (status, body) = fixture.ask(HttpMethod::POST, &target, &headers, "{}").await;
        assert_eq!(status, expected, "{headers:?} {query}");
        assert!(status == 200 || body.is_empty());
    }
    let (status, _) = fixture.ask(HttpMethod::GET, "/api/info", &[("x-api-key", "key")], "").await;
    assert_eq!(status, 405);
    let (status, _) = fixture.ask(HttpMethod::POST, "/api/no", &[("x-api-key", "key")], "").await;
    assert_eq!(status, 404);
    for path in ["/else", "/apipublish", "/goimpush"] {
        let (status, _) = fixture.ask(HttpMethod::POST, path, &[("x-api-key", "key")], "{}").await;
        assert_eq!(status, 404, "{path}");
    }
    let (status, _) = fixture.ask(HttpMethod::GET, "/goim/online/total", &[], "").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn publish_history_and_remove() {
    let fixture = Fixture::new(no_hooks());
    let publish = json!({"channel": "live:1", "data": {"n": 1}, "idempotency_key": "k"});
    let first = fixture.post("/api/publish", &publish).await;
    assert_eq!(first["result"]["offset"], 1);
    assert_eq!(fixture.post("/api/publish", &publish).await, first);
    let epoch = first["result"]["epoch"].as_str().unwrap().to_owned();

    let broadcast = json!({"channels": ["live:1", "", "no:1", "silent:1", "live://2"], "data": 2});
    let reply = fixture.post("/api/broadcast", &broadcast).await;
    let responses = reply["result"]["responses"].as_array().unwrap();
    assert_eq!(responses[0]["result"]["offset"], 2);
    assert_eq!(responses[1]["error"]["code"], 107);
    assert_eq!(responses[2]["error"], json!({"code": 102, "message": "unknown channel"}));
    assert_eq!(responses[3], json!({"result": {}}), "no offsets where nobody can resume");
    assert_eq!(responses[4]["result"]["offset"], 1);

    let history = json!({"channel": "live://1", "limit": -1, "reverse": true});
    let reply = fixture.post("/api/history", &history).await;
    assert_eq!(
        reply,
        json!({"result": {
            "publications": [{"data": 2, "offset": 2}, {"data": {"n": 1}, "offset": 1}],
            "offset": 2, "epoch": epoch,
        }})
    );
    let since = json!({"channel": "live:1", "limit": 9, "since": {"offset": 1, "epoch": epoch}});
    let reply = fixture.post("/api/history", &since).await;
    assert_eq!(reply["result"]["publications"].as_array().unwrap().len(), 1);
    let foreign = json!({"channel": "live:1", "since": {"offset": 1, "epoch": "zzz"}});
    assert_eq!(fixture.post("/api/history", &foreign).await["error"]["code"], 112);
    let silent = fixture.post("/api/history", &json!({"channel": "silent:1"})).await;
    assert_eq!(silent["error"]["code"], 108);

    let removed = fixture.post("/api/history_remove", &json!({"channel": "live:1"})).await;
    assert_eq!(removed, json!({"result": {}}));
    let reply = fixture.post("/api/history", &history).await;
    assert_eq!(reply["result"], json!({"publications": [], "offset": 2, "epoch": epoch}));
}

#[tokio::test]
async fn errors_in_both_modes() {
    let fixture = Fixture::new(no_hooks());
    let unknown = json!({"channel": "no:1", "data": 1});
    let reply = fixture.post("/api/publish", &unknown).await;
    assert_eq!(reply, json!({"error": {"code": 102, "message": "unknown channel"}}));
    let headers = [("x-api-key", "key"), ("x-centrifugo-error-mode", "transport")];
    let (status, body) =
        fixture.ask(HttpMethod::POST, "/api/publish", &headers, &unknown.to_string()).await;
    assert_eq!((status, body.as_str()), (404, "{\"code\":102,\"message\":\"unknown channel\"}"));
    let (status, _) = fixture.ask(HttpMethod::POST, "/api/publish", &headers, "{").await;
    assert_eq!(status, 400);
    let empty = fixture.post("/api/publish", &json!({"channel": "live:1"})).await;
    assert_eq!(empty["error"]["code"], 107);
    let rpc = fixture.post("/api/rpc", &json!({"method": "x"})).await;
    assert_eq!(rpc, json!({"error": {"code": 104, "message": "not found"}}));
}

#[tokio::test]
async fn batches_keep_their_order_and_the_old_api_answers_in_lines() {
    let fixture = Fixture::new(no_hooks());
    let batch = json!({"commands": [
        {"publish": {"channel": "live:1", "data": 1}},
        {"publish": {"channel": "no:1", "data": 1}},
        {"history": {"channel": "live:1", "limit": 9}},
        {"publish": {"channel": "live:1", "data": 2}},
        {},
        null,
    ]});
    let reply = fixture.post("/api/batch", &batch).await;
    let replies = reply["replies"].as_array().unwrap();
    assert_eq!(replies[0]["publish"]["offset"], 1);
    assert_eq!(replies[1]["error"]["code"], 102);
    assert_eq!(replies[2]["history"]["publications"].as_array().unwrap().len(), 1);
    assert_eq!(replies[3]["publish"]["offset"], 2);
    assert_eq!(replies[4]["error"]["code"], 104);
    assert_eq!(replies[5]["error"]["code"], 107);

    let lines = "{\"method\":\"publish\",\"params\":{\"channel\":\"live:1\",\"data\":3}}\n\
                 {\"id\":7,\"method\":\"presence_stats\",\"params\":{\"channel\":\"live:1\"}}\n\
                 {\"method\":\"nothing\"}";
    let headers = [("authorization", "apikey key")];
    let (status, text) = fixture.ask(HttpMethod::POST, "/api", &headers, lines).await;
    assert_eq!(status, 200);
    let replies: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(replies[0]["result"]["offset"], 3);
    let stats = json!({"id": 7, "result": {"num_clients": 0, "num_users": 0}});
    assert_eq!(replies[1], stats);
    assert_eq!(replies[2]["error"]["code"], 104);
}

fn someone(client: &str, user: &str, channel: &str) -> control::PresenceChange {
    control::PresenceChange {
        channel: channel.to_owned(),
        joined: true,
        info: Some(control::ClientInfo {
            user: user.to_owned(),
            client: client.to_owned(),
            conn_info: Bytes::from_static(b"{\"a\":1}"),
            chan_info: Bytes::new(),
        }),
    }
}

fn with_an_edge(fixture: &Fixture) {
    let origin = &fixture.api.origin;
    origin.edge_line_opened("bj", 5);
    let presence = control::PresenceUpdate {
        seq: 1,
        snapshot: true,
        changes: vec![someone("c1", "42", "live:1"), someone("c2", "42", "live:1")],
    };
    origin.handle_presence("bj", 5, presence);
    let room = |channel: &str, count| control::RoomCount { channel: channel.to_owned(), count };
    let online = control::OnlineUpdate {
        seq: 2,
        snapshot: true,
        rooms: vec![room("live:1", 2), room("live:2", 5), room("news", 1)],
        connections: 7,
        addresses: 3,
    };
    origin.handle_online("bj", 5, online);
}

#[tokio::test]
async fn who_and_how_many() {
    let fixture = Fixture::new(no_hooks());
    with_an_edge(&fixture);
    let channel = json!({"channel": "live:1"});
    let reply = fixture.post("/api/presence", &channel).await;
    let c1 = json!({"client": "c1", "user": "42", "conn_info": {"a": 1}});
    assert_eq!(reply["result"]["presence"]["c1"], c1);
    let reply = fixture.post("/api/presence_stats", &channel).await;
    assert_eq!(reply["result"], json!({"num_clients": 2, "num_users": 1}));
    let silent = fixture.post("/api/presence", &json!({"channel": "silent:1"})).await;
    assert_eq!(silent["error"]["code"], 108);
    let reply = fixture.post("/api/channels", &json!({"pattern": "live:*"})).await;
    let live = json!({"live:1": {"num_clients": 2}, "live:2": {"num_clients": 5}});
    assert_eq!(reply["result"]["channels"], live);
    let reply = fixture.post("/api/info", &json!({})).await;
    assert_eq!(reply["result"]["nodes"][0]["name"], "one");
    assert_eq!(reply["result"]["nodes"][1]["num_clients"], 7);
    assert_eq!(reply["result"]["nodes"][1]["num_users"], 1);

    let get = HttpMethod::GET;
    let (_, top) = fixture.goim(get.clone(), "/goim/online/top?type=live&limit=1", "").await;
    assert_eq!(top["data"], json!([{"room_id": "2", "count": 5}]));
    let (_, rooms) =
        fixture.goim(get.clone(), "/goim/online/room?type=live&rooms=1&rooms=9", "").await;
    assert_eq!(rooms, json!({"code": 0, "message": "", "data": {"1": 2, "9": 0}}));
    let (_, total) = fixture.goim(get.clone(), "/goim/online/total", "").await;
    assert_eq!(total["data"], json!({"ip_count": 3, "conn_count": 7}));
    let (status, negative) = fixture.goim(get, "/goim/online/top?type=live&limit=-1", "").await;
    assert_eq!((status, &negative["code"]), (200, &json!(-400)));
}

#[tokio::test]
async fn goims_pushes_reach_the_same_channels() {
    let fixture = Fixture::new(no_hooks());
    let post = HttpMethod::POST;
    for target in [
        "/goim/push/room?operation=1000&type=live&room=1",
        "/goim/push/mids?operation=1000&mids=42",
        "/goim/push/keys?operation=1000&keys=k1",
        "/goim/push/all?operation=1000&speed=9",
    ] {
        for body in ["hi", ""] {
            let (status, reply) = fixture.goim(post.clone(), target, body).await;
            assert_eq!((status, reply), (200, json!({"code": 0, "message": ""})), "{target}");
        }
    }
    let empty = fixture.post("/api/publish", &json!({"channel": "live:1"})).await;
    assert_eq!(empty["error"]["code"], 107, "that nothing is published is goim's alone");
    for channel in ["live:1", "#42"] {
        let history = json!({"channel": channel, "limit": -1});
        let reply = fixture.post("/api/history", &history).await;
        let pushed = json!([{"data": "hi", "offset": 1}, {"data": "", "offset": 2}]);
        assert_eq!(reply["result"]["publications"], pushed);
    }
    let (_, reply) = fixture.goim(post.clone(), "/goim/push/mids?operation=1", "hi").await;
    assert_eq!(reply["code"], 0, "nobody to push to is no fault");
    let target = "/goim/push/room?operation=1&type=nothing&room=1";
    let (status, reply) = fixture.goim(post.clone(), target, "hi").await;
    assert_eq!((status, &reply["code"]), (200, &json!(-400)));
    let (status, reply) = fixture.goim(post, "/goim/push/room?type=live&room=1", "hi").await;
    assert_eq!((status, &reply["code"]), (400, &json!(-400)));
}

#[tokio::test]
async fn commands_reach_whoever_listens() {
    let fixture = Fixture::new(no_hooks());
    fixture.api.origin.edge_line_opened("bj", 5);
    let mut commands = fixture.api.origin.commands("bj");
    let reply = fixture.post("/api/disconnect", &json!({"user": "42"})).await;
    assert_eq!(reply, json!({"result": {}}));
    let Some(control::command::Kind::Disconnect(disconnect)) =
        commands.next().await.unwrap().kind.clone()
    else {
        panic!("another command");
    };
    assert_eq!((disconnect.target.unwrap().user.as_str(), disconnect.code), ("42", 3503));

    // What no line can carry is refused, and what was issued before a line opened is not lost.
    let ids: Vec<String> = (0..120_000).map(|n| format!("{n:036}")).collect();
    let many = json!({"user": "42", "whitelist": ids});
    let reply = fixture.post("/api/disconnect", &many).await;
    assert_eq!(reply["error"]["code"], 107, "{reply}");
    let large = json!({"user": "42", "channel": "live:1", "data": "x".repeat(300 << 10)});
    let reply = fixture.post("/api/subscribe", &large).await;
    assert_eq!(reply["error"]["code"], 107, "{reply}");
    let mut next_line = fixture.api.origin.commands("bj");
    assert!(next_line.next().await.unwrap().kind.is_some());
    assert_eq!(next_line.cursor(), commands.cursor());
}

async fn answer(fixture: &Fixture, kind: control::request::Kind) -> control::response::Kind {
    let request = control::Request { kind: Some(kind), ..control::Request::default() };
    fixture.api.origin.answer("bj", request).await.kind.unwrap()
}

fn failure(kind: control::response::Kind) -> u32 {
    match kind {
        control::response::Kind::Failure(failure) => failure.code,
        other => panic!("no failure: {other:?}"),
    }
}

#[tokio::test]
async fn edges_are_answered() {
    use control::request::Kind as Ask;
    use control::response::Kind as Told;
    let fixture = Fixture::new(no_hooks());
    with_an_edge(&fixture);
    let publisher = control::ClientInfo { user: "42".into(), ..control::ClientInfo::default() };
    let publish = control::Publish {
        channel: "live:1".into(),
        body: Bytes::from_static(b"{}"),
        publisher: Some(publisher),
        idempotency_key: "k".into(),
        operation: Some(4),
    };
    let Told::Publish(first) = answer(&fixture, Ask::Publish(publish.clone())).await else {
        panic!("not published");
    };
    assert_eq!(answer(&fixture, Ask::Publish(publish)).await, Told::Publish(first));
    let history =
        control::History { channel: "live:1".into(), limit: -1, ..control::History::default() };
    let Told::History(found) = answer(&fixture, Ask::History(history)).await else {
        panic!("no history");
    };
    assert_eq!((found.top, found.messages.len(), found.messages[0].operation), (1, 1, 4));
    let query = |channel: &str| control::ChannelQuery { channel: channel.to_owned() };
    let Told::Presence(present) = answer(&fixture, Ask::Presence(query("live:1"))).await else {
        panic!("no presence");
    };
    assert_eq!(present.clients.len(), 2);
    let stats = Told::PresenceStats(control::PresenceStats { clients: 2, users: 1 });
    assert_eq!(answer(&fixture, Ask::PresenceStats(query("live:1"))).await, stats);
    assert_eq!(failure(answer(&fixture, Ask::Presence(query("silent:1"))).await), 108);
    assert_eq!(failure(answer(&fixture, Ask::Presence(query("no:1"))).await), 102);
    let rpc = control::Rpc { method: "m".into(), ..control::Rpc::default() };
    assert_eq!(failure(answer(&fixture, Ask::Rpc(rpc)).await), 108);
}

#[tokio::test]
async fn an_answer_waits_for_the_update_before_it() {
    let fixture = Fixture::new(no_hooks());
    with_an_edge(&fixture);
    let origin = fixture.api.origin.clone();
    let query = control::ChannelQuery { channel: "live:1".into() };
    let request = control::Request {
        after_update: 3,
        kind: Some(control::request::Kind::PresenceStats(query)),
        ..control::Request::default()
    };
    let asked = origin.answer("bj", request);
    let told = async {
        tokio::task::yield_now().await;
        let changes = vec![someone("c3", "7", "live:1")];
        let update = control::PresenceUpdate { seq: 3, snapshot: false, changes };
        origin.handle_presence("bj", 5, update);
    };
    let (answer, ()) = tokio::join!(asked, told);
    let stats = control::PresenceStats { clients: 3, users: 2 };
    assert_eq!(answer.kind, Some(control::response::Kind::PresenceStats(stats)));
}

#[tokio::test]
async fn only_what_is_asked_of_updates_waits_for_them() {
    let fixture = Fixture::new(no_hooks());
    let publish = control::Publish {
        channel: "live:1".into(),
        body: Bytes::from_static(b"1"),
        ..control::Publish::default()
    };
    let kind = Some(control::request::Kind::Publish(publish));
    let started = Instant::now();
    fixture
        .api
        .origin
        .answer("bj", control::Request { after_update: 9, kind, ..Default::default() })
        .await;
    assert!(started.elapsed() < std::time::Duration::from_millis(900));
}

#[tokio::test]
async fn a_crowd_is_counted_and_not_listed() {
    use control::request::Kind as Ask;
    let fixture = Fixture::new(no_hooks());
    let origin = &fixture.api.origin;
    origin.edge_line_opened("bj", 5);
    let crowd = crate::limits::PRESENCE_CLIENTS_MAX as u32 + 1;
    let changes = (0..crowd).map(|n| someone(&n.to_string(), "42", "live:1")).collect();
    let presence = control::PresenceUpdate { seq: 1, snapshot: true, changes };
    origin.handle_presence("bj", 5, presence);
    let query = control::ChannelQuery { channel: "live:1".into() };
    assert_eq!(failure(answer(&fixture, Ask::Presence(query.clone())).await), 106);
    let stats = control::PresenceStats { clients: crowd, users: 1 };
    let answer = answer(&fixture, Ask::PresenceStats(query)).await;
    assert_eq!(answer, control::response::Kind::PresenceStats(stats));
}

#[tokio::test]
async fn what_a_bound_cuts_off_a_reversed_history_is_the_oldest() {
    let fixture = Fixture::new(no_hooks());
    let origin = &fixture.api.origin;
    let name = shared::channel::ChannelName::parse("live:1").unwrap().0;
    for byte in 0..6u8 {
        let body = vec![b'0' + byte; 100 << 10];
        origin.publish(Publish::new(name.clone(), body)).await.unwrap();
    }
    let bound = 320 << 10;
    let offsets = async |since: Option<u64>, reverse| {
        let since = since.map(|offset| Since { epoch: None, offset });
        let found = origin.history(&name, 100, since, reverse, bound).await.unwrap();
        found.messages.iter().map(|message| message.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(None, false).await, [1, 2, 3]);
    assert_eq!(offsets(None, true).await, [6, 5, 4]);
    assert_eq!(offsets(Some(5), true).await, [4, 3, 2]);
    // The same from the store.
    let channel = origin.channel(&name).await.unwrap();
    let epoch = channel.position().epoch;
    let read = |to, limit| {
        let found = origin.shared.store.read_back(&name, epoch, 1, to, limit, bound).unwrap();
        found.iter().map(|message| message.offset).collect::<Vec<_>>()
    };
    assert_eq!(read(6, 100), [4, 5, 6]);
    assert_eq!(read(4, 2), [3, 4]);
    assert!(origin.shared.store.read_back(&name, epoch, 1, 7, 1, bound).is_err(), "no message 7");
}

#[tokio::test]
async fn histories_of_one_request_share_their_bytes() {
    let fixture = Fixture::new(no_hooks());
    fixture.post("/api/publish", &json!({"channel": "live:1", "data": "x"})).await;
    let (mut left, mut codes) = (100, Vec::new());
    for _ in 0..3 {
        let history = centrifugo::read(Method::History, b"{\"channel\":\"live:1\",\"limit\":-1}");
        let answer = fixture.api.call(history.unwrap().unwrap(), &mut left).await;
        codes.push(answer.err().map_or(0, |error| error.code));
    }
    assert_eq!(codes.last(), Some(&106), "{left}");
    assert_eq!(codes[0], 0);
}

#[tokio::test]
async fn messages_past_their_age_take_no_place_in_a_page() {
    let age = std::time::Duration::from_millis(400);
    let young = Options { history_age: age, ..Options::default() };
    let temporary = Temporary::open(|settings| {
        settings.namespaces = Namespaces::new([("young".to_owned(), young)].into());
    });
    let origin = &temporary.origin;
    let name = shared::channel::ChannelName::parse("young:1").unwrap().0;
    origin.publish(Publish::new(name.clone(), "old")).await.unwrap();
    tokio::time::sleep(age * 2).await;
    origin.publish(Publish::new(name.clone(), "new")).await.unwrap();
    for reverse in [false, true] {
        let found = origin.history(&name, 1, None, reverse, 1 << 20).await.unwrap();
        assert_eq!(found.messages.len(), 1);
        assert_eq!(found.messages[0].offset, 2);
    }
}

/// A back end that echoes, refuses, disconnects or sleeps, by method.
async fn back_end() -> (std::net::SocketAddr, shared::io::shutdown::Shutdown) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = shared::io::shutdown::Shutdown::new();
    let server = shared::io::http::Server::default();
    let handler = |request: Request| async move {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let answer = match asked["method"].as_str().or(asked["channel"].as_str()) {
            Some("echo") => {
                json!({"result": {"data": {"got": asked["data"], "by": asked["user"]}}})
            }
            Some("refuse") => json!({"error": {"code": 1001, "message": "no"}}),
            Some("live:1") => json!({"result": {"data": "checked"}}),
            Some("live:2") => json!({"disconnect": {"code": 4500, "reason": "out"}}),
            Some("sleep") => {
                tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                json!({})
            }
            _ => return empty(StatusCode::INTERNAL_SERVER_ERROR),
        };
        shared::io::http::json(StatusCode::OK, &answer)
    };
    tokio::spawn(server.serve(listener, shutdown.clone(), handler));
    (address, shutdown)
}

#[tokio::test]
async fn hooks_answer_refuse_and_are_not_waited_for() {
    use control::request::Kind as Ask;
    let (address, shutdown) = back_end().await;
    let uri = |path: &str| format!("http://{address}/{path}").parse().unwrap();
    let fixture = Fixture::new(HookConfig {
        rpc: Some(uri("rpc")),
        publish: Some(uri("publish")),
        ..no_hooks()
    });
    let rpc = |method: &str| {
        Ask::Rpc(control::Rpc {
            method: method.to_owned(),
            data: Bytes::from_static(b"[1]"),
            caller: Some(control::ClientInfo {
                user: "42".into(),
                ..control::ClientInfo::default()
            }),
            ..control::Rpc::default()
        })
    };
    let data = Bytes::from_static(b"{\"by\":\"42\",\"got\":[1]}");
    let told = control::response::Kind::Rpc(control::RpcResult { data });
    assert_eq!(answer(&fixture, rpc("echo")).await, told);
    assert_eq!(failure(answer(&fixture, rpc("refuse")).await), 1001);
    assert_eq!(failure(answer(&fixture, rpc("crash")).await), 100);
    let started = Instant::now();
    let slow = tokio::join!(
        answer(&fixture, rpc("sleep")),
        answer(&fixture, rpc("sleep")),
        answer(&fixture, rpc("sleep")),
    );
    assert_eq!([failure(slow.0), failure(slow.1), failure(slow.2)], [100; 3]);
    assert!(started.elapsed() < std::time::Duration::from_secs(3), "the deadline holds for all");

    let publish = |channel: &str| {
        Ask::Publish(control::Publish {
            channel: channel.to_owned(),
            body: Bytes::from_static(b"1"),
            ..control::Publish::default()
        })
    };
    let told = answer(&fixture, publish("live:1")).await;
    assert!(matches!(told, control::response::Kind::Publish(_)), "{told:?}");
    let history = json!({"channel": "live:1", "limit": 1});
    let reply = fixture.post("/api/history", &history).await;
    assert_eq!(reply["result"]["publications"][0]["data"], "checked");
    let control::response::Kind::Failure(out) = answer(&fixture, publish("live:2")).await else {
        panic!("published");
    };
    assert_eq!((out.disconnect, out.message.as_str()), (4500, "out"));
    shutdown.trigger();
}

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use shared::limits::INFO_BYTES_MAX;
use shared::message::Class;

use super::*;
use crate::limits::API_COMMANDS_MAX;

fn call(method: &str, body: &str) -> Call {
    read(Method::parse(method).unwrap(), body.as_bytes()).unwrap().unwrap()
}

fn error(method: &str, body: &str) -> u32 {
    read(Method::parse(method).unwrap(), body.as_bytes()).unwrap().unwrap_err().code
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap().0
}

#[test]
fn publishing() {
    let plain = |body: &'static str| Call::Publish(Publish::new(name("live:1"), body));
    for (body, expected) in [
        ("{\"channel\":\"live:1\",\"data\":{\"a\": 1}}", plain("{\"a\": 1}")),
        ("{\"channel\":\"live://1\",\"data\":[\n1,\r\n2]}", plain("[1,2]")),
        ("{\"channel\":\"live:1\",\"data\":null,\"ttl\":null}", plain("null")),
        ("{\"channel\":\"live:1\",\"b64data\":\"aGk=\",\"data\":1}", plain("hi")),
        ("{\"channel\":\"live:1\",\"delta\":true,\"tags\":null}", plain("")),
    ] {
        assert_eq!(call("publish", body), expected, "{body}");
    }
    let rich = "{\"channel\":\"live:1\",\"data\":1,\"tags\":{\"a\":\"b\"},\
                \"idempotency_key\":\"k\",\"class\":\"urgent\",\"op\":7}";
    let expected = Publish {
        tags: [("a".to_owned(), "b".to_owned())].into(),
        idempotency_key: "k".to_owned(),
        class: Some(Class::Urgent),
        operation: Some(7),
        ..Publish::new(name("live:1"), "1")
    };
    assert_eq!(call("publish", rich), Call::Publish(expected));
    for more in [
        "\"skip_history\":true",
        "\"version\":3",
        "\"ttl\":\"5s\"",
        "\"class\":\"gold\"",
        "\"b64data\":\"?\"",
    ] {
        let body = format!("{{\"channel\":\"live:1\",\"data\":1,{more}}}");
        assert_eq!(error("publish", &body), 107, "{more}");
    }
    assert_eq!(error("publish", "{\"data\":1}"), 107);
    assert_eq!(error("publish", ""), 107);
    for body in ["{", "[]", "{\"channel\":7}", "{\"channel\":\"a\",\"data\":{}} x"] {
        assert!(read(Method::Publish, body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn a_broadcast_answers_bad_names_in_their_place() {
    let body = "{\"channels\":[\"a\",\"\",\"b\"],\"data\":1}";
    let Call::Broadcast(messages) = call("broadcast", body) else { panic!("another call") };
    assert_eq!(messages[0], Ok(Publish::new(name("a"), "1")));
    assert_eq!(messages[1].as_ref().unwrap_err().code(), 107);
    assert_eq!(messages.len(), 3);
    assert_eq!(error("broadcast", "{\"data\":1}"), 107);
}

#[test]
fn commands_to_edges() {
    use control::command::Kind;
    let Call::Command(Kind::Disconnect(all)) = call("disconnect", "{\"user\":\"42\"}") else {
        panic!("another call")
    };
    assert_eq!((all.code, all.reason.as_str()), (3503, "force disconnect"));
    assert_eq!(all.target.unwrap().user, "42");
    let body = "{\"user\":\"42\",\"disconnect\":{\"code\":4001,\"reason\":\"out\"}}";
    let Call::Command(Kind::Disconnect(own)) = call("disconnect", body) else {
        panic!("another call")
    };
    assert_eq!((own.code, own.reason.as_str()), (4001, "out"));
    assert_eq!(error("disconnect", "{\"disconnect\":{\"code\":1000}}"), 107);
    let body = "{\"user\":\"42\",\"channel\":\"live://1\",\"info\":{\"a\":1},\
                \"recover_since\":{\"offset\":3,\"epoch\":\"a\"}}";
    let Call::Command(Kind::Subscribe(subscribe)) = call("subscribe", body) else {
        panic!("another call")
    };
    assert_eq!((subscribe.channel.as_str(), &subscribe.info[..]), ("live:1", &b"{\"a\":1}"[..]));
    assert_eq!((subscribe.recover_epoch, subscribe.recover_offset), (10, 3));
    assert_eq!(error("subscribe", "{\"user\":\"42\"}"), 107);
    assert!(matches!(call("unsubscribe", "{\"user\":\"4\"}"), Call::Command(_)));
    assert!(matches!(call("refresh", "{\"user\":\"4\",\"expired\":true}"), Call::Command(_)));
}

#[test]
fn what_is_attached_to_clients_is_bounded() {
    let info = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let subscribe = |info: &str| format!("{{\"user\":\"4\",\"channel\":\"a\",{info}}}");
    let refresh = |info: &str| format!("{{\"user\":\"4\",{info}}}");
    let json = |bytes| format!("\"info\":{}", info(bytes));
    let base64 = |bytes| format!("\"b64info\":\"{}\"", BASE64.encode(vec![b'1'; bytes]));
    let (most, more) = (INFO_BYTES_MAX, INFO_BYTES_MAX + 1);
    call("subscribe", &subscribe(&json(most)));
    call("subscribe", &subscribe(&base64(most)));
    call("refresh", &refresh(&json(most)));
    assert_eq!(error("subscribe", &subscribe(&json(more))), 107);
    assert_eq!(error("subscribe", &subscribe(&base64(more))), 107);
    assert_eq!(error("refresh", &refresh(&json(more))), 107);
}

#[test]
fn questions() {
    let history = |limit, since, reverse| {
        Call::History(History { channel: name("a"), limit, since, reverse })
    };
    assert_eq!(call("history", "{\"channel\":\"a\"}"), history(Some(0), None, false));
    let body = "{\"channel\":\"a\",\"limit\":-1,\"reverse\":true,\"since\":{\"offset\":7}}";
    assert_eq!(call("history", body), history(None, Some((None, 7)), true));
    let foreign = "{\"channel\":\"a\",\"since\":{\"offset\":7,\"epoch\":\"_\"}}";
    assert_eq!(error("history", foreign), 112);
    assert_eq!(call("channels", "{\"pattern\":\"a*\"}"), Call::Channels("a*".into()));
    assert_eq!(call("info", "{}"), Call::Info);
    assert_eq!(error("rpc", "{\"method\":\"x\"}"), 104);
    assert_eq!(error("presence", "{}"), 107);
}

#[test]
fn batches() {
    let body = "{\"parallel\":true,\"commands\":[{\"publish\":{\"channel\":\"a\",\"data\":1}},\
                {},null,{\"nothing\":{}},{\"info\":{}},{\"publish\":{}},{\"info\":null}]}";
    let items = read_batch(body.as_bytes()).unwrap().unwrap();
    let codes: Vec<u32> =
        items.iter().map(|(_, call)| call.as_ref().err().map_or(0, |e| e.code)).collect();
    assert_eq!(codes, [0, 104, 107, 104, 0, 107, 104]);
    assert_eq!(items[0].0, Some(Method::Publish));
    assert!(read_batch(b"{}").unwrap().unwrap().is_empty());
    assert!(read_batch(b"{\"commands\":[7]}").is_err());
}

#[test]
fn the_old_api() {
    let body = "{\"method\":\"Publish\",\"params\":{\"channel\":\"a\",\"data\":1},\"id\":5}\n\
                {\"params\":{\"channel\":\"a\",\"data\":1}}\n{\"method\":9,\"params\":null}\n\
                {\"method\":\"no\"}";
    let commands = read_legacy(body.as_bytes()).unwrap().unwrap();
    let publish = Call::Publish(Publish::new(name("a"), "1"));
    assert_eq!((commands[0].id, &commands[0].item.1), (5, &Ok(publish)));
    assert_eq!(commands[1].item.0, Some(Method::Publish));
    assert_eq!(commands[2].item.1, Ok(Call::Info));
    assert_eq!(commands[3].item.1.as_ref().unwrap_err().code, 104);
    assert!(read_legacy(b"{\"method\":1").is_err());
    let many = "{\"method\":\"info\"}\n".repeat(API_COMMANDS_MAX + 1);
    assert_eq!(read_legacy(many.as_bytes()).unwrap().err().unwrap().code, 107);
}

proptest::proptest! {
    #[test]
    fn noise_never_panics(noise: Vec<u8>, text in "[\\{\\}\\[\\]\":,a-z0-9 ]{0,80}") {
        for body in [&noise[..], text.as_bytes()] {
            for (_, method) in Method::NAMES {
                let _ = read(method, body);
            }
            let _ = read_batch(body);
            let _ = read_legacy(body);
            let _ = crate::hook::read_answer(body);
        }
    }
}

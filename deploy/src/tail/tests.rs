use super::*;

/// What came out, in short.
fn short(out: &[Out]) -> Vec<String> {
    let one = |out: &Out| match out {
        Out::Send(text) => text.clone(),
        Out::Message(message) => {
            format!("{} {}", message.offset.unwrap_or(0), message.data.get())
        }
        Out::Gap(first, last) => format!("gap {first}-{last}"),
        Out::NewEpoch(epoch) => format!("epoch {epoch}"),
        Out::Following(offset) => format!("after {offset}"),
        Out::Ping(seconds) => format!("ping {seconds}"),
    };
    out.iter().map(one).collect()
}

fn frame(tail: &mut Tail, frame: &str) -> Vec<String> {
    short(&tail.handle_frame(frame).unwrap())
}

fn push(offset: u64) -> String {
    format!(r#"{{"push":{{"channel":"live:1","pub":{{"data":{offset},"offset":{offset}}}}}}}"#)
}

fn publications(offsets: std::ops::RangeInclusive<u64>) -> String {
    let all: Vec<String> =
        offsets.map(|offset| format!(r#"{{"data":{offset},"offset":{offset}}}"#)).collect();
    format!("[{}]", all.join(","))
}

/// A tail that has seen offset 5 of epoch `a`.
fn at_five() -> Tail {
    let mut tail = Tail::new("live:1", None, Start::Now);
    let opening = tail.handle_open();
    assert!(opening.ends_with("{\"id\":2,\"subscribe\":{\"channel\":\"live:1\"}}"), "{opening}");
    let replies = "{\"id\":1,\"connect\":{\"ping\":25,\"pong\":true}}\n\
                   {\"id\":2,\"subscribe\":{\"recoverable\":true,\"epoch\":\"a\",\"offset\":4}}";
    assert_eq!(frame(&mut tail, replies), ["ping 25", "after 4"]);
    assert_eq!(frame(&mut tail, &push(5)), ["5 5"]);
    tail
}

#[test]
fn pings_are_answered() {
    assert_eq!(frame(&mut at_five(), "{}"), ["{}"]);
}

#[test]
fn messages_come_once_and_holes_are_said() {
    let mut tail = at_five();
    let three = [push(5), push(6), push(9)].join("\n");
    assert_eq!(frame(&mut tail, &three), ["6 6", "gap 7-8", "9 9"]);
    let unnumbered = r#"{"push":{"channel":"live:1","pub":{"data":"x"}}}"#;
    assert_eq!(frame(&mut tail, unnumbered), ["0 \"x\""]);
    let elsewhere = r#"{"push":{"channel":"live:2","pub":{"data":1,"offset":10}}}"#;
    assert!(frame(&mut tail, elsewhere).is_empty());
}

#[test]
fn a_new_connection_recovers() {
    let mut tail = at_five();
    let opening = tail.handle_open();
    let subscribe = opening.lines().nth(1).unwrap();
    let request: serde_json::Value = serde_json::from_str(subscribe).unwrap();
    let due = json!({ "channel": "live:1", "recover": true, "epoch": "a", "offset": 5 });
    assert_eq!(request["subscribe"], due);
    let reply = format!(
        r#"{{"id":4,"subscribe":{{"epoch":"a","offset":5,"recovered":true,"publications":{}}}}}"#,
        publications(6..=7)
    );
    assert_eq!(frame(&mut tail, &reply), ["6 6", "7 7", "after 7"]);
}

#[test]
fn what_cannot_be_recovered_is_read_page_by_page_before_what_is_new() {
    let mut tail = at_five();
    tail.handle_open();
    let sent = frame(&mut tail, r#"{"id":4,"subscribe":{"epoch":"a","offset":12}}"#);
    assert_eq!(sent.len(), 1);
    let request: serde_json::Value = serde_json::from_str(&sent[0]).unwrap();
    assert_eq!(request["history"]["since"], json!({ "epoch": "a", "offset": 5 }));
    assert!(frame(&mut tail, &push(13)).is_empty());

    let page = |id, offsets| {
        format!(r#"{{"id":{id},"history":{{"publications":{}}}}}"#, publications(offsets))
    };
    let first = frame(&mut tail, &page(5, 8..=9));
    assert_eq!(first[..3], ["gap 6-7", "8 8", "9 9"]);
    assert!(first[3].contains(r#""offset":9"#), "{first:?}");
    assert_eq!(
        frame(&mut tail, &page(6, 10..=12)),
        ["10 10", "11 11", "12 12", "after 12", "13 13"]
    );
}

#[test]
fn without_history_what_was_missed_is_a_gap() {
    let mut tail = at_five();
    tail.handle_open();
    frame(&mut tail, r#"{"id":4,"subscribe":{"epoch":"a","offset":8}}"#);
    frame(&mut tail, &push(9));
    let refused = r#"{"id":5,"error":{"code":108,"message":"not available"}}"#;
    assert_eq!(frame(&mut tail, refused), ["gap 6-8", "after 8", "9 9"]);
}

#[test]
fn a_new_epoch_is_said_and_read_from_its_beginning() {
    let mut tail = at_five();
    tail.handle_open();
    let out = frame(&mut tail, r#"{"id":4,"subscribe":{"epoch":"b","offset":2}}"#);
    assert_eq!(out[0], "epoch b");
    assert!(out[1].contains(r#""since":{"epoch":"b","offset":0}"#), "{out:?}");
    let page = format!(r#"{{"id":5,"history":{{"publications":{}}}}}"#, publications(1..=2));
    assert_eq!(frame(&mut tail, &page), ["1 1", "2 2", "after 2"]);
}

#[test]
fn the_past_can_be_asked_for() {
    let mut tail = Tail::new("live:1", Some("a token".to_owned()), Start::After(3));
    let opening = tail.handle_open();
    assert!(opening.contains(r#""token":"a token""#), "{opening}");
    assert!(opening.contains(r#""offset":3"#) && opening.contains(r#""epoch":"""#), "{opening}");
    let empty = r#"{"id":2,"subscribe":{"epoch":"a","recovered":true,"offset":3}}"#;
    assert_eq!(frame(&mut tail, empty), ["after 3"]);
}

#[test]
fn an_offset_in_the_future_waits_for_it() {
    let mut tail = Tail::new("live:1", None, Start::After(10));
    tail.handle_open();
    assert_eq!(frame(&mut tail, r#"{"id":2,"subscribe":{"epoch":"a","offset":8}}"#), ["after 10"]);
    assert!(frame(&mut tail, &push(9)).is_empty());
    assert_eq!(frame(&mut tail, &push(11)), ["11 11"]);
}

#[test]
fn refusals_end_for_good_unless_they_are_temporary() {
    let refuse = |error: &str| {
        let mut tail = Tail::new("live:1", None, Start::Now);
        tail.handle_open();
        tail.handle_frame(&format!(r#"{{"id":2,"error":{error}}}"#)).unwrap_err()
    };
    assert_eq!(
        refuse(r#"{"code":102,"message":"unknown channel"}"#),
        Ended::ForGood("subscribing to live:1: unknown channel (102)".to_owned())
    );
    let temporary = refuse(r#"{"code":100,"message":"internal","temporary":true}"#);
    assert!(matches!(temporary, Ended::Again(_)));

    let tail = at_five();
    assert!(matches!(tail.handle_closed(3000, "shutdown"), Ended::Again(_)));
    assert!(matches!(tail.handle_closed(1006, ""), Ended::Again(_)));
    assert!(matches!(tail.handle_closed(3503, "forced disconnect"), Ended::ForGood(_)));
}

#[test]
fn unsubscribe_pushes_are_heeded() {
    let unsubscribed = |code| {
        format!(r#"{{"push":{{"channel":"live:1","unsubscribe":{{"code":{code},"reason":"r"}}}}}}"#)
    };
    let mut tail = at_five();
    let again = frame(&mut tail, &unsubscribed(2500));
    assert!(again[0].contains(r#""recover":true"#), "{again:?}");
    let ended = tail.handle_frame(&unsubscribed(2000)).unwrap_err();
    assert_eq!(ended, Ended::ForGood("unsubscribed: r (2000)".to_owned()));
}

#[test]
fn what_is_no_protocol_ends_the_connection() {
    assert!(matches!(at_five().handle_frame("<html>"), Err(Ended::Again(_))));
}

//! The dashboard of a whole svrlist: who may look, streams, histories, alerts.

use super::*;

#[tokio::test]
async fn a_closed_dashboard_tells_strangers_nothing() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.dashboard.open = false;
    let running = Running::start(config).await;
    let http = running.addresses.listen;
    for path in ["/api/overview", "/api/map", "/api/edges/a", "/api/cells/110000/telecom", "/edges"]
    {
        let (status, answer) = get(http, path).await;
        assert_eq!(status, 401, "{path}");
        assert!(answer["error"].as_str().unwrap().contains("sign in"), "{answer}");
    }
    running.end().await;
}

/// Opens a live stream.
async fn listen(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api/live HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    stream
}

/// Reads on until `text` was told.
async fn hear(stream: &mut TcpStream, text: &str) -> String {
    let mut heard = Vec::new();
    let hearing = async {
        while !String::from_utf8_lossy(&heard).contains(text) {
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "the stream ended");
        }
    };
    tokio::time::timeout(PATIENCE, hearing).await.unwrap();
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn a_live_stream_tells_of_edges_and_ends_with_the_service() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.dashboard.streams_max = 1;
    let running = Running::start(config).await;
    let Addresses { listen: http, admin, line } = running.addresses;
    let mut stream = listen(http).await;
    let head = hear(&mut stream, "event: map").await;
    assert!(head.contains("text/event-stream") && head.contains("retry: 2000"), "{head}");
    assert_eq!(get(http, "/api/live").await.0, 503, "one is all that is allowed");
    let mut edge = EdgeLine::open(&pki, "bj-1", line).await;
    edge.report(fixture::report("bj-1", "110000", "telecom")).await;
    hear(&mut stream, "\"name\":\"bj-1\"").await;
    until_text(admin, "/metrics", |metrics| metrics.contains("live_streams 1")).await;
    // A reader who leaves makes room.
    drop(stream);
    let mut stream = loop {
        let mut stream = listen(http).await;
        if hear(&mut stream, "\r\n\r\n").await.contains("200 OK") {
            break stream;
        }
    };
    running.end().await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "it ends in order");
}

#[tokio::test]
async fn a_live_stream_that_nobody_reads_is_cut_off() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.limits.write_deadline = Duration::from_millis(50);
    let svrlist = Svrlist::open(config).await.unwrap();
    let Addresses { listen: http, admin, .. } = svrlist.addresses().unwrap();
    // So many lines that an overview does not fit into the sockets' buffers.
    for edge in 0..200 {
        let mut report = fixture::report(&format!("bj-{edge}"), "110000", "telecom");
        report.lines = vec![fixture::line_report(); crate::line::LINES_MAX];
        let edge = crate::edge::Edge::from_report(&report).unwrap();
        svrlist.desk.tell(|registry, now| registry.handle_report(edge, now));
    }
    let running = Running::serve(svrlist);
    until(http, "/api/overview", |answer| answer["edges"][199]["lines"].is_array()).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(http).await.unwrap();
    stream.write_all(b"GET /api/live HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    hear(&mut stream, "retry").await;
    until_text(admin, "/metrics", |metrics| metrics.contains("live_streams 0")).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(ended.is_err() || !rest.ends_with(b"0\r\n\r\n"), "in the middle of a piece");
    running.end().await;
}

#[tokio::test]
async fn histories_survive_a_restart() {
    let pki = Pki::new();
    let target = "/api/history?series=edge.bj-1.connections";
    let heard = |answer: &Value| {
        let points = answer["series"][0]["points"].as_array().unwrap();
        points.iter().any(|point| point[1] == 30.0)
    };
    for restarted in [false, true] {
        let mut config = pki.config();
        config.state.folder = Some(pki.folder.join("state"));
        let running = Running::start(config).await;
        let Addresses { listen: http, line, .. } = running.addresses;
        if restarted {
            let (status, answer) = get(http, target).await;
            assert!(status == 200 && heard(&answer), "{answer}");
        } else {
            let mut edge = EdgeLine::open(&pki, "bj-1", line).await;
            let mut report = fixture::report("bj-1", "110000", "telecom");
            report.connections = 30;
            edge.report(report).await;
            until(http, target, heard).await;
        }
        let (status, answer) =
            get(http, "/api/history?series=edge.bj-1.connections&points=x").await;
        assert_eq!(
            (status, &answer["field"], &answer["value"]),
            (400, &"points".into(), &"x".into())
        );
        assert!(answer["allowed"].as_str().unwrap().contains("2000"), "{answer}");
        running.end().await;
    }
}

/// Asks with a key. Answers the status.
async fn ask_as(address: SocketAddr, key: &str, method: &str, target: &str) -> u16 {
    let response = said_to(address, key, method, target).await;
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The whole response to somebody with a key.
async fn said_to(address: SocketAddr, key: &str, method: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn an_alert_is_shown_acknowledged_and_over() {
    let pki = Pki::new();
    let mut config = pki.config();
    let text = "[operator.ops]\nkey = \"key-of-ops-0123\"\nrole = \"admin\"\n\
                [operator.eye]\nkey = \"key-of-eye-0123\"\nrole = \"viewer\"";
    config.operators = crate::config::tests::config(text).unwrap().operators;
    config.places_poll = Duration::from_millis(10);
    let path = config.places.own.clone().unwrap();
    let running = Running::start(config).await;
    let Addresses { listen: http, admin, .. } = running.addresses;
    // The first look at what is refused is what later ones are compared with.
    until(http, "/api/overview", |answer| answer["now_ms"].as_u64() > Some(0)).await;
    std::fs::write(&path, "no database").unwrap();
    let raised = |answer: &Value| answer["alerts"][0]["cause"] == "places";
    let answer = until(http, "/api/overview", raised).await;
    let alert = &answer["alerts"][0];
    assert_eq!((&alert["severity"], &alert["until_ms"]), (&"warning".into(), &Value::Null));
    until_text(admin, "/metrics", |text| text.contains("alerts{severity=\"warning\"} 1")).await;
    let ack = format!("/api/alerts/{}/ack", alert["id"].as_str().unwrap());
    assert_eq!(ask_as(http, "nobody's", "POST", &ack).await, 401);
    assert_eq!(ask_as(http, "key-of-eye-0123", "POST", &ack).await, 403);
    assert_eq!(ask_as(http, "key-of-ops-0123", "GET", &ack).await, 405);
    assert_eq!(ask_as(http, "key-of-ops-0123", "POST", "/api/alerts/x/ack").await, 404);
    assert_eq!(ask_as(http, "key-of-ops-0123", "POST", &ack).await, 204);
    let seen = |answer: &Value| answer["alerts"][0]["acknowledged"]["by"] == "ops";
    until(http, "/api/alerts", seen).await;
    let audit = said_to(http, "key-of-ops-0123", "GET", "/api/audit").await;
    assert!(audit.contains("\"acknowledge\"") && audit.contains("place databases"), "{audit}");
    let refused = |why: &str| audit.contains(why);
    assert!(
        refused("sign in: ") && refused("viewers may not") && refused("no such alert"),
        "{audit}"
    );
    assert_eq!(ask_as(http, "key-of-ops-0123", "DELETE", &ack).await, 204);
    until(http, "/api/alerts", |answer| answer["alerts"][0]["acknowledged"].is_null()).await;
    std::fs::write(&path, places_of(geo_data::Carrier::Mobile)).unwrap();
    let over = |answer: &Value| answer["past"][0]["cause"] == "places";
    let answer = until(http, "/api/alerts", over).await;
    assert!(
        answer["alerts"].as_array().unwrap().is_empty() && answer["past"][0]["until_ms"].is_u64()
    );
    assert_eq!(ask_as(http, "key-of-ops-0123", "POST", &ack).await, 404, "it is over");
    running.end().await;
}

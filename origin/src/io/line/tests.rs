//! Lines from an edge over the loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use prost::Message as _;
use quinn::VarInt;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use shared::channel::ChannelName;
use shared::io::line::{LineError, Settings};
use shared::io::tls::{NodeFiles, Role, SERVER_NAME};
use shared::io::trunk::{AnsweringEnd, CallingEnd, News, Place};
use shared::line::receiver::Event;
use shared::wire::PROTOCOL_VERSION;
use shared::wire::control::{
    Command, Disconnect, Hello, OpenPull, OpenPulls, Publish as Ask, Request, Up, Welcome, command,
    down, request, up,
};

use super::*;
use crate::io::fixture::Temporary;
use crate::publish::Publish;

/// Longer than any test should take: reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixture {
    temporary: Temporary,
    nodes: Nodes,
    edge: Nodes,
    address: SocketAddr,
    shutdown: Shutdown,
    /// Tells edges where to go without ending.
    leave: watch::Sender<Option<LineEnd>>,
    _sessions: JoinSet<()>,
}

impl Fixture {
    fn new() -> Self {
        Self::of(&authority(), "one", None)
    }

    fn of(ca: &CertifiedIssuer<'static, KeyPair>, name: &str, successor: Option<LineEnd>) -> Self {
        let temporary = Temporary::open(|_| {});
        let name = format!("origin.{name}.linecast");
        let nodes = Nodes::load(&node(&temporary.folder, ca, &name)).unwrap();
        let edge = Nodes::load(&node(&temporary.folder, ca, "edge.bj.linecast")).unwrap();
        let endpoint = line::answering(any(), &nodes, &[Role::Edge], Settings::default()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let origin = temporary.origin.clone();
        let told = Told { addresses: Vec::new(), successor };
        let serving = serve(origin, nodes.clone(), endpoint, told, shutdown.clone());
        tokio::spawn(serving);
        let (leave, _) = watch::channel(None);
        let _sessions = JoinSet::new();
        Self { temporary, nodes, edge, address, shutdown, leave, _sessions }
    }

    /// An origin that can send its edges away and lives on.
    fn that_lives_on(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Self {
        let temporary = Temporary::open(|_| {});
        let name = format!("origin.{name}.linecast");
        let nodes = Nodes::load(&node(&temporary.folder, ca, &name)).unwrap();
        let edge = Nodes::load(&node(&temporary.folder, ca, "edge.bj.linecast")).unwrap();
        let endpoint = line::answering(any(), &nodes, &[Role::Edge], Settings::default()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let (leave, leaving) = watch::channel(None);
        let (origin, of) = (temporary.origin.clone(), nodes.clone());
        let mut _sessions = JoinSet::new();
        _sessions.spawn(async move {
            let switchboard = Switchboard::new(1);
            let mut sessions = JoinSet::new();
            while let Some(incoming) = endpoint.accept().await {
                let handshake = switchboard.admit(incoming).unwrap();
                if let Some(NewTrunk { edge, lines }) = switchboard.take(handshake).await {
                    let session = Session::new(origin.clone(), of.clone(), edge, &[]);
                    sessions.spawn(session.run(lines, leaving.clone()));
                }
            }
        });
        Self { temporary, nodes, edge, address, shutdown: Shutdown::new(), leave, _sessions }
    }

    /// An edge's process with a trunk of `lines` lines that stands.
    async fn call(&self, session: u64, lines: usize) -> CallingEnd {
        let locals =
            (1..=lines as u8).map(|n| LineEnd::of(SocketAddr::from(([127, 0, 0, n], 0)))).collect();
        let place = Place {
            node: "bj".into(),
            session,
            expects: Role::Origin,
            locals,
            remotes: vec![LineEnd::of(self.address)],
        };
        let mut end = CallingEnd::new(place, self.edge.clone(), Settings::default()).unwrap();
        until(&mut end, |news| matches!(news, News::Up(_)).then_some(())).await;
        end
    }

    fn kick(&self, code: u32) {
        let kick = Disconnect { code, ..Disconnect::default() };
        self.temporary.origin.command(command::Kind::Disconnect(kick)).unwrap();
    }

    async fn publish(&self, channel: &str) {
        let name = ChannelName::parse(channel).unwrap().0;
        self.temporary.origin.publish(Publish::new(name, "x")).await.unwrap();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn node(folder: &Path, ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> NodeFiles {
    let write = |ending: &str, text: String| {
        let path = folder.join(format!("{name}.{ending}"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, ca).unwrap();
    NodeFiles {
        ca: write("ca", ca.pem()),
        certificate: write("pem", certificate.pem()),
        key: write("key", key.serialize_pem()),
        revoked: None,
    }
}

/// What `find` finds in the news of a trunk.
async fn until<T>(end: &mut CallingEnd, mut find: impl FnMut(News) -> Option<T>) -> T {
    let found = async {
        loop {
            while let Some(news) = end.poll() {
                if let Some(found) = find(news) {
                    return found;
                }
            }
            end.wait().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the news does not come")
}

/// Who welcomes the trunk next.
async fn welcomed(end: &mut CallingEnd) -> String {
    until(end, |news| match news {
        News::Up(welcome) => Some(welcome.node),
        _ => None,
    })
    .await
}

/// The code of the next command.
async fn kicked(end: &mut CallingEnd) -> u32 {
    until(end, |news| match news {
        News::Control(down::Kind::Command(Command {
            kind: Some(command::Kind::Disconnect(kick)),
            ..
        })) => Some(kick.code),
        _ => None,
    })
    .await
}

fn open(pull: u64, channel: &str) -> OpenPull {
    OpenPull { pull, channel: channel.into(), credit: 9, ..OpenPull::default() }
}

async fn opened(end: &mut CallingEnd, wanted: u64) {
    until(end, |news| {
        matches!(news, News::Event(Event::Opened { pull, .. }) if pull == wanted).then_some(())
    })
    .await;
}

/// The offset of the next message of a pull.
async fn message(end: &mut CallingEnd, wanted: u64) -> u64 {
    until(end, |news| match news {
        News::Event(Event::Message { pull, message, .. }) if pull == wanted => Some(message.offset),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_revoked_edge_loses_its_lines() {
    let fixture = Fixture::new();
    let end = fixture.call(7, 1).await;
    let connection = end.connections().remove(0);
    let another = authority().pem();
    std::fs::write(fixture.temporary.folder.join("origin.one.linecast.ca"), another).unwrap();
    assert!(fixture.nodes.reload().unwrap());
    tokio::time::timeout(PATIENCE, connection.closed()).await.expect("the line stays open");
}

#[tokio::test]
async fn commands_wait_for_an_edge_without_lines() {
    let fixture = Fixture::new();
    fixture.kick(3000);
    let mut end = fixture.call(7, 1).await;
    fixture.kick(3001);
    assert_eq!(kicked(&mut end).await, 3001, "nothing of the time before its first line");
    end.connections()[0].close(VarInt::from_u32(0), b"");
    fixture.kick(3002);
    // The trunk lives on, so it is told once, on another line.
    assert_eq!(kicked(&mut end).await, 3002);
}

#[tokio::test]
async fn a_pull_number_used_again_follows_its_new_channel() {
    let fixture = Fixture::new();
    let mut end = fixture.call(7, 1).await;
    let pulls = vec![open(1, "a"), open(1, "a"), open(2, "b")];
    end.send(up::Kind::Open(OpenPulls { pulls }));
    opened(&mut end, 2).await;
    fixture.publish("a").await;
    assert_eq!(message(&mut end, 1).await, 1);
}

#[tokio::test]
async fn pulls_outlive_their_lines() {
    let fixture = Fixture::new();
    let mut end = fixture.call(7, 3).await;
    end.send(up::Kind::Open(OpenPulls { pulls: vec![open(1, "a")] }));
    opened(&mut end, 1).await;
    for offset in 1..=8 {
        // Whatever the primary is, it is closed under the message.
        if let Some(connection) = end.connections().first() {
            connection.close(VarInt::from_u32(0), b"");
        }
        fixture.publish("a").await;
        assert_eq!(message(&mut end, 1).await, offset);
    }
}

#[tokio::test]
async fn another_process_of_an_edge_replaces_the_first() {
    let fixture = Fixture::new();
    let first = fixture.call(7, 1).await;
    let connection = first.connections().remove(0);
    let mut second = fixture.call(8, 1).await;
    let closed = connection.closed();
    let closed = tokio::time::timeout(PATIENCE, closed).await.expect("the old line stays open");
    assert_eq!(LineError::from(closed).close_code(), Some(line::CLOSE_REPLACED));
    second.send(up::Kind::Open(OpenPulls { pulls: vec![open(1, "a")] }));
    opened(&mut second, 1).await;
}

#[tokio::test]
async fn a_request_that_comes_by_two_lines_counts_once() {
    let fixture = Fixture::new();
    let end = fixture.call(7, 2).await;
    let mut end = end;
    while end.connections().len() < 2 {
        end.wait().await;
    }
    let ask = Ask { channel: "a".into(), body: "x".into(), ..Ask::default() };
    let kind = Some(request::Kind::Publish(ask));
    let request = Request { id: 5, kind, ..Request::default() };
    let connections = end.connections();
    let asked = connections.iter().map(|line| line::request(line, &request, PATIENCE));
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    let name = ChannelName::parse("a").unwrap().0;
    let channel = fixture.temporary.origin.channel(&name).await.unwrap();
    assert_eq!(channel.position().offset, 1);
}

#[tokio::test]
async fn edges_move_to_a_successor_before_they_leave() {
    let ca = authority();
    let second = Fixture::of(&ca, "two", None);
    let first = Fixture::of(&ca, "one", Some(LineEnd::of(second.address)));
    let mut end = first.call(7, 2).await;
    assert_eq!(end.with(), Some("one"));
    let old = end.connections().remove(0);
    first.shutdown.trigger();
    assert_eq!(welcomed(&mut end).await, "two");
    // The edge left it, not the other way round.
    let closed = old.closed().await;
    assert!(matches!(closed, quinn::ConnectionError::LocallyClosed), "{closed}");
    end.send(up::Kind::Open(OpenPulls { pulls: vec![open(1, "a")] }));
    opened(&mut end, 1).await;
    second.publish("a").await;
    assert_eq!(message(&mut end, 1).await, 1);
}

#[tokio::test]
async fn edges_return_to_an_origin_that_they_left_and_that_lives_on() {
    let ca = authority();
    let first = Fixture::that_lives_on(&ca, "one");
    let second = Fixture::that_lives_on(&ca, "two");
    let mut end = first.call(7, 2).await;
    for (pull, (at, to)) in
        [(&first, &second), (&second, &first), (&first, &second)].iter().enumerate()
    {
        let pull = pull as u64 + 1;
        end.send(up::Kind::Open(OpenPulls { pulls: vec![open(pull, "a")] }));
        opened(&mut end, pull).await;
        at.leave.send_replace(Some(LineEnd::of(to.address)));
        let name = to.nodes.name().name;
        assert_eq!(welcomed(&mut end).await, name);
    }
    end.send(up::Kind::Open(OpenPulls { pulls: vec![open(9, "a")] }));
    opened(&mut end, 9).await;
    second.publish("a").await;
    assert_eq!(message(&mut end, 9).await, 1);
}

#[tokio::test]
async fn more_pulls_than_streams_catch_up_in_turns() {
    const PULLS: u64 = 100;
    const MESSAGES: u64 = 70;
    let fixture = Fixture::new();
    for _ in 0..MESSAGES {
        fixture.publish("a").await;
    }
    let name = ChannelName::parse("a").unwrap().0;
    let channel = fixture.temporary.origin.channel(&name).await.unwrap();
    let epoch = channel.position().epoch.number();
    let mut end = fixture.call(7, 1).await;
    let of = |pull| OpenPull { epoch, next: 1, credit: 200, ..open(pull, "a") };
    end.send(up::Kind::Open(OpenPulls { pulls: (1..=PULLS).map(of).collect() }));
    let mut had = 0;
    until(&mut end, |news| {
        had += u64::from(matches!(news, News::Event(Event::Message { .. })));
        (had == PULLS * MESSAGES).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_end_closes_in_time_whatever_it_calls() {
    let fixture = Fixture::new();
    let silent = std::net::UdpSocket::bind(any()).unwrap();
    let place = Place {
        node: "bj".into(),
        session: 7,
        expects: Role::Origin,
        locals: vec![LineEnd::of(any())],
        remotes: vec![LineEnd::of(silent.local_addr().unwrap())],
    };
    let mut end = CallingEnd::new(place, fixture.edge.clone(), Settings::default()).unwrap();
    tokio::select! {
        biased;
        () = end.wait() => panic!("nobody answers"),
        () = std::future::ready(()) => {}
    }
    let alive = fixture.call(8, 1).await;
    let connection = alive.connections().remove(0);
    let started = tokio::time::Instant::now();
    CallingEnd::close_all(vec![end, alive], "the edge ends").await;
    assert!(started.elapsed() < line::OPEN_TIMEOUT / 2, "{:?}", started.elapsed());
    assert!(connection.close_reason().is_some());
}

#[tokio::test]
async fn who_welcomes_under_another_name_is_not_believed() {
    let fixture = Fixture::new();
    let answering =
        line::answering(any(), &fixture.nodes, &[Role::Edge], Settings::default()).unwrap();
    let address = answering.local_addr().unwrap();
    let nodes = fixture.nodes.clone();
    let mut impostor = JoinSet::new();
    impostor.spawn(async move {
        let answered = line::answer(answering.accept().await.unwrap()).await.unwrap();
        let mut end = AnsweringEnd::new(nodes);
        end.take(answered, Welcome { node: "two".into(), ..Welcome::default() });
        while end.wait().await.is_ok() {}
    });
    let calling = line::calling(any(), &fixture.edge, Role::Origin, Settings::default()).unwrap();
    let protocol = PROTOCOL_VERSION;
    let hello = Hello { protocol, node: "bj".into(), session: 7, ..Hello::default() };
    let called = line::call(&calling, address, hello).await;
    assert!(matches!(called, Err(LineError::Peer(_))), "{called:?}");
}

#[tokio::test]
async fn a_line_that_takes_nothing_holds_up_no_other() {
    let fixture = Fixture::new();
    let hello = |line| Hello {
        protocol: PROTOCOL_VERSION,
        node: "bj".into(),
        session: 7,
        line,
        ..Hello::default()
    };
    let mut deaf = fixture.edge.quic_client(&[Role::Origin]).unwrap();
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(0));
    deaf.transport_config(Arc::new(transport));
    let endpoint = quinn::Endpoint::client(any()).unwrap();
    let connecting = endpoint.connect_with(deaf, fixture.address, SERVER_NAME).unwrap();
    let connection = connecting.await.unwrap();
    let (mut up, _down) = connection.open_bi().await.unwrap();
    let bytes = Up { kind: Some(up::Kind::Hello(hello(0))), number: 0 }.encode_to_vec();
    up.write_all(&(bytes.len() as u32).to_be_bytes()).await.unwrap();
    up.write_all(&bytes).await.unwrap();
    // A beat: its session has taken it.
    let beat = connection.read_datagram();
    tokio::time::timeout(PATIENCE, beat).await.expect("the session waits for it").unwrap();
    let endpoint = line::calling(any(), &fixture.edge, Role::Origin, Settings::default()).unwrap();
    let call = line::call(&endpoint, fixture.address, hello(1)).await.expect("a welcome");
    assert_eq!(call.welcome.node, "one");
}

#[tokio::test]
async fn an_address_proves_itself_where_many_handshakes_are_under_way() {
    let fixture = Fixture::new();
    let answering =
        line::answering(any(), &fixture.nodes, &[Role::Edge], Settings::default()).unwrap();
    let address = answering.local_addr().unwrap();
    let calling = line::calling(any(), &fixture.edge, Role::Origin, Settings::default()).unwrap();
    let switchboard = Switchboard::new(1);
    let (mut under_way, mut calls, mut sent_back) = (Vec::new(), Vec::new(), 0);
    while under_way.len() < 70 {
        if calls.len() < 70 {
            calls.push(calling.connect(address, SERVER_NAME).unwrap());
        }
        let incoming = tokio::time::timeout(PATIENCE, answering.accept()).await.expect("a call");
        match switchboard.admit(incoming.unwrap()) {
            Some(handshake) => under_way.push(handshake),
            None => sent_back += 1,
        }
    }
    assert_eq!(sent_back, 6, "those above 64, once");
}

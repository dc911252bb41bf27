use std::future::poll_fn;
use std::io::{self, Read, Write};

use bytes::Bytes;
use shared::channel::ChannelName;
use shared::config::{Layers, resolve};
use shared::message::{Content, Epoch, Message, Position};
use shared::wire::control;
use tokio::net::TcpListener;

use super::*;
use crate::form::Item;
use crate::hub::{News, Notice};

/// A shard's world with goim clients over TCP, whose hub is the test.
struct Fixture {
    world: World,
    hub: mpsc::UnboundedReceiver<(ShardId, ToHub)>,
    clients: Vec<(ConnectionId, std::net::TcpStream)>,
    offset: u64,
}

impl Fixture {
    async fn new(clients: usize, room: &str) -> Self {
        let file = "listen.goim = \"127.0.0.1:1\"\n\
                    upstream.addresses = [\"127.0.0.1:1\"]\n\
                    limits.replies_bytes_max = \"1MiB\"\n\
                    node = { ca = \"ca\", certificate = \"certificate\", key = \"key\" }\n";
        let layers = Layers::new("EDGE").with_file("edge.toml", file);
        let config: Config =
            resolve(layers, |_| Err(io::ErrorKind::NotFound.into())).expect("a configuration");
        let door = Arc::new(Door::new(config.limits.clone(), Instant::now()));
        let (to_hub, hub) = mpsc::unbounded_channel();
        let namespaces = Namespaces::new([("live".to_owned(), Default::default())].into());
        let (id, config, namespaces) = (ShardId(0), Arc::new(config), Arc::new(namespaces));
        let world = World::new(id, config, namespaces, door, to_hub, Arc::default());
        let mut fixture = Self { world, hub, clients: Vec::new(), offset: 0 };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..clients {
            let client = std::net::TcpStream::connect(address).unwrap();
            let (stream, peer) = listener.accept().await.unwrap();
            let way = Way { entrance: Entrance::Goim, proxied: false, tls: None };
            let arrival = Arrival { stream, peer: peer.ip(), way };
            let id = fixture.world.enter(arrival).expect("there is room");
            fixture.clients.push((id, client));
        }
        let login = format!(r#"{{"mid":1,"room_id":"{room}","platform":"web","accepts":[1000]}}"#);
        for at in 0..clients {
            let mut frame = (16 + login.len() as u32).to_be_bytes().to_vec();
            frame.extend([0, 16, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1]);
            frame.extend(login.as_bytes());
            fixture.clients[at].1.write_all(&frame).unwrap();
            fixture.until_in(fixture.clients[at].0).await;
        }
        fixture.read_all();
        fixture
    }

    /// Drives a connection and answers the hub's joins until it is logged in.
    async fn until_in(&mut self, id: ConnectionId) {
        while self.world.connection(id).expect("it lives").guest.is_stranger
            || self.world.connection(id).expect("it lives").is_busy()
        {
            poll_fn(|cx| {
                let _ = self.world.poll_connection(id, cx);
                while let Ok((_, told)) = self.hub.try_recv() {
                    if let ToHub::Join(channel, join, _) = told {
                        let (position, tail) = (position(0), Vec::new());
                        let news = News::Open { position, offsets: true, tail };
                        self.world.handle_hub(ToShard::Notice(Notice { channel, join, news }));
                        self.world.pump();
                    }
                }
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
    }

    /// Messages of the room, each told by the hub and swept for itself.
    fn publish(&mut self, room: &ChannelName, count: u64) {
        let join = self.world.shard.join_of(room).expect("the room is open");
        for _ in 0..count {
            self.offset += 1;
            let content = Content {
                body: Bytes::from_static(&[b'x'; 100]),
                operation: 1000,
                ..Content::default()
            };
            let message = Message { offset: self.offset, time_ms: 0, content };
            let news = News::Items([Item::Message(Arc::new(message))].into());
            let channel = room.clone();
            self.world.handle_hub(ToShard::Notice(Notice { channel, join, news }));
            while self.world.shard.is_unswept() {
                self.world.sweep();
            }
        }
    }

    /// What every client has received since.
    fn read_all(&mut self) -> Vec<usize> {
        let read = |(_, stream): &mut (ConnectionId, std::net::TcpStream)| {
            stream.set_nonblocking(true).unwrap();
            let mut received = 0;
            let mut buffer = [0; 1 << 16];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                received += read;
            }
            received
        };
        self.clients.iter_mut().map(read).collect()
    }
}

fn position(offset: u64) -> Position {
    Position { epoch: Epoch::new(7).expect("not zero"), offset }
}

#[tokio::test]
async fn a_delivery_allocates_nothing() {
    let (room, _) = ChannelName::parse("live://1").unwrap();
    let mut allocations = Vec::new();
    for clients in [1, 50] {
        let mut fixture = Fixture::new(clients, "live://1").await;
        fixture.publish(&room, 10); // whatever grows has grown
        fixture.read_all();
        let measured = allocation_counter::measure(|| fixture.publish(&room, 100));
        assert_eq!(fixture.read_all(), vec![100 * 116; clients]);
        allocations.push(measured.count_total);
    }
    let [one, fifty] = allocations[..] else { unreachable!() };
    // Those of a message itself: 4,900 deliveries more cost none.
    assert!(fifty <= one + 5, "{one} for one client, {fifty} for fifty");
}

#[tokio::test]
async fn what_waits_behind_a_request_goes_on_when_a_back_end_ends_it() {
    let mut fixture = Fixture::new(1, "live://1").await;
    let id = fixture.clients[0].0;
    let change = b"\0\0\0\x18\0\x10\0\x01\0\0\0\x0c\0\0\0\x02live://2";
    let heartbeat = b"\0\0\0\x10\0\x10\0\x01\0\0\0\x02\0\0\0\x03";
    fixture.clients[0].1.write_all(&[&change[..], heartbeat].concat()).unwrap();
    while !fixture.world.connection(id).expect("it lives").is_busy() {
        poll_fn(|cx| Poll::Ready(fixture.world.poll_connection(id, cx).is_ready())).await;
        tokio::task::yield_now().await;
    }
    let target = Some(control::Target { user: "1".to_owned(), ..Default::default() });
    let order = control::Unsubscribe { target, channel: "live:2".to_owned() };
    let kind = Some(command::Kind::Unsubscribe(order));
    fixture.world.handle_hub(ToShard::Command(Command { kind, number: 1 }.into()));
    fixture.world.pump();
    let refused = 16 + br#"{"code":103,"message":"removed by the back end"}"#.len();
    assert_eq!(fixture.read_all(), [refused + 20], "the heartbeat is answered, too");
}

#[tokio::test]
async fn replies_that_nobody_reads_are_bounded_over_all_clients() {
    let mut fixture = Fixture::new(4, "live://1").await;
    let ids: Vec<ConnectionId> = fixture.clients.iter().map(|(id, _)| *id).collect();
    let chunk = vec![b'x'; 100_000];
    let is_dead = |world: &mut World, id| world.connection(id).is_none_or(|c| c.dead);
    let mut rounds = 0;
    while !ids.iter().any(|id| is_dead(&mut fixture.world, *id)) {
        rounds += 1;
        assert!(rounds < 1_000, "nobody was closed: {}", fixture.world.replies);
        for id in &ids {
            fixture.world.with_protocol(*id, |_, _, out| out.bytes.extend_from_slice(&chunk));
            fixture.world.pump();
            assert!(fixture.world.replies <= (1 << 20) + chunk.len());
        }
    }
    // Each alone was far from its own bound; those who read get everything, and nothing stays counted.
    let living = |world: &mut World| ids.iter().filter(|id| !is_dead(world, **id)).count();
    assert!(living(&mut fixture.world) >= 2);
    for id in &ids {
        while fixture.world.connection(*id).is_some_and(|c| !c.dead && c.blocked) {
            fixture.read_all();
            fixture.world.handle_writable(*id);
            tokio::task::yield_now().await;
        }
        if is_dead(&mut fixture.world, *id) {
            fixture.world.remove(*id);
        }
    }
    assert_eq!(fixture.world.replies, 0);
}

#[tokio::test]
async fn ends_are_noted_by_network_and_kind_and_strangers_are_not() {
    let mut fixture = Fixture::new(3, "live://1").await;
    let over = async |fixture: &mut Fixture, id| {
        poll_fn(|cx| {
            let over = fixture.world.poll_connection(id, cx).is_ready();
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    };
    // One leaves, one is reset, one is sent on.
    let (left, stream) = fixture.clients.remove(0);
    drop(stream);
    over(&mut fixture, left).await;
    let (reset, stream) = fixture.clients.remove(0);
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    over(&mut fixture, reset).await;
    fixture.world.close_all();
    let (sent_on, stream) = fixture.clients.remove(0);
    drop(stream);
    over(&mut fixture, sent_on).await;
    fixture.world.handle_tick();
    let mut expected = Table::default();
    let loopback = IpAddr::from([127, 0, 0, 9]);
    expected.note(loopback, Blame::Left);
    expected.note(loopback, Blame::Network);
    expected.note(loopback, Blame::Order);
    assert_eq!(fixture.world.counters.take_ends(), expected);
    assert_eq!(fixture.world.counters.sessions_ended.load(Ordering::Relaxed), 3);
    assert!(fixture.world.counters.take_ends().is_empty());

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut fixture = Fixture::new(0, "live://1").await;
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let way = Way { entrance: Entrance::Goim, proxied: false, tls: None };
    let stranger = fixture.world.enter(Arrival { stream, peer: peer.ip(), way }).unwrap();
    drop(client);
    over(&mut fixture, stranger).await;
    fixture.world.handle_tick();
    assert!(fixture.world.counters.take_ends().is_empty());
}

use std::net::SocketAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use shared::io::line::Settings;
use shared::io::tls::{NodeFiles, Nodes};
use shared::io::trunk::Place;
use shared::line::LineEnd;
use shared::message::{Content, Epoch};

use super::*;
use crate::config::Limits;
use crate::hub::{JoinId, News};

/// The first pull is that of the broadcast.
const PULL: u64 = 2;
const SERVED: ShardId = ShardId(SHARDS_MAX as u8);

/// An uplink that calls nobody, one of its neighbours, and the queues of its shards.
struct Fixture {
    uplink: Uplink,
    queues: Vec<mpsc::Receiver<ToShard>>,
    start: Instant,
}

impl Fixture {
    /// A pull is open that both shards read, and the other edge, if it is served.
    fn new() -> Self {
        let nodes = nodes();
        let end = |expects| {
            let local = LineEnd::of(SocketAddr::from(([127, 0, 0, 1], 0)));
            let (node, locals) = ("bj".into(), vec![local]);
            let place = Place { node, session: 1, expects, locals, remotes: Vec::new() };
            CallingEnd::new(place, nodes.clone(), Settings::default()).unwrap()
        };
        let (shards, queues) = (0..2).map(|_| mpsc::channel(4)).unzip();
        let mut uplink = Uplink::new(Parts {
            name: "edge.bj".into(),
            origin: end(Role::Origin),
            neighbours: vec![end(Role::Edge)],
            pace: Pace {
                linger: Duration::from_secs(30),
                channels_max: 16,
                request_timeout: Duration::from_secs(5),
            },
            shards,
            namespaces: watch::channel(None).0,
            gauges: Arc::default(),
            door: Arc::new(Door::new(Limits::default(), Instant::now())),
        });
        let start = Instant::now();
        uplink.hub.handle_line_up(Arc::default());
        for shard in [ShardId(0), ShardId(1)] {
            uplink.hub.handle_join(shard, JoinId(1), room(), None, start);
        }
        let mut fixture = Self { uplink, queues, start };
        fixture.hear(Choice::Origin, [opened()]);
        for queue in &mut fixture.queues {
            assert!(matches!(next(queue), Some(News::Open { .. })));
        }
        fixture
    }

    fn hear(&mut self, of: Choice, events: impl IntoIterator<Item = Event>) {
        let mut events = events.into_iter().collect();
        self.uplink.take_events(of, &mut events, self.start);
        self.uplink.carry_out(self.start);
    }
}

fn nodes() -> Nodes {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["edge.bj.linecast".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &ca).unwrap();
    let number: u64 = rand::random();
    let folder = std::env::temp_dir().join(format!("linecast-uplink-test-{number:016x}"));
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    let nodes = Nodes::load(&NodeFiles {
        ca: write("ca", ca.pem()),
        certificate: write("pem", certificate.pem()),
        key: write("key", key.serialize_pem()),
        revoked: None,
    });
    std::fs::remove_dir_all(folder).unwrap();
    nodes.unwrap()
}

fn room() -> ChannelName {
    ChannelName::parse("live:1").unwrap().0
}

fn opened() -> Event {
    Event::Opened { pull: PULL, epoch: Epoch::new(7).unwrap(), next: 1, top: 0 }
}

fn message(offset: u64) -> Event {
    Event::Message {
        pull: PULL,
        epoch: Epoch::new(7).unwrap(),
        message: Message { offset, time_ms: 0, content: Content::default() },
        waited: Duration::ZERO,
    }
}

/// What a shard is told of the room next.
fn next(queue: &mut mpsc::Receiver<ToShard>) -> Option<News> {
    match queue.try_recv().ok()? {
        ToShard::Notice(notice) => Some(notice.news),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_the_upstream_is_heard_of_pulls() {
    let mut fixture = Fixture::new();
    let refused =
        Event::Refused { pull: PULL, code: 103, temporary: false, reason: "no such room".into() };
    fixture.hear(Choice::Neighbour(0), [refused.clone()]);
    assert!(next(&mut fixture.queues[0]).is_none(), "it is a standby");
    fixture.hear(Choice::Origin, [refused]);
    assert!(matches!(next(&mut fixture.queues[0]), Some(News::Refused { code: 103, .. })));
}

#[tokio::test]
async fn a_shard_that_takes_nothing_holds_up_nobody_for_long() {
    let mut fixture = Fixture::new();
    for offset in 1..=600 {
        fixture.hear(Choice::Origin, [message(offset)]);
        assert!(matches!(next(&mut fixture.queues[1]), Some(News::Items(_))));
    }
    assert!(!fixture.uplink.grants.is_empty(), "the upstream waits");
    fixture.uplink.carry_out(fixture.start + Duration::from_secs(2));
    assert!(fixture.uplink.grants.is_empty(), "it goes on");
    let mut had = 0;
    while fixture.uplink.shards[0].is_behind() || !fixture.queues[0].is_empty() {
        while next(&mut fixture.queues[0]).is_some() {
            had += 1;
        }
        fixture.uplink.act();
    }
    assert_eq!(had, 600);
}

#[tokio::test]
async fn a_session_that_takes_nothing_is_over() {
    let mut fixture = Fixture::new();
    let (session, mut told) = mpsc::channel(1);
    fixture.uplink.handle_served(SERVED, FromNeighbour::Came(session));
    fixture.uplink.stop_serving(fixture.start);
    assert!(fixture.uplink.served.is_empty());
    assert!(matches!(told.recv().await, Some(ToNeighbour::Quality(_))));
    assert!(told.recv().await.is_none());
}

#[tokio::test]
async fn pulls_of_others_end_once_when_they_are_served_no_more() {
    let mut fixture = Fixture::new();
    let (session, _told) = mpsc::channel(9);
    let uplink = &mut fixture.uplink;
    uplink.handle_served(SERVED, FromNeighbour::Came(session));
    uplink.quality = Arc::new(Quality {
        path: vec!["edge.bj".into(), "origin.one".into()],
        ..Quality::default()
    });
    let now = fixture.start;
    let reads = |uplink: &mut Uplink| {
        uplink.carry_out(now);
        uplink.hub.handle_lost(SERVED, [(room(), true)]);
        uplink.hub.poll_action().is_some()
    };
    uplink.handle_served(SERVED, FromNeighbour::Join(room(), JoinId(1), None));
    assert!(reads(uplink));
    uplink.stop_serving(now);
    assert!(!reads(uplink));
    uplink.hub.handle_join(SERVED, JoinId(2), room(), None, now);
    uplink.stop_serving(now);
    assert!(reads(uplink), "nothing is looked for twice");
}

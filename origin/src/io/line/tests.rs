//! Lines from an edge over the loopback.

use std::net::SocketAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use shared::io::tls::{NodeFiles, Role};
use shared::line::BudgetFactory;
use shared::wire::PROTOCOL_VERSION;
use shared::wire::control::{Disconnect, Hello, OpenPulls, command};

use super::*;
use crate::io::fixture::Temporary;
use crate::publish::Publish;

/// Longer than any test should take: reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixture {
    temporary: Temporary,
    nodes: Nodes,
    edge: Endpoint,
    address: SocketAddr,
    shutdown: Shutdown,
}

impl Fixture {
    fn new() -> Self {
        let temporary = Temporary::open(|_| {});
        let ca = authority();
        let nodes = Nodes::load(&node(&temporary.folder, &ca, "origin.one.linecast")).unwrap();
        let edge = Nodes::load(&node(&temporary.folder, &ca, "edge.bj.linecast")).unwrap();
        let (any, budget) = (SocketAddr::from(([127, 0, 0, 1], 0)), BudgetFactory::default());
        let endpoint = line::answering(any, &nodes, &[Role::Edge], budget).unwrap();
        let edge = line::calling(any, &edge, Role::Origin, budget).unwrap();
        let address = endpoint.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let serving = serve(temporary.origin.clone(), nodes.clone(), endpoint, shutdown.clone());
        tokio::spawn(serving);
        Self { temporary, nodes, edge, address, shutdown }
    }

    async fn call(&self) -> line::Call {
        let hello =
            Hello { protocol: PROTOCOL_VERSION, node: "bj".into(), session: 7, ..Hello::default() };
        line::call(&self.edge, self.address, hello).await.unwrap()
    }

    fn kick(&self, code: u32) {
        let kick = Disconnect { code, ..Disconnect::default() };
        self.temporary.origin.command(command::Kind::Disconnect(kick)).unwrap();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
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

/// The code of the next command that comes down a line.
async fn kicked(call: &mut line::Call) -> u32 {
    let next = async {
        loop {
            let message = call.down.receive().await.unwrap().unwrap();
            if let Some(down::Kind::Command(Command {
                kind: Some(command::Kind::Disconnect(kick)),
                ..
            })) = message.kind
            {
                return kick.code;
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("no command comes")
}

#[tokio::test]
async fn a_revoked_edge_loses_its_line() {
    let fixture = Fixture::new();
    let call = fixture.call().await;
    let another = authority().pem();
    std::fs::write(fixture.temporary.folder.join("origin.one.linecast.ca"), another).unwrap();
    assert!(fixture.nodes.reload().unwrap());
    tokio::time::timeout(PATIENCE, call.connection.closed()).await.expect("the line stays open");
}

#[tokio::test]
async fn commands_wait_for_an_edge_without_lines() {
    let fixture = Fixture::new();
    fixture.kick(3000);
    let mut call = fixture.call().await;
    fixture.kick(3001);
    assert_eq!(kicked(&mut call).await, 3001, "nothing of the time before its first line");
    call.connection.close(line::CLOSE_DONE, b"");
    fixture.edge.wait_idle().await;
    fixture.kick(3002);
    let mut call = fixture.call().await;
    // What the first line carried last may come again.
    let codes = [kicked(&mut call).await, kicked(&mut call).await];
    assert_eq!(codes, [3001, 3002]);
}

#[tokio::test]
async fn a_pull_number_used_again_follows_its_new_channel() {
    let fixture = Fixture::new();
    let mut call = fixture.call().await;
    let open = |pull, channel: &str| OpenPull {
        pull,
        channel: channel.into(),
        credit: 9,
        ..OpenPull::default()
    };
    let pulls = vec![open(1, "a"), open(1, "a"), open(2, "b")];
    let open = up::Kind::Open(OpenPulls { pulls });
    call.up.send(&Up { kind: Some(open), number: 0 }).await.unwrap();
    let mut live = line::FrameReceiver::accept(&call.connection).await.unwrap();
    let mut frames = Vec::new();
    while !frames.iter().any(|frame| matches!(frame, Frame::Opened { pull: 2, .. })) {
        frames.clear();
        live.receive(&mut frames).await.unwrap();
    }
    let name = ChannelName::parse("a").unwrap().0;
    fixture.temporary.origin.publish(Publish::new(name, "x")).await.unwrap();
    let followed = async {
        while !frames.iter().any(|frame| matches!(frame, Frame::Message { pull: 1, .. })) {
            frames.clear();
            live.receive(&mut frames).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, followed).await.expect("the pull is not watched");
}

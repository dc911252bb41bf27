//! The set-up `linecast`: a trunk, which is the product's own machines and shells at both ends, over a
//! line for each path, with the default settings.
//!
//! The edge's reader of a pull gets messages in order; each says how long it waited for that, so that
//! the column `unsorted` has what others' has.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use deploy::io::pki::Folder;
use quinn::Endpoint;
use shared::io::line::{self, Answered, Settings};
use shared::io::tls::{NodeName, Nodes, Role};
use shared::io::trunk::{AnsweringEnd, CallingEnd, News, Place};
use shared::line::LineEnd;
use shared::line::receiver::Event;
use shared::message::{Class, Content, Epoch, Message};
use shared::wire::control::{OpenPull, OpenPulls, Opened, Welcome, down, up};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::arrivals::Arrival;
use super::carriage::{ANY, Carriage, Ends};
use super::row::MESSAGE_BYTES;
use crate::network::new_folder;

/// Both ends of a trunk that does not stand yet.
pub(super) struct Trunk {
    upstream: Endpoint,
    upstream_nodes: Nodes,
    edge_nodes: Nodes,
}

impl Trunk {
    /// An upstream that listens.
    pub(super) fn listen() -> Result<Self> {
        let folder = new_folder();
        let pki = Folder::new(&folder);
        let node = |role, name: &str| NodeName { role, name: name.to_owned() };
        let (origin, edge) = (node(Role::Origin, UPSTREAM), node(Role::Edge, EDGE));
        pki.keep(&[origin.clone(), edge.clone()], &["localhost".to_owned()])?;
        let upstream_nodes = Nodes::load(&pki.node_files(&origin))?;
        let edge_nodes = Nodes::load(&pki.node_files(&edge))?;
        std::fs::remove_dir_all(&folder).context("remove the certificates")?;
        let settings = Settings::default();
        let upstream = line::answering(ANY, &upstream_nodes, &[Role::Edge], settings)?;
        Ok(Self { upstream, upstream_nodes, edge_nodes })
    }
}

impl Carriage for Trunk {
    fn upstream(&self) -> Result<SocketAddr> {
        Ok(self.upstream.local_addr()?)
    }

    async fn start(
        self,
        lines: &[SocketAddr],
        class: Class,
        ends: Ends,
    ) -> Result<JoinSet<Result<()>>> {
        let Ends { due, arrived, switched } = ends;
        let place = Place {
            node: EDGE.into(),
            session: 1,
            expects: Role::Origin,
            locals: vec![LineEnd::of(ANY)],
            remotes: lines
                .iter()
                .enumerate()
                .map(|(at, address)| format!("{address} carrier-{at}").parse())
                .collect::<Result<_, _>>()?,
        };
        let mut edge = CallingEnd::new(place, self.edge_nodes, Settings::default())?;
        let mut tasks = JoinSet::new();
        let (to_take, taken) = mpsc::unbounded_channel();
        tasks.spawn(answer(self.upstream, to_take));
        let sender = Sender {
            end: AnsweringEnd::new(self.upstream_nodes),
            class,
            sent: Vec::new(),
            waiting: Vec::new(),
            pulled: false,
        };
        tasks.spawn(sender.run(taken, due, switched));
        // It stands when every line is up and the pull is open.
        let mut is_open = false;
        while !is_open || edge.connections().len() < lines.len() {
            edge.wait().await;
            while let Some(news) = edge.poll() {
                match news {
                    News::Up(_) => {
                        let pull = OpenPull {
                            pull: PULL,
                            channel: "bench".into(),
                            credit: u32::MAX,
                            ..OpenPull::default()
                        };
                        edge.send(up::Kind::Open(OpenPulls { pulls: vec![pull] }));
                    }
                    News::Event(Event::Opened { .. }) => is_open = true,
                    _ => {}
                }
            }
        }
        tasks.spawn(receive(edge, arrived));
        Ok(tasks)
    }
}

/// Answers lines.
async fn answer(upstream: Endpoint, to_take: UnboundedSender<Answered>) -> Result<()> {
    let mut answering = JoinSet::new();
    loop {
        tokio::select! {
            incoming = upstream.accept() => {
                answering.spawn(line::answer(incoming.context("the endpoint closed")?));
            }
            Some(answered) = answering.join_next() => {
                if let Ok(answered) = answered? {
                    to_take.send(answered).context("the upstream ended")?;
                }
            }
        }
    }
}

/// The upstream.
struct Sender {
    end: AnsweringEnd,
    class: Class,
    sent: Vec<Message>,
    /// Numbers that wait for a line that takes them.
    waiting: Vec<u64>,
    pulled: bool,
}

impl Sender {
    async fn run(
        mut self,
        mut lines: UnboundedReceiver<Answered>,
        mut due: UnboundedReceiver<u64>,
        switched: UnboundedSender<Instant>,
    ) -> Result<()> {
        let welcome = Welcome { node: UPSTREAM.into(), session: 1, trunk: 1, ..Welcome::default() };
        loop {
            tokio::select! {
                ended = self.end.wait() => ended?,
                Some(answered) = lines.recv() => self.end.take(answered, welcome.clone()),
                Some(n) = due.recv() => self.waiting.push(n),
            }
            while let Ok(n) = due.try_recv() {
                self.waiting.push(n);
            }
            while let Some(message) = self.end.poll_control() {
                if matches!(message, up::Kind::Open(_)) {
                    let next = self.sent.len() as u64 + 1;
                    let opened =
                        Opened { pull: PULL, epoch: EPOCH, next, top: self.sent.len() as u64 };
                    self.end.send(down::Kind::Opened(opened));
                    self.pulled = true;
                }
            }
            while let Some(asked) = self.end.poll_asked() {
                for offset in asked.offsets {
                    if let Some(message) = self.sent.get(offset as usize - 1) {
                        self.end.repair(asked.line, PULL, epoch()?, message);
                    }
                }
            }
            if self.end.poll_switch().is_some_and(|switch| switch.from.is_some()) {
                let _ = switched.send(Instant::now());
            }
            self.publish()?;
        }
    }

    fn publish(&mut self) -> Result<()> {
        if self.pulled && self.end.is_ready() {
            for n in std::mem::take(&mut self.waiting) {
                if n != self.sent.len() as u64 {
                    bail!("number {n} is not next");
                }
                let mut body = vec![b'x'; MESSAGE_BYTES];
                body[..8].copy_from_slice(&n.to_be_bytes());
                let content =
                    Content { body: Bytes::from(body), class: self.class, ..Content::default() };
                let message = Message { offset: n + 1, time_ms: 0, content };
                self.end.publish(PULL, epoch()?, &message);
                self.sent.push(message);
            }
        }
        self.end.flush();
        Ok(())
    }
}

/// The edge: every message once, in order, or the run has failed.
async fn receive(mut edge: CallingEnd, arrived: UnboundedSender<Arrival>) -> Result<()> {
    let mut had = HashSet::new();
    loop {
        edge.wait().await;
        while let Some(news) = edge.poll() {
            match news {
                News::Event(Event::Message { message, waited, .. }) => {
                    if !had.insert(message.offset) {
                        bail!("message {} came twice", message.offset);
                    }
                    let at = Instant::now() - waited;
                    let _ = arrived.send(Arrival { n: message.offset - 1, at });
                }
                News::Event(Event::Opened { next, .. }) => bail!("a gap before {next}"),
                News::Down => bail!("the trunk is gone"),
                _ => {}
            }
        }
    }
}

fn epoch() -> Result<Epoch> {
    Epoch::new(EPOCH).context("an epoch")
}

const UPSTREAM: &str = "upstream";
const EDGE: &str = "edge";
const PULL: u64 = 1;
const EPOCH: u32 = 7;

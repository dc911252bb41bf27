//! The threads that face clients: one single-threaded runtime each, listeners shared with
//! SO_REUSEPORT, no lock between them on the way of a message.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use shared::io::shutdown::Shutdown;
use shared::namespace::Namespaces;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::balance::{Arrival, Balance, Handed};
use super::counters::Counters;
use super::door::Door;
use super::uplink::ToShard;
use super::world::World;
use crate::config::Config;
use crate::hub::ShardId;
use crate::pressure::Pressure;
use crate::room::ConnectionId;
use crate::shard::{TICK, ToHub};

/// A listener of one shard.
pub(super) struct Listener {
    pub(super) socket: StdListener,
    pub(super) way: Way,
}

/// What the clients of a listener speak.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// What comes first, but for what follows here.
    pub(super) entrance: Entrance,
    /// They come through proxies that say who they are, before anything else.
    pub(super) proxied: bool,
    /// They speak TLS.
    pub(super) tls: Option<Arc<ServerConfig>>,
}

/// What clients speak first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    /// goim frames.
    Goim,
    /// An HTTP head.
    Http,
}

/// What a shard's thread is started with.
pub(super) struct Start {
    pub(super) id: ShardId,
    pub(super) config: Arc<Config>,
    pub(super) listeners: Vec<Listener>,
    pub(super) balance: Balance,
    pub(super) handed: mpsc::Receiver<Handed>,
    pub(super) namespaces: watch::Receiver<Option<Arc<Namespaces>>>,
    pub(super) door: Arc<Door>,
    pub(super) pressure: watch::Receiver<Pressure>,
    pub(super) drain_rate: watch::Receiver<f64>,
    pub(super) to_hub: mpsc::UnboundedSender<(ShardId, ToHub)>,
    pub(super) from_hub: mpsc::Receiver<ToShard>,
    pub(super) counters: Arc<Counters>,
    pub(super) shutdown: Shutdown,
}

/// Starts a shard's thread. It ends with the shutdown, which it triggers if it fails.
pub(super) fn start(start: Start) -> io::Result<thread::JoinHandle<()>> {
    let name = format!("shard-{}", start.id.0);
    thread::Builder::new().name(name).spawn(move || {
        let _ends = EndsEdge(start.shutdown.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, run(start)),
            Err(error) => tracing::error!(%error, "a shard cannot start"),
        }
    })
}

/// However a shard's thread ends, half an edge is no edge.
struct EndsEdge(Shutdown);

impl Drop for EndsEdge {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// Binds an address so that every shard can listen on it, after making sure that nobody else does:
/// SO_REUSEPORT alone would share it with another edge without a word.
pub(super) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    let open = |reuse: bool| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if reuse {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(StdListener::from(socket))
    };
    drop(open(false)?);
    (0..count).map(|_| open(true)).collect()
}

async fn run(start: Start) {
    let Start { id, config, listeners, balance, handed, mut namespaces, door, .. } = start;
    let (to_hub, mut from_hub, counters) = (start.to_hub, start.from_hub, start.counters);
    let (shutdown, mut pressure, drain_time) = (start.shutdown, start.pressure, config.drain_time);
    let mut drain_rate = start.drain_rate;
    let mut is_draining = false;
    let first = namespaces.borrow_and_update().clone().unwrap_or_default();
    let world = World::new(id, config, first, door, to_hub, counters);
    let world = Rc::new(RefCell::new(world));
    let mut acceptors = JoinSet::new();
    let listening = listeners.into_iter().map(|listener| Source::new(listener, balance.clone()));
    for source in listening.chain([Ok(Source::Handed(handed))]) {
        match source {
            Ok(source) => {
                acceptors.spawn_local(accept(Rc::clone(&world), source, shutdown.clone()));
            }
            Err(error) => return tracing::error!(%error, "cannot listen"),
        }
    }
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    loop {
        let next_sweep = world.borrow().next_sweep();
        tokio::select! {
            biased;
            () = shutdown.triggered() => break,
            _ = tick.tick() => world.borrow_mut().handle_tick(),
            count = from_hub.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                let mut world = world.borrow_mut();
                for message in batch.drain(..) {
                    world.handle_hub(message);
                }
                world.pump();
            }
            () = poll_fn(|cx| world.borrow_mut().poll_unswept(cx)) => {}
            () = sleep_until(next_sweep), if next_sweep.is_some() => {}
            Ok(()) = namespaces.changed() => {
                let told = namespaces.borrow_and_update().clone();
                if let Some(told) = told {
                    world.borrow_mut().set_namespaces(told);
                }
            }
            Ok(()) = pressure.changed() => {
                let felt = *pressure.borrow_and_update();
                world.borrow_mut().set_pressure(felt);
            }
            Ok(()) = drain_rate.changed() => {
                let rate = *drain_rate.borrow_and_update();
                world.borrow_mut().set_drain_rate(rate);
            }
            () = shutdown.draining(), if !is_draining => {
                is_draining = true;
                world.borrow_mut().drain(drain_time);
            }
            Some(ended) = acceptors.join_next() => {
                if !shutdown.is_triggered() {
                    tracing::error!(?ended, "an accept loop ended");
                }
                break;
            }
        }
        world.borrow_mut().sweep();
        // However busy the hub and the rooms are, connections get their turn.
        tokio::task::yield_now().await;
    }
    // Nobody new; those here are told, and given a moment to read it.
    world.borrow_mut().close_all();
    let drained = async {
        loop {
            tokio::select! {
                ended = acceptors.join_next() => if ended.is_none() { break },
                _ = tick.tick() => world.borrow_mut().handle_tick(),
            }
        }
    };
    let _ = tokio::time::timeout(GRACE, drained).await;
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// Where a shard's connections come from.
enum Source {
    Listener {
        socket: TcpListener,
        way: Way,
        balance: Balance,
    },
    /// Other shards that have more.
    Handed(mpsc::Receiver<Handed>),
}

impl Source {
    fn new(listener: Listener, balance: Balance) -> io::Result<Self> {
        let Listener { socket, way } = listener;
        Ok(Self::Listener { socket: TcpListener::from_std(socket)?, way, balance })
    }

    /// The next connection that is this shard's; `None` if there will be no more.
    async fn next(&mut self) -> Option<io::Result<Arrival>> {
        match self {
            Self::Handed(handed) => handed.recv().await.map(Handed::arrive),
            Self::Listener { socket, way, balance } => loop {
                let (stream, peer) = match socket.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => return Some(Err(error)),
                };
                let arrival = Arrival { stream, peer: peer.ip(), way: way.clone() };
                if let Some(own) = balance.hand_on(arrival) {
                    return Some(Ok(own));
                }
            },
        }
    }
}

/// Accepts until the shutdown, and owns the tasks of what it accepted until they end.
async fn accept(world: Rc<RefCell<World>>, mut source: Source, shutdown: Shutdown) {
    let mut connections = JoinSet::new();
    let mut is_failing = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.triggered() => break,
            arrived = source.next() => match arrived {
                Some(Ok(arrival)) => {
                    is_failing = false;
                    let entered = world.borrow_mut().enter(arrival);
                    if let Some(id) = entered {
                        let world = Rc::clone(&world);
                        connections.spawn_local(drive(world, id));
                    }
                }
                Some(Err(error)) => {
                    // Out of descriptors, mostly: the connection stays in the queue, so that trying
                    // at once again would only spin.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_REST).await;
                }
                None => break,
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
    drop(source);
    while connections.join_next().await.is_some() {}
}

/// Drives a connection to its end. A panic, which is our own bug, costs that connection alone.
async fn drive(world: Rc<RefCell<World>>, id: ConnectionId) {
    let driven = poll_fn(|cx| {
        let poll = AssertUnwindSafe(|| world.borrow_mut().poll_connection(id, cx));
        catch_unwind(poll).map_or(Poll::Ready(Err(())), |poll| poll.map(Ok))
    });
    if driven.await.is_err() {
        tracing::error!("a connection's task panicked: the connection is dropped");
        world.borrow_mut().remove(id);
    }
}

/// Messages of the hub that are taken at once: the natural batch of a busy shard.
const BATCH: usize = 512;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long ending connections may take when the edge ends.
const GRACE: Duration = Duration::from_secs(4);

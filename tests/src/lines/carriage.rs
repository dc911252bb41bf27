//! What a set-up is to the benchmark: something that takes numbers at the upstream and gives them back at
//! the edge.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::Result;
use shared::message::Class;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::arrivals::Arrival;

/// Carries messages from an upstream to an edge. It exists as soon as the upstream listens.
pub(super) trait Carriage: Sized + Send {
    /// Where the upstream listens, and every line leads.
    fn upstream(&self) -> Result<SocketAddr>;

    /// Connects an edge over `lines`, which are clean while this runs, and then carries messages of
    /// this class until the tasks are dropped. A task that ends tells why it cannot go on.
    fn start(
        self,
        lines: &[SocketAddr],
        class: Class,
        ends: Ends,
    ) -> impl Future<Output = Result<JoinSet<Result<()>>>> + Send;
}

/// Where messages come from and go to.
#[derive(Debug)]
pub(super) struct Ends {
    /// Numbers of messages to send, each when it is due.
    pub(super) due: UnboundedReceiver<u64>,
    /// Messages as the edge's application gets them.
    pub(super) arrived: UnboundedSender<Arrival>,
    /// When another line became the one that messages come on.
    pub(super) switched: UnboundedSender<Instant>,
}

/// A free port of this machine.
pub(super) const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

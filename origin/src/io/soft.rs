//! What lines bring and take besides messages: who is where, how many are where, commands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::wire::control;
use tokio::sync::{broadcast, watch};

use super::now_ms;
use super::origin::Origin;
use crate::edges::Edges;
use crate::limits::COMMANDS_MAX;
use crate::online::Changed;
use crate::presence::Change;

/// The soft state of an origin.
pub(super) struct Soft {
    edges: Mutex<Edges>,
    /// Told after each update, for requests that wait for one.
    updated: watch::Sender<()>,
    commands: broadcast::Sender<Arc<control::Command>>,
}

impl Soft {
    pub(super) fn new(edges: Edges) -> Self {
        Self {
            edges: Mutex::new(edges),
            updated: watch::Sender::default(),
            commands: broadcast::Sender::new(COMMANDS_MAX),
        }
    }

    pub(super) fn edges(&self) -> MutexGuard<'_, Edges> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// A line of an edge opened; `session` names the edge's process.
    pub fn edge_line_opened(&self, edge: &str, session: u64) {
        self.shared.soft.edges().handle_line_opened(edge, session);
    }

    /// A line of an edge closed. Its clients stay for a while if it was the last one.
    pub fn edge_line_closed(&self, edge: &str, session: u64) {
        self.shared.soft.edges().handle_line_closed(edge, session, Instant::now());
    }

    /// Applies what an edge tells of who came and left; watchers of these channels hear of it.
    pub fn handle_presence(&self, edge: &str, session: u64, update: control::PresenceUpdate) {
        let now = Instant::now();
        let changes = self.shared.soft.edges().handle_presence(edge, session, update, now);
        self.tell(changes);
        self.shared.soft.updated.send_replace(());
    }

    /// Applies what an edge tells of how many are where.
    pub fn handle_online(&self, edge: &str, session: u64, update: control::OnlineUpdate) {
        self.shared.soft.edges().handle_online(edge, session, update, Instant::now());
        self.shared.soft.updated.send_replace(());
    }

    /// Gives up edges that have been away for too long.
    pub(super) fn handle_deadline(&self) {
        let changes = self.shared.soft.edges().handle_deadline(Instant::now());
        self.tell(changes);
    }

    /// The room totals that changed after `version`; 0 for all of them.
    pub fn changed_totals(&self, version: u64) -> Changed {
        self.shared.soft.edges().online().changed_since(version)
    }

    /// Sends a command to every edge.
    pub fn command(&self, command: control::command::Kind) {
        // Without edges nobody is concerned.
        let _ = self.shared.soft.commands.send(Arc::new(control::Command { kind: Some(command) }));
    }

    /// Every command from now on. A session that lags behind more than [`COMMANDS_MAX`] has lost
    /// some and must end its line, so that the edge notices.
    pub fn commands(&self) -> broadcast::Receiver<Arc<control::Command>> {
        self.shared.soft.commands.subscribe()
    }

    /// Looks at the soft state.
    pub fn with_edges<T>(&self, look: impl FnOnce(&Edges) -> T) -> T {
        look(&self.shared.soft.edges())
    }

    /// Waits until an edge's update has been applied, at most [`UPDATE_WITHIN`].
    pub(super) async fn update_applied(&self, edge: &str, update: u64) {
        let mut updated = self.shared.soft.updated.subscribe();
        let applied = async {
            while self.with_edges(|edges| edges.applied(edge)) < update {
                // The sender lives as long as we do.
                let _ = updated.changed().await;
            }
        };
        if tokio::time::timeout(UPDATE_WITHIN, applied).await.is_err() {
            tracing::debug!(edge, update, "an update is overdue; answering without it");
        }
    }

    fn tell(&self, changes: Vec<Change>) {
        for Change { channel, joined, info } in changes {
            if let Some(channel) = self.loaded(&channel) {
                channel.tell_presence(joined, &info);
            }
        }
    }

    /// The channel, if it is in memory; only then can anybody watch it.
    fn loaded(&self, name: &ChannelName) -> Option<Arc<super::channels::Channel>> {
        self.shared.channels.get(name, now_ms())
    }
}

/// How long a request waits for an update that was sent before it, by whatever line.
const UPDATE_WITHIN: Duration = Duration::from_secs(1);

//! What lines bring and take besides messages: who is where, how many are where, commands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::channel::ChannelName;
use shared::wire::control;
use tokio::sync::watch;

use super::origin::Origin;
use crate::commands::{Commands, Lagged};
use crate::edges::Edges;
use crate::online::Changed;
use crate::presence::Change;
use crate::publish::Refusal;
use shared::io::clock::unix_ms;

/// The soft state of an origin.
pub(super) struct Soft {
    edges: Mutex<Edges>,
    /// Told after each update, for requests that wait for one.
    updated: watch::Sender<()>,
    commands: Mutex<Commands>,
    /// Told after each command.
    commanded: watch::Sender<()>,
}

impl Soft {
    pub(super) fn new(edges: Edges, commands: Commands) -> Self {
        Self {
            edges: Mutex::new(edges),
            updated: watch::Sender::default(),
            commands: Mutex::new(commands),
            commanded: watch::Sender::default(),
        }
    }

    pub(super) fn edges(&self) -> MutexGuard<'_, Edges> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
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
        let now = Instant::now();
        self.shared.soft.commands().handle_deadline(now);
        let changes = self.shared.soft.edges().handle_deadline(now);
        self.tell(changes);
    }

    /// The room totals that changed after `version`; 0 for all of them.
    pub fn changed_totals(&self, version: u64) -> Changed {
        self.shared.soft.edges().online().changed_since(version)
    }

    /// Sends a command to every edge, those included whose lines are away for a moment.
    pub fn command(&self, command: control::command::Kind) -> Result<(), Refusal> {
        let command = control::Command { kind: Some(command), number: 0 };
        self.shared.soft.commands().push(command, Instant::now())?;
        self.shared.soft.commanded.send_replace(());
        Ok(())
    }

    /// The commands for a line of an edge that has just opened: all from now on, and before them
    /// those that the edge's process may have missed.
    pub fn commands(&self, edge: &str) -> CommandReader {
        let end = self.shared.soft.commands().end();
        let cursor = self.shared.soft.edges().commands_from(edge, end);
        let cursor = self.shared.soft.commands().resume(cursor);
        CommandReader { origin: self.clone(), cursor, news: self.shared.soft.commanded.subscribe() }
    }

    /// An edge has all commands before this cursor.
    pub(super) fn commands_delivered(&self, edge: &str, session: u64, cursor: u64) {
        self.shared.soft.edges().handle_commands_delivered(edge, session, cursor);
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
        self.shared.channels.get(name, unix_ms())
    }
}

/// A line's place among the commands.
pub struct CommandReader {
    origin: Origin,
    cursor: u64,
    news: watch::Receiver<()>,
}

impl CommandReader {
    /// The number of the next command.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Waits for the next command. A line that lagged behind too far has lost some and must end, so
    /// that the edge notices.
    pub async fn next(&mut self) -> Result<Arc<control::Command>, Lagged> {
        loop {
            if let Some(command) = self.origin.shared.soft.commands().read(&mut self.cursor)? {
                return Ok(command);
            }
            // The sender lives as long as we do.
            let _ = self.news.changed().await;
        }
    }
}

/// How long a request waits for an update that was sent before it, by whatever line.
const UPDATE_WITHIN: Duration = Duration::from_secs(1);

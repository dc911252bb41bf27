//! Namespaces: what holds for all channels whose name begins alike.
//!
//! The origin is configured with them and tells its edges in the line's welcome, so that there is
//! one source of truth.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::channel::{BROADCAST_NAMESPACE, ChannelName, INBOX_NAMESPACE};
use crate::limits::CATCH_UP_MESSAGES_MIN;
use crate::message::Class;
use crate::ring::Bounds;

/// What must have happened before a publisher is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The message is on stable storage: it survives a power cut.
    #[default]
    Fsync,
    /// The operating system has it: it survives the process, not the machine.
    Os,
}

impl Durability {
    /// All of them with their names in configuration.
    pub const NAMES: [(&'static str, Self); 2] = [("fsync", Self::Fsync), ("os", Self::Os)];
}

/// Which clients may do a thing. Back ends with an API key may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// No client by itself; a token for the channel still admits its bearer to subscribe.
    Nobody,
    /// A client that is subscribed to the channel (for publishing).
    Subscriber,
    /// A client that proved a user id.
    User,
    /// Every client, anonymous ones too.
    Anyone,
}

impl Access {
    /// All of them with their names in configuration.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("nobody", Self::Nobody),
        ("subscriber", Self::Subscriber),
        ("user", Self::User),
        ("anyone", Self::Anyone),
    ];

    /// Whether a client may, given what is known of it.
    pub fn admits(self, known_user: bool, subscribed: bool) -> bool {
        match self {
            Self::Nobody => false,
            Self::Subscriber => subscribed,
            Self::User => known_user,
            Self::Anyone => true,
        }
    }
}

/// What happens to a reader that is too slow for what is kept for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// It is told, as far as its protocol can, and goes on with the newest or recovers.
    #[default]
    Skip,
    /// Its connection ends with a code that names the remedy.
    Close,
}

impl SlowReader {
    /// All of them with their names in configuration.
    pub const NAMES: [(&'static str, Self); 2] = [("skip", Self::Skip), ("close", Self::Close)];
}

/// The options of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Messages kept for readers that come later, per channel; 0 switches history and recovery off.
    pub history_size: u32,
    /// How long they are kept.
    pub history_age: Duration,
    /// Bytes of bodies kept, per channel.
    pub history_bytes: u64,
    /// What an answered publish has survived.
    pub durability: Durability,
    /// The class of messages that name none.
    pub class: Class,
    /// goim's operation for messages that name none.
    pub operation: i32,
    /// Messages admitted per second and channel; 0 is without limit.
    pub rate: u32,
    /// Who may subscribe.
    pub subscribe: Access,
    /// Which clients may publish.
    pub publish: Access,
    /// Whether it is known, and may be asked, who is in a channel.
    pub presence: bool,
    /// Whether readers are told of clients that come and go; needs `presence`.
    pub join_leave: bool,
    /// Whether clients may read the history by request.
    pub history: bool,
    /// Whether subscribers recover even if they do not ask for it.
    pub force_recovery: bool,
    /// The least time between two rounds of writing to the readers of a channel, at most
    /// [`SWEEP_INTERVAL_MAX`]: messages wait so long at most, and go out together. Zero: none.
    pub sweep_interval: Duration,
    /// Droppable messages per second and channel that readers are given, a sample of all; 0 is all.
    pub droppable_rate: u32,
    /// What happens to readers that are too slow.
    pub slow: SlowReader,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_size: 1000,
            history_age: Duration::from_secs(600),
            history_bytes: 1 << 20,
            durability: Durability::Fsync,
            class: Class::Normal,
            operation: 1000,
            rate: 0,
            subscribe: Access::Anyone,
            publish: Access::Nobody,
            presence: true,
            join_leave: false,
            history: true,
            force_recovery: true,
            sweep_interval: Duration::ZERO,
            droppable_rate: 40,
            slow: SlowReader::Skip,
        }
    }
}

impl Options {
    /// Whether clients see offsets and can resume at one.
    pub fn recovers(&self) -> bool {
        self.history_size > 0
    }

    /// What a ring of such a channel keeps: the history, and at least what an edge needs to catch up.
    pub fn ring_bounds(&self) -> Bounds {
        Bounds {
            entries_max: (self.history_size as usize).max(CATCH_UP_MESSAGES_MIN),
            bytes_max: usize::try_from(self.history_bytes).unwrap_or(usize::MAX).max(64 << 10),
        }
    }
}

/// All namespaces of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespaces {
    named: BTreeMap<String, Options>,
}

impl Namespaces {
    /// The namespaces as configured. Those that the system itself needs (the default one `""`, the
    /// inboxes and the broadcast) exist in any case.
    pub fn new(mut named: BTreeMap<String, Options>) -> Self {
        named.entry(String::new()).or_default();
        named.entry(INBOX_NAMESPACE.into()).or_insert_with(Self::inbox_default);
        named.entry(BROADCAST_NAMESPACE.into()).or_insert_with(Self::inbox_default);
        Self { named }
    }

    /// The options for inboxes and the broadcast where none are configured: only back ends
    /// publish, nobody asks who listens.
    pub fn inbox_default() -> Options {
        Options {
            history_size: 100,
            subscribe: Access::Nobody,
            presence: false,
            ..Options::default()
        }
    }

    /// The options that hold for a channel; `None` where its namespace is not configured.
    pub fn options(&self, channel: &ChannelName) -> Option<&Options> {
        self.named.get(channel.namespace())
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Options)> {
        self.named.iter().map(|(name, options)| (name.as_str(), options))
    }
}

impl Default for Namespaces {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

/// The longest that messages may wait to be written together.
pub const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(1);

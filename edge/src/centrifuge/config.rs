//! What an operator may set for Centrifuge clients.

use std::time::Duration;

use shared::config::{ByteSize, Configure, Reader};

/// The configuration of the Centrifuge protocol; keys begin with `centrifuge.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether clients without a token are served, as anonymous users.
    pub allow_anonymous: bool,
    /// Whether each user is subscribed to the inbox `#<user>` at connect.
    pub personal_channel: bool,
    /// Time between pings.
    pub ping_interval: Duration,
    /// How long a pong may take; shorter than `ping_interval`.
    pub pong_timeout: Duration,
    /// How long after the handshake the connect command may come.
    pub connect_timeout: Duration,
    /// How long an expired connection or subscription lives on, to be refreshed.
    pub expired_close_delay: Duration,
    /// Subscriptions a connection may have.
    pub channels_max: usize,
    /// Bytes of one message a client may send.
    pub frame_bytes_max: ByteSize,
}

impl Default for Config {
    /// Centrifugo's defaults, but for anonymous clients: rooms here are open to everyone unless their
    /// namespace says otherwise.
    fn default() -> Self {
        Self {
            allow_anonymous: true,
            personal_channel: false,
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            connect_timeout: Duration::from_secs(10),
            expired_close_delay: Duration::from_secs(25),
            channels_max: 128,
            frame_bytes_max: ByteSize::kib(64),
        }
    }
}

impl Configure for Config {
    fn read(reader: &mut Reader) -> Self {
        let default = Self::default();
        let config = Self {
            allow_anonymous: reader.value(
                "centrifuge.allow_anonymous",
                default.allow_anonymous,
                "Whether clients without a token are served, as anonymous users.",
            ),
            personal_channel: reader.value(
                "centrifuge.personal_channel",
                default.personal_channel,
                "Whether each user is subscribed to the inbox #<user> at connect.",
            ),
            ping_interval: reader.ranged(
                "centrifuge.ping_interval",
                default.ping_interval,
                Duration::from_secs(1)..=Duration::from_secs(3600),
                "Time between pings; told to clients in whole seconds.",
            ),
            pong_timeout: reader.ranged(
                "centrifuge.pong_timeout",
                default.pong_timeout,
                Duration::from_millis(100)..=Duration::from_secs(3600),
                "How long a pong may take; shorter than centrifuge.ping_interval.",
            ),
            connect_timeout: reader.ranged(
                "centrifuge.connect_timeout",
                default.connect_timeout,
                Duration::from_millis(100)..=Duration::from_secs(600),
                "How long after the handshake the connect command may come.",
            ),
            expired_close_delay: reader.ranged(
                "centrifuge.expired_close_delay",
                default.expired_close_delay,
                Duration::ZERO..=Duration::from_secs(3600),
                "How long an expired connection or subscription lives on, to be refreshed.",
            ),
            channels_max: reader.ranged(
                "centrifuge.channels_max",
                default.channels_max,
                1..=4096,
                "Subscriptions a connection may have.",
            ),
            frame_bytes_max: reader.ranged(
                "centrifuge.frame_bytes_max",
                default.frame_bytes_max,
                ByteSize::kib(1)..=ByteSize::mib(1),
                "Bytes of one WebSocket message a client may send.",
            ),
        };
        if config.pong_timeout >= config.ping_interval {
            reader.fault(
                "centrifuge.pong_timeout",
                "must be shorter than centrifuge.ping_interval, so that a pong belongs to one ping",
            );
        }
        config
    }
}

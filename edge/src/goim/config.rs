//! What operators decide about goim and danmaku clients.

use std::time::Duration;

use shared::channel::ChannelName;
use shared::config::{Configure, Reader};

use super::auth::ROOM_PLACEHOLDER;
use crate::token;

/// Settings of both dialects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a connection may take to log in.
    pub handshake_timeout: Duration,
    /// How often clients are told to send a heartbeat.
    pub heartbeat: Duration,
    /// How many of these intervals may pass without one.
    pub heartbeat_max: u32,
    /// Who may log in.
    pub auth: AuthMode,
    /// The channel of a danmaku room, with [`ROOM_PLACEHOLDER`] for its number.
    pub danmaku_room: String,
    /// Rooms one connection may be in.
    pub rooms_max: u32,
    /// What happens to a connection that misses messages.
    pub gap: GapMode,
    /// The operation of the message that tells a goim client of it.
    pub notice_operation: i32,
}

/// Who may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Everyone. Where there are keys for tokens, only a token makes a user; where there are none,
    /// clients are believed which user they are, but nobody counts as a known one.
    Anyone,
    /// Whoever has a token.
    Token,
}

/// What happens to a connection that misses messages; neither dialect has words of its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapMode {
    /// It goes on with the newest message.
    Skip,
    /// It goes on with the newest message, after one that says what is missing.
    Notice,
    /// It is closed, so that the client connects again and knows.
    Close,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(240),
            heartbeat_max: 2,
            auth: AuthMode::Anyone,
            danmaku_room: format!("live://{ROOM_PLACEHOLDER}"),
            rooms_max: 16,
            gap: GapMode::Skip,
            notice_operation: 1999,
        }
    }
}

impl Config {
    /// How long a connection lives without a heartbeat.
    pub fn heartbeat_timeout(&self) -> Duration {
        self.heartbeat * self.heartbeat_max
    }
}

impl Configure for Config {
    fn read(reader: &mut Reader) -> Self {
        let default = Self::default();
        let config = Self {
            handshake_timeout: reader.ranged(
                "goim.handshake_timeout",
                default.handshake_timeout,
                Duration::from_secs(1)..=Duration::from_secs(60),
                "How long a goim or danmaku connection may take from being accepted to being logged in.",
            ),
            heartbeat: reader.ranged(
                "goim.heartbeat",
                default.heartbeat,
                Duration::from_secs(1)..=Duration::from_secs(3600),
                "How often clients are told to send a heartbeat; tell svrlist the same.",
            ),
            heartbeat_max: reader.ranged(
                "goim.heartbeat_max",
                default.heartbeat_max,
                1..=100,
                "Heartbeat intervals that may pass without a heartbeat before a connection is closed.",
            ),
            auth: reader.one_of(
                "goim.auth",
                if token::Config::is_configured(reader) { AuthMode::Token } else { default.auth },
                &[("anyone", AuthMode::Anyone), ("token", AuthMode::Token)],
                "Who may log in. `token`, the default where a key of connection tokens is set (token.*): \
                 clients with a JWT in the field `token` (goim) or `key` (danmaku), as its user, with a \
                 connection key that its claim `keys` lists. `anyone`, the default where no such key is \
                 set: every client; which user it is needs a token all the same where keys are set, and \
                 is believed where none are, so that everyone can read every inbox, as in goim.",
            ),
            danmaku_room: reader.value(
                "goim.danmaku_room",
                default.danmaku_room,
                "The channel of a danmaku room, with {roomid} for its number.",
            ),
            rooms_max: reader.ranged(
                "goim.rooms_max",
                default.rooms_max,
                1..=128,
                "Rooms a goim connection may be in at once.",
            ),
            gap: reader.one_of(
                "goim.gap",
                default.gap,
                &[
                    ("skip", GapMode::Skip),
                    ("notice", GapMode::Notice),
                    ("close", GapMode::Close),
                ],
                "What happens to a connection that cannot be given messages it should get. It goes on with \
                 the newest (`skip`); so it does after a message with a JSON body that has the `cmd` \
                 LINECAST_GAP, the `channel` and how many are `missing`, 0 if unknown (`notice`); or it is \
                 closed and connects again (`close`).",
            ),
            notice_operation: reader.ranged(
                "goim.notice_operation",
                default.notice_operation,
                20..=i32::MAX,
                "The operation of that message for goim clients.",
            ),
        };
        let example = config.danmaku_room.replace(ROOM_PLACEHOLDER, "1000");
        if example == config.danmaku_room {
            reader.fault("goim.danmaku_room", format_args!("must contain {ROOM_PLACEHOLDER}"));
        } else if let Err(error) = ChannelName::parse(&example) {
            reader.fault("goim.danmaku_room", error);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use shared::config::{Faults, Layers, resolve};

    use super::*;

    fn read(text: &str) -> Result<Config, Faults> {
        let layers = Layers::new("EDGE").with_file("edge.toml", text);
        resolve(layers, |_| Err(io::ErrorKind::NotFound.into()))
    }

    #[test]
    fn defaults_and_values() {
        assert_eq!(read(""), Ok(Config::default()));
        assert_eq!(Config::default().heartbeat_timeout(), Duration::from_secs(480));
        let config =
            read("[goim]\nauth = \"token\"\ngap = \"close\"\ndanmaku_room = \"d:{roomid}\"");
        let config = config.expect("valid");
        assert_eq!((config.auth, config.gap), (AuthMode::Token, GapMode::Close));
        assert_eq!(config.danmaku_room, "d:{roomid}");
    }

    #[test]
    fn tokens_are_demanded_where_they_can_be_verified() {
        struct Both(Config);
        impl Configure for Both {
            fn read(reader: &mut Reader) -> Self {
                let config = Config::read(reader);
                token::Config::read(reader);
                Self(config)
            }
        }
        let mode = |text: &str| {
            let layers = Layers::new("EDGE").with_file("edge.toml", text);
            let both: Result<Both, _> = resolve(layers, |_| Ok("a secret\n".to_owned()));
            both.expect("valid").0.auth
        };
        assert_eq!(mode("[token]\nhmac_secret = \"s\""), AuthMode::Token);
        assert_eq!(mode("[token]\nhmac_previous_secret = \"s\""), AuthMode::Token);
        assert_eq!(mode("[token]\nhmac_secret_file = \"s\""), AuthMode::Token);
        assert_eq!(mode("[token]\nissuer = \"i\""), AuthMode::Anyone);
        assert_eq!(mode("[token.subscription]\nhmac_secret = \"s\""), AuthMode::Anyone);
        let explicit = "[goim]\nauth = \"anyone\"\n[token]\nhmac_secret = \"s\"";
        assert_eq!(mode(explicit), AuthMode::Anyone);
    }

    #[test]
    fn faults() {
        for text in [
            "handshake_timeout = \"0s\"",
            "heartbeat_max = 0",
            "auth = \"nobody\"",
            "danmaku_room = \"live:1000\"",
            "danmaku_room = \"\\u0007{roomid}\"",
            "rooms_max = 0",
        ] {
            let faults = read(&format!("[goim]\n{text}")).expect_err(text);
            assert_eq!(faults.list().len(), 1, "{faults}");
        }
    }
}

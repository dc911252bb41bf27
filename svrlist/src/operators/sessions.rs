//! Sessions of operators: a machine that knows digests of tokens and their ages.
//!
//! Invariant: no more sessions than [`SESSIONS_MAX`], and [`SESSIONS_OF_ONE_MAX`] of one operator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Digest, digest};

/// What a browser shows in place of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; TOKEN_BYTES]);

impl Token {
    /// A token of random bytes.
    pub fn new(random: [u8; TOKEN_BYTES]) -> Self {
        Self(random)
    }

    /// As it stands in a cookie.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("***")
    }
}

/// Who is signed in.
#[derive(Debug)]
pub(super) struct Sessions {
    lifetime: Duration,
    idle: Duration,
    open: BTreeMap<Digest, Session>,
}

#[derive(Debug)]
struct Session {
    name: Arc<str>,
    opened: Instant,
    used: Instant,
}

impl Sessions {
    pub(super) fn new(lifetime: Duration, idle: Duration) -> Self {
        Self { lifetime, idle, open: BTreeMap::new() }
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Opens a session; should there be too many, the one that was not used for the longest ends.
    pub(super) fn open(&mut self, name: Arc<str>, token: &Token, now: Instant) {
        let (lifetime, idle) = (self.lifetime, self.idle);
        self.open.retain(|_, session| session.lasts(lifetime, idle, now));
        let of_one = self.open.values().filter(|session| session.name == name).count();
        if of_one >= SESSIONS_OF_ONE_MAX {
            self.end_oldest(|session| session.name == name);
        } else if self.open.len() >= SESSIONS_MAX {
            self.end_oldest(|_| true);
        }
        self.open.insert(digest(&token.0), Session { name, opened: now, used: now });
    }

    fn end_oldest(&mut self, among: impl Fn(&Session) -> bool) {
        let sessions = self.open.iter().filter(|(_, session)| among(session));
        let oldest = sessions.min_by_key(|(_, session)| session.used).map(|(digest, _)| *digest);
        if let Some(digest) = oldest {
            self.open.remove(&digest);
        }
    }

    /// Whose token this is; its session is in use.
    pub(super) fn use_of(&mut self, token: &Token, now: Instant) -> Option<Arc<str>> {
        let (lifetime, idle) = (self.lifetime, self.idle);
        let session = self.open.get_mut(&digest(&token.0))?;
        if !session.lasts(lifetime, idle, now) {
            self.open.remove(&digest(&token.0));
            return None;
        }
        session.used = session.used.max(now);
        Some(Arc::clone(&session.name))
    }

    /// How long a token is worth something at most.
    pub(super) fn left(&self, token: &Token, now: Instant) -> Option<Duration> {
        let session = self.open.get(&digest(&token.0))?;
        let age = now.saturating_duration_since(session.opened);
        session.lasts(self.lifetime, self.idle, now).then(|| self.lifetime.saturating_sub(age))
    }

    /// Ends a session; whose it was.
    pub(super) fn close(&mut self, token: &Token, now: Instant) -> Option<Arc<str>> {
        let session = self.open.remove(&digest(&token.0))?;
        session.lasts(self.lifetime, self.idle, now).then_some(session.name)
    }
}

impl Session {
    fn lasts(&self, lifetime: Duration, idle: Duration, now: Instant) -> bool {
        let age = |since| now.saturating_duration_since(since);
        age(self.opened) < lifetime && age(self.used) < idle
    }
}

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Sessions at the same time.
const SESSIONS_MAX: usize = 1000;
/// Sessions of one operator: some browsers on some machines.
const SESSIONS_OF_ONE_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Instant {
        crate::fixture::moment(60 * minutes).monotonic
    }

    fn token(number: u32) -> Token {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Token::new(bytes)
    }

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_secs(60 * 60), Duration::from_secs(10 * 60))
    }

    #[test]
    fn a_session_lasts_while_it_is_used_and_not_for_ever() {
        let mut sessions = sessions();
        sessions.open("ann".into(), &token(1), at(0));
        for minute in (0..60).step_by(9) {
            assert_eq!(sessions.use_of(&token(1), at(minute)).as_deref(), Some("ann"), "{minute}");
        }
        assert_eq!(sessions.left(&token(1), at(55)), Some(Duration::from_secs(5 * 60)));
        assert_eq!(sessions.use_of(&token(1), at(60)), None);
        assert_eq!(sessions.left(&token(1), at(55)), None, "it is gone");
        sessions.open("ann".into(), &token(2), at(0));
        assert_eq!(sessions.use_of(&token(2), at(10)), None, "nobody used it");
        assert_eq!(sessions.use_of(&token(3), at(0)), None);
    }

    #[test]
    fn signing_out_ends_it() {
        let mut sessions = sessions();
        sessions.open("ann".into(), &token(1), at(0));
        assert_eq!(sessions.close(&token(1), at(1)).as_deref(), Some("ann"));
        assert_eq!(sessions.use_of(&token(1), at(1)), None);
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let mut sessions = sessions();
        let mut opened = 0;
        let mut open = |sessions: &mut Sessions, name: &str| {
            opened += 1;
            sessions.open(
                name.into(),
                &token(opened),
                at(0) + Duration::from_millis(opened.into()),
            );
        };
        open(&mut sessions, "bob");
        for _ in 0..=SESSIONS_OF_ONE_MAX {
            open(&mut sessions, "ann");
        }
        let now = at(0) + Duration::from_secs(100);
        assert!(sessions.use_of(&token(1), now).is_some(), "bob is not ann");
        assert!(sessions.use_of(&token(2), now).is_none(), "her oldest made room");
        assert!(sessions.use_of(&token(3), now).is_some());
        for number in 0..2 * SESSIONS_MAX {
            open(&mut sessions, &format!("operator-{number}"));
        }
        assert_eq!(sessions.open.len(), SESSIONS_MAX);
    }

    #[test]
    fn tokens_are_read_as_they_are_written() {
        assert_eq!(Token::parse(&token(5).text()), Some(token(5)));
        assert_eq!(token(5).text().len(), 43);
        for wrong in ["", "AAAA", "-", &format!("{}A", token(5).text())] {
            assert_eq!(Token::parse(wrong), None, "{wrong}");
        }
    }
}

//! Channel names: what names a stream of messages, whatever protocol its readers speak.
//!
//! A name has one canonical form, `namespace:rest`. goim writes the same room as
//! `namespace://rest`; that is a *spelling*, not another channel, so that a message pushed to
//! `live://1000` reaches those who subscribed to `live:1000`. An edge remembers the spelling its
//! client used and answers in it. Names of inboxes and reserved ones have no second spelling: what
//! follows their mark is a user's id or a key, whatever it looks like.
//!
//! Invariant: a `ChannelName` is canonical, that is, its text parses as itself; it has 1 to
//! [`CHANNEL_BYTES_MAX`] bytes and no control characters.

use std::fmt;
use std::sync::Arc;

use crate::limits::CHANNEL_BYTES_MAX;

/// The canonical name of a channel. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// How a client wrote a channel's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Spelling {
    /// `live:1000`, the canonical form.
    #[default]
    Colon,
    /// `live://1000`, goim's form.
    Slashes,
}

/// Why a text is not a channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing but a prefix.
    #[error("a channel name must not be empty")]
    Empty,
    /// Longer than [`CHANNEL_BYTES_MAX`].
    #[error("a channel name has {0} bytes; at most {CHANNEL_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A control character, which would break logs and line-based protocols.
    #[error("a channel name must not contain control characters")]
    ControlCharacter,
    /// Such as `live:////q`: without goim's slashes it would be another spelling of `live:q`.
    #[error("a channel name must not have two more slashes after namespace://")]
    Slashes,
}

/// The namespace whose options hold for users' and keys' inboxes.
pub const INBOX_NAMESPACE: &str = "inbox";
/// The namespace whose options hold for the broadcast to all clients.
pub const BROADCAST_NAMESPACE: &str = "broadcast";

impl ChannelName {
    /// Reads a name in either spelling.
    pub fn parse(text: &str) -> Result<(Self, Spelling), NameError> {
        let exact = Self::exact(text)?;
        if exact.is_inbox() || exact.is_reserved() {
            return Ok((exact, Spelling::Colon));
        }
        match text.split_once("://") {
            Some((namespace, rest)) if !namespace.contains(':') => {
                if rest.is_empty() {
                    return Err(NameError::Empty);
                }
                if rest.starts_with("//") {
                    return Err(NameError::Slashes);
                }
                Ok((Self(format!("{namespace}:{rest}").into()), Spelling::Slashes))
            }
            _ => Ok((exact, Spelling::Colon)),
        }
    }

    /// A name that is spelled as it is.
    fn exact(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > CHANNEL_BYTES_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::ControlCharacter);
        }
        Ok(Self(text.into()))
    }

    /// goim's room: `room` of a `kind`, such as (`live`, `1000`).
    pub fn room(kind: &str, room: &str) -> Result<Self, NameError> {
        if kind.is_empty() || room.is_empty() {
            return Err(NameError::Empty);
        }
        Self::parse(&format!("{kind}://{room}")).map(|(name, _)| name)
    }

    /// The inbox of a user: goim's `mid` and Centrifuge's user id name the same one.
    pub fn inbox(user: &str) -> Result<Self, NameError> {
        if user.is_empty() {
            return Err(NameError::Empty);
        }
        Self::exact(&format!("#{user}"))
    }

    /// The inbox of one connection, by the key it logged in with.
    pub fn key(key: &str) -> Result<Self, NameError> {
        if key.is_empty() {
            return Err(NameError::Empty);
        }
        Self::exact(&format!("@key:{key}"))
    }

    /// The channel that every client of every edge hears.
    pub fn broadcast() -> Self {
        Self("@all".into())
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text a client expects that used `spelling`.
    pub fn spelled(&self, spelling: Spelling) -> String {
        match (spelling, self.0.split_once(':')) {
            (Spelling::Slashes, Some((namespace, rest))) => format!("{namespace}://{rest}"),
            _ => self.0.to_string(),
        }
    }

    /// The namespace, whose options hold for this channel; `""` is the default one.
    ///
    /// A leading `$` (Centrifugo's mark of private channels) is not part of it.
    pub fn namespace(&self) -> &str {
        if self.is_inbox() || self.0.starts_with("@key:") {
            return INBOX_NAMESPACE;
        }
        if &*self.0 == "@all" {
            return BROADCAST_NAMESPACE;
        }
        let name = self.0.strip_prefix('$').unwrap_or(&self.0);
        name.split_once(':').map_or("", |(namespace, _)| namespace)
    }

    /// The part after the namespace; the whole name where there is none.
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, rest)| rest)
    }

    /// Whether this is a user's inbox.
    pub fn is_inbox(&self) -> bool {
        self.0.starts_with('#')
    }

    /// Whether only the system itself may read it: the broadcast and the keys' inboxes.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('@')
    }

    /// Whether Centrifugo would demand a subscription token for it.
    pub fn is_private(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).expect(text).0
    }

    #[test]
    fn both_spellings_name_one_channel() {
        let (slashes, spelling) = ChannelName::parse("live://1000").expect("a name");
        assert_eq!(slashes, name("live:1000"));
        assert_eq!(spelling, Spelling::Slashes);
        assert_eq!(slashes.spelled(spelling), "live://1000");
        assert_eq!(slashes.spelled(Spelling::Colon), "live:1000");
        assert_eq!(ChannelName::room("live", "1000"), Ok(slashes));
    }

    #[test]
    fn namespaces() {
        for (text, namespace) in [
            ("live:1000", "live"),
            ("live:a:b", "live"),
            ("$live:1000", "live"),
            ("news", ""),
            ("#42", INBOX_NAMESPACE),
            ("#a:b", INBOX_NAMESPACE),
            ("@key:k", INBOX_NAMESPACE),
            ("@all", BROADCAST_NAMESPACE),
        ] {
            assert_eq!(name(text).namespace(), namespace, "{text}");
        }
    }

    #[test]
    fn bad_names() {
        assert_eq!(ChannelName::parse(""), Err(NameError::Empty));
        assert_eq!(ChannelName::parse("live://"), Err(NameError::Empty));
        assert_eq!(ChannelName::parse("a\nb"), Err(NameError::ControlCharacter));
        assert_eq!(ChannelName::parse(&"x".repeat(256)), Err(NameError::TooLong(256)));
        assert_eq!(ChannelName::inbox(""), Err(NameError::Empty));
        assert_eq!(ChannelName::room("live", ""), Err(NameError::Empty));
        assert_eq!(ChannelName::parse("live:////q"), Err(NameError::Slashes));
        assert_eq!(ChannelName::room("live", "//q"), Err(NameError::Slashes));
        assert_eq!(name("live:///q").as_str(), "live:/q");
    }

    #[test]
    fn users_and_keys_have_one_spelling() {
        let inbox = ChannelName::inbox("a://b").expect("a name");
        assert_ne!(inbox, ChannelName::inbox("a:b").expect("a name"));
        assert_eq!(name("#a://b"), inbox);
        let key = ChannelName::key("//x").expect("a name");
        assert_ne!(key, ChannelName::key("x").expect("a name"));
        assert_eq!(name("@key://x"), key);
        assert_eq!(ChannelName::inbox("a:////b").expect("a name").as_str(), "#a:////b");
    }

    /// Names as anybody may try them, with what has a meaning in them more often than by chance.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["\\PC{1,40}", "[a:/#@$]{1,8}", "(#|@key|@all|\\$?live)?:?/{0,5}[a:/]{0,4}"]
    }

    proptest! {
        #[test]
        fn what_parses_spells_back(text in texts()) {
            if let Ok((name, spelling)) = ChannelName::parse(&text) {
                prop_assert_eq!(name.spelled(spelling), text);
            }
        }

        #[test]
        fn every_name_parses_as_itself(text in texts(), kind in texts()) {
            let made = [
                ChannelName::parse(&text).map(|(name, _)| name),
                ChannelName::room(&kind, &text),
                ChannelName::inbox(&text),
                ChannelName::key(&text),
                Ok(ChannelName::broadcast()),
            ];
            for name in made.into_iter().flatten() {
                prop_assert_eq!(ChannelName::parse(name.as_str()), Ok((name, Spelling::Colon)));
            }
        }

        #[test]
        fn other_users_and_keys_have_other_names(one in texts(), other in texts()) {
            prop_assume!(one != other);
            for make in [ChannelName::inbox, ChannelName::key] {
                if let Ok(name) = make(&one) {
                    prop_assert_ne!(make(&other), Ok(name));
                }
            }
        }
    }
}

//! Who may read what: one rule for every protocol.
//!
//! The order is Centrifugo's: a private channel is read by a token for it alone, an inbox by its user,
//! a channel whose name lists users by those, any other by whom its namespace admits.
//!
//! Invariant: a user counts only once it is proved; what a client merely claims opens nothing.

use shared::channel::ChannelName;
use shared::namespace::Options;

/// Whether a client may read a channel without a token for it. `user` is the one it proved to be,
/// if any; `options` are those of the channel's namespace.
pub fn may_read(channel: &ChannelName, options: &Options, user: Option<&str>) -> bool {
    if channel.is_private() || channel.is_reserved() {
        return false;
    }
    if channel.is_inbox() {
        return user.is_some_and(|user| channel.as_str()[1..] == *user);
    }
    match channel.as_str().rsplit_once('#') {
        Some((_, listed)) => user.is_some_and(|user| listed.split(',').any(|one| one == user)),
        None => options.subscribe.admits(user.is_some(), false),
    }
}

#[cfg(test)]
mod tests {
    use shared::namespace::Access;

    use super::*;

    #[test]
    fn who_may_read_what() {
        let all = Options::default();
        let users = Options { subscribe: Access::User, ..Options::default() };
        let nobody = Options { subscribe: Access::Nobody, ..Options::default() };
        let table: [(&str, &Options, Option<&str>, bool); 16] = [
            ("live:1", &all, None, true),
            ("live:1", &users, None, false),
            ("live:1", &users, Some("7"), true),
            ("live:1", &nobody, Some("7"), false),
            ("$live:1", &all, Some("7"), false),
            ("@all", &all, Some("7"), false),
            ("@key:k", &all, Some("7"), false),
            ("#7", &nobody, Some("7"), true),
            ("#7", &all, Some("8"), false),
            ("#7", &all, None, false),
            ("live:dialog#42,43", &all, None, false),
            ("live:dialog#42,43", &all, Some("7"), false),
            ("live:dialog#42,43", &nobody, Some("43"), true),
            ("live:#42", &all, None, false),
            ("live:#42", &nobody, Some("42"), true),
            ("live:#", &all, None, false),
        ];
        for (channel, options, user, expected) in table {
            let (name, _) = ChannelName::parse(channel).expect("a name");
            assert_eq!(may_read(&name, options, user), expected, "{channel} for {user:?}");
        }
    }
}

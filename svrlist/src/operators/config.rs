//! Who may sign in, as the configuration says it.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::config::{Reader, Secret};

use super::Role;
use super::password::Password;

/// The operators and their sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// Operators by name.
    pub accounts: BTreeMap<String, Account>,
    /// A session ends so long after its sign-in.
    pub lifetime: Duration,
    /// A session ends when it was not used for so long.
    pub idle: Duration,
}

/// One operator.
#[derive(Clone, Debug)]
pub struct Account {
    /// What a person signs in with.
    pub password: Option<Password>,
    /// What a program sends.
    pub key: Option<Secret>,
    /// What they may do.
    pub role: Role,
}

impl Config {
    /// Reads the `operator` and `session` keys.
    pub fn read(reader: &mut Reader) -> Self {
        let minutes =
            |from: u64, to: u64| Duration::from_secs(60 * from)..=Duration::from_secs(60 * to);
        let mut accounts = BTreeMap::new();
        for name in reader.names("operator") {
            let account = read_account(reader, &name);
            accounts.insert(name, account);
        }
        Self {
            accounts,
            lifetime: reader.ranged(
                "session.lifetime",
                Duration::from_secs(12 * 3600),
                minutes(1, 30 * 24 * 60),
                "An operator signs in again after so long.",
            ),
            idle: reader.ranged(
                "session.idle",
                Duration::from_secs(3600),
                minutes(1, 30 * 24 * 60),
                "And after so long without a request; an open dashboard makes some.",
            ),
        }
    }
}

fn read_account(reader: &mut Reader, name: &str) -> Account {
    let at = |key: &str| format!("operator.{name}.{key}");
    let password_at = at("password");
    let secret = reader.secret(
        &password_at,
        "What this operator signs in with: a PHC string of argon2 as `linecast hash-password` \
         prints it, or, for demonstrations, plain text.",
    );
    let password = secret.and_then(|secret| match Password::read(&secret) {
        Ok(password) => Some(password),
        Err(error) => {
            reader.fault(&password_at, error);
            None
        }
    });
    let key_at = at("key");
    let key = reader.secret(
        &key_at,
        "What this operator's programs send as `Authorization: Bearer KEY`; make it of 128 random \
         bits or more. Fewer than 16 characters are bound by the pace of guesses, their changes by \
         `http.body_bytes_max`.",
    );
    let roles = [Role::Viewer, Role::Admin].map(|role| (role.name(), role));
    let role = reader.one_of(
        &at("role"),
        Role::Viewer,
        &roles,
        "What this operator may do: a viewer looks, an admin changes, too.",
    );
    Account { password, key, role }
}

//! What an operator may set for tokens.

use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use shared::config::{Configure, Reader};

use super::{Config, Rules};

impl Configure for Config {
    /// Keys of both kinds: `token.hmac_secret` and so on for connections, and, where any of them is
    /// set, `token.subscription.*` for subscriptions.
    fn read(reader: &mut Reader) -> Self {
        let connection = Rules {
            keys: keys(reader, &CONNECTION),
            audience: reader.optional("token.audience", "The audience every token must be for."),
            issuer: reader.optional("token.issuer", "The issuer every token must be from."),
        };
        let subscription_keys = keys(reader, &SUBSCRIPTION);
        let subscription = (!subscription_keys.is_empty()).then(|| {
            Arc::new(Rules {
                keys: subscription_keys,
                audience: connection.audience.clone(),
                issuer: connection.issuer.clone(),
            })
        });
        Self { connection: Arc::new(connection), subscription }
    }
}

impl Config {
    /// Whether a key for connection tokens is configured: what defaults elsewhere depend on.
    pub fn is_configured(reader: &Reader) -> bool {
        let KeyNames { hmac, hmac_previous, rsa, ecdsa } = &CONNECTION;
        [hmac, hmac_previous, rsa, ecdsa]
            .iter()
            .any(|(key, _)| reader.is_set(key) || reader.is_set(&format!("{key}_file")))
    }
}

/// A configuration key with its meaning.
type Named = (&'static str, &'static str);

struct KeyNames {
    hmac: Named,
    hmac_previous: Named,
    rsa: Named,
    ecdsa: Named,
}

const CONNECTION: KeyNames = KeyNames {
    hmac: ("token.hmac_secret", "Key of tokens signed with HS256, HS384 or HS512."),
    hmac_previous: (
        "token.hmac_previous_secret",
        "The key before token.hmac_secret, accepted while keys are exchanged.",
    ),
    rsa: ("token.rsa_public_key", "PEM public key of tokens signed with RS256, RS384 or RS512."),
    ecdsa: ("token.ecdsa_public_key", "PEM public key of tokens signed with ES256 or ES384."),
};

const SUBSCRIPTION: KeyNames = KeyNames {
    hmac: (
        "token.subscription.hmac_secret",
        "Like token.hmac_secret, where subscription tokens have keys of their own.",
    ),
    hmac_previous: (
        "token.subscription.hmac_previous_secret",
        "Like token.hmac_previous_secret, for subscription tokens.",
    ),
    rsa: (
        "token.subscription.rsa_public_key",
        "Like token.rsa_public_key, for subscription tokens.",
    ),
    ecdsa: (
        "token.subscription.ecdsa_public_key",
        "Like token.ecdsa_public_key, for subscription tokens.",
    ),
};

fn keys(reader: &mut Reader, names: &KeyNames) -> Vec<DecodingKey> {
    let mut keys = Vec::new();
    for (key, doc) in [names.hmac, names.hmac_previous] {
        let secret = reader.secret(key, doc);
        keys.extend(secret.map(|secret| DecodingKey::from_secret(secret.expose().as_bytes())));
    }
    type FromPem = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;
    let kinds: [(Named, FromPem); 2] =
        [(names.rsa, DecodingKey::from_rsa_pem), (names.ecdsa, DecodingKey::from_ec_pem)];
    for ((key, doc), from_pem) in kinds {
        // A PEM has lines, and a file of secrets is read by lines: joined, both are the same text.
        let lines: Vec<String> =
            reader.secrets(key, doc).iter().map(|line| line.expose().to_owned()).collect();
        if lines.is_empty() {
            continue;
        }
        match from_pem(lines.join("\n").as_bytes()) {
            Ok(decoded) => keys.push(decoded),
            Err(_) => reader.fault(key, "must be a public key in PEM"),
        }
    }
    keys
}

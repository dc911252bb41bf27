//! Tokens: JWTs of back ends that say who a connection is and what it may read.
//!
//! A key decides which algorithms it verifies, never the token's header: a token signed with HMAC
//! over the text of a public key is refused. Time is handed in, there is no leeway.
//!
//! Invariant: nothing of a token is returned before its signature was verified.

mod claims;
mod config;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use shared::limits::USER_BYTES_MAX;

use claims::{Claims, Override, attached, info, keys};

/// The keys and rules that tokens are verified by; keys begin with `token.`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Config {
    connection: Arc<Rules>,
    /// Where subscription tokens have their own keys.
    subscription: Option<Arc<Rules>>,
}

/// What a token must satisfy.
#[derive(Debug, Default)]
struct Rules {
    keys: Vec<DecodingKey>,
    audience: Option<String>,
    issuer: Option<String>,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good once, or will be.
    #[error("the token has expired, or is not valid yet")]
    Expired,
    /// It is not a token of ours.
    #[error("the token is invalid")]
    Invalid,
}

/// What a connection token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The user's id; empty for an anonymous one.
    pub user: String,
    /// When the connection ends unless it is refreshed, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// What others are told about the client; JSON as a rule.
    pub info: Bytes,
    /// Channels the client is subscribed to at once.
    pub subscriptions: Vec<Grant>,
    /// The keys that goim connections of the user may log in with.
    pub keys: Vec<String>,
}

/// A right to read a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The channel as the token spells it.
    pub channel: String,
    /// What others in the channel are told about the client.
    pub info: Bytes,
    /// What the client is told when it subscribes.
    pub data: Bytes,
    /// Whether presence shows the client, if that is not left to the namespace.
    pub presence: Option<bool>,
    /// Whether the subscription recovers, if that is not left to the namespace.
    pub force_recovery: Option<bool>,
}

/// What a subscription token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The user it was made for; empty for anonymous ones.
    pub user: String,
    /// The connection it was made for, if it names one.
    pub client: Option<String>,
    /// When the subscription ends unless it is refreshed, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// What it permits.
    pub grant: Grant,
}

impl Config {
    /// Whether there is any key for connection tokens.
    pub fn has_connection_keys(&self) -> bool {
        !self.connection.keys.is_empty()
    }

    /// Verifies a connection token at `unix_ms`, milliseconds since 1970.
    pub fn connection(&self, token: &str, unix_ms: u64) -> Result<Connection, TokenError> {
        let claims = self.connection.claims(token)?;
        if claims.channel.as_ref().is_some_and(|channel| !channel.is_empty()) {
            return Err(TokenError::Invalid);
        }
        check_times(&claims, unix_ms)?;
        let subscriptions = match (&claims.subs, &claims.channels) {
            (Some(subs), _) if !subs.is_empty() => subs
                .iter()
                .map(|(channel, sub)| {
                    let overrides = sub.overrides.as_ref();
                    Ok(Grant {
                        channel: channel.clone(),
                        info: info(sub.info.as_deref(), sub.b64info.as_deref())?,
                        data: attached(sub.data.as_deref(), sub.b64data.as_deref())?,
                        presence: Override::presence(overrides),
                        force_recovery: Override::force_recovery(overrides),
                    })
                })
                .collect::<Result<_, TokenError>>()?,
            (_, Some(channels)) => channels
                .iter()
                .map(|channel| Grant { channel: channel.clone(), ..Grant::default() })
                .collect(),
            (_, None) => Vec::new(),
        };
        Ok(Connection {
            expires_ms: end_ms(&claims),
            info: info(claims.info.as_deref(), claims.b64info.as_deref())?,
            keys: keys(claims.keys.as_deref()),
            user: claims.sub.unwrap_or_default(),
            subscriptions,
        })
    }

    /// Verifies a subscription token at `unix_ms`, milliseconds since 1970. That it is this client's
    /// and this channel's is for the caller to compare.
    pub fn subscription(&self, token: &str, unix_ms: u64) -> Result<Subscription, TokenError> {
        let claims = self.subscription.as_ref().unwrap_or(&self.connection).claims(token)?;
        check_times(&claims, unix_ms)?;
        let overrides = claims.overrides.as_ref();
        Ok(Subscription {
            expires_ms: end_ms(&claims),
            grant: Grant {
                info: info(claims.info.as_deref(), claims.b64info.as_deref())?,
                data: attached(claims.data.as_deref(), claims.b64data.as_deref())?,
                presence: Override::presence(overrides),
                force_recovery: Override::force_recovery(overrides),
                channel: claims.channel.unwrap_or_default(),
            },
            user: claims.sub.unwrap_or_default(),
            client: claims.client.filter(|client| !client.is_empty()),
        })
    }
}

impl Rules {
    /// The claims of a token with a good signature, audience and issuer.
    fn claims(&self, token: &str) -> Result<Claims, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let claims: Claims = self
            .keys
            .iter()
            .find_map(|key| {
                let algorithms = accepted_algorithms(key.family());
                if !algorithms.contains(&header.alg) {
                    return None;
                }
                decode(token, key, &signature_only(algorithms)).ok()
            })
            .ok_or(TokenError::Invalid)?
            .claims;
        let audience_fits = self.audience.as_ref().is_none_or(|wanted| {
            claims.aud.as_ref().is_some_and(|audience| audience.contains(wanted))
        });
        let user_bytes = claims.sub.as_ref().map_or(0, String::len);
        if user_bytes > USER_BYTES_MAX {
            tracing::warn!(
                bytes = user_bytes,
                "a token is refused: its sub may have {USER_BYTES_MAX} bytes"
            );
            return Err(TokenError::Invalid);
        }
        if !audience_fits || self.issuer.is_some() && claims.iss != self.issuer {
            return Err(TokenError::Invalid);
        }
        Ok(claims)
    }
}

/// The algorithms a key of this family verifies: those that Centrifugo knows.
fn accepted_algorithms(family: AlgorithmFamily) -> &'static [Algorithm] {
    match family {
        AlgorithmFamily::Hmac => &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
        AlgorithmFamily::Rsa => &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512],
        AlgorithmFamily::Ec => &[Algorithm::ES256, Algorithm::ES384],
        AlgorithmFamily::Ed => &[],
    }
}

/// Everything but the signature is checked here, with the time that was handed in.
fn signature_only(algorithms: &[Algorithm]) -> Validation {
    Validation {
        algorithms: algorithms.to_vec(),
        required_spec_claims: HashSet::new(),
        validate_exp: false,
        validate_nbf: false,
        validate_aud: false,
        ..Validation::default()
    }
}

fn check_times(claims: &Claims, unix_ms: u64) -> Result<(), TokenError> {
    let now_s = unix_ms as f64 / 1000.0;
    let over = claims.exp.is_some_and(|exp| exp <= now_s);
    let early = claims.nbf.is_some_and(|nbf| nbf > now_s);
    if over || early { Err(TokenError::Expired) } else { Ok(()) }
}

/// When what the token opens ends: at `expire_at`, of which 0 is never, or else with the token.
fn end_ms(claims: &Claims) -> Option<u64> {
    let end_s = claims.expire_at.or(claims.exp)?;
    (end_s > 0.0).then_some((end_s * 1000.0) as u64)
}

#[cfg(test)]
mod tests;

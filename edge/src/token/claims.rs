//! The claims of Centrifugo's tokens, as they stand in the JWT.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::limits::INFO_BYTES_MAX;

use super::TokenError;

/// Every claim that either kind of token may carry.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Claims {
    pub(super) sub: Option<String>,
    /// Seconds since 1970, as are all times here.
    pub(super) exp: Option<f64>,
    pub(super) nbf: Option<f64>,
    /// When the connection or subscription ends, if it differs from `exp`; 0 is never.
    pub(super) expire_at: Option<f64>,
    pub(super) aud: Option<Audience>,
    pub(super) iss: Option<String>,
    pub(super) info: Option<Box<RawValue>>,
    pub(super) b64info: Option<String>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) client: Option<String>,
    pub(super) channels: Option<Vec<String>>,
    pub(super) subs: Option<BTreeMap<String, SubClaims>>,
    #[serde(rename = "override")]
    pub(super) overrides: Option<Override>,
    /// Ours, so tokens may carry something else of this name.
    pub(super) keys: Option<Box<RawValue>>,
}

/// A server-side subscription in a connection token.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SubClaims {
    pub(super) info: Option<Box<RawValue>>,
    pub(super) b64info: Option<String>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: Option<String>,
    #[serde(rename = "override")]
    pub(super) overrides: Option<Override>,
}

/// Options of a namespace that a token changes for one subscription.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Override {
    presence: Option<BoolValue>,
    force_recovery: Option<BoolValue>,
}

#[derive(Deserialize)]
struct BoolValue {
    value: bool,
}

/// One audience or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(super) fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Many(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

impl Override {
    pub(super) fn presence(overrides: Option<&Self>) -> Option<bool> {
        overrides?.presence.as_ref().map(|value| value.value)
    }

    pub(super) fn force_recovery(overrides: Option<&Self>) -> Option<bool> {
        overrides?.force_recovery.as_ref().map(|value| value.value)
    }
}

/// The keys that a token names; none if the claim is not a list of texts.
pub(super) fn keys(claim: Option<&RawValue>) -> Vec<String> {
    claim.and_then(|claim| serde_json::from_str(claim.get()).ok()).unwrap_or_default()
}

/// What others are told about the client. The client learns no more than that its token is invalid;
/// the back end's makers find the reason in the log.
pub(super) fn info(json: Option<&RawValue>, base64: Option<&str>) -> Result<Bytes, TokenError> {
    let info = attached(json, base64)?;
    if info.len() > INFO_BYTES_MAX {
        let bytes = info.len();
        tracing::warn!(bytes, "a token is refused: its info may have {INFO_BYTES_MAX} bytes");
        return Err(TokenError::Invalid);
    }
    Ok(info)
}

/// What is attached: Base64 wins over JSON.
pub(super) fn attached(json: Option<&RawValue>, base64: Option<&str>) -> Result<Bytes, TokenError> {
    match (base64.filter(|text| !text.is_empty()), json) {
        (Some(text), _) => STANDARD.decode(text).map(Bytes::from).map_err(|_| TokenError::Invalid),
        (None, Some(json)) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
        (None, None) => Ok(Bytes::new()),
    }
}

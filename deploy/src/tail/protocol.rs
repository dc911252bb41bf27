//! The parts of Centrifuge's JSON replies that following a channel needs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Message;

/// A line from the edge: the reply to a command, or a push.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    pub(super) id: u32,
    pub(super) error: Option<Failure>,
    pub(super) connect: Option<Connected>,
    pub(super) subscribe: Option<SubscribeResult>,
    pub(super) history: Option<HistoryResult>,
    pub(super) push: Option<Push>,
}

/// Why a command was refused.
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) code: u32,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) temporary: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Connected {
    #[serde(default)]
    pub(super) ping: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct SubscribeResult {
    #[serde(default)]
    pub(super) epoch: String,
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) recovered: bool,
    #[serde(default)]
    pub(super) publications: Vec<Publication>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HistoryResult {
    #[serde(default)]
    pub(super) publications: Vec<Publication>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Push {
    #[serde(default)]
    pub(super) channel: String,
    #[serde(rename = "pub")]
    pub(super) publication: Option<Publication>,
    pub(super) unsubscribe: Option<Unsubscribe>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Unsubscribe {
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Publication {
    pub(super) data: Box<RawValue>,
    pub(super) offset: Option<u64>,
    pub(super) info: Option<Info>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Info {
    #[serde(default)]
    pub(super) user: String,
}

impl From<Publication> for Message {
    fn from(publication: Publication) -> Self {
        let Publication { data, offset, info, tags } = publication;
        Self {
            offset,
            data,
            user: info.map(|info| info.user).filter(|user| !user.is_empty()),
            tags: tags.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
        }
    }
}

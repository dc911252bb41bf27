//! The JSON of alerts: `/api/alerts`, a part of `/api/overview`, and what a webhook is told.

use serde::Serialize;

use super::facts::Facts;
use crate::alerts::{Acknowledged, Alert, Notice};

/// All alerts.
#[derive(Clone, Debug, Serialize)]
pub struct Alerts<'a> {
    now_ms: u64,
    /// What is wrong, the worst first.
    alerts: Vec<AlertJson<'a>>,
    /// What was wrong within the last hour, the latest first.
    past: Vec<AlertJson<'a>>,
}

/// An alert, and what it led to.
#[derive(Clone, Debug, Serialize)]
pub struct AlertJson<'a> {
    id: &'a str,
    cause: &'static str,
    severity: &'static str,
    title: &'a str,
    since_ms: u64,
    until_ms: Option<u64>,
    about: About<'a>,
    acknowledged: Option<AcknowledgedJson<'a>>,
    related: Vec<Self>,
}

#[derive(Clone, Debug, Serialize)]
struct About<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    edge: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct AcknowledgedJson<'a> {
    by: &'a str,
    at_ms: u64,
}

/// What a webhook is told.
#[derive(Clone, Debug, Serialize)]
pub struct NoticeJson<'a> {
    /// `raised` or `cleared`.
    event: &'static str,
    alert: AlertJson<'a>,
}

impl<'a> Alerts<'a> {
    /// The alerts of a moment.
    pub fn new(facts: &'a Facts) -> Self {
        let alerts = facts.alerts.iter().map(AlertJson::from).collect();
        let past = facts.past.iter().map(|alert| AlertJson::from(&**alert)).collect();
        Self { now_ms: facts.now_ms, alerts, past }
    }
}

impl<'a> From<&'a Alert> for AlertJson<'a> {
    fn from(alert: &'a Alert) -> Self {
        let cause = &alert.cause;
        let acknowledged =
            |Acknowledged { by, at_ms }: &'a Acknowledged| AcknowledgedJson { by, at_ms: *at_ms };
        Self {
            id: &alert.id,
            cause: cause.kind(),
            severity: cause.severity().as_str(),
            title: &alert.title,
            since_ms: alert.since_ms,
            until_ms: alert.until_ms,
            about: About {
                edge: cause.edge().map(|edge| &**edge),
                line: cause.line(),
                site: cause.site(),
                zone: cause.zone(),
                carrier: cause.carrier(),
            },
            acknowledged: alert.acknowledged.as_ref().map(acknowledged),
            related: alert.related.iter().map(Self::from).collect(),
        }
    }
}

impl<'a> From<&'a Notice> for NoticeJson<'a> {
    fn from(Notice { is_over, alert }: &'a Notice) -> Self {
        Self { event: if *is_over { "cleared" } else { "raised" }, alert: alert.into() }
    }
}

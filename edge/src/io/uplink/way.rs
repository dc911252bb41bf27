//! A trunk of this edge, to its origin or to a neighbour, with what is known of it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use shared::io::tls::{NodeName, Role};
use shared::io::trunk::CallingEnd;
use shared::line::LineId;
use shared::line::ledger::{Bytes, Ledger};
use shared::line::pool::{LineStatus, Tier};
use shared::namespace::Namespaces;
use shared::wire::control::Quality;

use super::gauges::{LineView, TrunkView};
use crate::upstreams::{self, OwnWay};

/// One trunk.
pub(super) struct Way {
    pub(super) end: CallingEnd,
    role: Role,
    /// What the other end said of namespaces; `None` while the trunk does not stand.
    pub(super) namespaces: Option<Arc<Namespaces>>,
    /// What a neighbour said of itself, and when.
    pub(super) quality: Option<(Quality, Instant)>,
    /// Pulls that were open there are gone since this was last looked at.
    pub(super) lapsed: bool,
    ledgers: HashMap<LineId, Ledger>,
}

impl Way {
    pub(super) fn new(end: CallingEnd, role: Role) -> Self {
        Self { end, role, namespaces: None, quality: None, lapsed: false, ledgers: HashMap::new() }
    }

    /// The other end's name, in paths.
    pub(super) fn name(&self) -> Option<String> {
        let name = self.end.with()?.to_owned();
        Some(NodeName { role: self.role, name }.to_string())
    }

    /// How it is to pull by this trunk from what is at its other end.
    pub(super) fn own(&self, now: Instant) -> Option<OwnWay> {
        self.namespaces.as_ref()?;
        let pool = self.end.caller().trunk().pool();
        let delivery = pool.delivery_in(now)?;
        let steady = pool.primary_in().and_then(|line| pool.tier(line)) == Some(Tier::Good);
        Some(OwnWay { delivery, steady })
    }

    /// How long what the origin sends takes through this neighbour; `None` if this edge, called
    /// `own`, may not or cannot pull through it.
    pub(super) fn through(&self, own: &str, now: Instant) -> Option<Duration> {
        let (quality, at) = self.quality.as_ref().filter(|_| !self.lapsed)?;
        let may = upstreams::is_one_hop(&quality.path, &self.name()?, own);
        if !may || now.saturating_duration_since(*at) >= QUALITY_STALE {
            return None;
        }
        let there = Duration::from_micros(quality.delivery_us).min(DELIVERY_MAX);
        Some(self.own(now)?.delivery + there)
    }

    /// What it is like, for others to look at, from an edge called `own`.
    pub(super) fn view(&mut self, own: &str, now: Instant) -> TrunkView {
        let (leads_up, delivery) = match self.role {
            Role::Edge => {
                let through = self.through(own, now);
                (through.is_some(), through)
            }
            Role::Origin | Role::Svrlist => (true, self.own(now).map(|own| own.delivery)),
        };
        let caller = self.end.caller();
        let mut status: HashMap<LineId, LineStatus> =
            self.end.status().into_iter().map(|line| (line.id, line)).collect();
        let mut lines = Vec::new();
        for (id, local, remote) in self.end.candidates() {
            let status = status.remove(&id);
            let carried =
                status.as_ref().map(|s| Bytes { incoming: s.bytes_in, outgoing: s.bytes_out });
            let ledger = self.ledgers.entry(id).or_insert_with(|| Ledger::new(now));
            ledger.look(carried, now);
            let (local, remote) = (local.clone(), remote.clone());
            let (firsts, ledger) = (caller.firsts(id), ledger.clone());
            lines.push(LineView { id, local, remote, status, firsts, ledger });
        }
        let upstream = self.end.with().unwrap_or_default().to_owned();
        TrunkView { upstream, leads_up, delivery, lines }
    }
}

/// Waits until something has happened to one of the trunks, and takes it in. Cancelling loses nothing.
pub(super) async fn wait_any(ways: &mut [Way]) {
    let mut waits: Vec<Pin<Box<_>>> = ways.iter_mut().map(|way| Box::pin(way.end.wait())).collect();
    poll_fn(|cx| {
        // Each of them, so that one to which much happens holds up none.
        let polls = waits.iter_mut().map(|wait| wait.as_mut().poll(cx).is_ready());
        let has_happened = polls.fold(false, |before, ready| before | ready);
        if has_happened { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// What a neighbour says of itself is believed for as long as three times that it says so.
const QUALITY_STALE: Duration = Duration::from_secs(3);
/// A neighbour that tells a longer delivery is as bad as can be.
const DELIVERY_MAX: Duration = Duration::from_secs(60);

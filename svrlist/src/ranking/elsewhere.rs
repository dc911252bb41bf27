//! Where the clients of an edge may go instead.

use std::sync::Arc;

use geo_data::Cell;
use shared::wire::control;

use super::choose::SERVERS_MAX;
use super::entry::{Entry, Standing};
use super::{Conditions, Vantage, fill};
use crate::edge::Edge;

/// Where the clients of an edge may go instead: the listeners of other edges that take new clients, the
/// best first, each with its share of those who are told. The better an edge is for the clients of this one
/// and the more room it has, the more are told of it; none gets all unless it is alone.
pub fn elsewhere<'a>(
    of: &Edge,
    edges: impl IntoIterator<Item = &'a Arc<Edge>>,
    conditions: &Conditions,
) -> Vec<control::Alternative> {
    let others = edges.into_iter().filter(|edge| edge.name != of.name);
    let vantage = Vantage { carrier: of.carrier, position: of.position, ..Vantage::default() };
    let cell = Cell { region: of.region, carrier: of.carrier };
    let mut entries = Entry::all(vantage, cell, others, conditions);
    entries.retain(|entry| entry.standing == Standing::Open);
    // Who is in a zone with a share of its own stays in it, and nobody else is sent there.
    let zone = Some(of.zone.as_str()).filter(|zone| conditions.policy.takes_users(zone));
    let suits = |entry: &Entry| entry.suits(zone);
    if !conditions.policy.zone_shares.is_empty() && entries.iter().any(suits) {
        entries.retain(suits);
    }
    let mut shared: Vec<(f64, &Entry)> = fill::spread(&entries).into_iter().zip(&entries).collect();
    shared.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let told = shared.iter().take(SERVERS_MAX).enumerate().flat_map(|(at, (share, entry))| {
        // In steps, so that not every change of a load is told to every edge.
        let share = (share * SHARE_STEPS).round() / SHARE_STEPS;
        // Somebody is told of the first, whatever is rounded.
        let share = if at == 0 { share.max(1.0 / SHARE_STEPS) } else { share };
        let listed = (share > 0.0).then_some(&entry.edge.endpoints).into_iter().flatten();
        listed.map(move |endpoint| {
            let endpoint = control::Endpoint {
                protocol: endpoint.transport.name().into(),
                host: endpoint.host.clone(),
                port: endpoint.port.into(),
            };
            control::Alternative { endpoint: Some(endpoint), share }
        })
    });
    told.collect()
}

/// Shares of those who are told to go elsewhere are multiples of one in so many.
const SHARE_STEPS: f64 = 20.0;

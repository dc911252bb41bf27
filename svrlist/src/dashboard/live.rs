//! The events of `/api/live`: what a stream of views says, and when.
//!
//! An overview goes out at most every [`OVERVIEW_EVERY`], when it says something new, and at least every
//! [`OVERVIEW_AT_LEAST`]; a comment in between keeps the connection warm. A map goes out when it was
//! drawn anew.

use std::time::Duration;

use bytes::Bytes;

use super::Shot;

/// What all streams are told; each hears all of it, or as much as it can take.
#[derive(Debug, Default)]
pub struct Feed {
    /// When anything, and when an overview was told.
    told_ms: u64,
    overview_ms: u64,
    /// What the last overview depended on.
    said: Option<u64>,
    map: Bytes,
}

impl Feed {
    /// What is to be told now that this is shown.
    pub fn handle_shot(&mut self, shot: &Shot) -> Vec<Bytes> {
        let now = shot.facts().now_ms;
        let due = |since: u64, pause: Duration| now.abs_diff(since) >= pause.as_millis() as u64;
        let mut pieces = Vec::new();
        if due(self.told_ms, OVERVIEW_EVERY) {
            let said = Some(shot.facts().print());
            if self.said != said || due(self.overview_ms, OVERVIEW_AT_LEAST) {
                pieces.push(event("overview", &shot.overview()));
                (self.overview_ms, self.said) = (now, said);
            } else {
                pieces.push(Bytes::from_static(HEARTBEAT));
            }
            self.told_ms = now;
        }
        let map = shot.map();
        if map != self.map {
            pieces.push(event("map", &map));
            self.map = map;
        }
        pieces
    }
}

/// What a stream begins with.
pub fn opening(shot: &Shot) -> [Bytes; 3] {
    let retry = Bytes::from(format!("retry: {}\n\n", RETRY_AFTER.as_millis()));
    [retry, event("overview", &shot.overview()), event("map", &shot.map())]
}

/// Whether a piece is for a stream that asked for `events`: names with commas between them, all of
/// them unless it said. Maps are large, and few pages show one.
pub fn is_wanted(piece: &[u8], events: Option<&str>) -> bool {
    let asks = |events: &str| events.split(',').any(|name| name == "map");
    !piece.starts_with(MAP) || events.is_none_or(asks)
}

/// An event whose data are one line, as JSON without white space is.
fn event(name: &str, data: &[u8]) -> Bytes {
    let parts = [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"];
    Bytes::from(parts.concat())
}

/// The least time between two overviews.
pub const OVERVIEW_EVERY: Duration = Duration::from_secs(2);

/// The longest time between two overviews.
pub const OVERVIEW_AT_LEAST: Duration = Duration::from_secs(10);

/// When a page that lost its stream asks again.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How a piece begins that is a map.
const MAP: &[u8] = b"event: map\n";

const HEARTBEAT: &[u8] = b": nothing new\n\n";

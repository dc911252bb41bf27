//! Messages as Centrifuge pushes.

use bytes::BytesMut;
use shared::channel::{ChannelName, Spelling};

use crate::form::{Encoding, Item};

/// Appends items as publications and join/leave pushes.
pub fn items(
    _encoding: Encoding,
    _channel: &ChannelName,
    _spelling: Spelling,
    _offsets: bool,
    _items: &[Item],
    _out: &mut BytesMut,
) {
}

/// Appends items as asynchronous messages.
pub fn broadcast_items(_encoding: Encoding, _items: &[Item], _out: &mut BytesMut) {}

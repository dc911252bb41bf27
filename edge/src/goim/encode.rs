//! Messages as goim and danmaku frames.

use bytes::BytesMut;

use crate::form::{Compression, Item, Transport};

/// Appends items as goim frames.
pub fn items(_transport: Transport, _items: &[Item], _out: &mut BytesMut) {}

/// Appends items as danmaku frames.
pub fn danmaku_items(
    _transport: Transport,
    _compression: Compression,
    _items: &[Item],
    _out: &mut BytesMut,
) {
}

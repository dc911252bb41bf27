//! goim's operations. Every other number is free for applications.

/// Keeps the connection; the only operation that does.
pub const HEARTBEAT: i32 = 2;
/// Answers a heartbeat: how many are in the room, as an i32.
pub const HEARTBEAT_REPLY: i32 = 3;
/// A client says something to its room; answered under the same number.
pub const SEND_MESSAGE: i32 = 4;
/// A pushed message in the danmaku dialect.
pub const MESSAGE: i32 = 5;
/// Logs in.
pub const AUTH: i32 = 7;
/// Answers a login.
pub const AUTH_REPLY: i32 = 8;
/// Pushed messages, each a whole frame, in one frame. On WebSocket only.
pub const RAW: i32 = 9;
/// Changes rooms.
pub const CHANGE_ROOM: i32 = 12;
/// Answers a change of rooms.
pub const CHANGE_ROOM_REPLY: i32 = 13;
/// Accepts further operations from pushes to inboxes and the broadcast.
pub const SUB: i32 = 14;
/// Answers a sub.
pub const SUB_REPLY: i32 = 15;
/// No longer accepts operations.
pub const UNSUB: i32 = 16;
/// Answers an unsub.
pub const UNSUB_REPLY: i32 = 17;

//! goim v2 and its danmaku dialect.

pub mod encode;

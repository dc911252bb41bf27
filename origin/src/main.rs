//! The origin, see the library beside it.
fn main() {}

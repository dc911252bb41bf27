//! Drawing users: the same number for the same user and thing, for ever.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Weighted rendezvous hashing: -ln(u) / w of a uniform u is exponentially distributed with rate w,
/// and the smallest of such values falls to each of those that are drawn in proportion to its weight.
pub(super) fn draw(user: u64, of: u64, weight: f64) -> f64 {
    let bits = xxh3_64_with_seed(&user.to_le_bytes(), of);
    -unit(bits >> 32).ln() / weight
}

/// 32 random bits as a number above 0 and below 1.
pub(super) fn unit(bits: u64) -> f64 {
    ((bits & 0xffff_ffff) as f64 + 0.5) / 4_294_967_296.0
}

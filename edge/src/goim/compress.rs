//! Compression of danmaku batches: once per batch, whatever the number of clients.
//!
//! Levels are those that cost about as little as copying to thousands of sockets does; the next
//! ones cost twice the time for a few percent.

use std::io::Write;

use brotli::enc::BrotliEncoderParams;
use flate2::write::ZlibEncoder;

/// zlib's level: 3 of 9.
const ZLIB_LEVEL: u32 = 3;

/// Brotli's quality: 4 of 11.
const BROTLI_QUALITY: i32 = 4;

/// Binary logarithm of Brotli's window: a batch of 32 KiB fits, and little memory is set up.
const BROTLI_WINDOW_LOG2: i32 = 16;

/// Compresses in zlib's format; `None` if that fails, which writing to memory does not.
pub(super) fn zlib(bytes: &[u8]) -> Option<Vec<u8>> {
    let out = Vec::with_capacity(bytes.len() / 2);
    let mut encoder = ZlibEncoder::new(out, flate2::Compression::new(ZLIB_LEVEL));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// Compresses in Brotli's format; `None` if that fails, which writing to memory does not.
pub(super) fn brotli(bytes: &[u8]) -> Option<Vec<u8>> {
    let params = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW_LOG2,
        size_hint: bytes.len(),
        ..BrotliEncoderParams::default()
    };
    let mut out = Vec::with_capacity(bytes.len() / 2);
    brotli::BrotliCompress(&mut &bytes[..], &mut out, &params).ok()?;
    Some(out)
}

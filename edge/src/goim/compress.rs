//! Compression of danmaku batches: once per batch, whatever the number of clients.
//!
//! Levels were chosen on batches of 200-byte danmaku (4, 30 KB), where each next level costs half as
//! much again for two percent: zlib 3 leaves 32 % and 26 %, Brotli 3 29 % and 24 %, at about 7 µs a KB.
//! Brotli from 5 on costs thirty times as much in small windows, which are set up anew for every batch.

use std::io::Write;

use brotli::enc::BrotliEncoderParams;
use flate2::write::ZlibEncoder;

/// zlib's level: 3 of 9.
const ZLIB_LEVEL: u32 = 3;

/// Brotli's quality: 3 of 11.
const BROTLI_QUALITY: i32 = 3;

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

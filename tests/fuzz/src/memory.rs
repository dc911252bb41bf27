//! An allocator that counts, so that a target which takes more memory than its input justifies fails.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a target may take at most, everything that it keeps to compare included: so many bytes, and
/// so many for each byte of its input. The largest constant is a brotli window's.
const BYTES: usize = 16 << 20;
const BYTES_PER_BYTE: usize = 1024;

struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = TAKEN.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(taken, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs a target.
pub(crate) fn bounded(data: &[u8], run: fn(&[u8])) {
    let before = TAKEN.load(Relaxed);
    MOST.store(before, Relaxed);
    run(data);
    let most = MOST.load(Relaxed) - before;
    let bound = BYTES + BYTES_PER_BYTE * data.len();
    assert!(most <= bound, "{most} bytes of memory for an input of {}", data.len());
}

//! The allocator of the process.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned};

/// mimalloc, asked for an alignment only where it does not align that much anyway.
///
/// Its own binding always asks. Then a block whose size is no power of two comes from the next larger class as soon as its own
/// class has no free block, and returns there, so its own class never has one again. Each such block costs a hundred instructions
/// more, and memory.
pub(crate) struct Allocator;

/// Blocks of at least this size are aligned to it, and blocks of half of it to that half (`MI_MAX_ALIGN_SIZE`).
const NATURAL: usize = 16;

const fn is_natural(layout: Layout) -> bool {
    layout.align() <= NATURAL && layout.align() <= layout.size()
}

// SAFETY: the blocks are mimalloc's, which keeps this contract: a block is as large as asked for, aligned as asked for or, without,
// to its size up to `NATURAL`, and freed by `mi_free` however it was made.
#[allow(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: both take any size, and any power of two.
        unsafe { if is_natural(layout) { mi_malloc(size) } else { mi_malloc_aligned(size, align) } }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        unsafe { if is_natural(layout) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) } }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller gives back a block of ours.
        unsafe { mi_free(block.cast()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: the caller gives a block of ours, and `size` is not 0.
        unsafe {
            if align <= NATURAL && align <= size {
                mi_realloc(block.cast(), size)
            } else {
                mi_realloc_aligned(block.cast(), size, align)
            }
        }
        .cast()
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "as above")]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_every_size_are_aligned_and_keep_their_bytes() {
        let mut blocks = Vec::new();
        for size in 1..2_100_usize {
            for align in [1, 2, 4, 8, 16, 32, 64, 128] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: no size is 0, and each block is freed or reallocated once, with its own layout.
                let block = unsafe { Allocator.alloc_zeroed(layout) };
                assert!(block.addr().is_multiple_of(align), "{layout:?}: {block:?}");
                blocks.push((block, layout));
            }
        }
        for (block, layout) in blocks {
            let larger = Layout::from_size_align(layout.size() + 40, layout.align()).unwrap();
            // SAFETY: as above; all of a block may be written and read.
            let kept = unsafe {
                assert_eq!(block.add(layout.size() - 1).read(), 0, "{layout:?}");
                block.add(layout.size() - 1).write(7);
                let block = Allocator.realloc(block, layout, larger.size());
                assert!(block.addr().is_multiple_of(layout.align()), "{larger:?}: {block:?}");
                let kept = block.add(layout.size() - 1).read();
                Allocator.dealloc(block, larger);
                kept
            };
            assert_eq!(kept, 7, "{layout:?}");
        }
    }
}

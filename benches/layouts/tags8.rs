//! Buckets of twelve 8-bit tags and entries.

use bytemuck::{Pod, Zeroable};

use crate::rival::{Index, next, prefetch, scale};

/// An entry stands in the first bucket with room from its own on; those passed over count it.
pub struct Tags8<'m>(pub &'m mut [Bucket]);

/// One cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Bucket {
    /// 0 where there is no entry.
    tags: [u8; 12],
    displaced: u32,
    entries: [u32; 12],
}

impl Index for Tags8<'_> {
    fn prefetch(&self, hash: u64) {
        prefetch(&self.0[scale(hash, self.0.len())]);
    }

    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = scale(hash, self.0.len());
        loop {
            let bucket = &self.0[at];
            match bucket.entries(tag(hash)).find(|&entry| is_it(entry)) {
                None if bucket.displaced != 0 => at = next(at, self.0.len()),
                found => return found,
            }
        }
    }

    fn insert(&mut self, hash: u64, entry: u32) {
        let mut at = scale(hash, self.0.len());
        while !self.0[at].replace((0, 0), (tag(hash), entry)) {
            self.0[at].displaced += 1;
            at = next(at, self.0.len());
        }
    }

    fn remove(&mut self, hash: u64, entry: u32) {
        let mut at = scale(hash, self.0.len());
        while !self.0[at].replace((tag(hash), entry), (0, 0)) {
            self.0[at].displaced -= 1;
            at = next(at, self.0.len());
        }
    }
}

impl Bucket {
    fn entries(&self, tag: u8) -> impl Iterator<Item = u32> {
        let tags = *bytemuck::bytes_of(self).first_chunk().expect("a bucket is longer");
        let mut equal = equal_bytes(tags, tag) & ((1 << 12) - 1);
        std::iter::from_fn(move || {
            let at = equal.trailing_zeros() as usize;
            equal &= equal.wrapping_sub(1);
            self.entries.get(at).copied()
        })
    }

    fn replace(&mut self, old: (u8, u32), new: (u8, u32)) -> bool {
        let Some(at) = (0..12).find(|&at| (self.tags[at], self.entries[at]) == old) else { return false };
        (self.tags[at], self.entries[at]) = new;
        true
    }
}

/// Low bits of a hash; never 0.
fn tag(hash: u64) -> u8 {
    (hash as u8).max(1)
}

/// One bit for each byte with this value.
#[cfg(target_arch = "x86_64")]
fn equal_bytes(bytes: [u8; 16], value: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(bytemuck::cast(bytes), _mm_set1_epi8(value as i8))) as u32 }
}

#[cfg(not(target_arch = "x86_64"))]
fn equal_bytes(bytes: [u8; 16], value: u8) -> u32 {
    bytes.iter().enumerate().map(|(at, &byte)| u32::from(byte == value) << at).sum()
}

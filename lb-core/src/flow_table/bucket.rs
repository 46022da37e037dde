//! A bucket of the flow table's index: one cache line.

use bytemuck::{Pod, Zeroable};

use super::cpu;

/// Ten entries of the index.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// 16 bits of each entry's hash; 0 where there is no entry.
    pub(super) tags: [u16; BUCKET_ENTRIES],
    pub(super) entries: [u32; BUCKET_ENTRIES],
    /// Entries whose first bucket this is, but which stand in their second.
    pub(super) displaced: u32,
}

impl Bucket {
    /// One bit for each entry with this tag.
    #[inline(always)]
    pub(super) fn matches(&self, tag: u16) -> u32 {
        cpu::equal_tags(self, tag)
    }

    /// The first entry with this tag.
    #[inline(always)]
    pub(super) fn first(&self, tag: u16) -> Option<u32> {
        self.entries.get(self.matches(tag).trailing_zeros() as usize).copied()
    }

    #[inline]
    pub(super) fn insert(&mut self, tag: u16, entry: u32) -> bool {
        let at = self.matches(NO_ENTRY).trailing_zeros() as usize;
        if at >= BUCKET_ENTRIES {
            return false;
        }
        self.tags[at] = tag;
        self.entries[at] = entry;
        true
    }

    #[inline]
    pub(super) fn remove(&mut self, tag: u16, entry: u32) -> bool {
        let mut matches = self.matches(tag);
        while matches != 0 {
            let at = matches.trailing_zeros() as usize % BUCKET_ENTRIES;
            if self.entries[at] == entry {
                self.tags[at] = NO_ENTRY;
                self.entries[at] = 0;
                return true;
            }
            matches &= matches - 1;
        }
        false
    }
}

/// Low bits of the hash; never that of an empty place.
#[inline]
pub(super) const fn tag(hash: u64) -> u16 {
    let tag = hash as u16;
    if tag == NO_ENTRY { 1 } else { tag }
}

/// Entries of a bucket.
pub(super) const BUCKET_ENTRIES: usize = 10;
/// Tag of an empty place.
const NO_ENTRY: u16 = 0;
const _: () = assert!(size_of::<Bucket>() == 64);

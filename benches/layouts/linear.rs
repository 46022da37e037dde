//! Open addressing: linear probing.

use bytemuck::{Pod, Zeroable};

use crate::rival::{Index, next, prefetch, scale};

/// An entry goes into the first free slot from the place on that its tag names.
pub struct Linear<'m>(pub &'m mut [Slot]);

/// Eight of these are a cache line.
#[derive(Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Slot {
    /// The bits that name the place: those that are left tell keys apart.
    tag: u32,
    /// One more than the entry; 0 where there is none.
    entry: u32,
}

impl Index for Linear<'_> {
    fn prefetch(&self, hash: u64) {
        prefetch(&self.0[scale(hash, self.0.len())]);
    }

    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = (hash >> 32) as u32;
        let mut at = scale(hash, self.0.len());
        while self.0[at].entry != 0 {
            if self.0[at].tag == tag && is_it(self.0[at].entry - 1) {
                return Some(self.0[at].entry - 1);
            }
            at = next(at, self.0.len());
        }
        None
    }

    fn insert(&mut self, hash: u64, entry: u32) {
        let mut at = scale(hash, self.0.len());
        while self.0[at].entry != 0 {
            at = next(at, self.0.len());
        }
        self.0[at] = Slot { tag: (hash >> 32) as u32, entry: entry + 1 };
    }

    fn remove(&mut self, hash: u64, entry: u32) {
        let mut hole = scale(hash, self.0.len());
        while self.0[hole].entry != entry + 1 {
            hole = next(hole, self.0.len());
        }
        // Entries move back over the hole, as far as their own places.
        let mut at = next(hole, self.0.len());
        while self.0[at].entry != 0 {
            let first = scale(u64::from(self.0[at].tag) << 32, self.0.len());
            if distance(first, at, self.0.len()) >= distance(hole, at, self.0.len()) {
                self.0[hole] = self.0[at];
                hole = at;
            }
            at = next(at, self.0.len());
        }
        self.0[hole] = Slot::zeroed();
    }
}

/// How far one place is behind another.
fn distance(from: usize, to: usize, count: usize) -> usize {
    if to >= from { to - from } else { to + count - from }
}

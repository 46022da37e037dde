//! A table of flows but for its index: records, and what an index has to do.

use std::hint::black_box;

use bytemuck::{Pod, Zeroable};
use lb_core::{
    flow::{Direction, NewFlow},
    flow_key::{FlowKey, Ipv4Key},
    hash::FlowHash,
};

use crate::{
    memory::HugePages,
    table::{BATCH, Table, hash},
};

/// An index of another kind with the records that it leads to.
pub struct Rival<'m, I> {
    index: I,
    records: &'m mut [Record],
    free: Vec<u32>,
    hash: FlowHash,
}

/// Keys of a flow, by direction, and what else there is to know of it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Record {
    keys: [Ipv4Key; 2],
    rest: [u32; 8],
}

/// Memory of one, zeroed.
pub struct RivalMemory {
    index: HugePages,
    records: HugePages,
    /// Bytes in all.
    pub bytes: usize,
}

impl RivalMemory {
    /// For an index with so many places in 64 bytes.
    pub fn new(flows: u32, places: usize) -> RivalMemory {
        let capacity = flows as usize + BATCH;
        let (index, records) = ((capacity * 20).div_ceil(places * 7) * 64, capacity * size_of::<Record>());
        RivalMemory { index: HugePages::new(index), records: HugePages::new(records), bytes: index + records }
    }
}

/// Leads from a key's hash to entries: a record's number, twice, plus the direction. The caller says which entry it is.
pub trait Index {
    /// Asks the cache for what a look-up reads first.
    fn prefetch(&self, hash: u64);
    /// The entry of a key.
    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32>;
    /// Puts an entry in.
    fn insert(&mut self, hash: u64, entry: u32);
    /// Takes an entry out.
    fn remove(&mut self, hash: u64, entry: u32);
}

impl<'m, I: Index> Rival<'m, I> {
    /// An empty one.
    pub fn new<B: Pod>(memory: &'m mut RivalMemory, index: fn(&'m mut [B]) -> I) -> Rival<'m, I> {
        let records: &mut [Record] = bytemuck::cast_slice_mut(memory.records.bytes());
        Rival {
            index: index(bytemuck::cast_slice_mut(memory.index.bytes())),
            free: (0..records.len() as u32).rev().collect(),
            records,
            hash: hash(),
        }
    }

    fn place(&mut self, keys: &[Ipv4Key; 2], hashes: [u64; 2]) -> u32 {
        let record = self.free.pop().expect("there is room");
        self.records[record as usize] = Record { keys: *keys, rest: [record; 8] };
        for (direction, hash) in hashes.into_iter().enumerate() {
            self.index.insert(hash, record << 1 | direction as u32);
        }
        record
    }

    fn remove(&mut self, record: u32) {
        for (direction, key) in self.records[record as usize].keys.iter().enumerate() {
            self.index.remove(self.hash.ipv4(key), record << 1 | direction as u32);
        }
        self.free.push(record);
    }
}

impl<I: Index> Table for Rival<'_, I> {
    type Key = Ipv4Key;
    type New = [Ipv4Key; 2];

    fn key(flow: &NewFlow) -> Ipv4Key {
        Self::make(*flow)[0]
    }

    fn make(flow: NewFlow) -> [Ipv4Key; 2] {
        [Direction::Forward, Direction::Reverse].map(|direction| match flow.key(direction) {
            FlowKey::V4(key) => key,
            FlowKey::V6(_) => panic!("these flows are IPv4"),
        })
    }

    fn len(&self) -> u32 {
        (self.records.len() - self.free.len()) as u32
    }

    fn insert(&mut self, new: &[Ipv4Key; 2]) {
        self.place(new, new.map(|key| self.hash.ipv4(&key)));
    }

    fn insert_and_remove(&mut self, new: &[[Ipv4Key; 2]; BATCH]) {
        let hashes = new.map(|keys| keys.map(|key| self.hash.ipv4(&key)));
        hashes.iter().flatten().for_each(|&hash| self.index.prefetch(hash));
        let mut records = [0; BATCH];
        for ((keys, hashes), record) in new.iter().zip(hashes).zip(&mut records) {
            *record = self.place(keys, hashes);
        }
        records.into_iter().for_each(|record| self.remove(record));
    }

    fn lookup(&self, keys: &[Ipv4Key; BATCH]) -> usize {
        let hashes = keys.each_ref().map(|key| {
            let hash = self.hash.ipv4(key);
            self.index.prefetch(hash);
            hash
        });
        let record = |entry: u32| &self.records[(entry >> 1) as usize];
        let candidates = hashes.map(|hash| {
            let candidate = self.index.find(hash, |_| true);
            candidate.into_iter().for_each(|entry| prefetch(record(entry)));
            candidate
        });
        let is_found = |((key, hash), candidate): &((&Ipv4Key, u64), Option<u32>)| {
            let is_it = |entry: u32| record(entry).keys[(entry & 1) as usize] == **key;
            black_box(candidate.filter(|&entry| is_it(entry)).or_else(|| self.index.find(*hash, is_it)))
                .is_some()
        };
        keys.iter().zip(hashes).zip(candidates).filter(is_found).count()
    }
}

/// The place after one of `count`; the first follows the last.
pub fn next(at: usize, count: usize) -> usize {
    if at + 1 < count { at + 1 } else { 0 }
}

/// Maps the high bits of a hash to `0..count`.
pub fn scale(hash: u64, count: usize) -> usize {
    (((hash >> 32) * count as u64) >> 32) as usize
}

/// Asks the cache for a line: a hint.
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes no memory, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(std::ptr::from_ref(value).cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

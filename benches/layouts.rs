//! Layouts of the flow table's index, measured alike: the project's, by its own code, and rivals of it. A flow has an entry for each
//! direction and one 64-byte record; seven of ten places are taken; keys are looked up in batches of 32: hash and ask for the
//! index, read it and ask for the record, compare the record's key.
//!
//! | row | the index |
//! | --- | --- |
//! | `tags16` | the project's: ten 16-bit tags and entries in 64 bytes; an entry stands in either of two |
//! | `tags8` | twelve 8-bit tags and entries in 64 bytes; when they are full, in the next 64 |
//! | `inline` | three whole keys and entries in 64 bytes; when they are full, in the next 64 |
//! | `linear` | 32-bit tags and entries in slots of 8 bytes, one after the other |

mod keys;
mod memory;

use std::{hint::black_box, time::Duration};

use bytemuck::{Pod, Zeroable};
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use keys::{BATCH, Numbers, flow_v4, hash, time};
use lb_core::{
    flow::{Direction, NewFlow},
    flow_key::{FlowKey, Ipv4Key},
    flow_table::{FlowMemory, FlowTable},
    hash::FlowHash,
};
use memory::HugePages;

fn layouts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layouts");
    group
        .throughput(Throughput::Elements(1))
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .nresamples(10_000);
    for size in [(1_000, "1k"), (1_000_000, "1M"), (10_000_000, "10M")] {
        let capacity = size.0 + BATCH as u32;
        let mut memory = HugePages::new(FlowMemory::bytes_for(capacity));
        let memory = FlowMemory::new(memory.bytes(), capacity).expect("memory of this size");
        print_bytes("tags16", size, FlowMemory::bytes_for_ipv4(capacity));
        rows(&mut group, "tags16", size, &mut FlowTable::new(memory, hash()));
        let mut memory = RivalMemory::new(size, "tags8", 12);
        rows(&mut group, "tags8", size, &mut Rival::new(&mut memory, Buckets::<'_, Tags8>));
        let mut memory = RivalMemory::new(size, "inline", 3);
        rows(&mut group, "inline", size, &mut Rival::new(&mut memory, Buckets::<'_, Inline>));
        let mut memory = RivalMemory::new(size, "linear", 8);
        rows(&mut group, "linear", size, &mut Rival::new(&mut memory, Linear));
    }
    group.finish();
}

/// What is measured.
trait Layout {
    type New;
    fn make(n: u32) -> Self::New;
    fn len(&self) -> u32;
    fn insert(&mut self, new: &Self::New);
    fn insert_and_remove(&mut self, new: &[Self::New; BATCH]);
    /// How many were found.
    fn lookup(&self, keys: &[Ipv4Key; BATCH]) -> usize;
}

fn rows<L: Layout>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (flows, size): (u32, &str),
    table: &mut L,
) {
    let fill = |table: &mut L| (table.len()..flows).for_each(|n| table.insert(&L::make(n)));
    let mut numbers = Numbers::new();
    group.bench_function(BenchmarkId::new(format!("{name}/hit"), size), |bencher| {
        fill(table);
        bencher.iter_custom(|count| {
            let key = || keys_of(&flow_v4(numbers.live(flows)))[0];
            time(count, key, |keys| assert_eq!(table.lookup(keys), BATCH))
        });
    });
    group.bench_function(BenchmarkId::new(format!("{name}/miss"), size), |bencher| {
        fill(table);
        bencher.iter_custom(|count| {
            let key = || keys_of(&flow_v4(numbers.absent()))[0];
            time(count, key, |keys| assert_eq!(table.lookup(keys), 0))
        });
    });
    group.bench_function(BenchmarkId::new(format!("{name}/insert_remove"), size), |bencher| {
        fill(table);
        bencher.iter_custom(|count| {
            time(count, || L::make(numbers.absent()), |flows| table.insert_and_remove(flows))
        });
    });
}

fn print_bytes(name: &str, (flows, size): (u32, &str), bytes: usize) {
    println!("{name}, {size} flows: {:.1} bytes each", bytes as f64 / f64::from(flows));
}

impl Layout for FlowTable<'_> {
    type New = NewFlow;

    fn make(n: u32) -> NewFlow {
        flow_v4(n)
    }

    fn len(&self) -> u32 {
        FlowTable::len(self)
    }

    fn insert(&mut self, new: &NewFlow) {
        FlowTable::insert(self, new, self.hashes(new)).0.expect("there is room");
    }

    fn insert_and_remove(&mut self, new: &[NewFlow; BATCH]) {
        let hashes = new.each_ref().map(|new| {
            let hashes = self.hashes(new);
            hashes.into_iter().for_each(|hash| self.prefetch_bucket(hash));
            hashes
        });
        let mut next = new.iter().zip(hashes);
        let records = new.each_ref().map(|_| {
            let (new, hashes) = next.next().expect("one for each");
            FlowTable::insert(self, new, hashes).0.expect("there is room")
        });
        records.into_iter().for_each(|record| self.remove(record));
    }

    fn lookup(&self, keys: &[Ipv4Key; BATCH]) -> usize {
        let hashes = keys.each_ref().map(|key| {
            let hash = self.hash_ipv4(key);
            self.prefetch_bucket(hash);
            hash
        });
        hashes.iter().for_each(|&hash| _ = black_box(self.candidate(hash)));
        let is_found = |(key, hash): &(&Ipv4Key, u64)| black_box(self.lookup_ipv4(*hash, key)).is_some();
        keys.iter().zip(hashes).filter(is_found).count()
    }
}

/// An index of another kind with the records that it leads to.
struct Rival<'m, I> {
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

struct RivalMemory {
    index: HugePages,
    records: HugePages,
}

impl RivalMemory {
    /// For an index with so many places in 64 bytes.
    fn new(size: (u32, &str), name: &str, places: usize) -> RivalMemory {
        let capacity = size.0 as usize + BATCH;
        let (index, records) = ((capacity * 20).div_ceil(places * 7) * 64, capacity * size_of::<Record>());
        print_bytes(name, size, index + records);
        RivalMemory { index: HugePages::new(index), records: HugePages::new(records) }
    }
}

/// Leads from a key's hash to entries: a record's number, twice, plus the direction. The caller says which entry it is.
trait Index {
    fn prefetch(&self, hash: u64);
    fn find(&self, hash: u64, key: &Ipv4Key, is_it: impl Fn(u32) -> bool) -> Option<u32>;
    fn insert(&mut self, hash: u64, key: &Ipv4Key, entry: u32);
    fn remove(&mut self, hash: u64, entry: u32);
}

impl<'m, I: Index> Rival<'m, I> {
    fn new<B: Pod>(memory: &'m mut RivalMemory, index: fn(&'m mut [B]) -> I) -> Rival<'m, I> {
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
        for (direction, (hash, key)) in hashes.into_iter().zip(keys).enumerate() {
            self.index.insert(hash, key, record << 1 | direction as u32);
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

impl<I: Index> Layout for Rival<'_, I> {
    type New = [Ipv4Key; 2];

    fn make(n: u32) -> [Ipv4Key; 2] {
        keys_of(&flow_v4(n))
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
        let mut next = new.iter().zip(hashes);
        let records = new.map(|_| {
            let (keys, hashes) = next.next().expect("one for each");
            self.place(keys, hashes)
        });
        records.into_iter().for_each(|record| self.remove(record));
    }

    fn lookup(&self, keys: &[Ipv4Key; BATCH]) -> usize {
        let hashes = keys.each_ref().map(|key| {
            let hash = self.hash.ipv4(key);
            self.index.prefetch(hash);
            hash
        });
        let record = |entry: u32| &self.records[(entry >> 1) as usize];
        for (key, &hash) in keys.iter().zip(&hashes) {
            self.index.find(hash, key, |_| true).into_iter().for_each(|entry| prefetch(record(entry)));
        }
        let is_found = |(key, hash): &(&Ipv4Key, u64)| {
            let is_it = |entry| record(entry).keys[(entry & 1) as usize] == **key;
            black_box(self.index.find(*hash, key, is_it)).is_some()
        };
        keys.iter().zip(hashes).filter(is_found).count()
    }
}

/// A bucket of 64 bytes. Entries that found it full stand in one of those behind it, and are counted.
trait Bucket: Pod {
    fn entries(&self, hash: u64, key: &Ipv4Key) -> impl Iterator<Item = u32>;
    fn insert(&mut self, hash: u64, key: &Ipv4Key, entry: u32) -> bool;
    fn remove(&mut self, entry: u32) -> bool;
    fn displaced(&mut self) -> &mut u32;
    fn has_displaced(&self) -> bool;
}

struct Buckets<'m, B>(&'m mut [B]);

impl<B: Bucket> Index for Buckets<'_, B> {
    fn prefetch(&self, hash: u64) {
        prefetch(&self.0[scale(hash, self.0.len())]);
    }

    fn find(&self, hash: u64, key: &Ipv4Key, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = scale(hash, self.0.len());
        loop {
            let bucket = &self.0[at];
            match bucket.entries(hash, key).find(|&entry| is_it(entry)) {
                None if bucket.has_displaced() => at = (at + 1) % self.0.len(),
                found => return found,
            }
        }
    }

    fn insert(&mut self, hash: u64, key: &Ipv4Key, entry: u32) {
        let mut at = scale(hash, self.0.len());
        while !self.0[at].insert(hash, key, entry) {
            *self.0[at].displaced() += 1;
            at = (at + 1) % self.0.len();
        }
    }

    fn remove(&mut self, hash: u64, entry: u32) {
        let mut at = scale(hash, self.0.len());
        while !self.0[at].remove(entry) {
            *self.0[at].displaced() -= 1;
            at = (at + 1) % self.0.len();
        }
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Tags8 {
    /// 0 where there is no entry.
    tags: [u8; 12],
    displaced: u32,
    entries: [u32; 12],
}

impl Tags8 {
    fn tag(hash: u64) -> u8 {
        (hash as u8).max(1)
    }
}

impl Bucket for Tags8 {
    fn entries(&self, hash: u64, _: &Ipv4Key) -> impl Iterator<Item = u32> {
        let tags = *bytemuck::bytes_of(self).first_chunk().expect("a bucket is longer");
        let mut equal = equal_bytes(tags, Tags8::tag(hash)) & ((1 << 12) - 1);
        std::iter::from_fn(move || {
            let at = equal.trailing_zeros() as usize;
            equal &= equal.wrapping_sub(1);
            self.entries.get(at).copied()
        })
    }

    fn insert(&mut self, hash: u64, _: &Ipv4Key, entry: u32) -> bool {
        let Some(at) = self.tags.iter().position(|&tag| tag == 0) else { return false };
        (self.tags[at], self.entries[at]) = (Tags8::tag(hash), entry);
        true
    }

    fn remove(&mut self, entry: u32) -> bool {
        let Some(at) = (0..12).find(|&at| self.entries[at] == entry && self.tags[at] != 0) else {
            return false;
        };
        self.tags[at] = 0;
        true
    }

    fn displaced(&mut self) -> &mut u32 {
        &mut self.displaced
    }

    fn has_displaced(&self) -> bool {
        self.displaced != 0
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Inline {
    keys: [Ipv4Key; 3],
    /// One more than the entry; 0 where there is none.
    entries: [u32; 3],
    displaced: u32,
}

impl Bucket for Inline {
    fn entries(&self, _: u64, key: &Ipv4Key) -> impl Iterator<Item = u32> {
        (0..3)
            .filter(move |&at| self.keys[at] == *key && self.entries[at] != 0)
            .map(|at| self.entries[at] - 1)
    }

    fn insert(&mut self, _: u64, key: &Ipv4Key, entry: u32) -> bool {
        let Some(at) = self.entries.iter().position(|&entry| entry == 0) else { return false };
        (self.keys[at], self.entries[at]) = (*key, entry + 1);
        true
    }

    fn remove(&mut self, entry: u32) -> bool {
        let Some(at) = self.entries.iter().position(|&other| other == entry + 1) else { return false };
        self.entries[at] = 0;
        true
    }

    fn displaced(&mut self) -> &mut u32 {
        &mut self.displaced
    }

    fn has_displaced(&self) -> bool {
        self.displaced != 0
    }
}

/// An entry goes into the first free slot from the place on that its tag names.
struct Linear<'m>(&'m mut [Slot]);

#[derive(Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Slot {
    /// The bits that name the place: those that are left tell keys apart.
    tag: u32,
    /// One more than the entry; 0 where there is none.
    entry: u32,
}

impl Index for Linear<'_> {
    fn prefetch(&self, hash: u64) {
        prefetch(&self.0[scale(hash, self.0.len())]);
    }

    fn find(&self, hash: u64, _: &Ipv4Key, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = (hash >> 32) as u32;
        let mut at = scale(hash, self.0.len());
        while self.0[at].entry != 0 {
            if self.0[at].tag == tag && is_it(self.0[at].entry - 1) {
                return Some(self.0[at].entry - 1);
            }
            at = self.next(at);
        }
        None
    }

    fn insert(&mut self, hash: u64, _: &Ipv4Key, entry: u32) {
        let mut at = scale(hash, self.0.len());
        while self.0[at].entry != 0 {
            at = self.next(at);
        }
        self.0[at] = Slot { tag: (hash >> 32) as u32, entry: entry + 1 };
    }

    fn remove(&mut self, hash: u64, entry: u32) {
        let mut hole = scale(hash, self.0.len());
        while self.0[hole].entry != entry + 1 {
            hole = self.next(hole);
        }
        // Entries move back over the hole, as far as their own places.
        let mut at = self.next(hole);
        while self.0[at].entry != 0 {
            let first = scale(u64::from(self.0[at].tag) << 32, self.0.len());
            if self.distance(first, at) >= self.distance(hole, at) {
                self.0[hole] = self.0[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.0[hole] = Slot::zeroed();
    }
}

impl Linear<'_> {
    fn next(&self, at: usize) -> usize {
        if at + 1 < self.0.len() { at + 1 } else { 0 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.0.len() - from }
    }
}

fn keys_of(flow: &NewFlow) -> [Ipv4Key; 2] {
    [Direction::Forward, Direction::Reverse].map(|direction| match flow.key(direction) {
        FlowKey::V4(key) => key,
        FlowKey::V6(_) => panic!("these flows are IPv4"),
    })
}

/// Maps the high bits of a hash to `0..count`.
fn scale(hash: u64, count: usize) -> usize {
    (((hash >> 32) * count as u64) >> 32) as usize
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

/// Asks the cache for a line: a hint.
fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes no memory, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(std::ptr::from_ref(value).cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

criterion_group!(benches, layouts);
criterion_main!(benches);

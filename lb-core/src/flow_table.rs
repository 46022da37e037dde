//! The flow table of one worker: fixed capacity, exact keys, no pointers in its memory.
//!
//! ```text
//!   key --FlowHash--> 64 bits: | first bucket (32) | second bucket (32), tag (16) |
//!
//!   buckets     [ 10 tags | 10 entries (record << 1 | direction) | displaced ]   one cache line each
//!   flows       [ record ]                                                        one cache line each
//!   addresses   [ of the record of the same number, when it is wide ]             one cache line each
//! ```
//!
//! IPv4 flows never touch `addresses`, so that where memory is given by the page as it is touched, they cost none of it.
//!
//! Both directions of a flow have an entry that leads to one record. An entry stands in its first bucket, or, when that is
//! full, in its second; a bucket counts the entries that it displaced, so that most misses look at one bucket only. Free
//! records form a list through themselves; so do half-open ones, oldest first. Called by `datapath` alone.

mod audit;

use bytemuck::{Pod, Zeroable};

use crate::{
    flow::{Addresses, Direction, Flow, NewFlow, State},
    flow_key::FlowKey,
    hash::FlowHash,
    limits,
};

/// Memory of a flow table: zeroed bytes from wherever the caller has them (anonymous, huge pages, a memfd).
#[derive(Debug)]
pub struct FlowMemory<'m> {
    buckets: &'m mut [Bucket],
    flows: &'m mut [Flow],
    addresses: &'m mut [Addresses],
}

impl<'m> FlowMemory<'m> {
    /// Bytes that a table of `capacity` flows spans: about 146 per flow, both directions and the index included.
    pub const fn bytes_for(capacity: u32) -> usize {
        Self::bytes_for_ipv4(capacity) + capacity as usize * size_of::<Addresses>()
    }

    /// Bytes of these that are touched when all flows are IPv4: about 82 per flow.
    pub const fn bytes_for_ipv4(capacity: u32) -> usize {
        capacity as usize * size_of::<Flow>() + bucket_count(capacity) * size_of::<Bucket>()
    }

    /// Takes the memory: at least [`FlowMemory::bytes_for`] bytes, all zero, aligned to 64 bytes. `None` when it is too
    /// small or not aligned, or when the capacity is out of range.
    pub fn new(bytes: &'m mut [u8], capacity: u32) -> Option<FlowMemory<'m>> {
        if capacity == 0 || capacity > limits::FLOWS_MAXIMUM {
            return None;
        }
        let bytes = bytes.get_mut(..Self::bytes_for(capacity))?;
        let (buckets, records) = bytes.split_at_mut(bucket_count(capacity) * size_of::<Bucket>());
        let (flows, addresses) = records.split_at_mut(capacity as usize * size_of::<Flow>());
        Some(FlowMemory {
            buckets: bytemuck::try_cast_slice_mut(buckets).ok()?,
            flows: bytemuck::try_cast_slice_mut(flows).ok()?,
            addresses: bytemuck::try_cast_slice_mut(addresses).ok()?,
        })
    }

    /// Flows that fit.
    pub fn capacity(&self) -> u32 {
        self.flows.len() as u32
    }
}

/// Owned memory of a flow table, for whoever has none of a special kind (tests, benches, simulation).
#[derive(Debug)]
pub struct FlowArena {
    lines: Vec<Bucket>,
    capacity: u32,
}

impl FlowArena {
    /// Zeroed memory for `capacity` flows.
    pub fn new(capacity: u32) -> FlowArena {
        let capacity = capacity.clamp(1, limits::FLOWS_MAXIMUM);
        let lines = bytemuck::allocation::zeroed_vec(FlowMemory::bytes_for(capacity) / size_of::<Bucket>());
        FlowArena { lines, capacity }
    }

    /// The memory, to build one table in.
    pub fn memory(&mut self) -> FlowMemory<'_> {
        let (buckets, records) = self.lines.split_at_mut(bucket_count(self.capacity));
        let (flows, addresses) = records.split_at_mut(self.capacity as usize);
        FlowMemory {
            buckets,
            flows: bytemuck::cast_slice_mut(flows),
            addresses: bytemuck::cast_slice_mut(addresses),
        }
    }
}

/// Flows by key.
#[derive(Debug)]
pub struct FlowTable<'m> {
    buckets: &'m mut [Bucket],
    flows: &'m mut [Flow],
    addresses: &'m mut [Addresses],
    hash: FlowHash,
    /// First of the list of records that were freed.
    free: u32,
    /// Records from here on were never used.
    untouched: u32,
    live: u32,
    half_open: HalfOpenList,
    /// Next record that `sweep` looks at.
    swept: u32,
}

/// Half-open flows in the order of their SYN.
#[derive(Debug)]
struct HalfOpenList {
    oldest: u32,
    newest: u32,
    count: u32,
    budget: u32,
}

/// The table has no room: no free record, or both buckets of an entry are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<'m> FlowTable<'m> {
    /// An empty table in zeroed memory.
    pub fn new(memory: FlowMemory<'m>, hash: FlowHash) -> FlowTable<'m> {
        let budget = (memory.capacity() / limits::HALF_OPEN_SHARE).max(1);
        FlowTable {
            buckets: memory.buckets,
            flows: memory.flows,
            addresses: memory.addresses,
            hash,
            free: NONE,
            untouched: 0,
            live: 0,
            half_open: HalfOpenList { oldest: NONE, newest: NONE, count: 0, budget },
            swept: 0,
        }
    }

    /// Hash of a key: what the other calls take.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hash.flow(key)
    }

    /// Asks the cache for the bucket that a lookup reads first.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        prefetch::read(&self.buckets[self.first_bucket(hash)]);
    }

    /// Asks the cache for the record that a lookup reads second, if the bucket names one.
    #[inline]
    pub fn prefetch_record(&self, hash: u64) {
        let bucket = &self.buckets[self.first_bucket(hash)];
        let matches = bucket.matches(tag(hash));
        if matches != 0 {
            let record = bucket.entries[matches.trailing_zeros() as usize % BUCKET_ENTRIES] >> 1;
            if let Some(flow) = self.flows.get(record as usize) {
                prefetch::read(flow);
            }
        }
    }

    /// The record of a key, and the direction that the key is of.
    #[inline(always)]
    pub fn lookup(&self, hash: u64, key: &FlowKey) -> Option<(u32, Direction)> {
        match key {
            FlowKey::V4(v4) => self.find(hash, |record, flow, direction| {
                flow.is_ipv4_key(direction, v4)
                    || (flow.is_wide() && self.has_wide_key(record, direction, key))
            }),
            FlowKey::V6(_) => self.lookup_wide(hash, key),
        }
    }

    #[inline(never)]
    fn lookup_wide(&self, hash: u64, key: &FlowKey) -> Option<(u32, Direction)> {
        self.find(hash, |record, flow, direction| flow.is_wide() && self.has_wide_key(record, direction, key))
    }

    #[inline(never)]
    fn has_wide_key(&self, record: u32, direction: Direction, key: &FlowKey) -> bool {
        self.key(record, direction) == *key
    }

    #[inline(always)]
    fn find(&self, hash: u64, is_it: impl Fn(u32, &Flow, Direction) -> bool) -> Option<(u32, Direction)> {
        let first = &self.buckets[self.first_bucket(hash)];
        match self.find_in(first, hash, &is_it) {
            None if first.displaced != 0 => {
                self.find_in(&self.buckets[self.second_bucket(hash)], hash, &is_it)
            }
            found => found,
        }
    }

    /// One record.
    #[inline]
    pub fn flow(&self, record: u32) -> &Flow {
        &self.flows[record as usize]
    }

    /// The addresses beside a record; without meaning unless it is wide.
    #[inline]
    pub fn addresses(&self, record: u32) -> &Addresses {
        &self.addresses[record as usize]
    }

    /// Key of the packets of a flow that come in at one end.
    #[inline]
    pub fn key(&self, record: u32, direction: Direction) -> FlowKey {
        match self.flow(record).ipv4_key(direction) {
            Some(key) => FlowKey::V4(key),
            None => self.wide_key(record, direction),
        }
    }

    /// Apart, or the compiler reads the addresses before it is known whether there are any.
    #[inline(never)]
    fn wide_key(&self, record: u32, direction: Direction) -> FlowKey {
        self.flow(record).key(self.addresses(record), direction)
    }

    /// One record, to be changed. Its keys must stay; its state changes by [`FlowTable::set_state`].
    #[inline]
    pub fn flow_mut(&mut self, record: u32) -> &mut Flow {
        &mut self.flows[record as usize]
    }

    /// Puts a flow in. The caller has looked up both its keys and found neither. Half-open flows are the first to go: the
    /// oldest is pushed out, and returned beside, by a half-open flow over the budget and by any flow when no record is free.
    pub fn insert(&mut self, new: &NewFlow) -> (Result<u32, Full>, Option<NewFlow>) {
        let is_over_budget = new.flow.state().is_half_open() && self.half_open.count >= self.half_open.budget;
        let mut evicted = None;
        let oldest = self.half_open.oldest;
        if oldest != NONE && (is_over_budget || self.live == self.capacity()) {
            evicted = Some(self.copy(oldest));
            self.remove(oldest);
            // The next one to go.
            if let Some(next) = self.flows.get(self.half_open.oldest as usize) {
                prefetch::read(next);
            }
        }
        (self.place(new), evicted)
    }

    /// Takes a live flow out.
    pub fn remove(&mut self, record: u32) {
        let state = self.flow(record).state();
        let [forward, reverse] = [Direction::Forward, Direction::Reverse]
            .map(|direction| (self.hash(&self.key(record, direction)), entry(record, direction)));
        self.prefetch_bucket(forward.0);
        self.prefetch_bucket(reverse.0);
        if state.is_half_open() {
            self.unlink_half_open(record);
        }
        if state != State::Resting {
            self.remove_entry(forward.0, forward.1);
        }
        self.remove_entry(reverse.0, reverse.1);
        self.live -= 1;
        self.give_record(record);
    }

    /// Ends a live flow, but keeps its record: only the target's packets lead to it, so that its source is not used again yet.
    pub fn rest(&mut self, record: u32) {
        self.set_state(record, State::Resting);
        self.remove_key(record, Direction::Forward);
    }

    /// Moves a live flow on in its life.
    #[inline]
    pub fn set_state(&mut self, record: u32, state: State) {
        let was_half_open = self.flows[record as usize].state().is_half_open();
        if was_half_open && !state.is_half_open() {
            self.unlink_half_open(record);
        }
        self.flows[record as usize].store_state(state);
    }

    /// The next record of a walk over all, if it is live and its time is over. Every call moves the walk by one.
    #[inline]
    pub fn sweep(&mut self, now_ms: u32) -> Option<u32> {
        if self.untouched == 0 {
            return None;
        }
        let record = self.swept;
        self.swept = if record + 1 < self.untouched { record + 1 } else { 0 };
        let flow = &self.flows[record as usize];
        (flow.is_live() && flow.is_expired(now_ms)).then_some(record)
    }

    /// Records that were ever used: all live flows are below this number.
    #[inline]
    pub fn used_records(&self) -> u32 {
        self.untouched
    }

    /// Live flows.
    #[inline]
    pub fn len(&self) -> u32 {
        self.live
    }

    /// Whether no flow is live.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Live flows whose handshake is not complete.
    #[inline]
    pub fn half_open(&self) -> u32 {
        self.half_open.count
    }

    /// Flows that fit.
    pub fn capacity(&self) -> u32 {
        self.flows.len() as u32
    }

    /// A flow with its addresses. Those beside an IPv4 record are never touched.
    fn copy(&self, record: u32) -> NewFlow {
        let flow = *self.flow(record);
        let addresses = if flow.is_wide() { self.copy_addresses(record) } else { Addresses::default() };
        NewFlow { flow, addresses }
    }

    #[inline(never)]
    fn copy_addresses(&self, record: u32) -> Addresses {
        *self.addresses(record)
    }

    fn place(&mut self, new: &NewFlow) -> Result<u32, Full> {
        let record = self.take_record().ok_or(Full)?;
        self.flows[record as usize] = new.flow;
        if new.flow.is_wide() {
            self.addresses[record as usize] = new.addresses;
        }
        let forward = self.hash(&new.key(Direction::Forward));
        let reverse = self.hash(&new.key(Direction::Reverse));
        if !self.insert_entry(forward, entry(record, Direction::Forward)) {
            self.give_record(record);
            return Err(Full);
        }
        if !self.insert_entry(reverse, entry(record, Direction::Reverse)) {
            self.remove_entry(forward, entry(record, Direction::Forward));
            self.give_record(record);
            return Err(Full);
        }
        self.live += 1;
        if new.flow.state().is_half_open() {
            self.append_half_open(record);
        }
        Ok(record)
    }

    #[inline(always)]
    fn find_in(
        &self,
        bucket: &Bucket,
        hash: u64,
        is_it: &impl Fn(u32, &Flow, Direction) -> bool,
    ) -> Option<(u32, Direction)> {
        let mut matches = bucket.matches(tag(hash));
        while matches != 0 {
            let entry = bucket.entries[matches.trailing_zeros() as usize % BUCKET_ENTRIES];
            let direction = if entry & 1 == 0 { Direction::Forward } else { Direction::Reverse };
            if self.flows.get((entry >> 1) as usize).is_some_and(|flow| is_it(entry >> 1, flow, direction)) {
                return Some((entry >> 1, direction));
            }
            matches &= matches - 1;
        }
        None
    }

    fn remove_key(&mut self, record: u32, direction: Direction) {
        self.remove_entry(self.hash(&self.key(record, direction)), entry(record, direction));
    }

    fn insert_entry(&mut self, hash: u64, entry: u32) -> bool {
        let (first, second) = (self.first_bucket(hash), self.second_bucket(hash));
        if self.buckets[first].insert(tag(hash), entry) {
            return true;
        }
        if self.buckets[second].insert(tag(hash), entry) {
            self.buckets[first].displaced += 1;
            return true;
        }
        self.make_room(first) && self.buckets[first].insert(tag(hash), entry)
    }

    /// Moves one entry of a full bucket to its other bucket. False when all of those are full, too.
    #[cold]
    fn make_room(&mut self, bucket: usize) -> bool {
        for entry in self.buckets[bucket].entries {
            let direction = if entry & 1 == 0 { Direction::Forward } else { Direction::Reverse };
            let hash = self.hash(&self.key(entry >> 1, direction));
            let (first, second) = (self.first_bucket(hash), self.second_bucket(hash));
            let other = if first == bucket { second } else { first };
            if other != bucket && self.buckets[other].insert(tag(hash), entry) {
                self.buckets[bucket].remove(tag(hash), entry);
                match other == first {
                    true => self.buckets[first].displaced -= 1,
                    false => self.buckets[first].displaced += 1,
                }
                return true;
            }
        }
        false
    }

    fn remove_entry(&mut self, hash: u64, entry: u32) {
        let (first, second) = (self.first_bucket(hash), self.second_bucket(hash));
        if !self.buckets[first].remove(tag(hash), entry) && self.buckets[second].remove(tag(hash), entry) {
            self.buckets[first].displaced -= 1;
        }
    }

    fn take_record(&mut self) -> Option<u32> {
        if self.free != NONE {
            let record = self.free;
            self.free = self.flows[record as usize].next;
            return Some(record);
        }
        let record = self.untouched;
        ((record as usize) < self.flows.len()).then(|| {
            self.untouched += 1;
            record
        })
    }

    fn give_record(&mut self, record: u32) {
        self.flows[record as usize] = Flow::free(self.free);
        self.free = record;
    }

    fn append_half_open(&mut self, record: u32) {
        let newest = self.half_open.newest;
        let flow = &mut self.flows[record as usize];
        (flow.previous, flow.next) = (newest, NONE);
        match newest {
            NONE => self.half_open.oldest = record,
            _ => self.flows[newest as usize].next = record,
        }
        self.half_open.newest = record;
        self.half_open.count += 1;
    }

    fn unlink_half_open(&mut self, record: u32) {
        let Flow { previous, next, .. } = self.flows[record as usize];
        match previous {
            NONE => self.half_open.oldest = next,
            _ => self.flows[previous as usize].next = next,
        }
        match next {
            NONE => self.half_open.newest = previous,
            _ => self.flows[next as usize].previous = previous,
        }
        self.half_open.count -= 1;
    }

    #[inline]
    fn first_bucket(&self, hash: u64) -> usize {
        scale((hash >> 32) as u32, self.buckets.len())
    }

    #[inline]
    fn second_bucket(&self, hash: u64) -> usize {
        scale(hash as u32, self.buckets.len())
    }
}

/// Ten entries of the index.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Bucket {
    /// 16 bits of each entry's hash; 0 where there is no entry.
    tags: [u16; BUCKET_ENTRIES],
    entries: [u32; BUCKET_ENTRIES],
    /// Entries whose first bucket this is, but which stand in their second.
    displaced: u32,
}

impl Bucket {
    /// One bit for each entry with this tag.
    #[inline]
    fn matches(&self, tag: u16) -> u32 {
        let mut bits = 0;
        for (at, &candidate) in self.tags.iter().enumerate() {
            bits |= u32::from(candidate == tag) << at;
        }
        bits
    }

    fn insert(&mut self, tag: u16, entry: u32) -> bool {
        let Some(at) = self.tags.iter().position(|&tag| tag == 0) else { return false };
        self.tags[at] = tag;
        self.entries[at] = entry;
        true
    }

    fn remove(&mut self, tag: u16, entry: u32) -> bool {
        let Some(at) = (0..BUCKET_ENTRIES).find(|&at| self.tags[at] == tag && self.entries[at] == entry)
        else {
            return false;
        };
        self.tags[at] = 0;
        self.entries[at] = 0;
        true
    }
}

/// The one place with `unsafe` in this crate: a hint to the cache, which cannot fault.
mod prefetch {
    /// Asks the cache for the line of `value`.
    #[inline]
    #[allow(unsafe_code)] // The intrinsic takes a raw pointer; there is no safe form of it.
    pub fn read<T>(value: &T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults and changes no memory, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch(std::ptr::from_ref(value).cast(), std::arch::x86_64::_MM_HINT_T0);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = value;
    }
}

#[inline]
const fn entry(record: u32, direction: Direction) -> u32 {
    record << 1 | direction as u32
}

/// Low bits of the hash; never 0, which marks an empty place.
#[inline]
const fn tag(hash: u64) -> u16 {
    let tag = hash as u16;
    if tag == 0 { 1 } else { tag }
}

/// Maps 32 random bits to `0..count`.
#[inline]
const fn scale(bits: u32, count: usize) -> usize {
    ((bits as u64 * count as u64) >> 32) as usize
}

/// Two entries per flow, and on average seven of ten places taken when the table is full.
const fn bucket_count(capacity: u32) -> usize {
    let buckets = (capacity as usize * 2).div_ceil(7);
    if buckets < 4 { 4 } else { buckets }
}

const BUCKET_ENTRIES: usize = 10;
const NONE: u32 = u32::MAX;
const _: () = assert!(size_of::<Bucket>() == 64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        collections::HashMap,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    pub(super) fn hash() -> FlowHash {
        FlowHash::new(&std::array::from_fn(|i| (i as u64 + 3).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A flow of its own for each number: by turns IPv4, IPv6, and from an IPv6 client to an IPv4 target.
    pub(super) fn flow(number: u32, state: State) -> NewFlow {
        let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        let v6 = |last| IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | last));
        let (port, high, low) = ([0x80, 0], (number >> 8) as u8, number as u8);
        let (client, vip, source, target) = match number % 3 {
            0 => (v4(10, 0, high, low), v4(198, 18, 100, 1), v4(10, 0, high, low), v4(198, 19, 1, 2)),
            1 => (v6(u128::from(number)), v6(1 << 64), v6(u128::from(number)), v6(2 << 64)),
            _ => (v6(u128::from(number)), v6(1 << 64), v4(198, 18, high, low), v4(198, 19, 1, 2)),
        };
        let forward = FlowKey::new((client, port), (vip, [0, 80]), 6).unwrap();
        let mut new = NewFlow::new(&forward, (source, port), (target, [0x1f, 0x90]), state);
        new.flow.timeout_s = 10;
        new.flow.target_id = number as u16;
        new
    }

    fn find(table: &FlowTable<'_>, key: &FlowKey) -> Option<(u32, Direction)> {
        table.lookup(table.hash(key), key)
    }

    #[test]
    fn both_directions_lead_to_one_record() {
        let mut arena = FlowArena::new(64);
        let mut table = FlowTable::new(arena.memory(), hash());
        let flow = flow(1, State::Established);
        let record = table.insert(&flow).0.unwrap();
        assert_eq!(find(&table, &flow.key(Direction::Forward)), Some((record, Direction::Forward)));
        assert_eq!(find(&table, &flow.key(Direction::Reverse)), Some((record, Direction::Reverse)));
    }

    #[test]
    fn a_resting_flow_is_found_by_the_targets_packets_alone_and_leaves_without_a_trace() {
        for number in 0..3 {
            let mut arena = FlowArena::new(64);
            let mut table = FlowTable::new(arena.memory(), hash());
            let flow = flow(number, State::HalfOpen);
            let record = table.insert(&flow).0.unwrap();
            table.rest(record);
            assert_eq!(find(&table, &flow.key(Direction::Forward)), None);
            assert_eq!(find(&table, &flow.key(Direction::Reverse)), Some((record, Direction::Reverse)));
            assert_eq!((table.len(), table.half_open()), (1, 0));
            table.remove(record);
            assert_eq!(find(&table, &flow.key(Direction::Reverse)), None);
            assert!(
                table.is_empty() && table.buckets.iter().all(|bucket| bucket.tags == [0; BUCKET_ENTRIES])
            );
        }
    }

    #[test]
    fn a_full_table_refuses_and_keeps_every_flow_it_has() {
        for capacity in [1, 7, 64, 1_000, 50_000] {
            let mut arena = FlowArena::new(capacity);
            let mut table = FlowTable::new(arena.memory(), hash());
            let stored = (0..capacity)
                .take_while(|&n| table.insert(&flow(n, State::Established)).0.is_ok())
                .count() as u32;
            assert_eq!(stored, capacity, "every record is usable");
            assert_eq!(table.insert(&flow(capacity, State::Established)), (Err(Full), None));
            for n in 0..capacity {
                assert!(find(&table, &flow(n, State::Established).key(Direction::Forward)).is_some());
            }
        }
    }

    #[test]
    fn half_open_flows_over_budget_push_out_the_oldest_of_their_kind_only() {
        let mut arena = FlowArena::new(80);
        let mut table = FlowTable::new(arena.memory(), hash());
        table.insert(&flow(1_000, State::Established)).0.unwrap();
        for n in 0..10 {
            assert_eq!(table.insert(&flow(n, State::HalfOpen)).1, None);
        }
        let (second, _) = find(&table, &flow(1, State::HalfOpen).key(Direction::Forward)).unwrap();
        table.set_state(second, State::Answered);
        table.set_state(second, State::Established);
        assert_eq!(table.half_open(), 9);
        table.insert(&flow(10, State::HalfOpen)).0.unwrap();
        let (_, evicted) = table.insert(&flow(11, State::HalfOpen));
        assert_eq!(evicted.unwrap().flow.target_id, 0);
        let (_, evicted) = table.insert(&flow(12, State::HalfOpen));
        assert_eq!(evicted.unwrap().flow.target_id, 2, "1 is established and stays");
        assert!(find(&table, &flow(1, State::HalfOpen).key(Direction::Forward)).is_some());
        assert_eq!((table.len(), table.half_open()), (12, 10));
    }

    #[test]
    fn sweep_finds_each_expired_flow_once_per_round() {
        let mut arena = FlowArena::new(64);
        let mut table = FlowTable::new(arena.memory(), hash());
        for n in 0..5 {
            let mut flow = flow(n, State::Established);
            flow.flow.last_seen_ms = n * 1_000;
            table.insert(&flow).0.unwrap();
        }
        let expired: Vec<u32> = (0..5).filter_map(|_| table.sweep(12_001)).collect();
        assert_eq!(expired, [0, 1, 2]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, bool),
        Remove(u32),
        Establish(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..120u32, any::<bool>()).prop_map(|(n, half_open)| Step::Insert(n, half_open)),
            2 => (0..120u32).prop_map(Step::Remove),
            1 => (0..120u32).prop_map(Step::Establish),
        ];
        prop::collection::vec(step, 0..600)
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in steps()) {
            let mut arena = FlowArena::new(96);
            let mut table = FlowTable::new(arena.memory(), hash());
            let mut model: HashMap<u32, State> = HashMap::new();
            for step in steps {
                match step {
                    Step::Insert(n, half_open) if !model.contains_key(&n) => {
                        let state = if half_open { State::HalfOpen } else { State::Established };
                        match table.insert(&flow(n, state)) {
                            (Ok(_), evicted) => {
                                if let Some(evicted) = evicted {
                                    prop_assert_eq!(model.remove(&u32::from(evicted.flow.target_id)), Some(State::HalfOpen));
                                }
                                model.insert(n, state);
                            }
                            (Err(Full), _) => prop_assert_eq!(model.len(), 96),
                        }
                    }
                    Step::Remove(n) => {
                        let found = find(&table, &flow(n, State::HalfOpen).key(Direction::Reverse));
                        prop_assert_eq!(found.is_some(), model.remove(&n).is_some());
                        if let Some((record, _)) = found {
                            table.remove(record);
                        }
                    }
                    Step::Establish(n) => {
                        if let Some((record, _)) = find(&table, &flow(n, State::HalfOpen).key(Direction::Forward)) {
                            table.set_state(record, State::Established);
                            model.insert(n, State::Established);
                        }
                    }
                    Step::Insert(..) => {}
                }
                let half_open = model.values().filter(|state| **state == State::HalfOpen).count();
                prop_assert_eq!((table.len() as usize, table.half_open() as usize), (model.len(), half_open));
            }
            for n in 0..120 {
                let found = find(&table, &flow(n, State::HalfOpen).key(Direction::Forward)).map(|(record, _)| table.flow(record).state());
                prop_assert_eq!(found, model.get(&n).copied());
            }
        }
    }
}

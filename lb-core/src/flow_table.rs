//! The flow table of one worker: fixed capacity, exact keys, no pointers in its memory.
//!
//! ```text
//!   key --FlowHash--> 64 bits: | first bucket (32) | second bucket (32), tag (16) |
//!
//!   buckets     [ 10 tags | 10 entries (record << 1 | direction) | displaced ]   one cache line each
//!   flows       [ record ]                                                        one cache line each
//!   addresses   [ of the record of the same number, when it is wide ]             one cache line each
//!   annexes     [ of the record of the same number, when it needs one ]           one cache line each
//!   answers     [ of the record of the same number, while its handshake goes on ] 4 bytes each
//! ```
//!
//! IPv4 flows never touch `addresses`, and flows that are neither logged nor begin with a PROXY header never touch `annexes`, so
//! that where memory is given by the page as it is touched, they cost none of it.
//!
//! Both directions of a flow have an entry that leads to one record. An entry stands in its first bucket, or, when that is
//! full, in its second; a bucket counts the entries that it displaced, so that most misses look at one bucket only. Free
//! records form a list through themselves; so do half-open ones, oldest first. Called by `datapath` alone.

mod audit;
mod bucket;
mod cpu;
mod half_open;

use crate::{
    flow::{Addresses, Annex, Direction, Flow, NewFlow, State},
    flow_key::{FlowKey, Ipv4Key},
    hash::FlowHash,
    limits,
};

use self::{
    bucket::{BUCKET_ENTRIES, Bucket, tag},
    half_open::HalfOpenList,
};

/// Memory of a flow table: zeroed bytes from wherever the caller has them (anonymous, huge pages, a memfd).
#[derive(Debug)]
pub struct FlowMemory<'m> {
    buckets: &'m mut [Bucket],
    flows: &'m mut [Flow],
    addresses: &'m mut [Addresses],
    annexes: &'m mut [Annex],
    answers: &'m mut [u32],
}

impl<'m> FlowMemory<'m> {
    /// Bytes that a table of `capacity` flows spans: about 222 per flow, both directions and the index included.
    pub const fn bytes_for(capacity: u32) -> usize {
        Self::bytes_for_ipv4(capacity) + capacity as usize * (size_of::<Addresses>() + size_of::<Annex>())
    }

    /// Bytes of these that are touched when all flows are IPv4 and none has an annex: about 94 per flow.
    pub const fn bytes_for_ipv4(capacity: u32) -> usize {
        let records =
            capacity as usize * size_of::<Flow>() + lines_of_answers(capacity) * size_of::<Bucket>();
        records + bucket_count(capacity) * size_of::<Bucket>()
    }

    /// Takes the memory: at least [`FlowMemory::bytes_for`] bytes, all zero, aligned to 64 bytes. `None` when it is too
    /// small or not aligned, or when the capacity is out of range.
    pub fn new(bytes: &'m mut [u8], capacity: u32) -> Option<FlowMemory<'m>> {
        if capacity == 0 || capacity > limits::FLOWS_MAXIMUM {
            return None;
        }
        let bytes = bytes.get_mut(..Self::bytes_for(capacity))?;
        let (buckets, records) = bytes.split_at_mut(bucket_count(capacity) * size_of::<Bucket>());
        let (flows, beside) = records.split_at_mut(capacity as usize * size_of::<Flow>());
        let (addresses, beside) = beside.split_at_mut(capacity as usize * size_of::<Addresses>());
        let (annexes, answers) = beside.split_at_mut(capacity as usize * size_of::<Annex>());
        Some(FlowMemory {
            buckets: bytemuck::try_cast_slice_mut(buckets).ok()?,
            flows: bytemuck::try_cast_slice_mut(flows).ok()?,
            addresses: bytemuck::try_cast_slice_mut(addresses).ok()?,
            annexes: bytemuck::try_cast_slice_mut(annexes).ok()?,
            answers: bytemuck::try_cast_slice_mut(answers).ok()?,
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
        let (flows, beside) = records.split_at_mut(self.capacity as usize);
        let (addresses, beside) = beside.split_at_mut(self.capacity as usize);
        let (annexes, answers) = beside.split_at_mut(self.capacity as usize);
        FlowMemory {
            buckets,
            flows: bytemuck::cast_slice_mut(flows),
            addresses: bytemuck::cast_slice_mut(addresses),
            annexes: bytemuck::cast_slice_mut(annexes),
            answers: bytemuck::cast_slice_mut(answers),
        }
    }
}

/// Flows by key.
#[derive(Debug)]
pub struct FlowTable<'m> {
    buckets: &'m mut [Bucket],
    flows: &'m mut [Flow],
    addresses: &'m mut [Addresses],
    annexes: &'m mut [Annex],
    answers: &'m mut [u32],
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
            annexes: memory.annexes,
            answers: memory.answers,
            hash,
            free: NONE,
            untouched: 0,
            live: 0,
            half_open: HalfOpenList::new(budget),
            swept: 0,
        }
    }

    /// Hash of a key: what the other calls take.
    #[inline]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hash.flow(key)
    }

    /// The same of an IPv4 key.
    #[inline]
    pub fn hash_ipv4(&self, key: &Ipv4Key) -> u64 {
        self.hash.ipv4(key)
    }

    /// Asks the cache for the bucket that a lookup reads first.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        cpu::prefetch(&self.buckets[self.first_bucket(hash)]);
    }

    /// The entry that a key of this hash most likely has, and asks the cache for its record. Reads the bucket.
    #[inline]
    pub fn candidate(&self, hash: u64) -> Candidate {
        let bucket = &self.buckets[self.first_bucket(hash)];
        let candidate = match bucket.first(tag(hash)) {
            None if bucket.displaced != 0 => self.buckets[self.second_bucket(hash)].first(tag(hash)),
            first => first,
        };
        let candidate = candidate.map_or(Candidate::NONE, Candidate);
        if let Some(flow) = self.flows.get(candidate.record() as usize) {
            cpu::prefetch(flow);
        }
        candidate
    }

    /// Asks the cache for the addresses beside a candidate's record.
    #[inline]
    pub fn prefetch_addresses(&self, candidate: Candidate) {
        if let Some(addresses) = self.addresses.get(candidate.record() as usize) {
            cpu::prefetch(addresses);
        }
    }

    /// The record of a candidate and the addresses beside it; `None` when there is none.
    #[inline]
    pub fn candidate_with_addresses(&self, candidate: Candidate) -> Option<(&Flow, &Addresses)> {
        let record = candidate.record() as usize;
        Some((self.flows.get(record)?, self.addresses.get(record)?))
    }

    /// The record of a candidate; `None` when there is none.
    #[inline]
    pub fn candidate_mut(&mut self, candidate: Candidate) -> Option<&mut Flow> {
        self.flows.get_mut(candidate.record() as usize)
    }

    /// The record of a key, and the direction that the key is of.
    #[inline(always)]
    pub fn lookup(&self, hash: u64, key: &FlowKey) -> Option<(u32, Direction)> {
        match key {
            FlowKey::V4(key) => self.lookup_ipv4(hash, key),
            FlowKey::V6(_) => self.lookup_wide(hash, key),
        }
    }

    /// The same, given the key's candidate.
    #[inline(always)]
    pub fn lookup_from(&self, candidate: Candidate, hash: u64, key: &FlowKey) -> Option<(u32, Direction)> {
        let (record, direction) = (candidate.record(), candidate.direction());
        match (key, self.flows.get(record as usize)) {
            (FlowKey::V4(key), Some(flow)) if flow.is_ipv4_key(direction, key) => Some((record, direction)),
            _ => self.lookup(hash, key),
        }
    }

    /// The record of an IPv4 key, and the direction that the key is of.
    #[inline(always)]
    pub fn lookup_ipv4(&self, hash: u64, key: &Ipv4Key) -> Option<(u32, Direction)> {
        self.find(hash, |record, flow, direction| {
            flow.is_ipv4_key(direction, key)
                || (flow.is_wide() && self.has_wide_key(record, direction, &FlowKey::V4(*key)))
        })
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

    /// What stands beside a record; left from the record's earlier flow until it is written.
    #[inline]
    pub fn annex(&self, record: u32) -> &Annex {
        &self.annexes[record as usize]
    }

    /// What stands beside a record, to be changed.
    #[inline]
    pub fn annex_mut(&mut self, record: u32) -> &mut Annex {
        &mut self.annexes[record as usize]
    }

    /// Initial sequence number of the target, of a flow that it has answered; left from an earlier flow until then.
    #[inline]
    pub fn answer(&self, record: u32) -> u32 {
        self.answers[record as usize]
    }

    /// Notes it.
    #[inline]
    pub fn set_answer(&mut self, record: u32, sequence: u32) {
        self.answers[record as usize] = sequence;
    }

    /// Asks the cache for the annex of a candidate's record.
    #[inline]
    pub fn prefetch_annex(&self, candidate: Candidate) {
        if let Some(annex) = self.annexes.get(candidate.record() as usize) {
            cpu::prefetch(annex);
        }
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

    /// Hashes of both keys of a flow, by `Direction`.
    pub fn hashes(&self, new: &NewFlow) -> [u64; 2] {
        [Direction::Forward, Direction::Reverse].map(|direction| self.hash(&new.key(direction)))
    }

    /// Puts a flow in, given the hashes of its keys. The caller has looked up both and found neither. Half-open flows are the first
    /// to go: the oldest is pushed out, and returned beside, by a half-open flow over the budget and by any flow when no record is
    /// free.
    pub fn insert(&mut self, new: &NewFlow, hashes: [u64; 2]) -> (Result<u32, Full>, Option<NewFlow>) {
        let evicted = self.evicted_by(new).map(|oldest| {
            let evicted = self.copy(oldest);
            self.remove(oldest);
            self.look_ahead();
            evicted
        });
        (self.place(new, hashes), evicted)
    }

    /// The record that a flow pushes out when it is put in.
    #[inline]
    pub fn evicted_by(&self, new: &NewFlow) -> Option<u32> {
        let is_over_budget = new.flow.state().is_half_open() && self.half_open.count >= self.half_open.budget;
        let oldest = self.half_open.oldest;
        (oldest != NONE && (is_over_budget || self.live == self.capacity())).then_some(oldest)
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
        let flow = &mut self.flows[record as usize];
        flow.store_state(state);
        if was_half_open {
            flow.keep_deltas();
        }
    }

    /// The next record of a walk over all, if it is live and its time is over. Every call moves the walk by one.
    #[inline]
    pub fn sweep(&mut self, now_ms: u32) -> Option<u32> {
        if self.untouched == 0 {
            return None;
        }
        let record = self.swept;
        self.swept = if record + 1 < self.untouched { record + 1 } else { 0 };
        if self.is_over(record + RECORDS_AHEAD, now_ms) {
            self.prefetch_entries(record + RECORDS_AHEAD);
        }
        self.is_over(record, now_ms).then_some(record)
    }

    fn is_over(&self, record: u32, now_ms: u32) -> bool {
        self.flows.get(record as usize).is_some_and(|flow| flow.is_live() && flow.is_expired(now_ms))
    }

    /// The record that the walk is at.
    #[inline]
    pub fn swept(&self) -> u32 {
        self.swept
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

    /// Whether there is no room for a flow, and none that would make room.
    pub fn is_full(&self) -> bool {
        self.live == self.capacity() && self.half_open.oldest == NONE
    }

    /// Flows that fit.
    pub fn capacity(&self) -> u32 {
        self.flows.len() as u32
    }

    /// Asks the cache for the buckets that hold a live flow's entries.
    fn prefetch_entries(&self, record: u32) {
        for direction in [Direction::Forward, Direction::Reverse] {
            self.prefetch_bucket(self.hash(&self.key(record, direction)));
        }
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

    fn place(&mut self, new: &NewFlow, [forward, reverse]: [u64; 2]) -> Result<u32, Full> {
        let record = self.take_record().ok_or(Full)?;
        self.flows[record as usize] = new.flow;
        if new.flow.is_wide() {
            self.addresses[record as usize] = new.addresses;
        }
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
        match new.flow.state().is_half_open() {
            true => self.append_half_open(record),
            false => self.flows[record as usize].keep_deltas(),
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
            if let Some(next) = self.flows.get(self.free as usize) {
                cpu::prefetch(next);
            }
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

    #[inline]
    fn first_bucket(&self, hash: u64) -> usize {
        scale((hash >> 32) as u32, self.buckets.len())
    }

    #[inline]
    fn second_bucket(&self, hash: u64) -> usize {
        scale(hash as u32, self.buckets.len())
    }
}

/// An entry of the index whose tag is that of a key: almost surely, its record has the key.
#[derive(Clone, Copy, Debug)]
pub struct Candidate(u32);

impl Candidate {
    /// No entry has the tag.
    pub const NONE: Candidate = Candidate(u32::MAX);

    /// Whether there is one.
    #[inline]
    pub const fn is_some(self) -> bool {
        self.0 != Candidate::NONE.0
    }

    /// Its record.
    #[inline]
    pub const fn record(self) -> u32 {
        self.0 >> 1
    }

    /// The direction of packets with the key.
    #[inline]
    pub const fn direction(self) -> Direction {
        if self.0 & 1 == 0 { Direction::Forward } else { Direction::Reverse }
    }
}

#[inline]
const fn entry(record: u32, direction: Direction) -> u32 {
    record << 1 | direction as u32
}

/// Maps 32 random bits to `0..count`.
#[inline]
const fn scale(bits: u32, count: usize) -> usize {
    ((bits as u64 * count as u64) >> 32) as usize
}

/// Two entries per flow, and on average half of the places taken when the table is full: then one bucket in seventy has
/// displaced an entry, and nearly every look-up reads one.
const fn bucket_count(capacity: u32) -> usize {
    let buckets = (capacity as usize * 2).div_ceil(BUCKET_ENTRIES / 2);
    if buckets < 4 { 4 } else { buckets }
}

/// Cache lines that hold the answers of so many flows.
const fn lines_of_answers(capacity: u32) -> usize {
    (capacity as usize * size_of::<u32>()).div_ceil(size_of::<Bucket>())
}

/// Records of the sweep that memory is asked for before their turn.
const RECORDS_AHEAD: u32 = 8;
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests;

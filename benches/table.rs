//! Tables of flows under the clock: nanoseconds per operation, in batches of 32 as the packet path does it, hashing included. Keys
//! are made outside the clock, and come in random order. Tables are as full as they can be.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, BenchmarkId, SamplingMode, Throughput, measurement::WallTime};
use lb_core::{
    flow::{Direction, NewFlow, State},
    flow_key::FlowKey,
    flow_table::{Candidate, FlowTable},
    hash::FlowHash,
};

/// What is measured. A flow has an entry for each direction.
pub trait Table {
    /// Key of a packet.
    type Key;
    /// A flow that goes in.
    type New;
    /// Key of a client's packets.
    fn key(flow: &NewFlow) -> Self::Key;
    /// The flow as the table takes it.
    fn make(flow: NewFlow) -> Self::New;
    /// Flows in the table.
    fn len(&self) -> u32;
    /// Puts a flow in.
    fn insert(&mut self, new: &Self::New);
    /// Puts flows in and takes them out again.
    fn insert_and_remove(&mut self, new: &[Self::New; BATCH]);
    /// How many of the keys are found.
    fn lookup(&self, keys: &[Self::Key; BATCH]) -> usize;
}

impl Table for FlowTable<'_> {
    type Key = FlowKey;
    type New = NewFlow;

    fn key(flow: &NewFlow) -> FlowKey {
        flow.key(Direction::Forward)
    }

    fn make(flow: NewFlow) -> NewFlow {
        flow
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
        let mut records = [0; BATCH];
        for ((new, hashes), record) in new.iter().zip(hashes).zip(&mut records) {
            *record = FlowTable::insert(self, new, hashes).0.expect("there is room");
        }
        records.into_iter().for_each(|record| self.remove(record));
    }

    fn lookup(&self, keys: &[FlowKey; BATCH]) -> usize {
        let hashes = keys.each_ref().map(|key| {
            let hash = self.hash(key);
            self.prefetch_bucket(hash);
            hash
        });
        let mut candidates = [Candidate::NONE; BATCH];
        for ((key, hash), candidate) in keys.iter().zip(hashes).zip(&mut candidates) {
            *candidate = self.candidate(hash);
            if key.is_ipv6() {
                self.prefetch_addresses(*candidate);
            }
        }
        let is_found = |((key, hash), candidate): &((&FlowKey, u64), Candidate)| {
            black_box(self.lookup_from(*candidate, *hash, key)).is_some()
        };
        keys.iter().zip(hashes).zip(candidates).filter(is_found).count()
    }
}

/// Sets a group up.
pub fn configure(group: &mut BenchmarkGroup<'_, WallTime>) {
    group
        .throughput(Throughput::Elements(1))
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .sample_size(20)
        .nresamples(10_000);
}

/// The rows of a table, which is filled when the first is asked for. `flow` makes flows by number.
pub fn rows<T: Table>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    [hit, miss, insert_remove]: [&str; 3],
    (flows, size): (u32, &str),
    table: &mut T,
    flow: fn(u32) -> NewFlow,
) {
    let fill = |table: &mut T| (table.len()..flows).for_each(|n| table.insert(&T::make(flow(n))));
    let mut numbers = Numbers(1);
    group.bench_function(BenchmarkId::new(hit, size), |bencher| {
        fill(table);
        bencher.iter_custom(|count| {
            let key = || T::key(&flow(numbers.live(flows)));
            time(count, key, |keys| assert_eq!(table.lookup(keys), BATCH))
        });
    });
    group.bench_function(BenchmarkId::new(miss, size), |bencher| {
        fill(table);
        bencher.iter_custom(|count| {
            time(count, || T::key(&flow(numbers.absent())), |keys| assert_eq!(table.lookup(keys), 0))
        });
    });
    group.bench_function(BenchmarkId::new(insert_remove, size), |bencher| {
        fill(table);
        bencher.iter_custom(|count| {
            time(count, || T::make(flow(numbers.absent())), |flows| table.insert_and_remove(flows))
        });
    });
}

/// Time of `count` operations on things that `make` makes, by batches.
fn time<T>(count: u64, mut make: impl FnMut() -> T, mut run: impl FnMut(&[T; BATCH])) -> Duration {
    let rounds = count.div_ceil((BATCHES * BATCH) as u64);
    let mut taken = Duration::ZERO;
    for _ in 0..rounds {
        let batches: [[T; BATCH]; BATCHES] = std::array::from_fn(|_| std::array::from_fn(|_| make()));
        let start = Instant::now();
        batches.iter().for_each(&mut run);
        taken += start.elapsed();
    }
    taken.mul_f64(count as f64 / (rounds as usize * BATCHES * BATCH) as f64)
}

/// Numbers of flows, at random.
struct Numbers(u64);

impl Numbers {
    /// A number below `flows`.
    fn live(&mut self, flows: u32) -> u32 {
        self.next() % flows
    }

    /// A number that no table of a bench has.
    fn absent(&mut self) -> u32 {
        ABSENT + self.next() % ABSENT
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as u32
    }
}

/// An established TCP flow over IPv4.
pub fn flow_v4(n: u32) -> NewFlow {
    let client = Ipv4Addr::from_bits(0xc612_0000 + n / PORTS);
    flow(n, client.into(), Ipv4Addr::new(198, 18, 100, 1).into(), Ipv4Addr::new(198, 19, 1, 2).into())
}

/// The same over other addresses.
pub fn flow(n: u32, client: IpAddr, vip: IpAddr, target: IpAddr) -> NewFlow {
    let client = (client, (10_000 + (n % PORTS) as u16).to_be_bytes());
    let forward = FlowKey::new(client, (vip, [0, 80]), 6).expect("both are of one family");
    NewFlow::new(&forward, client, (target, [0x1f, 0x90]), State::Established)
}

/// The hash of flow tables, with some key.
pub fn hash() -> FlowHash {
    FlowHash::new(&std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Keys looked up at a time.
pub const BATCH: usize = 32;
/// Flows in the table.
pub const SIZES: [(u32, &str); 3] = [(1_000, "1k"), (1_000_000, "1M"), (10_000_000, "10M")];
/// Each client uses this many ports, one after the other.
pub const PORTS: u32 = 50_000;
const ABSENT: u32 = 400_000_000;
const BATCHES: usize = 32;

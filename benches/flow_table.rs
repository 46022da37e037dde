//! The flow table alone: nanoseconds per operation, keys in random order.

use std::{hint::black_box, net::IpAddr, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lb_core::{
    flow::{Direction, NewFlow, State},
    flow_key::FlowKey,
    flow_table::{FlowArena, FlowTable},
    hash::FlowHash,
};

const BATCH: usize = 32;

fn flow_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow_table");
    group
        .throughput(Throughput::Elements(BATCH as u64))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20);
    for (flows, name) in [(1_000u32, "1k"), (1_000_000, "1M"), (10_000_000, "10M")] {
        let mut arena = FlowArena::new(flows + 1_024);
        let mut table = FlowTable::new(arena.memory(), hash());
        for n in 0..flows {
            table.insert(&flow(n)).0.expect("there is room");
        }
        let mut random = 1u64;
        let mut next = move || {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (random >> 33) as u32
        };
        group.bench_function(BenchmarkId::new("hit", name), |bencher| {
            bencher.iter(|| {
                let keys: [FlowKey; BATCH] =
                    std::array::from_fn(|_| flow(next() % flows).key(Direction::Forward));
                assert_eq!(lookup(&table, &keys), BATCH);
            });
        });
        group.bench_function(BenchmarkId::new("miss", name), |bencher| {
            bencher.iter(|| {
                let keys: [FlowKey; BATCH] =
                    std::array::from_fn(|_| flow(next() | 0x8000_0000).key(Direction::Forward));
                assert_eq!(lookup(&table, &keys), 0);
            });
        });
        group.bench_function(BenchmarkId::new("insert_remove", name), |bencher| {
            bencher.iter(|| {
                let records: [u32; BATCH] = std::array::from_fn(|_| {
                    table.insert(&flow(next() | 0x8000_0000)).0.expect("there is room")
                });
                records.into_iter().for_each(|record| table.remove(record));
            });
        });
    }
    group.finish();
}

/// Looks up a batch as the packet path does; how many were found.
fn lookup(table: &FlowTable<'_>, keys: &[FlowKey; BATCH]) -> usize {
    let hashes = keys.map(|key| {
        let hash = table.hash(&key);
        table.prefetch_bucket(hash);
        hash
    });
    hashes.iter().for_each(|&hash| table.prefetch_record(hash));
    keys.iter().zip(hashes).filter(|(key, hash)| black_box(table.lookup(*hash, key)).is_some()).count()
}

fn flow(n: u32) -> NewFlow {
    let client = (IpAddr::from(n.to_be_bytes()), [0x9c, 0x40]);
    let vip = (IpAddr::from([198, 18, 100, 1]), [0, 80]);
    let target = (IpAddr::from([198, 19, 1, 2]), [0x1f, 0x90]);
    let key = FlowKey::new(client, vip, 6).expect("both are IPv4");
    NewFlow::new(&key, client, target, State::Established)
}

fn hash() -> FlowHash {
    FlowHash::new(&std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

criterion_group!(benches, flow_table);
criterion_main!(benches);

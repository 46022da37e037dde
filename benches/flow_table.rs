//! The flow table alone: nanoseconds per operation, in batches of 32 as the packet path does it; hashing included. Keys are
//! made outside the clock, and come in random order.

mod keys;
mod memory;

use std::{hint::black_box, net::Ipv6Addr, time::Duration};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use keys::{BATCH, Numbers, PORTS, flow, flow_v4, hash, time};
use lb_core::{
    flow::{Direction, NewFlow},
    flow_key::FlowKey,
    flow_table::{FlowMemory, FlowTable},
};
use memory::HugePages;

fn flow_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow_table");
    group
        .throughput(Throughput::Elements(1))
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .nresamples(10_000);
    for (flows, size) in [(1_000, "1k"), (1_000_000, "1M"), (10_000_000, "10M")] {
        rows(&mut group, (flows, size), ["hit", "miss", "insert_remove"], flow_v4);
        rows(&mut group, (flows, size), ["hit_ipv6", "miss_ipv6", "insert_remove_ipv6"], flow_v6);
    }
    group.finish();
}

fn rows(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (flows, size): (u32, &str),
    [hit, miss, insert_remove]: [&str; 3],
    new: fn(u32) -> NewFlow,
) {
    let capacity = flows + BATCH as u32; // Seven of ten places of the index are taken.
    let mut memory = HugePages::new(FlowMemory::bytes_for(capacity));
    let memory = FlowMemory::new(memory.bytes(), capacity).expect("memory of this size");
    let mut table = FlowTable::new(memory, hash());
    let fill = |table: &mut FlowTable<'_>| {
        for n in table.len()..flows {
            let new = new(n);
            table.insert(&new, table.hashes(&new)).0.expect("there is room");
        }
    };
    let key = |n| new(n).key(Direction::Forward);
    let mut numbers = Numbers::new();
    group.bench_function(BenchmarkId::new(hit, size), |bencher| {
        fill(&mut table);
        bencher.iter_custom(|count| {
            time(count, || key(numbers.live(flows)), |keys| assert_eq!(lookup(&table, keys), BATCH))
        });
    });
    group.bench_function(BenchmarkId::new(miss, size), |bencher| {
        fill(&mut table);
        bencher.iter_custom(|count| {
            time(count, || key(numbers.absent()), |keys| assert_eq!(lookup(&table, keys), 0))
        });
    });
    group.bench_function(BenchmarkId::new(insert_remove, size), |bencher| {
        fill(&mut table);
        bencher.iter_custom(|count| {
            time(count, || new(numbers.absent()), |flows| insert_and_remove(&mut table, flows))
        });
    });
}

/// Looks up a batch; how many were found.
fn lookup(table: &FlowTable<'_>, keys: &[FlowKey; BATCH]) -> usize {
    let hashes = keys.each_ref().map(|key| {
        let hash = table.hash(key);
        table.prefetch_bucket(hash);
        hash
    });
    for &hash in &hashes {
        black_box(table.candidate(hash));
    }
    keys.iter().zip(hashes).filter(|(key, hash)| black_box(table.lookup(*hash, key)).is_some()).count()
}

fn insert_and_remove(table: &mut FlowTable<'_>, flows: &[NewFlow; BATCH]) {
    let hashes = flows.each_ref().map(|flow| {
        let hashes = table.hashes(flow);
        hashes.into_iter().for_each(|hash| table.prefetch_bucket(hash));
        hashes
    });
    let mut records = [0; BATCH];
    for ((flow, hashes), record) in flows.iter().zip(hashes).zip(&mut records) {
        *record = table.insert(flow, hashes).0.expect("there is room");
    }
    records.into_iter().for_each(|record| table.remove(record));
}

fn flow_v6(n: u32) -> NewFlow {
    let address = |subnet: u128, host: u128| Ipv6Addr::from(0x2001_0db8 << 96 | subnet << 80 | host);
    let client = address(1, u128::from(n / PORTS));
    flow(n, client.into(), address(0x100, 1).into(), address(0x300, 1).into())
}

criterion_group!(benches, flow_table);
criterion_main!(benches);

//! Checksums: the incremental update that every packet takes, and the full sum that only veth and our own answers need.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lb_core::wire::checksum::{self, Delta, TTL_DECREMENT};

fn checksums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    group.measurement_time(Duration::from_secs(2)).sample_size(20);
    let delta = Delta::replacing(&[198, 18, 100, 1], &[198, 19, 1, 2]);
    group.bench_function("update", |bencher| {
        bencher.iter(|| black_box(delta).and(TTL_DECREMENT).update(black_box(0x1234)));
    });
    for size in [20usize, 64, 1_480] {
        let bytes = vec![0xa5; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("sum", size), |bencher| {
            bencher.iter(|| checksum::sum(black_box(&bytes), 0));
        });
    }
    group.finish();
}

criterion_group!(benches, checksums);
criterion_main!(benches);

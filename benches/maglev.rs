//! Maglev tables: time to build one of 65,537 slots, and to look a flow up.

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lb_core::{
    flow_key::{FlowKey, Ipv4Key},
    hash,
    maglev::{Candidate, Maglev},
};

fn maglev(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("maglev");
    group.measurement_time(Duration::from_secs(3)).sample_size(20);
    for count in [10u32, 100, 1_000] {
        let candidates: Vec<Candidate> = (0..count)
            .map(|n| Candidate {
                address: Ipv4Addr::from(0xc613_0002 + n * 256).into(),
                port: 8080,
                weight: 1,
            })
            .collect();
        group.bench_function(BenchmarkId::new("build", count), |bencher| {
            bencher.iter(|| Maglev::with_default_slots(black_box(&candidates)));
        });
        let table = Maglev::with_default_slots(&candidates);
        let mut key = Ipv4Key { protocol: 6, ..Ipv4Key::default() };
        let mut n = 0u32;
        group.bench_function(BenchmarkId::new("hash_and_lookup", count), |bencher| {
            bencher.iter(|| {
                n = n.wrapping_add(1);
                key.end.remote = n.to_be_bytes();
                let slot = table.slot(hash::selection(&[7; 16], black_box(&FlowKey::V4(key))))?;
                table.candidate(slot)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, maglev);
criterion_main!(benches);

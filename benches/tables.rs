//! What the number of listeners costs: nanoseconds to find the listener of an endpoint, and to select a target; and the time to
//! compile tables in which one target's health is another: `cargo bench --bench tables`.
//!
//! Endpoints are asked for in random order, so with many listeners neither the processor's guesses nor its nearest cache help.

#[path = "large/control.rs"]
mod control;
mod large;

use std::{hint::black_box, net::IpAddr, time::Duration};

use control::Control;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lb_core::{
    flow_key::FlowKey,
    select,
    tables::{Endpoint, Protocol},
};

fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tables");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1)).sample_size(20);
    for listeners in [1u32, 10, 100, 1_000] {
        let mut control = Control::new(listeners);
        let tables = control.compile();
        let mut random = 1u64;
        let mut next = move || {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (random >> 33) as u32 % listeners
        };
        group.bench_function(BenchmarkId::new("listener", listeners), |bencher| {
            bencher.iter(|| tables.listener_at(black_box(&endpoint(next()))).expect("it is there"));
        });
        group.bench_function(BenchmarkId::new("no_listener", listeners), |bencher| {
            bencher.iter(|| {
                let stranger = Endpoint { protocol: Protocol::Udp, ..endpoint(next()) };
                assert_eq!(tables.listener_at(black_box(&stranger)), None);
            });
        });
        group.bench_function(BenchmarkId::new("change_of_one_target", listeners), |bencher| {
            bencher.iter(|| {
                control.toggle();
                control.compile()
            });
        });
        let mut client = 0u32;
        group.bench_function(BenchmarkId::new("select", listeners), |bencher| {
            bencher.iter(|| {
                client = client.wrapping_add(1);
                let endpoint = endpoint(next());
                let id = tables.listener_at(&endpoint)?;
                let vip = (endpoint.address, endpoint.port.to_be_bytes());
                let flow = FlowKey::new((IpAddr::from(client.to_be_bytes()), [0x9c, 0x40]), vip, 6)?;
                select::select(&tables, id, &[7; 16], black_box(&flow))
            });
        });
    }
    group.finish();
}

fn endpoint(listener: u32) -> Endpoint {
    Endpoint {
        address: large::vip(listener / large::LISTENERS_EACH).into(),
        port: large::port(listener),
        protocol: Protocol::Tcp,
    }
}

criterion_group!(benches, tables);
criterion_main!(benches);

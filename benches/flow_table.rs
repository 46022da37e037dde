//! The flow table alone, over both families.

mod memory;
mod table;

use std::net::Ipv6Addr;

use criterion::{Criterion, criterion_group, criterion_main};
use lb_core::{
    flow::NewFlow,
    flow_table::{FlowMemory, FlowTable},
};
use memory::HugePages;
use table::{BATCH, PORTS, SIZES, configure, flow, flow_v4, hash, rows};

fn flow_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow_table");
    configure(&mut group);
    for (flows, size) in SIZES {
        let capacity = flows + BATCH as u32;
        for (names, flow) in [
            (["hit", "miss", "insert_remove"], flow_v4 as fn(u32) -> NewFlow),
            (["hit_ipv6", "miss_ipv6", "insert_remove_ipv6"], flow_v6),
        ] {
            let mut memory = HugePages::new(FlowMemory::bytes_for(capacity));
            let memory = FlowMemory::new(memory.bytes(), capacity).expect("memory of this size");
            rows(&mut group, names, (flows, size), &mut FlowTable::new(memory, hash()), flow);
        }
    }
    group.finish();
}

fn flow_v6(n: u32) -> NewFlow {
    let address = |subnet: u128, host: u128| Ipv6Addr::from(0x2001_0db8 << 96 | subnet << 80 | host);
    let client = address(1, u128::from(n / PORTS));
    flow(n, client.into(), address(0x100, 1).into(), address(0x300, 1).into())
}

criterion_group!(benches, flow_table);
criterion_main!(benches);

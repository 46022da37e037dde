//! Layouts of the flow table's index, measured alike: the project's, by its own code, and rivals of it, with records of 64 bytes as
//! well.
//!
//! | row | the index |
//! | --- | --- |
//! | `tags16` | the project's: ten 16-bit tags and entries in 64 bytes; an entry stands in either of two |
//! | `tags8` | twelve 8-bit tags and entries in 64 bytes; when they are full, in the next 64 |
//! | `linear` | 32-bit tags and entries in slots of 8 bytes, one after the other |

mod linear;
#[path = "../memory.rs"]
mod memory;
mod rival;
#[path = "../table.rs"]
mod table;
mod tags8;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use lb_core::flow_table::{FlowMemory, FlowTable};
use linear::Linear;
use memory::HugePages;
use rival::{Rival, RivalMemory};
use table::{BATCH, SIZES, Table, configure, flow_v4, hash, rows};
use tags8::Tags8;

fn layouts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layouts");
    configure(&mut group);
    for size in SIZES {
        let capacity = size.0 + BATCH as u32;
        let mut memory = HugePages::new(FlowMemory::bytes_for(capacity));
        let memory = FlowMemory::new(memory.bytes(), capacity).expect("memory of this size");
        let bytes = FlowMemory::bytes_for_ipv4(capacity);
        measure(&mut group, "tags16", size, bytes, &mut FlowTable::new(memory, hash()));
        let mut memory = RivalMemory::new(size.0, 12);
        let bytes = memory.bytes;
        measure(&mut group, "tags8", size, bytes, &mut Rival::new(&mut memory, Tags8));
        let mut memory = RivalMemory::new(size.0, 8);
        let bytes = memory.bytes;
        measure(&mut group, "linear", size, bytes, &mut Rival::new(&mut memory, Linear));
    }
    group.finish();
}

fn measure<T: Table>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (flows, size): (u32, &str),
    bytes: usize,
    table: &mut T,
) {
    println!("{name}, {size} flows: {:.1} bytes each", bytes as f64 / f64::from(flows));
    let names = ["hit", "miss", "insert_remove"].map(|operation| format!("{name}/{operation}"));
    rows(group, names.each_ref().map(String::as_str), (flows, size), table, flow_v4);
}

criterion_group!(benches, layouts);
criterion_main!(benches);
